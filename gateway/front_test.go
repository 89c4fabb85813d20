package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/loop"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	"github.com/gatehouse-sso/gatehouse/web"
)

// A front is a gateway on a port of its own, over a real store, with services
// behind it that record what reaches them:
//
//	wiki.test     /public for anyone, /admin for the group admins, else everybody signed in
//	payroll.test  for the group fin
//	open.test     for anyone
//	raw.test      for anyone; its upstream writes what a test tells it to
type front struct {
	t        testing.TB
	g        *Gateway
	c        Config
	dir      *provisioning.Directory
	sessions *session.Store
	st       *counted
	keys     *Keys
	streams  *Streams
	echo     *echo
	rawUp    atomic.Pointer[func(net.Conn, *http.Request)]
	addr     string
	port     string
	tls      *tls.Config // of clients; nil: plain
	server   *loop.Server
	offset   atomic.Int64          // of the clock
	signed   atomic.Int64          // tokens
	target   atomic.Pointer[error] // what the tasks of the target crm say
	stop     func()

	mu     sync.Mutex
	events []audit.Event
}

func (f *front) now() time.Time { return time.Now().Add(time.Duration(f.offset.Load())) }

// counted counts transactions. While hung is there, no write ends; fails says for what
// error the next one comes to nothing.
type counted struct {
	store.Store
	views, updates atomic.Int64
	hung           atomic.Pointer[chan struct{}]
	fails          atomic.Pointer[func() error]
}

func (c *counted) View(ctx context.Context, fn func(store.Tx) error) error {
	c.views.Add(1)
	return c.Store.View(ctx, fn)
}

func (c *counted) Update(ctx context.Context, fn func(store.Tx) error) error {
	c.updates.Add(1)
	if hung := c.hung.Load(); hung != nil {
		<-*hung
	}
	fails := c.fails.Load()
	if fails == nil {
		return c.Store.Update(ctx, fn)
	}
	var failed error
	if err := c.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		failed = (*fails)()
		return failed
	}); failed == nil {
		return err
	}
	return failed
}

// failAfter lets so many updates happen, and no more.
func (c *counted) failAfter(works int) {
	full := errors.New("the disk is full")
	fails := func() error {
		if works == 0 {
			return full
		}
		works--
		return nil
	}
	c.fails.Store(&fails)
}

type countedSigner struct {
	jose.Signer
	n *atomic.Int64
}

func (s countedSigner) Sign(payload []byte) (*jose.JSONWebSignature, error) {
	s.n.Add(1)
	return s.Signer.Sign(payload)
}

func any1() *authz.Match { return &authz.Match{Anyone: true} }

// rulesOf the services of a front.
func rulesOf() []authz.ServiceRules {
	return []authz.ServiceRules{
		{ID: "wiki", Rules: []authz.Rule{
			{ID: "public", Paths: []string{"/public", "/public/*"}, Allow: any1()},
			{ID: "everyone", Allow: &authz.Match{SignedIn: true}},
			{ID: "admins", Text: "This part is for administrators.", Paths: []string{"/admin/*"}, Deny: &authz.Match{When: `!("admins" in user.groups)`}},
		}},
		{ID: "payroll", Rules: []authz.Rule{{ID: "fin", Text: "Payroll is for the finance office.", Allow: &authz.Match{Groups: []string{"fin"}}}}},
		{ID: "open", Rules: []authz.Rule{{ID: "all", Allow: any1()}}},
		{ID: "raw", Rules: []authz.Rule{{ID: "all", Allow: any1()}}},
	}
}

var released = []authz.ReleaseRule{
	{Attribute: "user_name"}, {Attribute: "mail"}, {Attribute: "groups"}, {Attribute: "display_name"},
}

