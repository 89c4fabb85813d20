package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A lab is a world with two identity providers of each protocol that misbehave
// on request, services that remember what they got, and a clock that a test can
// turn. Everything is the program's own, from its configuration file on.
type lab struct {
	*world
	scheme          string
	clock           *clock
	campus, college *idptest.OP
	partner, guild  *idptest.IDP
	upstream        *mirror
	config          string // path of the file
	hup             chan os.Signal
	mu              sync.Mutex
	hangUp          []func()     // ends the idle connections of a person
	target          string       // its address
	posts           atomic.Int64 // accounts that it was asked to make
	pushed          *buffer      // what it was asked, as it came
}

// labConfig is what a lab can be asked for.
type labConfig struct {
	TLS                   bool
	Session               string // YAML
	Strict                bool   // SameSite=Strict
	AccessLog             bool
	PerAddress, PerPerson int      // limits; what a test alone sends from one address is none
	Services              []string // more hosts with the rule of the wiki
	People                []idptest.Person

	Scheme, Dir, Upstream, Campus, College, Partner, Guild, Target string
	Port                                                           int
}

const labYAML = `version: 1
server:
  listen: 127.0.0.1:{{.Port}}
  public_url: {{.Scheme}}://localhost:{{.Port}}
{{- if .AccessLog}}
  access_log: true
{{- end}}
{{- if .TLS}}
  tls: { cert: {{.Dir}}/tls.crt, key: {{.Dir}}/tls.key }
{{- end}}
store: bolt:{{.Dir}}/gatehouse.db
limits: { requests_per_address: {{.PerAddress}}, sign_ins_per_person: {{.PerPerson}} }
session: { idle: 30m, lifetime: 8h{{if .Strict}}, same_site: strict{{end}} }
user_stores: [ { id: primary }, { id: partners } ]
identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "{{.Campus}}", client_id: gatehouse, client_secret: secret-of-campus }
    attributes: { mail: email, display_name: name, groups: groups }
    provisioning: { mode: async, user_store: primary, user_name: preferred_username }
  - id: college
    title: College
    oidc: { issuer: "{{.College}}", client_id: gatehouse, client_secret: secret-of-college }
    attributes: { mail: email, display_name: name, groups: groups }
    provisioning: { mode: async, user_store: primary, user_name: preferred_username }
  - id: closed
    title: Closed
    oidc: { issuer: "{{.College}}", client_id: closed, client_secret: secret-of-closed }
    attributes: { mail: email }
    provisioning: { mode: off, user_store: primary, user_name: preferred_username }
  - id: partner
    title: Partner University
    saml: { metadata: { url: "{{.Partner}}/metadata" }, keys: [ { certificate: { file: {{.Dir}}/saml.crt }, key: { file: {{.Dir}}/saml.key } } ] }
    attributes: { mail: mail, display_name: displayName, groups: isMemberOf }
    provisioning: { mode: async, user_store: partners, user_name: 'claims.eduPersonPrincipalName[0].split("@")[0]' }
  - id: guild
    title: Guild
    saml: { metadata: { url: "{{.Guild}}/metadata" }, keys: [ { certificate: { file: {{.Dir}}/saml.crt }, key: { file: {{.Dir}}/saml.key } } ] }
    attributes: { mail: mail, display_name: displayName, groups: isMemberOf }
    provisioning: { mode: async, user_store: partners, user_name: 'claims.eduPersonPrincipalName[0].split("@")[0]' }
roles:
  - { id: finance, from: { identity_provider: campus, groups: [fin] } }
  - { id: gatehouse-admin, from: { identity_provider: campus, groups: [gatehouse-admin] } }
services:
  - id: wiki
    title: Wiki
    host: wiki.localhost
    upstream: "{{.Upstream}}"
    access: [ { id: everyone, text: The wiki is for everyone who is signed in., allow: { signed_in: true } } ]
    release: [ user_name, mail, display_name, groups ]
  - id: payroll
    title: Payroll
    host: payroll.localhost
    upstream: "{{.Upstream}}"
    access: [ { id: finance, text: Payroll is for the finance office., allow: { roles: [finance], acr: ["https://refeds.org/profile/mfa"] } } ]
    release: [ user_name ]
  - id: admins
    title: Admins
    host: admins.localhost
    upstream: "{{.Upstream}}"
    access: [ { id: admins, text: For administrators., allow: { roles: [gatehouse-admin] } } ]
  - id: campus-only
    title: Campus only
    host: campus-only.localhost
    upstream: "{{.Upstream}}"
    identity_provider: campus
    access:
      - { id: public, paths: [/public], allow: { anyone: true } }
      - { id: everyone, allow: { signed_in: true } }
    release: [ user_name ]
  - id: vault
    title: Vault
    host: vault.localhost
    upstream: "{{.Upstream}}"
    access: [ { id: token, text: Bring your token., allow: { amr: [hwk] } } ]
{{- range .Services}}
  - id: {{.}}
    title: {{.}}
    host: {{.}}.localhost
    upstream: "{{$.Upstream}}"
    access: [ { id: everyone, allow: { signed_in: true } } ]
    release: [ user_name ]
{{- end}}
targets:
  - id: directory
    scim2: { url: "{{.Target}}/scim/v2", auth: { bearer: token-of-the-target } }
    users: { all: true }
    release: [ mail, display_name ]
admins: { roles: [gatehouse-admin] }
outbound: { allow: [127.0.0.0/8, "::1/128"] }
`

