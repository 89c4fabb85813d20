package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

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
			signOut := func() answer { return f.post("gate", "/.gatehouse/logout", "scope="+tc.scope, alice.cookie("gate")) }
			if !passes(alice) || !passes(other) {
				t.Fatal("nobody is signed in")
			}
			f.sessions.Flush(t.Context()) // what is written behind
			f.st.failAfter(tc.works)
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

// A sign-out that begins at a service ends the session by which that service knows the
// person, also where the gateway's own host knows none in this browser, another, or no
// longer which.
func TestASignOutThatBeginsAtAServiceEndsTheServicesSession(t *testing.T) {
	t.Parallel()
	for name, cookies := range map[string]func(f *front, alice *guest) string{
		"the same":        func(f *front, alice *guest) string { return alice.cookie("gate") },
		"the cookie gone": func(*front, *guest) string { return "" },
		"another session": func(f *front, alice *guest) string {
			return f.signIn(alice.user, session.Session{Provider: "campus", AuthTime: f.now()}).cookie("gate")
		},
		"two of the cookie": func(f *front, alice *guest) string {
			return alice.cookie("gate") + "Cookie: " + f.c.Cookie.Name("") + "=planted\r\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			alice, bob := f.guest("alice"), f.guest("bob")
			passes := func(p *guest) bool { return f.ask(p, "GET", "wiki", "/report").StatusCode == http.StatusOK }
			if !passes(alice) || !passes(bob) {
				t.Fatal("nobody is signed in")
			}
			mine := cookies(f, alice)
			begins := f.ask(alice, "GET", "wiki", "/.gatehouse/logout")
			home, ok := strings.CutPrefix(begins.Header.Get("Location"), "http://"+f.at("gate"))
			if !ok {
				t.Fatalf("%d to %q", begins.StatusCode, begins.Header.Get("Location"))
			}
			asks := f.raw("GET " + home + " HTTP/1.1\r\nHost: " + f.at("gate") + "\r\nAccept: text/html\r\n" + mine + "\r\n")
			if asks.StatusCode != http.StatusOK || !strings.Contains(asks.body, "Sign out?") || !passes(alice) {
				t.Fatalf("%d %s", asks.StatusCode, asks.body)
			}
			form := "scope=here"
			if _, rest, ok := strings.Cut(asks.body, `name="leaving" value="`); ok {
				value, _, _ := strings.Cut(rest, `"`)
				form += "&leaving=" + value
			}
			posts := func(origin string) answer { return f.post(origin, "/.gatehouse/logout", form, mine) }
			if a := posts("wiki"); a.StatusCode != http.StatusForbidden || !passes(alice) {
				t.Errorf("a page of another origin signs out: %d", a.StatusCode)
			}
			if a := posts("gate"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "You are signed out") {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if passes(alice) {
				t.Error("the person is told to be signed out, and is not")
			}
			if !passes(bob) {
				t.Error("somebody else was signed out")
			}
		})
	}
}

// What the gateway's own host does not know it does not say: where nobody is signed in
// there, nothing ends, whatever is said to be left.
func TestNobodyIsToldToBeSignedOutWhoWasNot(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	passes := func() bool { return f.ask(alice, "GET", "wiki", "/report").StatusCode == http.StatusOK }
	seal := func(purpose string, v any) string {
		sealed, err := f.keys.Seal(purpose, v)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	for name, value := range map[string]string{
		"nothing":         "",
		"a session's ID":  alice.session,
		"another purpose": seal("away", leaving{alice.session, f.now().Add(time.Minute)}),
		"too late":        seal("leaving", leaving{alice.session, f.now().Add(-time.Second)}),
		"no session":      seal("leaving", leaving{"none", f.now().Add(time.Minute)}),
	} {
		for request, a := range map[string]answer{
			"asked":      f.ask(nil, "GET", "gate", "/.gatehouse/logout?leaving="+value, "Accept: text/html"),
			"signed out": f.ask(nil, "GET", "gate", "/.gatehouse/signed-out", "Accept: text/html"),
			"sent":       f.post("gate", "/.gatehouse/logout", "scope=here&leaving="+value, ""),
		} {
			if a.StatusCode != http.StatusOK || strings.Contains(a.body, "You are signed out") || !strings.Contains(a.body, "You are not signed in here") || !passes() {
				t.Errorf("%s, %s: %d %s", name, request, a.StatusCode, a.body)
			}
		}
	}
	twice := f.ask(alice, "GET", "gate", "/.gatehouse/logout", "Cookie: "+f.c.Cookie.Name("")+"=planted")
	f.refused(twice, http.StatusBadRequest, ReasonCookies)
}
