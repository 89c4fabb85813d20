package notice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Ways to TLS.
const (
	StartTLS  = "starttls" // begun in the open, and nothing is said before
	Implicit  = "implicit" // from the first byte
	Plaintext = "none"
)

// MailConfig is a mail server that takes messages (RFC 6409).
type MailConfig struct {
	Host string
	Port int
	TLS  string // StartTLS, Implicit or Plaintext; empty: StartTLS
	// User and Password are shown under TLS alone; empty: nobody is signed in.
	User, Password string
	From           string // an address, with a name if wanted
	TLSConfig      *tls.Config
	Timeout        time.Duration // of one message; 0: 30 s
	// Dial opens the connection. nil: as net does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Mail sends messages. Make one with NewMail.
type Mail struct {
	c      MailConfig
	domain string // of From
}

// NewMail checks the sender; it connects to nobody yet.
func NewMail(c MailConfig) (*Mail, error) {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.TLSConfig == nil {
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.TLSConfig.ServerName == "" {
		c.TLSConfig = c.TLSConfig.Clone()
		c.TLSConfig.ServerName = c.Host
	}
	if c.TLS == Plaintext && c.User != "" {
		return nil, errors.New("mail: a password does not go over a connection without TLS")
	}
	if err := gomail.NewMsg().From(c.From); err != nil {
		return nil, fmt.Errorf("mail: the sender %q is no address", c.From)
	}
	address := strings.TrimRight(c.From, "> ")
	return &Mail{c, address[strings.LastIndexByte(address, '@')+1:]}, nil
}

// A Message for one person, as plain text.
type Message struct {
	ID            string // unique; of the characters of an address
	To            string // an address
	Subject, Body string
}

// Send sends one message on a connection of its own. What the server refuses for
// good is a *task.Park; every other error is worth another try. No error names
// who is written to.
func (m *Mail) Send(ctx context.Context, msg Message) error {
	out := gomail.NewMsg()
	if err := errors.Join(out.From(m.c.From), out.To(msg.To)); err != nil {
		return &task.Park{Reason: "the address can not be written to"}
	}
	out.Subject(oneLine(msg.Subject))
	out.SetBodyString(gomail.TypeTextPlain, msg.Body)
	out.SetMessageIDWithValue(msg.ID + "@" + m.domain)
	out.SetDate()
	out.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence answers
	out.SetUserAgent("Gatehouse")

	ctx, cancel := context.WithTimeout(ctx, m.c.Timeout)
	defer cancel()
	// The library leaves a connection open that it could not greet, and does not
	// look at ctx once it has one.
	var conn net.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := m.c.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if conn = c; m.c.TLS == Implicit {
			conn = tls.Client(c, m.c.TLSConfig)
		}
		return conn, nil
	}
	options := []gomail.Option{gomail.WithPort(m.c.Port), gomail.WithTimeout(m.c.Timeout), gomail.WithDialContextFunc(dial), gomail.WithTLSConfig(m.c.TLSConfig), gomail.WithoutNoop(), gomail.WithoutRset()}
	switch m.c.TLS {
	case Implicit:
		options = append(options, gomail.WithSSL())
	case Plaintext:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if m.c.User != "" {
		options = append(options, gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256PLUS, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin),
			gomail.WithUsername(m.c.User), gomail.WithPassword(m.c.Password))
	}
	client, err := gomail.NewClient(m.c.Host, options...)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fmt.Errorf("mail: reach %s: %w", m.c.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := client.Send(out); err != nil {
		return said(err)
	}
	_ = client.Close() // it was taken; a goodbye that fails changes nothing
	return nil
}

// said is what the server said, without the address that it said it about.
func said(err error) error {
	var e *gomail.SendError
	if !errors.As(err, &e) {
		return errors.New("mail: the connection broke off")
	}
	text := fmt.Sprintf("mail: %s: %d %s", e.Reason, e.ErrorCode(), e.EnhancedStatusCode())
	if !e.IsTemp() && e.ErrorCode()/100 == 5 {
		return &task.Park{Reason: text}
	}
	return errors.New(text)
}

// oneLine takes line breaks and other control characters out of a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
