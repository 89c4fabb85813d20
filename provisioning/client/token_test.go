package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// A desk is a Registry over a real store, at a time that the test moves.
type desk struct {
	*Registry
	now  time.Time
	file string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{now: noon, file: filepath.Join(t.TempDir(), "db")}
	st, err := boltstore.Open(d.file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	d.Registry = NewRegistry(Config{Store: st, Key: bytes.Repeat([]byte{7}, 32), Token: "https://gate.test/.gatehouse/oauth2/token", Issuer: "https://gate.test", Now: func() time.Time { return d.now }})
	return d
}

// again is a desk of another process, over the same store and key.
func (d *desk) again(t *testing.T, fill func(*Registry)) *Registry {
	t.Helper()
	r := NewRegistry(d.Config)
	fill(r)
	return r
}

func (d *desk) is(t *testing.T, token, want string) {
	t.Helper()
	c, err := d.Authenticate(ask("Bearer " + token))
	switch {
	case want == "" && (c != nil || !errors.Is(err, ErrUnauthorized)):
		t.Errorf("%.30s is %v, %v", token, c, err)
	case want != "" && (err != nil || c.ID != want):
		t.Errorf("%.30s is %v, %v, want %s", token, c, err, want)
	}
}

func (d *desk) make(t *testing.T, client string, life time.Duration) (Token, string) {
	t.Helper()
	tok, text, err := d.Make(t.Context(), client, life, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok, text
}

func TestC26_TokenIsShownOnceAndKeptAsAHash(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	add(t, d.Registry, Client{ID: "hr", UserStores: []string{"primary"}})
	add(t, d.Registry, Client{ID: "uni", UserStores: []string{"partners"}}, Credential{Bearer: "file"})
	if _, _, err := d.Make(t.Context(), "nobody", 0, nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	short, first := d.make(t, "hr", 90*24*time.Hour)
	_, second := d.make(t, "hr", 0)
	_, other := d.make(t, "uni", time.Hour)
	d.is(t, first, "hr")
	d.is(t, second, "hr") // several at a time
	d.is(t, other, "uni")
	d.is(t, "file", "uni")
	for _, wrong := range []string{first + "x", first[:len(first)-1], strings.ToUpper(first), tokenPrefix, tokenPrefix + short.ID, tokenPrefix + short.ID + "_", strings.Replace(second, second[9:25], first[9:25], 1)} {
		d.is(t, wrong, "")
	}
	raw, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{first, second, other} {
		if secret := text[len(tokenPrefix)+17:]; bytes.Contains(raw, []byte(secret)) || len(secret) < 40 {
			t.Errorf("the store holds %s", secret)
		}
	}
	if !bytes.Contains(raw, []byte(short.ID)) {
		t.Error("the store was not looked at")
	}
	list, err := d.Tokens(t.Context(), "hr")
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if all, _ := d.Tokens(t.Context(), ""); len(all) != 3 {
		t.Errorf("%+v", all)
	}
	// Used is noted to within an hour, without a write each time.
	used := func() time.Time {
		list, err := d.Tokens(t.Context(), "hr")
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if x.ID == short.ID {
				return x.Used
			}
		}
		return time.Time{}
	}
	d.now = noon.Add(59 * time.Minute)
	if d.is(t, first, "hr"); !used().Equal(noon) {
		t.Errorf("used %v", used())
	}
	d.now = noon.Add(61 * time.Minute)
	if d.is(t, first, "hr"); !used().Equal(d.now) {
		t.Errorf("used %v", used())
	}
	d.is(t, other, "") // ended
	d.now = noon.Add(90 * 24 * time.Hour)
	d.is(t, first, "")
	d.is(t, second, "hr")
	// Revoked it ends at once, and what belongs to that is written with it.
	no := errors.New("no")
	if _, err := d.Revoke(t.Context(), list[1].ID, func(store.Tx, Token) error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	d.is(t, second, "hr")
	for _, x := range list {
		if got, err := d.Revoke(t.Context(), x.ID, nil); err != nil || got.Client != "hr" {
			t.Error(got, err)
		}
		if _, err := d.Revoke(t.Context(), x.ID, nil); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	d.is(t, second, "")
}

// A client that is configured no more has no tokens, and does not get them back by
// being configured again.
func TestC26_WhatAClientHadEndsWithItForEver(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	hr := func(r *Registry) {
		add(t, r, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Secret: "the same"})
	}
	uni := func(r *Registry) { add(t, r, Client{ID: "uni", UserStores: []string{"primary"}}) }
	hr(d.Registry)
	uni(d.Registry)
	var texts []string
	for range 25 { // more than end in one transaction
		_, text := d.make(t, "hr", 0)
		texts = append(texts, text)
	}
	_, other := d.make(t, "uni", 0)
	access := d.grant(d.known[0])
	var ended []string
	force := func(fill ...func(*Registry)) *desk {
		t.Helper()
		next := &desk{Registry: d.again(t, func(r *Registry) {
			for _, fn := range fill {
				fn(r)
			}
		})}
		if err := next.TakeForce(t.Context(), func(_ store.Tx, tok Token) error {
			ended = append(ended, tok.Client)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return next
	}
	// The first configuration that says who is there takes nothing from anybody, and
	// neither does another with the same clients.
	for range 2 {
		same := force(hr, uni)
		for _, text := range append(texts, other, access) {
			if c, err := same.Authenticate(ask("Bearer " + text)); err != nil || c == nil {
				t.Fatal(c, err)
			}
		}
	}
	d.now = d.now.Add(time.Minute)
	force(uni).is(t, texts[0], "")
	if len(ended) != len(texts) {
		t.Errorf("%d tokens have ended", len(ended))
	}
	d.now = d.now.Add(time.Minute)
	back := force(hr, uni)
	for _, text := range []string{texts[0], texts[24], access} {
		back.is(t, text, "")
	}
	back.is(t, other, "uni")
	back.is(t, back.grant(back.known[0]), "hr") // the configuration says its secret again
	_, text := back.make(t, "hr", 0)
	back.is(t, text, "hr")
	force(hr, uni).is(t, text, "hr")
	if list, err := back.Tokens(t.Context(), ""); err != nil || len(list) != 2 {
		t.Errorf("%d tokens are kept, %v", len(list), err)
	}
}

// What was made for a client while no gateway ran is good when one runs.
func TestATokenMayBeMadeBeforeItsClientIsInForce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	add(t, d.Registry, Client{ID: "uni", UserStores: []string{"primary"}})
	if err := d.TakeForce(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	add(t, d.Registry, Client{ID: "hr", UserStores: []string{"primary"}})
	if err := d.Admit(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, text := d.make(t, "hr", 0)
	d.now = d.now.Add(time.Hour)
	if err := d.TakeForce(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d.is(t, text, "hr")
}

func TestBearerOfTheConfigurationEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	add(t, d.Registry, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Bearer: "one", Until: noon.Add(time.Hour)}, Credential{Bearer: "two"})
	d.is(t, "one", "hr")
	d.now = noon.Add(time.Hour)
	d.is(t, "one", "")
	d.is(t, "two", "hr")
}

func TestC20_WhoGuessesIsSlowedDownAndNobodyElse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	add(t, d.Registry, Client{ID: Resident, UserStores: []string{"primary"}}, Credential{User: "admin", Password: "right"})
	add(t, d.Registry, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Bearer: "good"})
	from := func(addr, user, password string) error {
		r := ask()
		r.Header.Set("X-Forwarded-For", addr)
		if user != "" {
			r.SetBasicAuth(user, password)
		} else {
			r.Header.Set("Authorization", "Bearer "+password)
		}
		_, err := d.Authenticate(r)
		return err
	}
	throttled := func(err error) bool {
		var t *Throttled
		return errors.As(err, &t) && t.After > 0 && t.Reason() == ReasonThrottled
	}
	refused := 0
	for range 1000 {
		switch err := from("192.0.2.1", "admin", "wrong"); {
		case errors.Is(err, ErrUnauthorized):
			refused++
		case !throttled(err):
			t.Fatal(err)
		}
	}
	if refused != guessBurst {
		t.Errorf("%d guesses were compared", refused)
	}
	// Not even the right one helps there; elsewhere, and for others, it does.
	if err := from("192.0.2.1", "admin", "right"); !throttled(err) {
		t.Error(err)
	}
	for _, err := range []error{from("192.0.2.2", "admin", "right"), from("192.0.2.1", "", "good")} {
		if err != nil {
			t.Error(err)
		}
	}
	for range 1000 {
		_ = from("192.0.2.1", "", "wrong")
	}
	if err := from("192.0.2.1", "", "wrong"); !throttled(err) {
		t.Error(err)
	}
	if err := from("192.0.2.1", "", "good"); err != nil { // nobody guesses a token: the right one is right
		t.Error(err)
	}
	// One customer's network is one.
	for i := range 30 {
		_ = from("2001:db8::"+string(rune('a'+i%6)), "admin", "wrong")
	}
	if err := from("2001:db8::7", "admin", "right"); !throttled(err) {
		t.Error(err)
	}
	if err := from("2001:db8:0:1::7", "admin", "right"); err != nil {
		t.Error(err)
	}
	d.now = d.now.Add(guessEvery)
	if err := from("192.0.2.1", "admin", "right"); err != nil {
		t.Errorf("after a while: %v", err)
	}
	// A configuration that replaces another forgets nothing.
	for range 30 {
		_ = from("192.0.2.9", "admin", "wrong")
	}
	next := NewRegistry(d.Config)
	add(t, next, Client{ID: Resident, UserStores: []string{"primary"}}, Credential{User: "admin", Password: "right"})
	r := ask()
	r.SetBasicAuth("admin", "right")
	r.Header.Set("X-Forwarded-For", "192.0.2.9")
	if _, err := next.Authenticate(r); !throttled(err) {
		t.Error(err)
	}
}

func TestC20_AClientHasItsShareOfRequests(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	add(t, d.Registry, Client{ID: "hr", UserStores: []string{"primary"}, Rate: 10}, Credential{Bearer: "hr"})
	add(t, d.Registry, Client{ID: "uni", UserStores: []string{"primary"}}, Credential{Bearer: "uni"})
	let := func(token string, n int) (in int) {
		for range n {
			var th *Throttled
			if _, err := d.Authenticate(ask("Bearer " + token)); err == nil {
				in++
			} else if !errors.As(err, &th) || th.After != time.Second {
				t.Fatal(err)
			}
		}
		return in
	}
	if in := let("hr", 10_000); in != 20 {
		t.Errorf("%d of 10,000 were let in at once", in)
	}
	if in := let("uni", 10_000); in != 10_000 {
		t.Errorf("another client had only %d", in)
	}
	d.now = d.now.Add(time.Second)
	if in := let("hr", 100); in != 10 {
		t.Errorf("%d in the next second", in)
	}
}

func TestWhatIsRememberedOfGuessesIsBounded(t *testing.T) {
	t.Parallel()
	var p pails
	for i := range maxPails + 1000 {
		if err := p.take(string(rune(i))+"x", "admin", noon); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.m) != maxPails || p.use.Len() != maxPails {
		t.Errorf("%d are remembered", len(p.m))
	}
	// Who guessed last is remembered longest: nobody is forgotten by guessing on.
	for range guessBurst - 1 {
		_ = p.take("busy", "admin", noon)
	}
	for i := range 2 * maxPails {
		_ = p.take(fmt.Sprint(i)+"y", "admin", noon)
		_ = p.take("busy", "admin", noon)
	}
	var slow *Throttled
	if err := p.take("busy", "admin", noon); !errors.As(err, &slow) {
		t.Errorf("a guesser among many is forgotten: %v", err)
	}
	// Of whom nothing is left to know is forgotten two at a time, however many there are.
	later := noon.Add(time.Hour)
	if err := p.take("new", "admin", later); err != nil || len(p.m) != maxPails-1 {
		t.Errorf("%v, and %d are remembered", err, len(p.m))
	}
	for i := range maxPails/2 + 10 {
		_ = p.take(string(rune(i))+"z", "admin", later)
	}
	if len(p.m) > maxPails || p.m[guess("busy", "admin")] != nil || p.m[guess("new", "admin")] == nil {
		t.Errorf("%d are remembered", len(p.m))
	}
}