// newLab starts one. with may be nil.
func newLab(t testing.TB, with func(*labConfig)) *lab {
	t.Helper()
	c := labConfig{Scheme: "http", Dir: shortDir(t), People: idptest.Campus(), PerAddress: 100000, PerPerson: 100000}
	if with != nil {
		with(&c)
	}
	l := &lab{clock: &clock{}, scheme: "http", upstream: &mirror{}, pushed: &buffer{}, hup: make(chan os.Signal, 1), config: filepath.Join(c.Dir, "gatehouse.yaml")}
	if c.TLS {
		c.Scheme, l.scheme = "https", "https"
		writePair(t, c.Dir)
	}
	pair, err := samlPair()
	if err != nil {
		t.Fatal(err)
	}
	cert, rest := pem.Decode(pair)
	for name, raw := range map[string][]byte{"saml.crt": pem.EncodeToMemory(cert), "saml.key": rest} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.Port = porttest.Free(t, 4)
	l.world = &world{t: t, dir: c.Dir, port: c.Port, log: &buffer{}}
	public := fmt.Sprintf("%s://localhost:%d", c.Scheme, c.Port)

	c.Upstream = l.serve(l.upstream)
	target, err := newDemoTarget("http://target.invalid", "token-of-the-target", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.target = l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/Users") {
			l.posts.Add(1)
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(l.pushed, "%s %s\n%s\n", r.Method, r.URL, body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		target.ServeHTTP(w, r)
	}))
	c.Target = l.target
	op := func(id string, more ...idptest.OPClient) (*idptest.OP, string) {
		h := &later{}
		at := l.serve(h)
		op := idptest.NewOP(idptest.OPConfig{
			Issuer: at, Title: id, People: c.People, Now: l.clock.now, Algorithm: "ES256",
			Clients: append(more, idptest.OPClient{ID: "gatehouse", Secret: "secret-of-" + id, RedirectURIs: []string{public + "/.gatehouse/oidc/" + id + "/callback"}, PostLogout: []string{public + "/.gatehouse/signed-out"}}),
		})
		h.Handler = op.Handler()
		return op, at
	}
	l.campus, c.Campus = op("campus")
	l.college, c.College = op("college", idptest.OPClient{ID: "closed", Secret: "secret-of-closed", RedirectURIs: []string{public + "/.gatehouse/oidc/closed/callback"}})
	idp := func(id string) (*idptest.IDP, string) {
		h := &later{}
		at := l.serve(h)
		idp := idptest.NewIDP(idptest.IDPConfig{Base: at, Title: id, People: idptest.Partner(), RequireSigned: true, Now: l.clock.now, Keys: []idptest.IDPKey{idptest.NewIDPKey("ECDSA")}})
		h.Handler = idp.Handler()
		return idp, at
	}
	l.partner, c.Partner = idp("partner")
	l.guild, c.Guild = idp("guild")

	var text bytes.Buffer
	if err := template.Must(template.New("").Parse(labYAML)).Execute(&text, c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.config, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	l.start()
	for id, idp := range map[string]*idptest.IDP{"partner": l.partner, "guild": l.guild} {
		p := l.person().open(l.at("", "/.gatehouse/saml/"+id+"/metadata")).wants(http.StatusOK)
		if err := idp.Trust([]byte(p.body)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// samlPair is one RSA key for all gateways here: to make one takes longer than most tests.
var samlPair = sync.OnceValues(func() ([]byte, error) { return selfSigned("localhost") })

// start the program over whatever is in the lab's folder.
func (l *lab) start() {
	l.t.Helper()
	load := func() (*configs.Config, []configs.Mistake) {
		cfg, mistakes := loadAll(l.config, configs.AllowInlineSecrets)
		if cfg != nil {
			cfg.Server.AdminListen = "127.0.0.1:0"
		}
		return cfg, mistakes
	}
	cfg, mistakes := load()
	if len(mistakes) > 0 {
		l.t.Fatal(mistakes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan *process, 1), make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		done <- serve(ctx, launch{cfg: cfg, load: load, hup: l.hup, log: log, out: l.log, now: l.clock.now, ready: func(p *process) { ready <- p }})
	}()
	var once sync.Once
	l.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				l.t.Errorf("serve: %v", err)
			}
		})
	}
	l.t.Cleanup(l.stop)
	select {
	case l.p = <-ready:
		begun(l.t, l.p)
	case err := <-done:
		done <- nil
		l.t.Fatalf("the gateway did not start: %v", err)
	}
}

