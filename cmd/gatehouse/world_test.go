package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// A world is a whole demo, running in this process on ports of its own: the
// real gateway, identity providers, services and target.
type world struct {
	t    testing.TB
	port int
	dir  string
	p    *process
	stop func()
	log  *buffer
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newWorld starts a demo and stops it when the test ends.
func newWorld(t testing.TB) *world {
	t.Helper()
	return startWorld(t, shortDir(t), porttest.Free(t, 4))
}

func startWorld(t testing.TB, dir string, port int) *world {
	t.Helper()
	w := &world{t: t, dir: dir, port: port, log: &buffer{}}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan *process, 1), make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		done <- demo(ctx, io.Discard, w.port, w.dir, launch{log: log, pair: func(string) ([]byte, error) { return samlPair() }, ready: func(p *process) { ready <- p }})
	}()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("demo: %v", err)
			}
		})
	}
	t.Cleanup(w.stop)
	select {
	case w.p = <-ready:
		begun(t, w.p)
	case err := <-done:
		done <- nil
		t.Fatalf("the demo did not start: %v\n%s", err, w.log)
	}
	if testing.Verbose() || os.Getenv("GATEHOUSE_LOG") != "" {
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(w.log.String())
			}
		})
	}
	return w
}

// at is the address of a host of the gateway: "", "wiki", "payroll".
func (w *world) at(host, path string) string {
	if host != "" {
		host += "."
	}
	return fmt.Sprintf("http://%slocalhost:%d%s", host, w.port, path)
}

// A person is a browser with its cookies. It follows redirects, and knows the
// page in front of it.
type person struct {
	w      *world
	client *http.Client
	status int
	url    *url.URL
	header http.Header
	body   string
	doc    *html.Node
	trail  *trail // of a lab's person
}

func (w *world) person() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	tr := localTransport()
	w.t.Cleanup(tr.CloseIdleConnections)
	return &person{w: w, client: &http.Client{Jar: jar, Transport: tr, Timeout: 60 * time.Second}}
}

// localTransport finds every *.localhost name on this machine, as browsers do.
func localTransport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
}

func (p *person) do(method, to string, form url.Values) *person {
	p.w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, to, body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if p.url != nil {
			r.Header.Set("Origin", p.url.Scheme+"://"+p.url.Host)
		}
	}
	return p.send(r)
}

func (p *person) send(r *http.Request) *person {
	p.w.t.Helper()
	resp, err := p.client.Do(r)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.status, p.url, p.header, p.body = resp.StatusCode, resp.Request.URL, resp.Header, string(raw)
	if p.doc, err = html.Parse(strings.NewReader(p.body)); err != nil {
		p.w.t.Fatal(err)
	}
	return p
}

// open goes to an address. A page that waits is waited for, as its Refresh
// header says; a form that posts itself is posted.
func (p *person) open(to string) *person {
	p.w.t.Helper()
	return p.do(http.MethodGet, to, nil).settle()
}

func (p *person) settle() *person {
	p.w.t.Helper()
	for range 30 {
		switch {
		case p.header.Get("Refresh") != "":
			to := p.url
			if _, next, ok := strings.Cut(p.header.Get("Refresh"), "url="); ok {
				to, _ = p.url.Parse(next)
			}
			if !strings.HasPrefix(p.header.Get("Refresh"), "0") {
				time.Sleep(200 * time.Millisecond)
			}
			p.do(http.MethodGet, to.String(), nil)
		case strings.Contains(p.body, `name="SAML`) && !strings.Contains(p.body, `name="user"`):
			p.post(nil)
		default:
			return p
		}
	}
	p.w.t.Fatalf("the page at %s never came to rest", p.url)
	return nil
}

// click follows the first link whose address or text contains what is given.
func (p *person) click(what string) *person {
	p.w.t.Helper()
	var to string
	walk(p.doc, func(n *html.Node) bool {
		if n.Data == "a" && (strings.Contains(attr(n, "href"), what) || strings.Contains(text(n), what)) {
			to = attr(n, "href")
		}
		return to == ""
	})
	if to == "" {
		p.w.t.Fatalf("no link %q on the page at %s:\n%s", what, p.url, p.body)
	}
	u, err := p.url.Parse(to)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return p.open(u.String())
}

// submit sends the first form, with these values instead of its own.
func (p *person) submit(with url.Values) *person {
	p.w.t.Helper()
	return p.post(with).settle()
}

func (p *person) post(with url.Values) *person {
	p.w.t.Helper()
	action, method, fields, found := "", "", url.Values{}, false
	walk(p.doc, func(n *html.Node) bool {
		if n.Data == "form" && !found {
			found, action, method = true, attr(n, "action"), attr(n, "method")
			walk(n, func(c *html.Node) bool {
				if c.Data == "input" && attr(c, "name") != "" {
					fields.Set(attr(c, "name"), attr(c, "value"))
				}
				return true
			})
		}
		return !found
	})
	if !found {
		p.w.t.Fatalf("no form on the page at %s (%d):\n%s", p.url, p.status, p.body)
	}
	for k, v := range with {
		fields[k] = v
	}
	u, err := p.url.Parse(action)
	if err != nil {
		p.w.t.Fatal(err)
	}
	if strings.EqualFold(method, "get") {
		u.RawQuery = fields.Encode()
		return p.do(http.MethodGet, u.String(), nil)
	}
	return p.do(http.MethodPost, u.String(), fields)
}

// signIn chooses an identity provider on the page in front, and a person there.
func (p *person) signIn(provider, user string) *person {
	p.w.t.Helper()
	if strings.Contains(p.body, "idp="+provider) {
		p.click("idp=" + provider)
	}
	return p.submit(url.Values{"user": {user}})
}

func (p *person) wants(status int, parts ...string) *person {
	p.w.t.Helper()
	if p.status != status {
		p.w.t.Fatalf("%s: status %d, want %d:\n%s", p.url, p.status, status, p.body)
	}
	for _, part := range parts {
		if !strings.Contains(p.body, part) {
			p.w.t.Fatalf("%s: %q is not on the page:\n%s", p.url, part, p.body)
		}
	}
	return p
}

func walk(n *html.Node, fn func(*html.Node) bool) bool {
	if n.Type == html.ElementNode && !fn(n) {
		return false
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if !walk(c, fn) {
			return false
		}
	}
	return true
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(n)
	return b.String()
}
