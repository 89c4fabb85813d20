package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mail   = `emails[type eq "work"].value`
	secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// receiver is what somebody would write who wants to have the accounts: it
// checks the signature and the time, drops what it has seen, and keeps the last
// state of each subject.
type receiver struct {
	mu     sync.Mutex
	seen   map[string]bool
	users  map[string]connector.Account
	events []event
	now    func() time.Time
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, _ := io.ReadAll(q.Body)
	id, ts := q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp")
	sec, err := strconv.ParseInt(ts, 10, 64)
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, id+"."+ts+"."+string(body))
	good := false
	for part := range strings.FieldsSeq(q.Header.Get("webhook-signature")) {
		good = good || hmac.Equal([]byte(part), []byte("v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil))))
	}
	if err != nil || r.now().Sub(time.Unix(sec, 0)).Abs() > 5*time.Minute || !good {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var e struct {
		event
		Data data `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil || e.ID != id || q.Header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
	if r.seen[id] {
		return
	}
	r.seen[id] = true
	if e.Data.Resource != nil {
		e.event.Data = e.Data
	}
	r.events = append(r.events, e.event)
	if e.Type == Deleted {
		delete(r.users, e.Subject)
		return
	}
	o, err := scim.Decode(e.Data.Resource)
	if err != nil {
		panic(err)
	}
	a := scimuser.Account(&scim.Resource{Object: *o})
	r.users[e.Subject] = a
}

func (r *receiver) held() (out []connector.Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.users {
		out = append(out, a)
	}
	return out
}

func open(t *testing.T, c Config) (*Connector, *receiver, *connectortest.Awkward) {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &receiver{seen: map[string]bool{}, users: map[string]connector.Account{}, now: c.Now}
	a := &connectortest.Awkward{Handler: r}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	c.URL, c.Source = s.URL, "https://gate.test/targets/hook"
	if c.Secrets == nil {
		c.Secrets = []string{secret}
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w, r, a
}

func TestConnector(t *testing.T) {
	connectortest.Test(t, func(t *testing.T) connectortest.Harness {
		w, r, a := open(t, Config{})
		return connectortest.Harness{Connector: w, Mail: mail, Title: "title", Held: r.held, Awkward: a}
	})
}

// The example of the specification's own libraries.
func TestSignatureIsThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	sign, err := newSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1614265330, 0)
	if got := signature([]signer{sign}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("the signature is %s", got)
	}
}

func TestEverySecretSigns(t *testing.T) {
	t.Parallel()
	seed := strings.Repeat("s", 32)
	public := ed25519.NewKeyFromSeed([]byte(seed)).Public().(ed25519.PublicKey)
	for _, key := range []string{seed, seed + string(public)} {
		w, _, a := open(t, Config{Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("o", 24))), secret, "whsk_" + base64.StdEncoding.EncodeToString([]byte(key))}})
		if _, err := w.Sync(t.Context(), connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true}, ""); err != nil {
			t.Fatal(err)
		}
		s := a.Seen()[0]
		parts := strings.Fields(s.Header.Get("webhook-signature"))
		if len(parts) != 3 || !strings.HasPrefix(parts[0], "v1,") || !strings.HasPrefix(parts[1], "v1,") || !strings.HasPrefix(parts[2], "v1a,") || parts[0] == parts[1] {
			t.Fatalf("the signatures are %q", parts)
		}
		sig, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[2], "v1a,"))
		if err != nil || !ed25519.Verify(public, []byte(s.Header.Get("webhook-id")+"."+s.Header.Get("webhook-timestamp")+"."+s.Body), sig) {
			t.Errorf("the public key does not verify %s: %v", parts[2], err)
		}
	}
}

func TestSecretThatIsNoneIsRefusedWithoutBeingTold(t *testing.T) {
	t.Parallel()
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n))) }
	for _, s := range []string{"", "hunter2", "whsec_", "whsec_" + b64(23), "whsec_" + b64(65), "whsk_" + b64(31), "whsk_" + b64(64), "whpk_" + b64(32), "whsec_!!!" + b64(24)} {
		_, err := New(Config{URL: "https://x.test", Secrets: []string{s}})
		if err == nil || len(s) > 6 && strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := New(Config{URL: "https://x.test"}); err == nil {
		t.Error("no secret at all was taken")
	}
}

func TestB13_ForgedChangedAndOldDeliveriesAreRefused(t *testing.T) {
	t.Parallel()
	w, r, a := open(t, Config{})
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true}
	if _, err := w.Sync(t.Context(), want, ""); err != nil {
		t.Fatal(err)
	}
	was := a.Seen()[0]
	replay := func(change func(h http.Header, body *string)) int {
		h, body := was.Header.Clone(), was.Body
		change(h, &body)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header = h
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, req)
		return rec.Code
	}
	if got := replay(func(http.Header, *string) {}); got != http.StatusNoContent || len(r.events) != 1 {
		t.Errorf("the same once more: %d, %d events: a repeated delivery must be taken and do nothing", got, len(r.events))
	}
	for name, change := range map[string]func(http.Header, *string){
		"another body": func(_ http.Header, b *string) { *b = strings.Replace(*b, "ana", "eve", 1) },
		"another id":   func(h http.Header, _ *string) { h.Set("webhook-id", "msg_other") },
		"another time": func(h http.Header, _ *string) { h.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix()+1, 10)) },
		"no signature": func(h http.Header, _ *string) { h.Del("webhook-signature") },
		"another key's": func(h http.Header, _ *string) {
			h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
		},
	} {
		if got := replay(change); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	r.now = func() time.Time { return time.Now().Add(6 * time.Minute) }
	if got := replay(func(http.Header, *string) {}); got != http.StatusUnauthorized {
		t.Errorf("after six minutes: %d", got)
	}
}

func TestEventSaysWhatTheAccountIs(t *testing.T) {
	t.Parallel()
	w, r, _ := open(t, Config{})
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true, Version: 7, Attributes: map[string][]string{mail: {"a@x.test"}, "title": nil}}
	step := func(have string) string {
		t.Helper()
		id, err := w.Sync(t.Context(), want, have)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := step("")
	want.Active = false
	second := step(first)
	want.Active, want.Version = true, 9
	third := step(second) // what it was at first, and yet another event
	if step(third) != third {
		t.Error("what is the same has another ID")
	}
	if err := w.Remove(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	step("") // and here again
	var got []string
	ids := map[string]bool{}
	for _, e := range r.events {
		ids[e.ID] = true
		line := e.Type + " " + e.Subject + " " + e.Source + " " + e.SpecVersion
		if e.Data != nil {
			line += " " + e.DataContentType + " " + string(e.Data.(data).Resource)
		}
		got = append(got, line)
	}
	const (
		about = " users/0199-ana https://gate.test/targets/hook 1.0"
		head  = about + ` application/scim+json {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"externalId":"0199-ana","userName":"ana","active":`
		tail  = `,"emails":[{"type":"work","value":"a@x.test","primary":true}]}`
	)
	if diff := cmp.Diff([]string{Created + head + "true" + tail, Updated + head + "false" + tail, Updated + head + "true" + tail, Deleted + about, Created + head + "true" + tail}, got); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 5 {
		t.Errorf("%d events have %d ids", len(got), len(ids))
	}
}

func TestRepeatedDeliveryIsTheSameMessage(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	clock.Store(1_800_000_000)
	w, r, a := open(t, Config{Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true}
	for _, trick := range []connectortest.Trick{connectortest.Fail(500, ""), connectortest.DropReply(), connectortest.Fail(404, "")} {
		a.Next(1, trick)
		if _, err := w.Sync(t.Context(), want, ""); connector.ClassOf(err) != connector.Transient || err == nil {
			t.Errorf("got %v, want transient", err)
		}
		clock.Add(60)
	}
	if _, err := w.Sync(t.Context(), want, ""); err != nil {
		t.Fatal(err)
	}
	ids, bodies, times, signatures := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range a.Seen() {
		ids[s.Header.Get("webhook-id")], bodies[s.Body] = true, true
		times[s.Header.Get("webhook-timestamp")], signatures[s.Header.Get("webhook-signature")] = true, true
	}
	if len(ids) != 1 || len(bodies) != 1 || len(times) != 4 || len(signatures) != 4 || len(r.events) != 1 {
		t.Errorf("%d ids, %d bodies, %d times, %d signatures, %d events; want 1, 1, 4, 4, 1", len(ids), len(bodies), len(times), len(signatures), len(r.events))
	}
}

func TestGoneSaysThatItIsOver(t *testing.T) {
	t.Parallel()
	w, _, a := open(t, Config{})
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true}
	a.Next(1, connectortest.Fail(410, ""))
	_, err := w.Sync(t.Context(), want, "")
	if e := (*connector.Error)(nil); !errors.As(err, &e) || e.Class != connector.Route || !e.Over {
		t.Errorf("got %v", err)
	}
	if _, err := w.Sync(t.Context(), want, ""); err != nil {
		t.Errorf("when it is taken up again: %v", err)
	}
}

func TestIDOfAnotherConnectorIsNoneOfOurs(t *testing.T) {
	t.Parallel()
	w, _, a := open(t, Config{})
	for _, have := range []string{"7", "a.b", "0199-eve.1.abc", ".1.abc", "0199-ana.x.abc", "0199-ana.1."} {
		if _, err := w.Sync(t.Context(), connector.Account{ExternalID: "0199-ana"}, have); connector.ClassOf(err) != connector.Gone {
			t.Errorf("%q: %v, want gone", have, err)
		}
	}
	if err := w.Remove(t.Context(), "7"); err != nil || len(a.Seen()) > 0 {
		t.Errorf("%v, %d requests", err, len(a.Seen()))
	}
}
