package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A running gateway with its identity providers, which run in this process.
type running struct {
	program          string
	cmd              *exec.Cmd
	dir              string
	address, appHost string
	public, app      string
	providers        *providers
}

const config = `version: 1
server:
  listen: %[1]s
  public_url: http://localhost:%[2]s
  admin_listen: %[3]s
%[7]sstore: bolt:./gatehouse.db
limits: { requests_per_address: 1000000, sign_ins_per_person: 1000000 }
identity_providers:
  - id: op
    title: OpenID
    oidc: { issuer: "http://%[4]s", client_id: bench, client_secret: { file: secret } }
    attributes: { mail: email, display_name: name, given_name: given_name, family_name: family_name, groups: groups }
    provisioning: { mode: async, user_name: preferred_username }
  - id: idp
    title: SAML
    saml: { metadata: { url: "http://%[5]s/metadata" } }
    attributes: { mail: mail, display_name: displayName, groups: isMemberOf }
    provisioning: { mode: async, user_store: partners, user_name: 'claims.eduPersonPrincipalName[0].split("@")[0]' }
user_stores: [ { id: primary }, { id: partners } ]
roles:
  - { id: staff, from: { groups: [staff] } }
services:
  - id: app
    title: Application
    host: app.localhost
    upstream: http://%[6]s
    access:
      - { id: staff, text: For staff., allow: { roles: [staff] } }
      - { id: no-admin, text: Not from here., paths: [/admin/*], deny: { anyone: true } }
      - { id: readers, text: For readers., methods: [GET], allow: { groups: [readers] } }
    release: [ { attribute: user_name }, { attribute: mail }, { attribute: groups }, { attribute: display_name } ]
  # With one provider, so that nobody chooses.
  - { id: sole, host: sole.localhost, upstream: "http://%[6]s", identity_provider: op, access: [ { id: staff, allow: { roles: [staff] } } ], release: [ { attribute: user_name } ] }
  - { id: open, host: open.localhost, upstream: "http://%[6]s", access: [ { id: all, allow: { anyone: true } } ] }
outbound: { allow: [127.0.0.0/8] }
`

// startGateway starts the program with a configuration of two identity
// providers that know n people; more are lines of its server.
func startGateway(ctx context.Context, program, upstream, more string, n int) (*running, error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, err
	}
	front, admin, err := twoPorts()
	if err != nil {
		return nil, err
	}
	return startIn(ctx, dir, program, upstream, more, front, admin, n)
}

// startIn is startGateway in a folder, which is removed when it stops, and at these
// addresses.
func startIn(ctx context.Context, dir, program, upstream, more, front, admin string, n int) (g *running, err error) {
	g = &running{program: program, dir: dir}
	_, port, _ := net.SplitHostPort(front)
	g.address, g.public = front, "http://localhost:"+port
	g.appHost = "app.localhost:" + port
	g.app = "http://" + g.appHost

	if g.providers, err = startProviders(persons(n), g.public+"/.gatehouse/oidc/op/callback"); err != nil {
		return nil, err
	}
	files := map[string]string{
		"gatehouse.yaml": fmt.Sprintf(config, front, port, admin, g.providers.op, g.providers.idp, upstream, more),
		"secret":         "bench-secret",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	g.cmd = pinned(ctx, measured, program, "run", "-c", filepath.Join(dir, "gatehouse.yaml"))
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	g.cmd.Stderr = logFile
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		resp, err := http.Get(g.public + "/.gatehouse/saml/idp/metadata")
		if err == nil {
			doc, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return g, g.providers.saml.Trust(doc)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(filepath.Join(dir, "log"))
	g.stop()
	return nil, fmt.Errorf("the gateway did not start:\n%s", said)
}

func twoPorts() (a, b string, err error) {
	var got [2]string
	for i := range got {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer ln.Close()
		got[i] = ln.Addr().String()
	}
	return got[0], got[1], nil
}

func (g *running) stop() {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	_ = g.cmd.Wait() // it ends by a signal
	g.providers.stop()
	_ = os.RemoveAll(g.dir)
}

// side is the gateway with somebody signed in.
func (g *running) side(ctx context.Context, name string) (side, error) {
	b := newBrowser(g)
	if err := b.signIn(ctx, g.app+"/1k", "op", "u0"); err != nil {
		return side{}, err
	}
	cookie, err := b.cookies(g.app)
	return side{name: name, pid: g.cmd.Process.Pid, address: g.address, host: g.appHost, header: http.Header{"Cookie": {cookie}}, seen: "u0 true"}, err
}

// anyone is the gateway with nobody, at a service for anyone.
func (g *running) anyone(name string) side {
	return side{name: name, pid: g.cmd.Process.Pid, address: g.address, host: strings.Replace(g.appHost, "app.", "open.", 1), seen: "nobody false"}
}

// A browser signs somebody in.
type browser struct {
	g *running
	c *http.Client
}

func newBrowser(g *running) *browser {
	jar, _ := cookiejar.New(nil) // without options it can not fail
	return &browser{g, &http.Client{Jar: jar, Transport: loopback, Timeout: time.Minute}}
}

// loopback finds every *.localhost name on this machine, as browsers do.
var loopback = &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}}

