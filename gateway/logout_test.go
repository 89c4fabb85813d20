package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// A sign-out that the store refuses has not happened, and its browser can ask again: it
// keeps the cookie by which it signs out. Until then the services know the person.
func TestR04_ASignOutThatFailsCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		scope string
		works int // of the store's transactions
		ends  bool
	}{
		{scopeHere, 0, false}, {scopeEverywhere, 0, false}, {scopeEverywhere, 1, true},
	} {
		t.Run(fmt.Sprint(tc.scope, " after ", tc.works), func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			alice := f.guest("alice")
			other := f.signIn(alice.user, session.Session{Provider: "campus", AuthTime: f.now()})
			passes := func(p *guest) bool { return f.ask(p, "GET", "wiki", "/report").StatusCode == http.StatusOK }
			signOut := func() answer {
				form := "scope=" + tc.scope
				return f.raw(fmt.Sprintf("POST /.gatehouse/logout HTTP/1.1\r\nHost: %[1]s\r\nOrigin: http://%[1]s\r\n%[2]s"+
					"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %[3]d\r\n\r\n%[4]s", f.at("gate"), alice.cookie("gate"), len(form), form))
			}
			if !passes(alice) || !passes(other) {
				t.Fatal("nobody is signed in")
			}
			f.sessions.Flush(t.Context()) // what is written behind
			full, left := errors.New("the disk is full"), tc.works
			fails := func() error {
				if left == 0 {
					return full
				}
				left--
				return nil
			}
			f.st.fails.Store(&fails)
			if a := signOut(); a.StatusCode != http.StatusServiceUnavailable || a.Header["Set-Cookie"] != nil {
				t.Errorf("%d, Set-Cookie %q", a.StatusCode, a.Header["Set-Cookie"])
			}
			if !passes(alice) || passes(other) == tc.ends {
				t.Error("other sessions live than the store has")
			}
			f.st.fails.Store(nil)
			if a := signOut(); a.StatusCode != http.StatusOK || len(a.Header["Set-Cookie"]) != 1 {
				t.Errorf("%d, Set-Cookie %q", a.StatusCode, a.Header["Set-Cookie"])
			}
			if passes(alice) || passes(other) != (tc.scope == scopeHere) {
				t.Error("other sessions live than the person wants")
			}
		})
	}
}
