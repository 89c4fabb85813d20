// Package federationtest says what every federation.Provider must accept and
// what it must refuse, whatever its protocol. Both protocols run it, each
// joined to a real identity provider (package idptest) by a [Harness].
//
// The suite plays the browser and the gateway: it begins sign-ins, has the
// harness fetch the identity provider's answer to them, and then brings that
// answer back as it is, twice, late, to the wrong sign-in, with parameters
// doubled, moved, cut or blown up. It knows no protocol: an answer is an
// *http.Request with parameters in its query (GET) or its body (POST).
//
// What is particular to a protocol (signatures, audiences, instants) is tested
// in that protocol's package.
package federationtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// A Harness joins one protocol to the suite.
type Harness struct {
	// Reasons is the reason table of the provider's package; together with
	// federation.Reasons it must hold every code the provider refuses with.
	Reasons map[string]string

	// Start makes a World that shares nothing with any other. It is called once
	// for each subtest, and subtests run at the same time.
	Start func(t *testing.T) World
}

// A World is two identity providers of one protocol, and for each a Provider
// that trusts it and not the other. The two know the same people under the same
// subjects, so that a mix-up of the two would be seen as such.
type World struct {
	One, Two Side
	// Advance moves the one clock that all four read.
	Advance func(d time.Duration)
	// Now reads that clock.
	Now func() time.Time
}

// A Side is a Provider and the identity provider that it trusts.
type Side struct {
	Provider federation.Provider
	// ID is the Provider's ID: Identity.Provider.
	ID string
	// Issuer is what Identity.Ref.Issuer must be.
	Issuer string
	// People are at least two. One has a second factor, one has not.
	People []Person
	// Strong is a context class that people with a second factor get when it
	// is asked for, and others never.
	Strong string
	// Groups is the name of the attribute that Act.Groups speaks of.
	Groups string

	// Answer does what the person's browser and the identity provider do:
	// follows the challenge, signs the person in as act says, and gives the
	// request that the browser then makes to the gateway. Every call to Answer
	// is a sign-in of its own. A challenge that the identity provider itself
	// refuses ends the test (t.Fatal). Answer is called from several goroutines
	// at once. The request is one that httptest.NewRequest could have made: its
	// body, if any, is whole, readable, and not yet parsed.
	Answer func(t *testing.T, c federation.Challenge, act Act) *http.Request

	// Proof is the name of the parameter that the identity is taken from:
	// code, SAMLResponse.
	Proof string
}

// A Person is whom Side.Answer can sign in.
type Person struct {
	User         string // Act.User
	Subject      string // Identity.Ref.Subject
	SecondFactor bool
	// Attributes must be in the Identity with exactly these values in this
	// order. Others may be there too.
	Attributes map[string][]string
}

// An Act is how the person and the identity provider behave in one sign-in.
// The zero Act with a User is the honest one: the person is asked, and does
// what they can.
type Act struct {
	User string
	// Cancel: the person says no, and the identity provider answers that.
	Cancel bool
	// Weak: the identity provider answers with its ordinary context class,
	// whatever was asked for.
	Weak bool
	// Before: the identity provider does not ask the person again, whatever was
	// asked for, and says truthfully that they proved who they are that long ago.
	Before time.Duration
	// Groups: the identity provider asserts that many different values of the
	// attribute Side.Groups, each shorter than 40 bytes, and none of the
	// person's own. Zero: the person's own.
	Groups int
	// Fat: the identity provider asserts an attribute with one value of that
	// many bytes besides. Zero: none.
	Fat int
}

// Lifetime is how long a begun sign-in may be finished.
const Lifetime = 10 * time.Minute

// Limits of what may be asserted about one person.
const (
	MaxValues = 1000     // of one attribute
	MaxBytes  = 64 << 10 // of all names and values together
)

// Test runs the suite.
func Test(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, env)
	}{
		{"HonestAnswerIsAccepted", honest},
		{"BeginNamesEachFlowAnew", begin},
		{"PendingSurvivesTheCookie", pendingSurvives},
		{"ReplayCanBeSeen", replay},
		{"AnswerOfAnotherFlowIsRefused", otherFlow},
		{"ForgottenPendingIsRefused", forgotten},
		{"LateAnswerIsRefused", late},
		{"AnswerOfAnotherProviderIsRefused", otherProvider},
		{"PendingOfAnotherProviderIsRefused", otherPending},
		{"MissingParameterIsRefused", missing},
		{"DoubledParameterIsRefused", doubled},
		{"ParameterInTheWrongPlaceIsRefused", misplaced},
		{"WrongMethodIsRefused", method},
		{"GarbageIsRefused", garbage},
		{"HugeAnswerIsRefused", huge},
		{"ProvidersNoIsDenied", denied},
		{"WeakContextIsRefused", stepUp},
		{"OldAuthenticationIsRefused", maxAge},
		{"TooManyValuesAreRefused", tooMany},
		{"CancelledRequestIsRefused", cancelled},
		{"ConcurrentSignInsDoNotMix", concurrent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, env{World: h.Start(t), reasons: h.Reasons})
		})
	}
}

