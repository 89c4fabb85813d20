package notice_test

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/notice"
	"github.com/gatehouse-sso/gatehouse/provisioning/notice/noticetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mailTo(s *noticetest.Server, t *testing.T, with func(*notice.MailConfig)) *notice.Mail {
	t.Helper()
	c := notice.MailConfig{
		Host: s.Host, Port: s.Port, User: noticetest.User, Password: noticetest.Password, From: "Gatehouse <gate@uni.example>", Timeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Roots},
	}
	if with != nil {
		with(&c)
	}
	m, err := notice.NewMail(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var letterToBob = notice.Message{ID: "a1", To: "bob@uni.example", Subject: "Your request for Büro is approved", Body: "Hällo\n.\nBob\n"}

func TestAMessageArrivesWholeAfterTLSAndAPassword(t *testing.T) {
	t.Parallel()
	for name, implicit := range map[string]bool{notice.StartTLS: false, notice.Implicit: true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := noticetest.New(t, func(s *noticetest.Server) { s.Implicit = implicit })
			m := mailTo(s, t, func(c *notice.MailConfig) { c.TLS = name })
			if err := m.Send(t.Context(), letterToBob); err != nil {
				t.Fatal(err)
			}
			got := s.Letters()
			if len(got) != 1 {
				t.Fatalf("%d letters", len(got))
			}
			l := got[0]
			if l.Subject != letterToBob.Subject || !l.InTLS || l.User != "gate" {
				t.Errorf("subject %q, in TLS %t, signed in as %q", l.Subject, l.InTLS, l.User)
			}
			if !strings.HasPrefix(l.From, "FROM:<gate@uni.example>") || !strings.HasPrefix(l.To, "TO:<bob@uni.example>") {
				t.Errorf("envelope %s %s", l.From, l.To)
			}
			if l.Header.Get("Message-ID") != "<a1@uni.example>" || l.Header.Get("Auto-Submitted") != "auto-generated" || l.Text != "Hällo\r\n.\r\nBob\r\n" {
				t.Errorf("it says %s", l.Raw)
			}
		})
	}
}

func TestNothingIsSaidToAServerThatIsNotTheRightOne(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*noticetest.Server, *notice.MailConfig){
		"a certificate of nobody":      func(_ *noticetest.Server, c *notice.MailConfig) { c.TLSConfig = nil },
		"another name":                 func(_ *noticetest.Server, c *notice.MailConfig) { c.TLSConfig.ServerName = "mail.uni.example" },
		"no STARTTLS, or somebody ate": func(s *noticetest.Server, _ *notice.MailConfig) { s.Plain = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := noticetest.New(t, nil)
			err := mailTo(s, t, func(c *notice.MailConfig) { change(s, c) }).Send(t.Context(), letterToBob)
			var park *task.Park
			if err == nil || errors.As(err, &park) {
				t.Errorf("sent, or given up: %v", err)
			}
			if got := s.Commands(); strings.Contains(got, "AUTH") || strings.Contains(got, "MAIL") || strings.Contains(got, "bob") {
				t.Errorf("it was told:\n%s", got)
			}
		})
	}
	if _, err := notice.NewMail(notice.MailConfig{Host: "localhost", Port: 25, TLS: notice.Plaintext, User: "gate", From: "gate@uni.example"}); err == nil {
		t.Error("a password may go in the open")
	}
	if _, err := notice.NewMail(notice.MailConfig{Host: "localhost", Port: 25, From: "gate@uni.example\r\nBcc: evil@evil.example"}); err == nil {
		t.Error("a sender with a line break is taken")
	}
}

// What is refused for good waits for a person; everything else is tried again;
// and no error says who was written to.
func TestWhatTheServerRefusesIsTriedAgainOrNot(t *testing.T) {
	t.Parallel()
	s := noticetest.New(t, nil)
	m := mailTo(s, t, nil)
	for _, c := range []struct {
		begins, reply string
		parked        bool
	}{
		{"RCPT", "550 5.1.1 bob@uni.example is not known here", true},
		{"RCPT", "451 4.7.1 bob@uni.example, come again later", false},
		{"DATA", "554 5.7.1 no", true},
		{"AUTH", "535 5.7.8 no", false}, // a matter of the configuration
		{"MAIL", "421 4.3.2 closing", false},
	} {
		s.Says(c.begins, c.reply)
		err := m.Send(t.Context(), letterToBob)
		var park *task.Park
		if err == nil || errors.As(err, &park) != c.parked || strings.Contains(err.Error(), "bob") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s %s: %v", c.begins, c.reply, err)
		}
		s.Says(c.begins, "")
	}
	if len(s.Letters()) != 0 {
		t.Error("something was taken all the same")
	}
	if err := m.Send(t.Context(), letterToBob); err != nil || len(s.Letters()) != 1 {
		t.Errorf("then: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Send(ctx, letterToBob); err == nil {
		t.Error("sent although nobody waits")
	}
}

// No value can add a header, a recipient or a command.
func TestNoLineOfAMessageIsAStrangers(t *testing.T) {
	t.Parallel()
	s := noticetest.New(t, nil)
	m := mailTo(s, t, nil)
	for _, evil := range []string{"x\r\nBcc: evil@evil.example", "x\nBcc: evil@evil.example", "x\rBcc: evil@evil.example", "x\r\n\r\nbody", "x\r\n.\r\nRCPT TO:<evil@evil.example>", "=?utf-8?q?x=0D=0ABcc:_evil@evil.example?="} {
		n := len(s.Letters())
		if err := m.Send(t.Context(), notice.Message{ID: "a", To: "bob@uni.example", Subject: evil, Body: evil + "\r\n.\r\nRCPT TO:<evil@evil.example>\r\n"}); err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
		got := s.Letters()
		if len(got) != n+1 || got[n].Header.Get("Bcc") != "" || got[n].To != "TO:<bob@uni.example>" || strings.Contains(s.Commands(), "evil") {
			t.Errorf("%q: %s", evil, got[n].Raw)
		}
		if err := m.Send(t.Context(), notice.Message{ID: "a", To: evil, Subject: "s", Body: "b"}); err == nil || strings.Contains(s.Commands(), "evil") {
			t.Errorf("written to %q", evil)
		}
		if err := m.Send(t.Context(), notice.Message{ID: "a", To: "bob@uni.example" + evil, Subject: "s", Body: "b"}); err == nil || strings.Contains(s.Commands(), "evil") {
			t.Errorf("written to bob and %q", evil)
		}
	}
}