// begun waits for what a start does about everybody: it would do so beside a test,
// and find something to do about whoever signs in just then.
func begun(t testing.TB, p *process) {
	t.Helper()
	if err := p.site.Load().outbox.Begin(t.Context()); err != nil { // the start does so too, sooner or later
		t.Fatal(err)
	}
	eventually(t, "the start is over", func() bool {
		list, err := task.List(t.Context(), p.store, task.Task{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(list, func(k task.Task) bool {
			return k.Kind == outbox.KindEverybody && k.Attempts == 0 && (k.State == task.Waiting || k.State == task.Running)
		})
	})
}

// restart ends the process and begins another on the same data.
func (l *lab) restart() {
	l.t.Helper()
	l.stop()
	l.start()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, hangUp := range l.hangUp {
		hangUp() // what was connected to the process before
	}
}

// reload changes the configuration file and has it read again.
func (l *lab) reload(change func(string) string) {
	l.t.Helper()
	raw, err := os.ReadFile(l.config)
	if err != nil {
		l.t.Fatal(err)
	}
	next := change(string(raw))
	if next == string(raw) {
		l.t.Fatal("the change of the configuration changes nothing")
	}
	if err := os.WriteFile(l.config, []byte(next), 0o600); err != nil {
		l.t.Fatal(err)
	}
	before := l.p.site.Load()
	l.hup <- syscall.SIGHUP
	eventually(l.t, "the configuration is taken", func() bool { return l.p.site.Load() != before })
}

// serve starts another program of the lab and returns its address.
func (l *lab) serve(h http.Handler) string {
	s := httptest.NewServer(h)
	l.t.Cleanup(s.Close)
	return s.URL
}

// later is a handler that is known only when its address is.
type later struct{ http.Handler }

// at is the address of a host of the gateway, whatever its scheme.
func (l *lab) at(host, path string) string {
	return strings.Replace(l.world.at(host, path), "http", l.scheme, 1)
}

// clock is time.Now, further on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// A mirror is every service of the lab. It echoes the headers and body that it
// got, as JSON, and remembers them.
type mirror struct {
	mu   sync.Mutex
	seen []string
}

func (u *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/events" { // go on until they are cut
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	body, _ := io.ReadAll(r.Body)
	raw, _ := json.Marshal(map[string]any{"host": r.Host, "path": r.URL.RequestURI(), "headers": r.Header, "body": string(body)})
	u.mu.Lock()
	u.seen = append(u.seen, string(raw))
	u.mu.Unlock()
	if r.Header.Get("Upgrade") != "" { // say the same over another protocol
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n%s", r.Header.Get("Upgrade"), base64.StdEncoding.EncodeToString(key[:]), raw)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

func (u *mirror) got() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}

// writePair writes a key and a certificate for every localhost name.
func writePair(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "*.localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A step is one answer that a person's browser got.
type step struct {
	method string
	url    *url.URL
	status int
	header http.Header
}

// trail is a transport that remembers each step.
type trail struct {
	*http.Transport
	mu    sync.Mutex
	steps []step
}

func (t *trail) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		t.mu.Lock()
		t.steps = append(t.steps, step{r.Method, r.URL, resp.StatusCode, resp.Header.Clone()})
		t.mu.Unlock()
	}
	return resp, err
}

func (t *trail) all() []step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.steps)
}