// env is what one subtest works with.
type env struct {
	World
	reasons map[string]string
}

// begin starts a sign-in that must start.
func (e env) begin(t *testing.T, s Side, l federation.Login) (federation.Challenge, federation.Pending) {
	t.Helper()
	c, p, err := s.Provider.Begin(t.Context(), l)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return c, p
}

// signIn begins a sign-in and fetches the answer to it.
func (e env) signIn(t *testing.T, s Side, l federation.Login, act Act) (*http.Request, federation.Pending) {
	t.Helper()
	c, p := e.begin(t, s, l)
	return s.Answer(t, c, act), p
}

// accept is the positive control: an honest sign-in works, right now.
func (e env) accept(t *testing.T, s Side, user string) federation.Identity {
	t.Helper()
	r, p := e.signIn(t, s, federation.Login{}, Act{User: user})
	id, err := s.Provider.Finish(r, p)
	if err != nil {
		t.Fatalf("positive control: honest sign-in of %s was refused: %v", user, err)
	}
	return id
}

// refused checks that Finish refuses with one of codes (any code of the tables
// if none is given), and says nothing about anybody.
func (e env) refused(t *testing.T, s Side, r *http.Request, p federation.Pending, codes ...string) {
	t.Helper()
	proof, _ := params(t, r)
	id, err := s.Provider.Finish(r, p)
	if err == nil {
		t.Fatalf("accepted as %v, want a refusal %v", id.Ref, codes)
	}
	e.isRefusal(t, err, codes...)
	if diff := cmp.Diff(federation.Identity{}, id); diff != "" {
		t.Errorf("refused, but with an identity:\n%s", diff)
	}
	for _, v := range proof[s.Proof] {
		if len(v) > 16 && strings.Contains(err.Error(), v) {
			t.Errorf("the refusal repeats the answer's %s", s.Proof)
		}
	}
	if len(err.Error()) > 2048 {
		t.Errorf("the refusal is %d bytes long", len(err.Error()))
	}
}

func (e env) isRefusal(t *testing.T, err error, codes ...string) {
	t.Helper()
	var ref *federation.Refusal
	if !errors.As(err, &ref) {
		t.Fatalf("%T is not a *federation.Refusal: %v", err, err)
	}
	if !errors.Is(err, federation.ErrRefused) {
		t.Errorf("errors.Is(%v, ErrRefused) is false", err)
	}
	if e.reasons[ref.Code] == "" && federation.Reasons[ref.Code] == "" {
		t.Errorf("code %q is in no table of reasons", ref.Code)
	}
	if len(codes) > 0 && !slices.Contains(codes, ref.Code) {
		t.Errorf("refused with %v, want one of %v", err, codes)
	}
}

// person finds somebody with or without a second factor.
func (s Side) person(t *testing.T, second bool) Person {
	t.Helper()
	i := slices.IndexFunc(s.People, func(p Person) bool { return p.SecondFactor == second })
	if i < 0 {
		t.Fatalf("harness: nobody at %s with SecondFactor == %v", s.ID, second)
	}
	return s.People[i]
}

