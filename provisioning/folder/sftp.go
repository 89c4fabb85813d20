package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SFTP is a folder on another machine.
type SFTP struct {
	Address string // host:port
	User    string
	Dir     string // where the folder is there; empty: where the user begins
	// KnownHosts is a file as OpenSSH keeps it. The machine shows one of the keys
	// that are in it for this address, or is not spoken to.
	KnownHosts string
	Key        []byte // private key, PEM; ed25519, ECDSA or RSA of at least 2048 bits
	Password   string // where there is no key
	// Dial connects; nil: a net.Dialer.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Timeout time.Duration // to connect and sign in; 0: 10 s
}

func (s SFTP) String() string { return "sftp://" + s.User + "@" + s.Address + "/" + s.Dir }

// Open connects. Everything until the user is let in takes no longer than Timeout.
func (s SFTP) Open(ctx context.Context) (Folder, error) {
	f, err := s.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", s, err)
	}
	return f, nil
}

func (s SFTP) open(ctx context.Context) (*sftpFolder, error) {
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	if s.Dial == nil {
		s.Dial = (&net.Dialer{}).DialContext
	}
	c, err := s.clientConfig()
	if err != nil {
		return nil, err
	}
	early, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	raw, err := s.Dial(early, "tcp", s.Address)
	if err != nil {
		return nil, err
	}
	giveUp := context.AfterFunc(early, func() { _ = raw.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(raw, s.Address, c)
	if err != nil {
		_ = raw.Close()
		return nil, s.refusal(early, err)
	}
	client := ssh.NewClient(conn, chans, reqs)
	files, err := sftp.NewClient(client)
	if err == nil && !giveUp() {
		err = context.Cause(early)
	}
	if err != nil {
		_ = client.Close()
		return nil, s.refusal(early, err)
	}
	f := &sftpFolder{ctx: ctx, conn: client, files: files, dir: s.Dir}
	f.stop = context.AfterFunc(ctx, func() { _ = client.Close() })
	return f, nil
}

// refusal tells what waiting can mend from what it can not.
func (s SFTP) refusal(ctx context.Context, err error) error {
	var unknown *knownhosts.KeyError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &unknown) && len(unknown.Want) == 0:
		return fmt.Errorf("%w: no key is known of %s — get it from who runs that machine and put it into the file of known_hosts", ErrRefused, s.Address)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: %s shows another key than the file of known_hosts has for it", ErrRefused, s.Address)
	case strings.Contains(err.Error(), "unable to authenticate"): // the library has no error of its own for it
		return fmt.Errorf("%w: %s does not let %s in", ErrRefused, s.Address, s.User)
	}
	return err
}

func (s SFTP) clientConfig() (*ssh.ClientConfig, error) {
	known, err := knownhosts.New(s.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	c := &ssh.ClientConfig{User: s.User, HostKeyCallback: known, HostKeyAlgorithms: s.algorithms(known), Timeout: s.Timeout}
	if len(s.Key) == 0 {
		c.Auth = []ssh.AuthMethod{ssh.Password(s.Password)}
		return c, nil
	}
	key, err := ssh.ParsePrivateKey(s.Key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	c.Auth = []ssh.AuthMethod{ssh.PublicKeys(key)}
	return c, nil
}

// algorithms are those of the keys that are known of the machine: it is asked for
// one of them, although it may have others that it would rather show.
func (s SFTP) algorithms(known ssh.HostKeyCallback) []string {
	var e *knownhosts.KeyError
	if !errors.As(known(s.Address, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &e) {
		return nil
	}
	var list []string
	for _, k := range e.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			list = append(list, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512)
		} else {
			list = append(list, t)
		}
	}
	return list
}

// noKey is nobody's key; asked about it, known_hosts says which ones it knows.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

type sftpFolder struct {
	ctx   context.Context // of Open: a Folder lives no longer
	conn  *ssh.Client
	files *sftp.Client
	dir   string
	stop  func() bool
}

// at is the path of a name there.
func (s *sftpFolder) at(name string) string {
	if s.dir == "" {
		return name
	}
	return path.Join(s.dir, name)
}

// said is what became of something there. Errors name no path: in some of them it
// is a person's file.
func (s *sftpFolder) said(what string, err error) error {
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *sftpFolder) List(dir string) ([]File, error) {
	if err := begin(s.ctx, path.Join(dir, "x")); err != nil {
		return nil, err
	}
	infos, err := s.files.ReadDirContext(s.ctx, s.at(path.Join(".", dir)))
	if dir != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.said("list folder", err)
	}
	var list []File
	for _, info := range infos {
		if info.Mode().IsRegular() && Check(info.Name()) == nil {
			list = append(list, File{info.Name(), info.Size(), info.ModTime()})
		}
	}
	return list, nil
}

func (s *sftpFolder) Read(name string) (io.ReadCloser, error) {
	if err := begin(s.ctx, name); err != nil {
		return nil, err
	}
	f, err := s.files.Open(s.at(name))
	if err != nil {
		return nil, s.said("read file", err)
	}
	return &bounded{s.ctx, f}, nil
}

func (s *sftpFolder) Write(name string, fn func(io.Writer) error) error {
	if err := begin(s.ctx, name, name+Part); err != nil {
		return err
	}
	if err := s.makeDir(name); err != nil {
		return err
	}
	part := s.at(name) + Part
	f, err := s.files.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return s.said("write file", err)
	}
	err = fn(f)
	if err == nil {
		if err = f.Sync(); errors.Is(err, errors.ErrUnsupported) || unsupported(err) {
			err = nil // a server without fsync@openssh.com brings it to the disk in its own time
		}
	}
	err = errors.Join(err, s.ctx.Err(), f.Close())
	if err == nil {
		err = s.files.PosixRename(part, s.at(name))
	}
	if err != nil {
		_ = s.files.Remove(part)
	}
	return s.said("write file", err)
}

func unsupported(err error) bool {
	var st *sftp.StatusError
	return errors.As(err, &st) && st.FxCode() == sftp.ErrSSHFxOpUnsupported
}

func (s *sftpFolder) makeDir(name string) error {
	dir := inside(name)
	if dir == "" {
		return nil
	}
	if _, err := s.files.Stat(s.at(dir)); err == nil {
		return nil
	}
	return s.said("make folder", s.files.Mkdir(s.at(dir)))
}

// Move looks first, since some servers rename onto a file that is there. OpenSSH
// does not, and says no more than that it failed.
func (s *sftpFolder) Move(from, to string) error {
	if err := begin(s.ctx, from, to); err != nil {
		return err
	}
	if err := s.makeDir(to); err != nil {
		return err
	}
	taken := func() bool { _, err := s.files.Lstat(s.at(to)); return err == nil }
	if taken() {
		return s.said("move file to "+to, fs.ErrExist)
	}
	err := s.files.Rename(s.at(from), s.at(to))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && taken() {
		err = fs.ErrExist
	}
	return s.said("move file to "+to, err)
}

func (s *sftpFolder) Remove(name string) error {
	if err := begin(s.ctx, name); err != nil {
		return err
	}
	err := s.files.Remove(s.at(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s.said("remove file", err)
}

func (s *sftpFolder) Close() error {
	s.stop()
	return errors.Join(ignoreClosed(s.files.Close()), ignoreClosed(s.conn.Close()))
}

// ignoreClosed forgives that the other end, or the end of the context, was quicker.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
