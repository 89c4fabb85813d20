// Package foldertest is a machine that speaks SFTP, for tests.
package foldertest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
)

// A Server serves one folder to one user.
type Server struct {
	Dir      string // where the files are on this machine
	User     string
	Password string

	t        testing.TB
	config   *ssh.ServerConfig
	listener net.Listener
	host     ssh.Signer
	key      []byte // of the user, PEM
	mu       sync.Mutex
	conns    map[net.Conn]bool
	over     bool
	wg       sync.WaitGroup
}

// Serve starts a Server on loopback that ends with the test.
func Serve(t testing.TB) *Server {
	t.Helper()
	s := &Server{Dir: t.TempDir(), User: "drop", Password: "let me in", t: t, conns: map[net.Conn]bool{}}
	s.host = s.signer()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	s.must(err)
	s.key = pem.EncodeToMemory(block)
	mine, err := ssh.NewSignerFromKey(private)
	s.must(err)
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != s.User || string(key.Marshal()) != string(mine.PublicKey().Marshal()) {
				return nil, errors.New("no")
			}
			return &ssh.Permissions{}, nil
		},
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if c.User() != s.User || string(password) != s.Password {
				return nil, errors.New("no")
			}
			return &ssh.Permissions{}, nil
		},
	}
	s.config.AddHostKey(s.host)
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		_ = s.listener.Close()
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.Hang()
		s.wg.Wait()
	})
	return s
}

func (s *Server) must(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) signer() ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	signer, err := ssh.NewSignerFromKey(private)
	s.must(err)
	return signer
}

// Place is the folder, for a user who signs in with a key.
func (s *Server) Place() folder.SFTP {
	return folder.SFTP{Address: s.listener.Addr().String(), User: s.User, Dir: s.Dir, KnownHosts: s.KnownHosts(s.host), Key: s.key}
}

// KnownHosts is a file that knows one key of the server. Other is a key that it
// has not.
func (s *Server) KnownHosts(key ssh.Signer) string {
	path := filepath.Join(s.t.TempDir(), "known_hosts")
	s.must(os.WriteFile(path, []byte(knownhosts.Line([]string{s.listener.Addr().String()}, key.PublicKey())+"\n"), 0o600))
	return path
}

// Other is the key of another machine.
func (s *Server) Other() ssh.Signer { return s.signer() }

// Hang cuts every connection there is.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		if s.over {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				_ = c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			s.serve(c)
		})
	}
}

func (s *Server) serve(c net.Conn) {
	conn, chans, reqs, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	s.wg.Go(func() { ssh.DiscardRequests(reqs) })
	for n := range chans {
		ch, reqs, err := n.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			for r := range reqs {
				_ = r.Reply(r.Type == "subsystem" && string(r.Payload[4:]) == "sftp", nil)
			}
		})
		server, err := sftp.NewServer(ch)
		if err != nil {
			return
		}
		s.wg.Go(func() {
			if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
				_ = ch.Close()
			}
			_ = server.Close()
		})
	}
}