// params reads an answer's parameters and leaves it as it was.
func params(t *testing.T, r *http.Request) (v url.Values, inBody bool) {
	t.Helper()
	if r.Method != http.MethodPost {
		return r.URL.Query(), false
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(strings.NewReader(string(raw)))
	v, _ = url.ParseQuery(string(raw)) // what of garbage can be read
	return v, true
}

// with is the same answer with other parameters.
func with(t *testing.T, r *http.Request, v url.Values) *http.Request {
	t.Helper()
	u := *r.URL
	var out *http.Request
	if r.Method == http.MethodPost {
		out = httptest.NewRequest(r.Method, u.String(), strings.NewReader(v.Encode()))
	} else {
		u.RawQuery = v.Encode()
		out = httptest.NewRequest(r.Method, u.String(), nil)
	}
	out.Header = r.Header.Clone()
	return out.WithContext(t.Context())
}

// again is the same answer once more.
func again(t *testing.T, r *http.Request) *http.Request {
	t.Helper()
	v, _ := params(t, r)
	return with(t, r, v)
}

// changed is the same answer after change.
func changed(t *testing.T, r *http.Request, change func(url.Values)) *http.Request {
	t.Helper()
	v, _ := params(t, r)
	v = maps.Clone(v)
	for k := range v {
		v[k] = slices.Clone(v[k])
	}
	change(v)
	return with(t, r, v)
}

// stateName is which parameter of an answer carries the state.
func stateName(t *testing.T, r *http.Request) string {
	t.Helper()
	v, _ := params(t, r)
	for _, n := range []string{"state", "RelayState"} {
		if v.Has(n) {
			return n
		}
	}
	t.Fatalf("the answer carries no state: %v", slices.Collect(maps.Keys(v)))
	return ""
}

func honest(t *testing.T, e env) {
	for _, s := range []Side{e.One, e.Two} {
		for _, who := range s.People {
			r, p := e.signIn(t, s, federation.Login{}, Act{User: who.User})
			if got, err := federation.StateOf(again(t, r)); err != nil || got != p.State {
				t.Fatalf("StateOf(answer) = %q, %v; the flow is %q", got, err, p.State)
			}
			id, err := s.Provider.Finish(r, p)
			if err != nil {
				t.Fatalf("%s at %s: %v", who.User, s.ID, err)
			}
			if want := (federation.Ref{Issuer: s.Issuer, Subject: who.Subject}); id.Ref != want {
				t.Errorf("Ref = %v, want %v", id.Ref, want)
			}
			if id.Provider != s.ID {
				t.Errorf("Provider = %q, want %q", id.Provider, s.ID)
			}
			for name, want := range who.Attributes {
				if diff := cmp.Diff(want, id.Attributes[name]); diff != "" {
					t.Errorf("%s at %s, attribute %s (-want +got):\n%s", who.User, s.ID, name, diff)
				}
			}
			if now := e.Now(); id.Context.At.After(now.Add(time.Minute)) || id.Context.At.Before(now.Add(-time.Minute)) {
				t.Errorf("signed in at %v, the clock says %v", id.Context.At, now)
			}
			if id.Context.ACR == "" {
				t.Error("no authentication context class")
			}
			if len(id.Once) == 0 {
				t.Error("Once is empty: nothing would stop a replay")
			}
			for _, o := range id.Once {
				if !strings.Contains(o.Key, s.Issuer) {
					t.Errorf("Once key %q does not name the issuer", o.Key)
				}
				if !o.Until.After(e.Now()) {
					t.Errorf("Once key %q may be forgotten at %v, the clock says %v", o.Key, o.Until, e.Now())
				}
			}
		}
	}
}

func begin(t *testing.T, e env) {
	seen := map[string]bool{}
	for range 50 {
		c, p := e.begin(t, e.One, federation.Login{})
		if len(p.State) < 22 || len(p.State) > 512 {
			t.Fatalf("state %q: want 128 bits or more, at most 512 bytes", p.State)
		}
		if seen[p.State] {
			t.Fatalf("state %q was given twice", p.State)
		}
		seen[p.State] = true
		if !p.Began.Equal(e.Now()) {
			t.Errorf("Began = %v, the clock says %v", p.Began, e.Now())
		}
		if c.URL == nil || c.URL.Host == "" {
			t.Fatalf("challenge leads nowhere: %v", c.URL)
		}
	}
	l := federation.Login{ACR: []string{e.One.Strong}, Fresh: true, MaxAge: time.Hour, Hint: "kim"}
	_, p := e.begin(t, e.One, l)
	if diff := cmp.Diff(l, p.Login); diff != "" {
		t.Errorf("Pending.Login is not what was asked (-want +got):\n%s", diff)
	}
}

func pendingSurvives(t *testing.T, e env) {
	who := e.One.People[0]
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who.User})
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	// Twenty of them, sealed and in base64, share the browser's cookies.
	if len(raw) > 640 {
		t.Errorf("Pending takes %d bytes of a cookie, want at most 640", len(raw))
	}
	var back federation.Pending
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if _, err := e.One.Provider.Finish(r, back); err != nil {
		t.Errorf("after a round trip through JSON: %v", err)
	}
}