// person is world.person, with a trail, for https too.
func (l *lab) person() *person {
	p := l.world.person()
	tr, ok := p.client.Transport.(*http.Transport)
	if !ok {
		l.t.Fatal("a person's transport is wrapped already")
	}
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the certificate is the lab's own
	p.trail = &trail{Transport: tr}
	p.client.Transport = p.trail
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hangUp = append(l.hangUp, tr.CloseIdleConnections)
	return p
}

// stay ends the following of redirects at an address that contains what.
func (p *person) stay(what string) *person {
	p.client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if what != "" && strings.Contains(r.URL.String(), what) {
			return http.ErrUseLastResponse
		}
		if len(via) > 20 {
			return fmt.Errorf("more than 20 redirects")
		}
		return nil
	}
	return p
}

// An answer is what an identity provider gave a browser to bring to us.
type answer struct {
	url  string
	form url.Values // nil: by GET
}

// with is the answer with a parameter changed; none: taken out.
func (a answer) with(name string, values ...string) answer {
	change := func(v url.Values) {
		if delete(v, name); len(values) > 0 {
			v[name] = values
		}
	}
	if a.form != nil {
		a.form = maps.Clone(a.form)
		change(a.form)
		return a
	}
	u, _ := url.Parse(a.url)
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	a.url = u.String()
	return a
}

// fetch goes for an address, signs in at a provider, and comes back with its
// answer, not handed in.
func (p *person) fetch(address, provider, user string) answer {
	p.w.t.Helper()
	p.open(address)
	if strings.Contains(p.body, "idp="+provider) {
		p.click("idp=" + provider)
	}
	return p.answer(user)
}

// answer chooses a user on the identity provider's page in front.
func (p *person) answer(user string) answer {
	p.w.t.Helper()
	defer p.stay("")
	p.stay("/.gatehouse/").post(url.Values{"user": {user}})
	if to := p.header.Get("Location"); to != "" {
		return answer{url: to}
	}
	var a answer
	walk(p.doc, func(n *html.Node) bool {
		switch {
		case n.Data == "form":
			a = answer{attr(n, "action"), url.Values{}}
		case n.Data == "input" && a.form != nil && attr(n, "name") != "":
			a.form.Set(attr(n, "name"), attr(n, "value"))
		}
		return true
	})
	if a.form == nil {
		p.w.t.Fatalf("there is no answer on the page at %s (%d):\n%s", p.url, p.status, p.body)
	}
	return a
}

// bring hands an answer in, as the browser would.
func (p *person) bring(a answer) *person {
	p.w.t.Helper()
	if a.form == nil {
		return p.do(http.MethodGet, a.url, nil)
	}
	return p.do(http.MethodPost, a.url, a.form)
}

// signedIn is whether the wiki lets this browser in as user.
func (p *person) signedIn(host, user string) bool {
	p.w.t.Helper()
	p.stay("/.gatehouse/").do(http.MethodGet, p.home(host), nil)
	p.stay("")
	return p.status == http.StatusOK && strings.Contains(p.body, `"X-Forwarded-User":["`+user+`"]`)
}

// home is the front page of a host, in the scheme of the last page.
func (p *person) home(host string) string {
	to := p.w.at(host, "/")
	if p.url != nil && p.url.Scheme == "https" {
		to = strings.Replace(to, "http:", "https:", 1)
	}
	return to
}