// page is what stands in front of the browser.
type page struct {
	at     *url.URL
	status int
	body   string
	seen   string
}

func (b *browser) fetch(ctx context.Context, method, to string, form url.Values) (page, error) {
	var in io.Reader
	if form != nil {
		in = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, to, in)
	if err != nil {
		return page{}, err
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.c.Do(r)
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return page{resp.Request.URL, resp.StatusCode, string(raw), resp.Header.Get("X-Seen")}, err
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	formField  = regexp.MustCompile(`<input[^>]*name="([^"]*)"[^>]*value="([^"]*)"`)
)

// send posts the form on a page with these fields besides its hidden ones.
func (b *browser) send(ctx context.Context, p page, with url.Values) (page, error) {
	m := formAction.FindStringSubmatch(p.body)
	if m == nil {
		return page{}, fmt.Errorf("%w: %s (%d)", errNoForm, p.at, p.status)
	}
	to, err := p.at.Parse(html.UnescapeString(m[1]))
	if err != nil {
		return page{}, err
	}
	form := url.Values{}
	for _, f := range formField.FindAllStringSubmatch(p.body, -1) {
		form.Set(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	for k, v := range with {
		form[k] = v
	}
	return b.fetch(ctx, http.MethodPost, to.String(), form)
}

// signIn opens a page of a service, chooses a provider, if there are several, and a
// person there, and comes back; that the service was told the right name is checked.
func (b *browser) signIn(ctx context.Context, service, provider, user string) error {
	p, err := b.fetch(ctx, http.MethodGet, service, nil)
	if err != nil {
		return err
	}
	if p.at.Path == "/.gatehouse/login" {
		q := p.at.Query()
		q.Set("idp", provider)
		p.at.RawQuery = q.Encode()
		if p, err = b.fetch(ctx, http.MethodGet, p.at.String(), nil); err != nil {
			return err
		}
	}
	if p, err = b.send(ctx, p, url.Values{"user": {user}}); err != nil {
		return err
	}
	if strings.Contains(p.body, `name="SAMLResponse"`) {
		if p, err = b.send(ctx, p, nil); err != nil {
			return err
		}
	}
	want := user + " true"
	if provider == "idp" {
		want = "partners/" + want
	}
	if p.status != http.StatusOK || p.seen != want {
		return fmt.Errorf("sign-in of %s at %s ended at %s with status %d, the service saw %q", user, provider, p.at, p.status, p.seen)
	}
	return nil
}

// cookies are what the browser sends to an address.
func (b *browser) cookies(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, c := range b.c.Jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; "), nil
}
