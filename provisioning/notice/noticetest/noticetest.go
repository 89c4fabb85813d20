// Package noticetest has a mail server that takes mail as RFC 5321 says, after
// STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954), and refuses what it is told to.
package noticetest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Server is that server. User and password are its own.
type Server struct {
	tb       testing.TB
	Host     string
	Port     int
	Roots    *x509.CertPool
	CA       []byte // the same, in PEM
	Implicit bool   // TLS from the first byte
	Plain    bool   // it offers no STARTTLS
	tls      *tls.Config
	refuse   map[string]string // reply to a command's beginning, in place of the usual one

	mu   sync.Mutex
	got  []Letter
	seen []string // commands
}

// What the server wants to hear.
const (
	User     = "gate"
	Password = "open sesame"
)

// A Letter as it arrived: From and To of the envelope, Text as it was meant, in
// TLS or not, and who was signed in.
type Letter struct {
	From, To string
	Header   mail.Header
	Subject  string
	Text     string
	Raw      string
	InTLS    bool
	User     string
}

// New starts a server that ends with the test. with may be nil.
func New(t testing.TB, with func(*Server)) *Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{tb: t, Host: "localhost", Roots: x509.NewCertPool(), CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, refuse: map[string]string{}}
	s.Roots.AddCert(cert)
	if with != nil {
		with(s)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Port = ln.Addr().(*net.TCPAddr).Port
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *Server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var l Letter
	if s.Implicit {
		c, l.InTLS = tls.Server(c, s.tls), true
	}
	in := bufio.NewReader(c)
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	say("220 localhost ESMTP")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		s.seen = append(s.seen, line)
		refused := ""
		for begins, reply := range s.refuse {
			if strings.HasPrefix(line, begins) {
				refused = reply
			}
		}
		s.mu.Unlock()
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case refused != "":
			say(refused)
		case verb == "EHLO":
			switch {
			case !l.InTLS && !s.Plain:
				say("250-localhost\r\n250 STARTTLS")
			case l.InTLS:
				say("250-localhost\r\n250 AUTH PLAIN")
			default:
				say("250 localhost")
			}
		case verb == "STARTTLS":
			say("220 go ahead")
			c = tls.Server(c, s.tls)
			in, l.InTLS = bufio.NewReader(c), true
		case verb == "AUTH":
			_, b64, _ := strings.Cut(rest, " ")
			raw, _ := base64.StdEncoding.DecodeString(b64)
			if parts := strings.Split(string(raw), "\x00"); len(parts) == 3 && parts[1] == User && parts[2] == Password {
				l.User = parts[1]
				say("235 ok")
			} else {
				say("535 5.7.8 no")
			}
		case verb == "MAIL":
			l.From = rest
			say("250 ok")
		case verb == "RCPT":
			l.To = rest
			say("250 ok")
		case verb == "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			l.Raw = b.String()
			if err := l.read(); err != nil {
				s.tb.Errorf("no message: %v", err)
				return
			}
			s.mu.Lock()
			s.got = append(s.got, l)
			s.mu.Unlock()
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say(fmt.Sprintf("502 5.5.1 %s is not known", verb))
		}
	}
}

// Letters are those that were taken.
func (s *Server) Letters() []Letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// Commands are all that were heard, one a line.
func (s *Server) Commands() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, "\n")
}

// Says sets the reply to commands that begin so; empty: the usual one.
func (s *Server) Says(begins, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply == "" {
		delete(s.refuse, begins)
	} else {
		s.refuse[begins] = reply
	}
}

// read takes a letter apart.
func (l *Letter) read() error {
	m, err := mail.ReadMessage(strings.NewReader(l.Raw))
	if err != nil {
		return err
	}
	l.Header = m.Header
	if l.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return err
	}
	body := m.Body
	if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	raw, err := io.ReadAll(body)
	l.Text = string(raw)
	return err
}