func replay(t *testing.T, e env) {
	who := e.One.People[0]
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who.User})
	first, err := e.One.Provider.Finish(again(t, r), p)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(id federation.Identity) map[string]bool {
		m := map[string]bool{}
		for _, o := range id.Once {
			m[o.Key] = true
		}
		return m
	}
	// The same answer is refused, or has a mark in common with the first, so
	// that who records the marks refuses it.
	second, err := e.One.Provider.Finish(again(t, r), p)
	if err != nil {
		e.isRefusal(t, err)
	} else if diff := cmp.Diff(keys(first), keys(second)); diff != "" {
		t.Errorf("the same answer left other marks (-first +second):\n%s", diff)
	}
	// Two sign-ins have none in common, so that nobody is refused wrongly.
	other := e.accept(t, e.One, who.User)
	for k := range keys(other) {
		if keys(first)[k] {
			t.Errorf("two sign-ins share the mark %q", k)
		}
	}
	// Nor do two providers.
	for k := range keys(e.accept(t, e.Two, who.User)) {
		if keys(first)[k] || keys(other)[k] {
			t.Errorf("two providers share the mark %q", k)
		}
	}
}

func otherFlow(t *testing.T, e env) {
	who, victim := e.One.People[0], e.One.People[1]
	_, mine := e.begin(t, e.One, federation.Login{})
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who.User})
	e.refused(t, e.One, again(t, r), mine, federation.ReasonStateUnknown)

	// With the state exchanged for the one that the other flow waits for, the
	// proof is still of a sign-in that this flow did not begin.
	name := stateName(t, r)
	swapped := changed(t, r, func(v url.Values) { v.Set(name, mine.State) })
	e.refused(t, e.One, swapped, mine)
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		// An identity provider may take back what was shown to it by two flows.
		e.isRefusal(t, err)
	}
	e.accept(t, e.One, victim.User)
}

func forgotten(t *testing.T, e env) {
	r, _ := e.signIn(t, e.One, federation.Login{}, Act{User: e.One.People[0].User})
	e.refused(t, e.One, r, federation.Pending{}, federation.ReasonStateUnknown)

	// What it must remember besides the state is as necessary as the state.
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: e.One.People[0].User})
	p.Keep = nil
	e.refused(t, e.One, r, p)
	e.accept(t, e.One, e.One.People[0].User)
}

func late(t *testing.T, e env) {
	who := e.One.People[0].User
	c, p := e.begin(t, e.One, federation.Login{})
	c2, p2 := e.begin(t, e.One, federation.Login{})
	e.Advance(Lifetime - time.Second)
	if _, err := e.One.Provider.Finish(e.One.Answer(t, c, Act{User: who}), p); err != nil {
		t.Fatalf("one second before the end: %v", err)
	}
	e.Advance(2 * time.Second)
	e.refused(t, e.One, e.One.Answer(t, c2, Act{User: who}), p2, federation.ReasonStateExpired)

	// A Pending from the future comes from a clock that nobody should trust.
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	p.Began = e.Now().Add(time.Hour)
	e.refused(t, e.One, r, p, federation.ReasonStateExpired)
	e.accept(t, e.One, who)
}

func otherProvider(t *testing.T, e env) {
	who := e.One.People[0].User
	_, mine := e.begin(t, e.One, federation.Login{})
	r, _ := e.signIn(t, e.Two, federation.Login{}, Act{User: who})
	e.refused(t, e.One, again(t, r), mine, federation.ReasonStateUnknown)
	name := stateName(t, r)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Set(name, mine.State) }), mine)
	e.accept(t, e.One, who)
	e.accept(t, e.Two, who)
}

func otherPending(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.Two, federation.Login{}, Act{User: who})
	e.refused(t, e.One, r, p)
	r, p = e.signIn(t, e.Two, federation.Login{}, Act{User: who})
	if _, err := e.Two.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

func missing(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	state := stateName(t, r)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Del(state) }), p, federation.ReasonStateUnknown)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Set(state, "") }), p, federation.ReasonStateUnknown)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Del(e.One.Proof) }), p, federation.ReasonMalformed)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Set(e.One.Proof, "") }), p, federation.ReasonMalformed)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { clear(v) }), p, federation.ReasonStateUnknown)
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: the answer, whole: %v", err)
	}
}

