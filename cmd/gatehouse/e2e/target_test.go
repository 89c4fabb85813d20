//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// A wire is between the gateway and a target, and can be told to fail as
// networks do.
type wire struct {
	addr string
	mu   sync.Mutex
	how  fault
	left int // connections that the fault is still for
	hit  int // connections that met it
}

type fault int

const (
	whole fault = iota
	hang        // takes the request and never answers
	lose        // lets the request through, and loses the answer
)

func newWire(t testing.TB, to int) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String()}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.carry(c, fmt.Sprintf("127.0.0.1:%d", to))
		}
	}()
	return w
}

// fails has the next n exchanges fail.
func (w *wire) fails(how fault, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.how, w.left, w.hit = how, n, 0
}

func (w *wire) hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}

// take reports what is to happen to a request that came now. Only those that
// change something are lost: the fault is to hit the creation.
func (w *wire) take(request []byte) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 || w.how == lose && !strings.HasPrefix(string(request), "POST ") {
		return whole
	}
	w.left--
	w.hit++
	return w.how
}

// carry takes one connection's bytes to and fro. A new request is what comes
// from the client after an answer, since nobody here pipelines.
func (w *wire) carry(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex
	losing := false
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			lost := losing
			mu.Unlock()
			if err != nil || lost {
				return // the answer goes no further
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		switch w.take(buf[:n]) {
		case hang:
			_, _ = io.Copy(io.Discard, client) // until the other end gives up
			return
		case lose:
			mu.Lock()
			losing = true
			mu.Unlock()
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// scimmyWorld is a gateway whose target is scimmy, at the other end of a wire,
// and whose people are those of Campus.
type scimmyWorld struct {
	*gate
	op     *idptest.OP
	wire   *wire
	scimmy string // scimmy itself
}

func newScimmyWorld(t *testing.T) *scimmyWorld {
	t.Helper()
	port, scim := porttest.Free(t, 2), porttest.Free(t, 1)
	node(t, "scimmy.mjs", fmt.Sprint("PORT=", scim), "TOKEN=e2e")
	w := &scimmyWorld{wire: newWire(t, scim), scimmy: fmt.Sprintf("http://127.0.0.1:%d", scim)}
	at := func(path string) string { return fmt.Sprintf("http://localhost:%d%s", port, path) }
	var issuer string
	w.op, issuer = campusOP(t, at)
	secret := write(t, t.TempDir(), "secret", "e2e")
	w.gate = serveIn(t, t.TempDir(), port, fmt.Sprintf(`identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "%s", client_id: gatehouse, client_secret: { file: "%s" } }
    attributes: { mail: email, display_name: name, groups: groups }
    provisioning: { mode: blocking, user_name: preferred_username, timeout: 20s, on_failure: deny }
%stargets:
  - id: crm
    title: CRM
    scim2: { url: "http://%s/scim/v2", auth: { bearer: { file: "%s" } }, timeout: 2s }
    users: { groups: [staff, students] }
    release: [ mail, display_name ]
    wait: true
    leave: disable
`, issuer, secret, wikiService(t, "localhost", "    provisioned_by: [crm]"), w.wire.addr, secret))
	return w
}

// A scimUser is what scimmy holds.
type scimUser struct {
	ID, ExternalID, UserName, DisplayName, Title string
	Active                                       *bool
	Emails                                       []struct{ Value string }
}

func get[T any](t testing.TB, from string) (v T) {
	t.Helper()
	resp, err := http.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body(t, resp), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// logged is one request that came to scimmy.
type logged struct {
	Method, URL string
	At          int64 // milliseconds
	Status      int   // that it was made to fail with; 0: it was not
}

// one waits until scimmy holds exactly one user, who fits.
func (w *scimmyWorld) one(t testing.TB, fits func(scimUser) bool) scimUser {
	t.Helper()
	var users []scimUser
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if users = get[[]scimUser](t, w.scimmy+"/_users"); len(users) == 1 && fits(users[0]) {
			return users[0]
		}
	}
	t.Fatalf("scimmy holds %+v\n%s\n%+v", users, w.verb(t, "tasks", "list"), get[[]logged](t, w.scimmy+"/_log"))
	return scimUser{}
}

func activeAlice(u scimUser) bool {
	return u.UserName == "alice" && (u.Active == nil || *u.Active) && len(u.Emails) == 1 && u.Emails[0].Value == "alice@campus.example"
}

// enter signs alice in anew, waits until she is let in, and returns what the
// wiki was told.
func (w *scimmyWorld) enter(t testing.TB) echoed {
	t.Helper()
	c := w.client()
	resp, page := signIn(t, c, w.at("wiki", "/headers"), "alice")
	for end := time.Now().Add(patience); resp.StatusCode == http.StatusServiceUnavailable && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		resp, page = visit(t, c, w.at("wiki", "/headers"))
	}
	var e echoed
	if err := json.Unmarshal([]byte(page), &e); err != nil {
		t.Fatalf("%s %s: %v\n%s", resp.Request.URL, resp.Status, err, page)
	}
	return e
}

func TestPeerScimmyFollowsAPersonFromCreationToTheEnd(t *testing.T) {
	t.Parallel()
	w := newScimmyWorld(t)
	w.enter(t).header(t, "X-Gatehouse-Provisioned", "done")
	made := w.one(t, activeAlice)

	said := func(name string, value any) {
		w.op.Misbehave(idptest.OPFault{UserInfo: func(c map[string]any) { c[name] = value }, Claims: func(c map[string]any) {
			if _, ok := c[name]; ok {
				c[name] = value
			}
		}})
	}
	said("email", "liddell@campus.example")
	w.enter(t)
	if u := w.one(t, func(u scimUser) bool { return len(u.Emails) == 1 && u.Emails[0].Value == "liddell@campus.example" }); u.ID != made.ID {
		t.Errorf("another account: %s, was %s", u.ID, made.ID)
	}
	said("groups", []string{"guests"})
	w.enter(t)
	if u := w.one(t, func(u scimUser) bool { return u.Active != nil && !*u.Active }); u.ID != made.ID {
		t.Errorf("another account: %s, was %s", u.ID, made.ID)
	}
	w.op.Misbehave(idptest.OPFault{})
	w.enter(t)
	w.one(t, activeAlice)
}

func TestPeerScimmyInTrouble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		trouble func(t *testing.T, w *scimmyWorld)
		after   func(t *testing.T, w *scimmyWorld, log []logged)
	}{
		{"too many requests", func(t *testing.T, w *scimmyWorld) { fail(t, w, 2, 429) }, func(t *testing.T, w *scimmyWorld, log []logged) {
			for i, l := range log[:len(log)-1] {
				if l.Status == 429 && log[i+1].At-l.At < 2000 {
					t.Errorf("asked again after %d ms, and was told to wait 2 s", log[i+1].At-l.At)
				}
			}
		}},
		{"internal errors", func(t *testing.T, w *scimmyWorld) { fail(t, w, 2, 500) }, nil},
		{"a socket that hangs", func(t *testing.T, w *scimmyWorld) { w.wire.fails(hang, 1) }, met},
		{"a lost reply to the creation", func(t *testing.T, w *scimmyWorld) { w.wire.fails(lose, 1) }, met},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newScimmyWorld(t)
			c.trouble(t, w)
			w.enter(t).header(t, "X-Gatehouse-Provisioned", "done")
			w.one(t, activeAlice)
			log := get[[]logged](t, w.scimmy+"/_log")
			created := 0
			for _, l := range log {
				if l.Method == http.MethodPost && l.Status == 0 && strings.HasSuffix(l.URL, "/Users") {
					created++
				}
			}
			if created != 1 {
				t.Errorf("%d accounts were asked for", created)
			}
			if c.after != nil {
				c.after(t, w, log)
			}
		})
	}
}

func fail(t testing.TB, w *scimmyWorld, times, status int) {
	t.Helper()
	resp, err := http.Post(fmt.Sprintf("%s/_fail/%d/%d", w.scimmy, times, status), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	body(t, resp)
}

func met(t *testing.T, w *scimmyWorld, _ []logged) {
	if w.wire.hits() != 1 {
		t.Errorf("the fault was met %d times", w.wire.hits())
	}
}
