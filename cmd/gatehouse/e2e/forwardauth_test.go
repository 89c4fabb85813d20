//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// edges are real proxies before a gateway, each set up as its example says, but
// for the ports.
var edges = map[string]func(t *testing.T, dir string, rename *strings.Replacer) *exec.Cmd{
	"nginx": func(t *testing.T, dir string, rename *strings.Replacer) *exec.Cmd {
		for _, name := range []string{"nginx.conf", "gatehouse-question.conf", "gatehouse-wall.conf"} {
			write(t, dir, name, rename.Replace(example(t, name)))
		}
		return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", write(t, dir, "main.conf", fmt.Sprintf(`
daemon off; pid %[1]s/pid; error_log stderr notice; worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	include nginx.conf;
}`, dir)))
	},
	"caddy": func(t *testing.T, dir string, rename *strings.Replacer) *exec.Cmd {
		cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", rename.Replace(example(t, "Caddyfile"))))
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		return cmd
	},
	"haproxy": func(t *testing.T, dir string, rename *strings.Replacer) *exec.Cmd {
		write(t, dir, "gatehouse.lua", example(t, "gatehouse.lua"))
		cmd := exec.Command("haproxy", "-W", "-f", write(t, dir, "haproxy.cfg", rename.Replace(example(t, "haproxy.cfg"))))
		cmd.Dir = dir
		return cmd
	},
}

// listening is what each says once it takes requests.
var listening = map[string]string{"nginx": "start worker process ", "caddy": "serving initial configuration", "haproxy": "Loading success"}

func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../../configs/forward-auth", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// edge starts a gateway with a proxy before it; people reach both by the proxy.
// change may alter the example.
func edge(t *testing.T, kind string, change ...string) *gate {
	t.Helper()
	if _, err := exec.LookPath(kind); err != nil {
		t.Fatalf("%s is not there — `make e2e` installs what these tests need", kind)
	}
	dir, port := t.TempDir(), porttest.Free(t, 3)
	g := &gate{scheme: "http", domain: "localhost", port: port}
	_, issuer := campusOP(t, func(path string) string { return g.at("", path) })
	upstream := strings.TrimPrefix(service(t), "http://")
	config := fmt.Sprintf(`version: 1
server:
  listen: "127.0.0.1:%d"
  public_url: "http://localhost:%d"
  admin_listen: "127.0.0.1:%d"
  forward_auth: [ { id: edge, kind: %s, from: [127.0.0.0/8], probe: "http://127.0.0.1:%d", probe_every: 1s } ]
store: bolt:./gatehouse.db
outbound: { allow: [127.0.0.0/8] }
identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: %q, client_id: gatehouse, client_secret: { file: campus }, userinfo: true }
    attributes: { mail: email, groups: groups }
    provisioning: { mode: async }
services:
  - id: wiki
    title: Wiki
    host: wiki.localhost
    upstream: "http://%s"
    access:
      - { id: public, paths: ["/public/*"], allow: { anyone: true } }
      - { id: all, allow: { signed_in: true } }
      - { id: closed, text: This part is closed., paths: ["/closed/*"], deny: { signed_in: true } }
    release: [ user_name, mail, groups ]
  - id: open
    title: Open, at another proxy
    host: open.localhost
    upstream: "http://127.0.0.1:1"
    access: [ { id: all, allow: { anyone: true } } ]