// newFront starts one; change may alter its configuration first.
func newFront(t testing.TB, change ...func(*front, *Config)) *front {
	t.Helper()
	bolt, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, st: &counted{Store: bolt}, streams: &Streams{}, echo: newEcho(t)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	_, f.port, _ = net.SplitHostPort(f.addr)
	f.dir, err = provisioning.New(provisioning.Config{Store: f.st, UserStores: []string{"primary"}, Multi: map[string]bool{"mail": true}, Now: f.now})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := store.NewSealer(bytes.Repeat([]byte{7}, 32), "test")
	if err != nil {
		t.Fatal(err)
	}
	if f.keys, err = LoadKeys(t.Context(), f.st, sealer, time.Now); err != nil {
		t.Fatal(err)
	}
	signs := f.keys.ring.Load().sign
	signs[0].signer = countedSigner{signs[0].signer, &f.signed}
	pages, err := web.New(web.Brand{LanguageURL: "/.gatehouse/language"})
	if err != nil {
		t.Fatal(err)
	}
	policy, mistakes := authz.Compile(nil, rulesOf())
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	by := map[string][]authz.ReleaseRule{}
	for _, id := range []string{"wiki", "payroll", "open", "raw"} {
		by["service:"+id] = released
	}
	release, mistakes := authz.CompileRelease(by)
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	rawURL := f.startRaw()
	transport := upstream.Transport(nil)
	f.c = Config{
		Public: &url.URL{Scheme: "http", Host: "gate.test:" + f.port},
		Services: []Service{
			{ID: "wiki", Title: "Wiki", Host: "wiki.test", Upstream: f.echo.url, Headers: Presets["default"]},
			{ID: "payroll", Title: "Payroll", Host: "payroll.test", Upstream: f.echo.url, Headers: Presets["remote-user"]},
			{ID: "open", Title: "Open", Host: "open.test", Upstream: f.echo.url, Headers: Presets["default"]},
			{ID: "raw", Title: "Raw", Host: "raw.test", Upstream: rawURL, Headers: Presets["default"]},
		},
		Providers: []Provider{{ID: "campus", Title: "Campus", Callback: "oidc/campus/callback"}, {ID: "partner", Title: "Partner", Callback: "oidc/partner/callback"}},
		Policy:    policy, Release: release, Directory: f.dir, Keys: f.keys, Pages: pages, Streams: f.streams,
		Record: func(e audit.Event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		},
		Transport: transport, Lean: upstream.Lean(nil), Now: f.now, Log: slog.New(slog.DiscardHandler), Contact: "help@test",
	}
	for _, fn := range change {
		fn(f, &f.c)
	}
	f.c.Cookie = session.Cookie{Insecure: f.c.Public.Scheme == "http", Port: f.port}
	f.sessions = session.New(session.Config{
		Store: f.st, Cookie: f.c.Cookie, PerUser: 100, Now: f.now,
		Ended: func(id string) {
			if g := f.streams.judge.Load(); g != nil {
				g.Recheck(id, "")
			}
		},
	})
	f.c.Sessions = f.sessions
	// One target, whose tasks do what a test says.
	runner := task.NewRunner(task.Config{Store: f.st, Handlers: map[string]task.Handler{outbox.Kind: func(context.Context, string) error {
		if err := f.target.Load(); err != nil {
			return *err
		}
		return nil
	}}})
	f.c.Outbox = outbox.New(outbox.Config{Store: f.st, Directory: f.dir, Roles: f.c.Policy.Roles, Run: runner.Now, Targets: []outbox.Target{{ID: "crm", Title: "The CRM", Wait: true}}})
	t.Cleanup(func() { f.c.Outbox.Close() })
	if f.g, err = New(f.c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.sessions.Run(ctx) })
	wg.Go(func() { f.g.Run(ctx) })
	f.server = Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.streams.judge.Load().ServeHTTP(w, r) }), 32<<10, f.c.Log)
	f.server.InClear = func(nc net.Conn) bool { return f.streams.judge.Load().AsksInClear(nc.RemoteAddr()) }
	if f.tls != nil {
		f.server.TLSConfig = serverTLS(t, f.tls)
	}
	wg.Go(func() {
		if f.tls != nil {
			_ = f.server.ServeTLS(ln, "", "")
		} else {
			_ = f.server.Serve(ln)
		}
	})
	var once sync.Once
	f.stop = func() {
		once.Do(func() {
			_ = f.server.Close()
			cancel()
			wg.Wait()
			transport.CloseIdleConnections()
			_ = bolt.Close()
		})
	}
	t.Cleanup(f.stop)
	eventually(t, "the gateway learns of changes", func() bool {
		return f.g.people.live.Load()
	})
	return f
}

// overTLS makes a front speak TLS, HTTP/1 and HTTP/2.
func overTLS(f *front, c *Config) {
	c.Public.Scheme = "https"
	f.tls = &tls.Config{}
}

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// serverTLS makes a certificate for *.test, that client trusts from then on.
func serverTLS(t testing.TB, client *tls.Config) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		DNSNames:  []string{"gate.test", "wiki.test", "payroll.test", "open.test", "raw.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs = x509.NewCertPool()
	client.RootCAs.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"}}
}

// at is a host of the front as a browser names it: "wiki" → "wiki.test:1234".
func (f *front) at(host string) string { return host + ".test:" + f.port }