// rows counts what is stored, by table; not the indexes. What is stored behind is
// stored before.
func (l *lab) rows() map[string]int {
	l.t.Helper()
	l.p.site.Load().sessions.Flush(l.t.Context())
	n := map[string]int{}
	err := l.p.store.View(l.t.Context(), func(tx store.Tx) error {
		for pair, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			if parts, err := store.Parts(pair.Key); err == nil && len(parts) > 1 && parts[1] == "r" {
				n[parts[0]]++
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// recorded are the audit events so far, the oldest first, once everything that
// was recorded is written.
func (l *lab) recorded() []audit.Event {
	l.t.Helper()
	mark := fmt.Sprint("mark ", l.clock.now().UnixNano())
	l.p.recorder.Record(audit.Event{Kind: "test.mark", Text: mark})
	var list []audit.Event
	eventually(l.t, "audit events are written", func() bool {
		list = nil
		done := false
		for e, err := range audit.Events(l.t.Context(), l.p.store, audit.Query{Limit: 1 << 20}) {
			if err != nil {
				l.t.Fatal(err)
			}
			done = done || e.Text == mark
			if e.Kind != "test.mark" {
				list = append(list, e)
			}
		}
		return done
	})
	slices.Reverse(list)
	return list
}

// eventually waits for what happens in the background; how long it takes
// decides nothing.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it never came true that %s", what)
}

// keeps are the tables that a refused sign-in leaves as they are.
var keeps = []string{"user", "link", "task", "account", "group", "member", "session", "session_key", "tombstone"}

// refused runs what must be refused: a 4xx, no session cookie, no user, link,
// task or session more or less, exactly one audit event, which has the code;
// and somebody who behaves signs in afterwards.
func (l *lab) refused(code string, p *person, act func()) {
	l.t.Helper()
	quiet := func() (rows map[string]int) {
		eventually(l.t, "no work waits", func() bool { rows = l.rows(); return rows["task"] == 0 })
		return rows
	}
	before := quiet()
	events, steps := len(l.recorded()), len(p.trail.all())
	act()
	after := quiet()
	if p.status < 400 || p.status > 499 {
		l.t.Errorf("%s: status %d at %s", code, p.status, p.url)
	}
	for _, s := range p.trail.all()[steps:] {
		if v := sessionCookie(s.header); v != "" {
			l.t.Errorf("%s: %s %s set a session cookie", code, s.method, s.url)
		}
	}
	var codes []string
	for _, e := range l.recorded()[events:] {
		codes = append(codes, e.Code)
	}
	if diff := cmp.Diff([]string{code}, codes); diff != "" {
		l.t.Errorf("audit events (-want +got):\n%s", diff)
	}
	for _, table := range keeps {
		if before[table] != after[table] {
			l.t.Errorf("%s: %d rows of %s before, %d after", code, before[table], table, after[table])
		}
	}
	if !strings.Contains(p.body, code) && p.status != http.StatusMethodNotAllowed {
		l.t.Errorf("%s is not on the page:\n%s", code, p.body)
	}
}

// behaves is the positive control: alice and dana sign in.
func (l *lab) behaves() {
	l.t.Helper()
	for provider, user := range map[string]string{"campus": "alice", "partner": "partners/dana"} {
		p := l.person()
		name := user[strings.LastIndex(user, "/")+1:]
		if p.open(l.at("wiki", "/")).signIn(provider, name).wants(http.StatusOK); !p.signedIn("wiki", user) {
			l.t.Errorf("%s can not sign in at %s: %d %s", user, provider, p.status, p.body)
		}
	}
}

// sessionCookie is the value of a session cookie that an answer sets; empty if
// it sets none or takes it away.
func sessionCookie(h http.Header) string {
	for _, ck := range (&http.Response{Header: h}).Cookies() {
		if isSessionCookie(ck.Name) && ck.MaxAge >= 0 {
			return ck.Value
		}
	}
	return ""
}

// isSessionCookie: gatehouse-8080 or __Host-gatehouse.
func isSessionCookie(name string) bool {
	rest := strings.TrimPrefix(name, "gatehouse-")
	return name == session.Cookie{}.Name("") || rest != name && strings.Trim(rest, "0123456789") == ""
}

// jar sets a cookie for a host of the gateway in a person's browser.
func (p *person) setCookie(address string, cookies ...*http.Cookie) {
	u, err := url.Parse(address)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.client.Jar.SetCookies(u, cookies)
}

// sessionAt is the session cookie that a browser has for an address.
func (p *person) sessionAt(address string) *http.Cookie {
	p.w.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for _, ck := range p.client.Jar.Cookies(u) {
		if isSessionCookie(ck.Name) {
			return ck
		}
	}
	p.w.t.Fatalf("there is no session cookie for %s", address)
	return nil
}

// admin asks the API of the verbs, as they do.
func (l *lab) admin(method, path string, q url.Values, v any) {
	l.t.Helper()
	w := httptest.NewRecorder()
	newAPI(l.p, l.p.site.Load()).ServeHTTP(w, httptest.NewRequest(method, "/v1/"+path+"?"+q.Encode(), nil))
	if w.Code != http.StatusOK {
		l.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if v != nil {
		if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
			l.t.Fatal(err)
		}
	}
}

func mustDecode(t testing.TB, b64 string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func encodeBase64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decodeJSON(t testing.TB, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// tokenOf are the claims of a JWT. That its signature is good is tested elsewhere.
func tokenOf(t testing.TB, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", jwt)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	decodeJSON(t, string(raw), &claims)
	return claims
}