func doubled(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	state := stateName(t, r)
	v, _ := params(t, r)
	for name := range v {
		want := federation.ReasonMalformed
		if name == state {
			want = federation.ReasonStateUnknown
		}
		e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Add(name, v.Get(name)) }), p, want)
		e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Add(name, "x") }), p, want)
		e.refused(t, e.One, changed(t, r, func(v url.Values) { v[name] = append([]string{"x"}, v[name]...) }), p, want)
	}
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: the answer with everything once: %v", err)
	}
}

func misplaced(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	v, inBody := params(t, r)
	u := *r.URL
	if inBody {
		u.RawQuery = v.Encode()
		get := httptest.NewRequest(http.MethodGet, u.String(), nil)
		e.refused(t, e.One, get, p)
		// The same parameter in both places: which one counts is not ours to guess.
		u.RawQuery = url.Values{e.One.Proof: v[e.One.Proof]}.Encode()
		both := httptest.NewRequest(http.MethodPost, u.String(), strings.NewReader(v.Encode()))
		both.Header = r.Header.Clone()
		e.refused(t, e.One, both, p, federation.ReasonMalformed)
	} else {
		post := httptest.NewRequest(http.MethodPost, u.String(), strings.NewReader(v.Encode()))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		e.refused(t, e.One, post, p)
		u.RawQuery = ""
		post = httptest.NewRequest(http.MethodPost, u.String(), strings.NewReader(v.Encode()))
		post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		e.refused(t, e.One, post, p, federation.ReasonMalformed)
	}
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: everything in its place: %v", err)
	}
}

func method(t *testing.T, e env) {
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: e.One.People[0].User})
	for _, m := range []string{http.MethodPut, http.MethodHead, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		bad := again(t, r)
		bad.Method = m
		e.refused(t, e.One, bad, p, federation.ReasonMalformed, federation.ReasonStateUnknown)
	}
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

func garbage(t *testing.T, e env) {
	who := e.One.People[0].User
	_, p := e.begin(t, e.One, federation.Login{})
	r, _ := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	state := stateName(t, r)
	for _, s := range []string{
		"x", " ", "\x00", "\xff\xfe", "%", "null", "{}", "[]", "<a/>", "<", "....", "=", "PGEvPg==", "eyJhbGciOiJub25lIn0..",
		strings.Repeat(".", 4000), strings.Repeat("A", 4000), "'; DROP TABLE users; --", "<script>alert(1)</script>",
		"\r\nSet-Cookie: a=b", "../../etc/passwd", "http://127.0.0.1/", fmt.Sprint(1e308),
	} {
		bad := changed(t, r, func(v url.Values) { v.Set(state, p.State); v.Set(e.One.Proof, s) })
		e.refused(t, e.One, bad, p)
	}
	if r.Method == http.MethodPost {
		for _, body := range []string{"%zz", "a=%", "\x00\x01", strings.Repeat("a=b&", 3000)} {
			bad := httptest.NewRequest(http.MethodPost, r.URL.String(), strings.NewReader(body))
			bad.Header = r.Header.Clone()
			e.refused(t, e.One, bad, p)
		}
		bad := again(t, r)
		bad.Header.Set("Content-Type", "text/plain")
		e.refused(t, e.One, bad, p)
	}
	e.accept(t, e.One, who)
}

func huge(t *testing.T, e env) {
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: e.One.People[0].User})
	big := strings.Repeat("A", 2<<20)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Set(e.One.Proof, big) }), p, federation.ReasonTooLarge)
	e.refused(t, e.One, changed(t, r, func(v url.Values) { v.Set("other", big) }), p, federation.ReasonTooLarge)
	if _, err := e.One.Provider.Finish(r, p); err != nil {
		t.Errorf("positive control: the answer in its own size: %v", err)
	}
}

func denied(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who, Cancel: true})
	e.refused(t, e.One, r, p, federation.ReasonDenied)
	// A no to another flow is not a no to this one.
	r, _ = e.signIn(t, e.One, federation.Login{}, Act{User: who, Cancel: true})
	e.refused(t, e.One, r, p, federation.ReasonStateUnknown)
	e.accept(t, e.One, who)
}