// A guest is a person with a session.
type guest struct {
	f       *front
	user    provisioning.User
	session string
	mu      sync.Mutex
	keys    map[string]string
}

// guest makes a user who is in these groups and signs them in, without an
// identity provider.
func (f *front) guest(name string, groups ...string) *guest {
	f.t.Helper()
	u := provisioning.User{Store: "primary", UserName: name, Active: true}
	u.Say(provisioning.Admin, "mail", name+"@test")
	if len(groups) > 0 {
		u.Say(provisioning.Admin, "groups", groups...)
	}
	made, _, err := f.dir.Create(f.t.Context(), u, provisioning.Admin)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.signIn(made, session.Session{Provider: "campus", AuthTime: f.now()})
}

func (f *front) signIn(u provisioning.User, row session.Session) *guest {
	f.t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	gs, err := f.sessions.New(r, "gate.test")
	if err != nil {
		f.t.Fatal(err)
	}
	row.UserID = u.ID
	session.Sign(gs, session.Row{Session: row})
	if err := f.sessions.Save(r, w, gs); err != nil {
		f.t.Fatal(err)
	}
	return &guest{f: f, user: u, session: gs.ID, keys: map[string]string{"gate": w.Result().Cookies()[0].Value}}
}

// cookie is the Cookie header line of a guest at a host; of nobody it is empty.
func (p *guest) cookie(host string) string {
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys[host] == "" {
		browser := session.Nonce()
		ticket, err := p.f.sessions.Offer(p.f.t.Context(), p.session, host+".test", session.Binding(browser))
		if err != nil {
			p.f.t.Fatal(err)
		}
		secret, err := p.f.sessions.Redeem(p.f.t.Context(), ticket, host+".test", browser)
		if err != nil {
			p.f.t.Fatal(err)
		}
		p.keys[host] = secret
	}
	return "Cookie: " + p.f.c.Cookie.Name("") + "=" + p.keys[host] + "\r\n"
}

func (p *guest) name() string {
	if p == nil {
		return "nobody"
	}
	return p.user.UserName
}

// change alters the user, as an administrator.
func (p *guest) change(fn func(*provisioning.User)) {
	p.f.t.Helper()
	if _, _, err := p.f.dir.Change(p.f.t.Context(), p.user.ID, provisioning.Admin, func(u *provisioning.User) error { fn(u); return nil }); err != nil {
		p.f.t.Fatal(err)
	}
}

func (p *guest) end() {
	p.f.t.Helper()
	if err := p.f.sessions.End(p.f.t.Context(), p.session, session.ReasonAdmin); err != nil {
		p.f.t.Fatal(err)
	}
}

// An answer is what came back for one request.
type answer struct {
	*http.Response
	body string
}

// code is the reason code that a program is told.
func (a answer) code() string {
	var p problem
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

// seen is what the echo says it got.
func (a answer) seen() seen {
	var s seen
	_ = json.Unmarshal([]byte(a.body), &s)
	return s
}

func (f *front) dial(host string) net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.tls != nil {
		tc := f.tls.Clone()
		tc.ServerName = host + ".test"
		c = tls.Client(c, tc)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // so that a test that would hang fails
	return c
}

// raw sends bytes over one connection and reads the one answer.
func (f *front) raw(request string) answer {
	f.t.Helper()
	return f.rawAt("wiki", request)
}

// rawAt is raw at a host, which over TLS is said before the request.
func (f *front) rawAt(host, request string) answer {
	f.t.Helper()
	a, err := f.tryRaw(host, request)
	if err != nil {
		f.t.Fatalf("%.200q: %v", request, err)
	}
	return a
}

func (f *front) tryRaw(sni, request string) (answer, error) {
	c := f.dial(sni)
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }() // an answer may come before all is sent
	return readAnswer(bufio.NewReader(c), request)
}

func readAnswer(br *bufio.Reader, request string) (answer, error) {
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(br, &http.Request{Method: method})
	}
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body)}, err
}

// post is a form for the gateway's own host, from a page of a host, with more header lines.
func (f *front) post(origin, path, form, lines string) answer {
	f.t.Helper()
	return f.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nAccept: text/html\r\n%s"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", path, f.at("gate"), f.at(origin), lines, len(form), form))
}

// ask sends a request as a guest, or as nobody, with more header lines.
func (f *front) ask(p *guest, method, host, target string, lines ...string) answer {
	f.t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, target, f.at(host), p.cookie(host))
	for _, l := range lines {
		head += l + "\r\n"
	}
	return f.rawAt(host, head+"\r\n")
}