`, port+1, port, port+2, kind, port, issuer, upstream)
	write(t, dir, "campus", "e2e")
	g.config = write(t, dir, "gatehouse.yaml", config)
	g.restart(t)
	examples := strings.NewReplacer(append(change, "gate.test", "localhost", "127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", port+1), "127.0.0.1:8081", upstream, "127.0.0.1:8000", fmt.Sprintf("127.0.0.1:%d", port), ":8000", fmt.Sprintf(":%d", port))...)
	start(t, listening[kind], edges[kind](t, dir, examples))
	return g
}

// readiness is what the gateway says of itself.
func (g *gate) readiness(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", g.port+2))
	if err != nil {
		t.Fatal(err)
	}
	return string(body(t, resp))
}

// alice signs in at the wiki, by the proxy, and returns her cookie there.
func (g *gate) alice(t *testing.T) string {
	t.Helper()
	p := newPerson(t, true)
	p.open(g.at("wiki", "/"))
	p.press("Alice Liddell")
	p.at(g.at("wiki", "/"))
	ck := p.cookies(g.at("wiki", "/"))[fmt.Sprintf("gatehouse-%d", g.port)]
	return ck.Name + "=" + ck.Value
}

func TestPeopleSignInBehindAProxyThatAsks(t *testing.T) {
	t.Parallel()
	for kind := range edges {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g, p := edge(t, kind), newPerson(t, true)
			p.open(g.at("wiki", "/report?x=1&y=%C3%A4"))
			p.press("Alice Liddell")
			p.at(g.at("wiki", "/report?x=1&y=%C3%A4"))
			e := p.received(g.at("wiki", "/headers"))
			e.header(t, "X-Forwarded-User", "alice")
			e.header(t, "X-Forwarded-Email", "alice@campus.example")
			e.header(t, "X-Forwarded-Groups", "fin,finance-approvers,staff")
			e.header(t, "Cookie", "")
			if e.Headers.Get("X-Gatehouse-Jwt") == "" {
				t.Error("no token")
			}
			p.open(g.at("wiki", "/closed/x"))
			if v := p.sees("This part is closed.", "signed in as alice"); v.Status != 403 {
				t.Errorf("the denial page has the status %d", v.Status)
			}
			p.open(g.at("", "/")) // the gateway's own host is its own
			p.sees("Wiki", "alice")
		})
	}
}

// What a client says about itself does not pass the proxy, whoever it is and
// wherever it goes, and what the gateway says does.
func TestP01_TheHeaderWallHoldsBehindAProxyThatAsks(t *testing.T) {
	t.Parallel()
	var names []string
	for line := range strings.Lines(example(t, "gatehouse-wall.conf")) {
		if name, ok := strings.CutPrefix(line, "proxy_set_header "); ok {
			name, _, _ = strings.Cut(name, " ")
			names = append(names, name)
		}
	}
	names = append(names, "X-Forwarded-User", "X-Forwarded-Preferred-Username", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Gatehouse-Jwt", "X-Gatehouse-Provisioned",
		"X_Forwarded_User", "X.Forwarded.User", "x-forwarded_user", "X_Gatehouse_Jwt", "Remote_User")
	if len(names) < 60 {
		t.Fatalf("only %d names", len(names))
	}
	for kind := range edges {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := edge(t, kind)
			cookie := g.alice(t)
			client := g.client()
			names := names
			if kind != "nginx" { // which knows whole names alone, and says so
				names = slices.Concat(names, []string{"X-Authelia-User", "X-Vouch-User", "X-Http-Method-Override", "Shib-Session-Id", "Oidc-Claim-Sub", "OIDC_CLAIM_email", "Oidc-Access-Token", "Ajp-Remote-User"})
			}
			sent, forged, missing := 0, 0, 0
			for _, who := range []struct{ cookie, path, user string }{{cookie, "/x", "alice"}, {"", "/public/x", ""}} {
				for _, name := range names {
					for _, value := range []string{"forged", "FORGED, forged"} {
						r, err := http.NewRequest("GET", g.at("wiki", who.path), nil)
						if err != nil {
							t.Fatal(err)
						}
						r.Header[name] = []string{value}
						if who.cookie != "" {
							r.Header.Set("Cookie", who.cookie)
						}
						resp, err := client.Do(r)
						if err != nil {
							t.Fatal(err)
						}
						raw, _ := io.ReadAll(resp.Body)
						resp.Body.Close()
						sent++
						if strings.Contains(strings.ToLower(string(raw)), "forged") {
							forged++
							t.Errorf("%s: %s reached the service: %s", kind, name, raw)
						}
						if resp.StatusCode != 200 || who.user != "" && !strings.Contains(string(raw), `"X-Forwarded-User":["`+who.user+`"]`) {
							missing++
							t.Errorf("%s: with %s the service did not learn who it is: %d %s", kind, name, resp.StatusCode, raw)
						}
					}
				}
			}
			t.Logf("%s: %d requests, %d forged, %d missing", kind, sent, forged, missing)
		})
	}
}

// What a client names in its Connection header goes away before the gateway speaks.
func TestP03_BehindAProxyThatAsksConnectionCanNotNameOurHeadersAway(t *testing.T) {
	t.Parallel()
	for kind := range edges {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := edge(t, kind)
			cookie := g.alice(t)
			for _, connection := range []string{"close", "close, X-Forwarded-User", "close, x-gatehouse-jwt , X-Forwarded-User", "X-Forwarded-User\r\nConnection: close"} {
				resp, text := g.raw(t, "GET /x HTTP/1.1\r\nHost: "+g.host("wiki")+"\r\nCookie: "+cookie+"\r\nConnection: "+connection+"\r\n\r\n")
				var e echoed
				if err := json.Unmarshal([]byte(text), &e); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%q: %d %s", connection, resp.StatusCode, text)
					continue
				}
				e.header(t, "X-Forwarded-User", "alice")
				if e.Headers.Get("X-Gatehouse-Jwt") == "" || strings.Contains(strings.ToLower(strings.Join(e.Headers["Connection"], ",")), "x-") {
					t.Errorf("%q: the service got %v", connection, e.Headers)
				}
			}
		})
	}
}

// A proxy asks about the service that it serves, whatever hosts a client names: the
// rules of one that anybody may have open no other.
func TestP12_AProxyThatAsksServesNoServiceByTheRulesOfAnother(t *testing.T) {
	t.Parallel()
	for kind := range edges {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := edge(t, kind)
			wiki, open := g.host("wiki"), g.host("open")
			for _, head := range []string{
				"GET /x HTTP/1.1\r\nHost: " + open,
				"GET http://" + wiki + "/x HTTP/1.1\r\nHost: " + open,
				"GET http://" + open + "/x HTTP/1.1\r\nHost: " + wiki,
				"GET /x HTTP/1.1\r\nHost: " + wiki + "\r\nHost: " + open,
				"GET /x HTTP/1.1\r\nHost: " + open + "\r\nHost: " + wiki,
				"GET /x HTTP/1.1\r\nHost: " + wiki + "\r\nX-Forwarded-Host: " + open,
				"GET /x HTTP/1.0\r\nX-Forwarded-Host: " + open,
			} {
				if resp, text := g.raw(t, head+"\r\nConnection: close\r\n\r\n"); strings.Contains(text, `"Headers"`) {
					t.Errorf("%q: the service answers: %d %s", head, resp.StatusCode, text)
				}
			}
			if resp, text := g.raw(t, "GET http://"+wiki+"/public/x HTTP/1.1\r\nHost: "+wiki+"\r\nConnection: close\r\n\r\n"); !strings.Contains(text, `"Headers"`) {
				t.Errorf("control: %d %s", resp.StatusCode, text)
			}
		})
	}
}

// The gateway believes a proxy that is listed, so the proxy lets no client ask through it.
func TestP10_NoClientAsksThroughAProxyThatAsks(t *testing.T) {
	t.Parallel()
	for kind := range edges {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := edge(t, kind)
			address := "http://" + g.host("open") + "/"
			for _, host := range []string{g.host(""), g.host("wiki")} {
				for _, path := range []string{"/.gatehouse/verify", "/.gatehouse/%76erify", "/.gatehouse/verify/page", "/.gatehouse//verify", "/.gatehouse/./verify", "/oauth2/auth", "/oauth2/%61uth", "/api/authz/auth-request", "/api/authz/forward-auth", "/api/authz/ext-authz/x"} {
					resp, text := g.raw(t, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\nX-Original-Method: GET\r\nX-Original-URL: "+address+
						"\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: "+g.host("open")+"\r\nX-Forwarded-Uri: /\r\n\r\n")
					if resp.StatusCode/100 == 2 || resp.Header.Get("X-Gatehouse-Jwt") != "" {
						t.Errorf("%s%s: %d %v %s", host, path, resp.StatusCode, resp.Header, text)
					}
				}
			}
		})
	}
}

// host is how a browser names a host of the gateway.
func (g *gate) host(name string) string {
	return strings.Split(g.at(name, "/"), "/")[2]
}

// raw sends bytes to the proxy.
func (g *gate) raw(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return resp, string(text)
}

// A proxy that does not ask is found out, and one that asks about what the client
// says too.
func TestTheProbeFindsAProxyThatLetsPeopleIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   string
		change []string
		alarm  string
	}{
		"as the example is":    {"nginx", nil, ""},
		"caddy's too":          {"caddy", nil, ""},
		"haproxy's too":        {"haproxy", nil, ""},
		"nobody is asked":      {"nginx", []string{"auth_request /gatehouse-question;", ""}, "asked plainly"},
		"nobody asks in Lua":   {"haproxy", []string{"http-request lua.gatehouse", "http-request set-var(txn.gatehouse) str(yes) #"}, "asked plainly"},
		"by another's host":    {"nginx", []string{"$scheme://$host$request_uri", "$scheme://$http_host$request_uri", "if ($gatehouse_one_host = 0)", "if ($gatehouse_one_host = 2)"}, "with the host of open"},
		"a default server":     {"nginx", []string{"    return 421;", "    location / { proxy_pass http://wiki; }"}, "a host that nobody has"},
		"by the client's word": {"nginx", []string{"proxy_set_header X-Original-URL", "proxy_set_header X-Other"}, "with headers of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := edge(t, c.kind, c.change...)
			if c.alarm == "" {
				asked := []string{"plainly", "with headers of its own"}
				if c.kind == "caddy" { // the others refuse to be asked so
					asked = append(asked, "with the host of open")
				}
				for _, asked := range asked {
					for end := time.Now().Add(patience); !strings.Contains(g.log.String(), `"a protected address is closed","proxy":"edge","service":"wiki","path":"/closed/","asked":"`+asked); time.Sleep(100 * time.Millisecond) {
						if time.Now().After(end) {
							t.Fatalf("no probe came through, asked %s", asked)
						}
					}
				}
				if said := g.readiness(t); said != "ready\n" {
					t.Errorf("a false alarm: %s", said)
				}
				return
			}
			for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				if said := g.readiness(t); strings.HasPrefix(said, "ready\n") && strings.Contains(said, "alarm: ") && strings.Contains(said, c.alarm) {
					break
				} else if time.Now().After(end) {
					t.Fatalf("no alarm: %s", said)
				}
			}
			for end := time.Now().Add(patience); !strings.Contains(g.verb(t, "audit"), "proxy.open"); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the record does not have it")
				}
			}
		})
	}
}