func stepUp(t *testing.T, e env) {
	s := e.One
	strong := federation.Login{ACR: []string{s.Strong}}
	able, unable := s.person(t, true), s.person(t, false)

	r, p := e.signIn(t, s, strong, Act{User: able.User})
	id, err := s.Provider.Finish(r, p)
	if err != nil {
		t.Fatalf("%s has a second factor and was asked for it: %v", able.User, err)
	}
	if id.Context.ACR != s.Strong {
		t.Errorf("ACR = %q, want %q", id.Context.ACR, s.Strong)
	}
	if id := e.accept(t, s, able.User); id.Context.ACR == s.Strong {
		t.Error("nobody asked for a second factor, yet there was one: the control is worthless")
	}

	r, p = e.signIn(t, s, strong, Act{User: able.User, Weak: true})
	e.refused(t, s, r, p, federation.ReasonStepUp)
	r, p = e.signIn(t, s, strong, Act{User: unable.User})
	e.refused(t, s, r, p, federation.ReasonStepUp)

	any := federation.Login{ACR: []string{"urn:example:never", s.Strong}}
	r, p = e.signIn(t, s, any, Act{User: able.User})
	if _, err := s.Provider.Finish(r, p); err != nil {
		t.Errorf("any of several contexts will do, one of them was given: %v", err)
	}
}

func maxAge(t *testing.T, e env) {
	s, who := e.One, e.One.People[0].User
	for _, tt := range []struct {
		name  string
		login federation.Login
		act   Act
		want  string
	}{
		{"no limit", federation.Login{}, Act{Before: 3 * time.Hour}, ""},
		{"young enough", federation.Login{MaxAge: time.Hour}, Act{Before: 50 * time.Minute}, ""},
		{"too old", federation.Login{MaxAge: time.Hour}, Act{Before: 70 * time.Minute}, federation.ReasonStepUp},
		{"asked afresh", federation.Login{Fresh: true}, Act{}, ""},
		{"not asked afresh", federation.Login{Fresh: true}, Act{Before: 20 * time.Minute}, federation.ReasonStepUp},
	} {
		tt.act.User = who
		r, p := e.signIn(t, s, tt.login, tt.act)
		if tt.want != "" {
			e.refused(t, s, r, p, tt.want)
			continue
		}
		id, err := s.Provider.Finish(r, p)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := e.Now().Add(-tt.act.Before)
		if d := id.Context.At.Sub(want); d < -time.Minute || d > time.Minute {
			t.Errorf("%s: Context.At = %v, want %v", tt.name, id.Context.At, want)
		}
	}
}

func tooMany(t *testing.T, e env) {
	s, who := e.One, e.One.People[0].User
	r, p := e.signIn(t, s, federation.Login{}, Act{User: who, Groups: MaxValues})
	id, err := s.Provider.Finish(r, p)
	if err != nil {
		t.Fatalf("%d values: %v", MaxValues, err)
	}
	if n := len(id.Attributes[s.Groups]); n != MaxValues {
		t.Errorf("%d values of %s, want %d", n, s.Groups, MaxValues)
	}
	r, p = e.signIn(t, s, federation.Login{}, Act{User: who, Groups: MaxValues + 1})
	e.refused(t, s, r, p, federation.ReasonTooMany)

	r, p = e.signIn(t, s, federation.Login{}, Act{User: who, Fat: MaxBytes / 2})
	if _, err := s.Provider.Finish(r, p); err != nil {
		t.Errorf("a value of %d bytes: %v", MaxBytes/2, err)
	}
	r, p = e.signIn(t, s, federation.Login{}, Act{User: who, Fat: MaxBytes + 1})
	e.refused(t, s, r, p, federation.ReasonTooMany)
}

func cancelled(t *testing.T, e env) {
	who := e.One.People[0].User
	r, p := e.signIn(t, e.One, federation.Login{}, Act{User: who})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// A protocol that calls nobody to finish does not notice; one that does
	// says that it could not.
	if _, err := e.One.Provider.Finish(again(t, r).WithContext(ctx), p); err != nil {
		e.isRefusal(t, err, federation.ReasonUnavailable)
	}
	e.accept(t, e.One, who)
}

func concurrent(t *testing.T, e env) {
	const each = 12
	var wg sync.WaitGroup
	for _, s := range []Side{e.One, e.Two} {
		for _, who := range s.People[:2] {
			for range each {
				wg.Go(func() {
					c, p, err := s.Provider.Begin(t.Context(), federation.Login{})
					if err != nil {
						t.Errorf("Begin: %v", err)
						return
					}
					id, err := s.Provider.Finish(s.Answer(t, c, Act{User: who.User}), p)
					if err != nil {
						t.Errorf("%s at %s: %v", who.User, s.ID, err)
						return
					}
					if want := (federation.Ref{Issuer: s.Issuer, Subject: who.Subject}); id.Ref != want {
						t.Errorf("%s at %s became %v", who.User, s.ID, id.Ref)
					}
				})
			}
		}
	}
	wg.Wait()
}