// refused asserts a refusal: its status and code, that it is in the audit log,
// and that nothing reached a service meanwhile.
func (f *front) refused(a answer, status int, code string) {
	f.t.Helper()
	if a.StatusCode != status || a.code() != code {
		f.t.Errorf("got %d %q, want %d %q: %.300s", a.StatusCode, a.code(), status, code, a.body)
	}
}

// passed asserts that the service answered, and returns what it got.
func (f *front) passed(a answer) seen {
	f.t.Helper()
	if a.StatusCode != http.StatusOK || a.seen().Method == "" {
		f.t.Fatalf("got %d, not an answer of the service: %.300s", a.StatusCode, a.body)
	}
	return a.seen()
}

func (f *front) recorded(code string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Code == code {
			n++
		}
	}
	return n
}

// seen is one request as a service got it.
type seen struct {
	Method, URI, Host, Proto string
	Header, Trailer          http.Header
	Length                   int64
	Body                     string
	Broken                   bool // the body did not come whole
}

// An echo is a service: it says what it got, and keeps every byte of it.
type echo struct {
	url *url.URL
	srv *httptest.Server

	handler atomic.Pointer[http.HandlerFunc] // instead of saying what it got

	mu   sync.Mutex
	got  []seen
	wire bytes.Buffer
}

func newEcho(t testing.TB) *echo {
	e := &echo{}
	e.srv = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	e.srv.Config.DisableGeneralOptionsHandler = true
	e.srv.Listener = tapListener{e.srv.Listener, e}
	e.srv.Start()
	t.Cleanup(e.srv.Close)
	e.url, _ = url.Parse(e.srv.URL)
	return e
}

func (e *echo) serve(w http.ResponseWriter, r *http.Request) {
	h := e.handler.Load()
	if h == nil {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e.note(r))
		return
	}
	(*h)(w, r)
}

// note reads a request to its end and keeps it.
func (e *echo) note(r *http.Request) seen {
	body, err := io.ReadAll(r.Body)
	s := seen{r.Method, r.RequestURI, r.Host, r.Proto, r.Header, r.Trailer, r.ContentLength, string(body), err != nil}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got = append(e.got, s)
	return s
}

func (e *echo) does(h http.HandlerFunc) { e.handler.Store(&h) }

func (e *echo) all() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.got)
}

func (e *echo) count() int { return len(e.all()) }

// bytes are all that reached the service, over all connections.
func (e *echo) bytes() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wire.String()
}

type tapListener struct {
	net.Listener
	e *echo
}

func (l tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tap{c, l.e}, err
}

type tap struct {
	net.Conn
	e *echo
}

func (t tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.e.wire.Write(p[:n])
	return n, err
}

// startRaw starts the upstream of raw.test.
func (f *front) startRaw() *url.URL {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if fn := f.rawUp.Load(); err == nil && fn != nil {
					(*fn)(c, r)
				}
			})
		}
	})
	f.t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

// rawSays makes raw.test answer with these bytes and close the connection.
func (f *front) rawSays(reply string) {
	fn := func(c net.Conn, r *http.Request) {
		_, _ = io.WriteString(c, reply)
	}
	f.rawUp.Store(&fn)
}

// h2 sends a request over HTTP/2.
func (f *front) h2(t testing.TB, r *http.Request) answer {
	t.Helper()
	c := f.client()
	defer c.CloseIdleConnections()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("spoke %s", resp.Proto)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(body)}
}

// client is a client that finds every host at the front, and speaks HTTP/2
// where there is TLS.
func (f *front) client() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: f.tls, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100, DisableCompression: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, f.addr)
			},
		},
	}
}

// request is one for client, as a guest.
func (f *front) request(p *guest, method, host, target string, body io.Reader) *http.Request {
	f.t.Helper()
	r, err := http.NewRequest(method, f.c.Public.Scheme+"://"+f.at(host)+target, body)
	if err != nil {
		f.t.Fatal(err)
	}
	if k, v, ok := strings.Cut(strings.TrimSpace(p.cookie(host)), ": "); ok {
		r.Header.Set(k, v)
	}
	return r
}

func authzRelease(attr string, vals []string) authz.Release {
	return authz.Release{Sent: []authz.Released{{Attribute: attr, Name: attr, Values: vals}}}
}

// recorder is a ResponseWriter without a connection.
type recorder struct{ *httptest.ResponseRecorder }

func newRecorder() *recorder { return &recorder{httptest.NewRecorder()} }

func (r *recorder) answer() answer { return answer{r.Result(), r.Body.String()} }
