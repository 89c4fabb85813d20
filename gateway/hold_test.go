package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// waits makes a guest whose account at the target is not there yet.
func (f *front) waits(name string, hold *session.Hold) *guest {
	f.t.Helper()
	down := errors.New("the target is down")
	f.target.Store(&down)
	u := f.guest(name).user
	if err := f.st.Update(f.t.Context(), func(tx store.Tx) error {
		return task.Add(tx, outbox.Kind, outbox.Key("crm", u.ID), time.Now())
	}); err != nil {
		f.t.Fatal(err)
	}
	return f.signIn(u, session.Session{Provider: "campus", AuthTime: f.now(), Hold: hold})
}

func TestASessionThatWaitsForAccountsReachesNoService(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	nav := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate"}
	alice := f.waits("alice", &session.Hold{Until: f.now().Add(time.Minute)})
	f.refused(f.ask(alice, "GET", "wiki", "/"), 503, ReasonPending)
	a := f.ask(alice, "GET", "wiki", "/", nav...)
	if a.StatusCode != 503 || a.Header.Get("Refresh") == "" || !strings.Contains(a.body, "The CRM") {
		t.Errorf("%d, Refresh %q", a.StatusCode, a.Header.Get("Refresh"))
	}
	if a := f.ask(alice, "POST", "wiki", "/", append(nav, "Content-Length: 0")...); a.StatusCode != 503 || a.Header.Get("Refresh") != "" {
		t.Errorf("a POST comes back as a GET: %d, Refresh %q", a.StatusCode, a.Header.Get("Refresh"))
	}
	// Too late: said so, and not again and again.
	f.offset.Add(int64(2 * time.Minute))
	f.refused(f.ask(alice, "GET", "wiki", "/"), 503, ReasonTimeout)
	if a := f.ask(alice, "GET", "wiki", "/", nav...); a.StatusCode != 503 || a.Header.Get("Refresh") != "" {
		t.Errorf("%d, Refresh %q", a.StatusCode, a.Header.Get("Refresh"))
	}
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
	// The target heals: in at the next request, and for good.
	f.target.Store(nil)
	f.passed(f.ask(alice, "GET", "wiki", "/"))
	if row, err := f.sessions.Peek(t.Context(), alice.session); err != nil || row.Hold != nil {
		t.Errorf("%+v, %v", row, err)
	}
	// Where the configuration says so, the wait is over when its time is.
	bob := f.waits("bob", &session.Hold{Until: f.now().Add(time.Minute), Continue: true})
	f.refused(f.ask(bob, "GET", "wiki", "/"), 503, ReasonPending)
	f.offset.Add(int64(2 * time.Minute))
	f.passed(f.ask(bob, "GET", "wiki", "/"))
}

func TestServicesLearnWhetherAccountsAreReady(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) { c.Services[0].ProvisionedBy = []string{"crm"} })
	alice := f.waits("alice", nil)
	state := func(host string) string {
		t.Helper()
		s := f.passed(f.ask(alice, "GET", host, "/", "X-Gatehouse-Provisioned: forged", "x_gatehouse_provisioned: forged"))
		forged(t, s)
		return strings.Join(s.Header["X-Gatehouse-Provisioned"], ",")
	}
	if got := state("wiki"); got != outbox.Pending {
		t.Errorf("before: %q", got)
	}
	if got := state("open"); got != "" {
		t.Errorf("a service that does not depend on it: %q", got)
	}
	settle := func() { _, _ = f.c.Outbox.Settle(t.Context(), alice.user.ID) }
	settle()
	if got := state("wiki"); got != outbox.Failed {
		t.Errorf("after a failure: %q", got)
	}
	f.target.Store(nil)
	settle()
	if got := state("wiki"); got != outbox.Done {
		t.Errorf("after success: %q", got)
	}
	views := f.st.views.Load()
	if got := state("wiki"); got != outbox.Done || f.st.views.Load() != views {
		t.Errorf("%q, %d reads of the store", got, f.st.views.Load()-views)
	}
	if s := f.passed(f.ask(nil, "GET", "wiki", "/public/x")); s.Header["X-Gatehouse-Provisioned"] != nil {
		t.Error("nobody has an account")
	}
}
