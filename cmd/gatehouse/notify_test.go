package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/notice"
	"github.com/gatehouse-sso/gatehouse/provisioning/notice/noticetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// A hook receives events as Standard Webhooks says, and checks who signed them.
type hook struct {
	mu     sync.Mutex
	fail   int  // requests that are refused first
	gone   bool // it wants no more
	refuse int  // how often it said so
	got    []string
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, _ := io.ReadAll(r.Body)
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), raw)
	switch {
	case r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)):
		w.WriteHeader(http.StatusUnauthorized)
	case h.gone:
		h.refuse++
		w.WriteHeader(http.StatusGone)
	case h.fail > 0:
		h.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		h.got = append(h.got, string(raw))
	}
}

func (h *hook) events() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.got...)
}

// Those who decide learn that somebody asks, and who asked what became of it: by
// mail and by a webhook, also when neither answered at first and the gateway was
// started again in between.
func TestThoseWhomARequestConcernsAreTold(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	smtp, h := noticetest.New(t, nil), &hook{fail: 1}
	if err := os.WriteFile(filepath.Join(l.dir, "mail.pem"), smtp.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	at := l.serve(h)
	l.reload(func(s string) string {
		return s + fmt.Sprintf(`languages: [de, en]
notify:
  smtp: { host: localhost, port: %d, user: gate, password: open sesame, from: Gatehouse <gate@uni.example>, ca: %s/mail.pem }
  webhook: { url: "%s/hook", secrets: ["%s"] }
`, smtp.Port, l.dir, at, hookSecret)
	})
	l.in("campus", "alice")
	bob := l.in("campus", "bob")
	l.in("campus", "carol") // who decides nothing
	smtp.Says("MAIL", "451 4.3.0 later")
	day := l.clock.now().UTC().Add(20 * 24 * time.Hour).Format(time.DateOnly)
	bob.open(l.at("", "/.gatehouse/requests/ask?service=ledger")).submit(url.Values{"reason": {"a private matter"}, "until": {day}}).wants(http.StatusOK, "Wartet")
	eventually(t, "the mail server was tried", func() bool { return strings.Contains(smtp.Commands(), "MAIL") })
	l.restart()
	smtp.Says("MAIL", "")
	again := func(to, state string) (sent noticetest.Letter) {
		t.Helper()
		eventually(t, "a letter to "+to+" and the event "+state, func() bool {
			var found webapi.Tasks
			l.admin(http.MethodGet, "tasks", nil, &found)
			for _, task := range found.Tasks { // nobody waits for the next try
				if strings.HasPrefix(task.Kind, "notify.") {
					l.tryAgain(task.Kind, task.Key)
				}
			}
			arrived := false
			for _, l := range smtp.Letters() {
				if l.To == "TO:<"+to+">" {
					sent, arrived = l, true
				}
			}
			return arrived && strings.Contains(strings.Join(h.events(), "\n"), `"state":"`+state+`"`)
		})
		return sent
	}
	first := again("alice@campus.example", "pending")
	if !strings.Contains(first.Subject, "Bob") || !strings.Contains(first.Subject, "beantragt Bookkeeping") || !strings.Contains(first.Text, l.at("", "/.gatehouse/requests/open")) || !strings.Contains(first.Text, "Ledger") {
		t.Errorf("who decides gets %s: %q\n%s", first.To, first.Subject, first.Text)
	}
	var list []webapi.Request
	l.admin(http.MethodGet, "requests", nil, &list)
	if len(list) != 1 {
		t.Fatalf("requests: %+v", list)
	}
	l.admin(http.MethodPost, "request/approve", url.Values{"id": {list[0].ID}, "text": {"said in private"}}, nil)
	second := again("bob@campus.example", "approved")
	if !strings.Contains(second.Subject, "genehmigt") || !strings.Contains(second.Text, l.at("", "/.gatehouse/requests")) {
		t.Errorf("who asked gets %s: %q\n%s", second.To, second.Subject, second.Text)
	}
	for _, sent := range smtp.Letters() {
		if strings.Contains(sent.To, "carol") {
			t.Error("an administrator is told of what others answer")
		}
	}
	var states []string
	seen := map[string]bool{} // one that comes twice has the same ID
	for _, raw := range h.events() {
		var e struct {
			ID, Type, Subject string
			Data              struct{ State, Role, Service string }
		}
		if err := json.Unmarshal([]byte(raw), &e); err != nil || e.Type != notice.EventType || e.Subject != "requests/"+list[0].ID || e.Data.Role != "books" || e.Data.Service != "ledger" {
			t.Errorf("event %s: %v", raw, err)
		}
		if !seen[e.ID] {
			states = append(states, e.Data.State)
		}
		seen[e.ID] = true
	}
	if got := strings.Join(states, " "); got != "pending approved" {
		t.Errorf("events: %s", got)
	}
	// What people wrote, and who they are to programs, stays where one signs in.
	everything := strings.Join(h.events(), "\n") + l.log.String()
	for _, sent := range smtp.Letters() {
		everything += sent.Raw + sent.Text
	}
	for _, private := range []string{"a private matter", "said in private", "open sesame"} {
		if strings.Contains(everything, private) {
			t.Errorf("%q went out", private)
		}
	}
	for _, private := range []string{"bob@campus.example", "Bob"} {
		if strings.Contains(strings.Join(h.events(), "\n"), private) {
			t.Errorf("the webhook is told %q", private)
		}
	}
}

// An address that says 410 hears no more, also of a gateway that was started
// again, until somebody has an event tried again; then it is told what it missed.
func TestAWebhookThatWantsNoMoreIsLeftAloneOverARestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	h := &hook{gone: true}
	at := l.serve(h)
	l.reload(func(s string) string {
		return s + fmt.Sprintf("notify: { webhook: { url: \"%s/hook\", secrets: [\"%s\"] } }\n", at, hookSecret)
	})
	// parked waits until so many events wait for a person, and returns their keys.
	parked := func(want int) (keys []string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d events are parked", want), func() bool {
			var list webapi.Tasks
			l.admin(http.MethodGet, "tasks", nil, &list)
			keys = nil
			for _, task := range list.Tasks {
				if task.Kind == notice.KindHook && task.State == "parked" && strings.Contains(task.Error, "410") && strings.Contains(task.Error, "requeue") {
					keys = append(keys, task.Key)
				}
			}
			return len(keys) == want
		})
		return keys
	}
	refused := func(want int) {
		t.Helper()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.refuse != want {
			t.Errorf("the address was called %d times, want %d", h.refuse, want)
		}
	}
	bob := l.in("campus", "bob")
	day := l.clock.now().UTC().Add(20 * 24 * time.Hour).Format(time.DateOnly)
	bob.open(l.at("", "/.gatehouse/requests/ask?service=ledger")).submit(url.Values{"reason": {"to count"}, "until": {day}}).wants(http.StatusOK, "Waiting")
	first := parked(1)
	refused(1)
	l.restart()
	var list []webapi.Request
	l.admin(http.MethodGet, "requests", nil, &list)
	l.admin(http.MethodPost, "request/approve", url.Values{"id": {list[0].ID}}, nil)
	parked(2)
	refused(1)

	l.tryAgain(notice.KindHook, first[0]) // by a person, and it says so again
	eventually(t, "it was called once more", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.refuse == 2
	})
	keys := parked(2)
	h.mu.Lock()
	h.gone = false
	h.mu.Unlock()
	l.tryAgain(notice.KindHook, keys[0])
	eventually(t, "both events arrive", func() bool { return len(h.events()) == 2 })
	parked(0)
	refused(2)
}

// tryAgain makes a task due, if it is there still.
func (l *lab) tryAgain(kind, key string) {
	_ = task.Requeue(l.t.Context(), l.p.store, kind, key) // done meanwhile
}
