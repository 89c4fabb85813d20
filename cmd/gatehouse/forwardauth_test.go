package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// proberOf is what looks at a proxy for a site of two services, one of them behind it.
func proberOf(t *testing.T, proxy *httptest.Server, record func(audit.Event)) *prober {
	t.Helper()
	src := fmt.Sprintf(`version: 1
server:
  public_url: https://gate.example
  tls: proxy
  forward_auth: [ { id: edge, kind: nginx, from: [10.0.0.5], services: wiki, probe: %q } ]
store: bolt:./x.db
services:
  - { id: wiki, host: wiki.example, upstream: "http://10.0.0.7", access: [ { id: all, allow: { signed_in: true } }, { id: deep, paths: ["/deep/*"], deny: { anyone: true } } ] }
  - { id: payroll, host: payroll.example, upstream: "http://10.0.0.8", access: [ { id: all, paths: ["/payroll/*"], allow: { signed_in: true } } ] }
`, proxy.URL)
	cfg, mistakes := configs.Parse("x", []byte(src), configs.SkipFiles)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	r, mistakes := compile(cfg, nil)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	return newProber(cfg, r.policy, slog.New(slog.DiscardHandler), record)
}

// A proxy whose default server takes any host serves what is behind it to anybody,
// though each host that the gateway knows is kept well.
func TestP12_AProxyThatServesAHostThatNobodyHasIsFound(t *testing.T) {
	t.Parallel()
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	says := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for what, c := range map[string]struct {
		nobody http.HandlerFunc // answers under the host that nobody has
		open   bool
	}{
		"it is refused":             {says(http.StatusMisdirectedRequest), false},
		"it is not found":           {says(http.StatusNotFound), false},
		"the gateway is asked":      {redirect("https://gate.example/.gatehouse/login?return=x"), false},
		"it leads to the gateway":   {redirect("https://gate.example/"), false},
		"nothing is said":           {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"the service is down":       {says(http.StatusBadGateway), false},
		"the service is served":     {says(http.StatusOK), true},
		"it leads into the service": {redirect("/wiki"), true},
		"it leads to somebody else": {redirect("https://gate.example.evil/"), true},
		"only a deep path is served": {func(w http.ResponseWriter, r *http.Request) {
			says(map[bool]int{true: 200, false: 404}[r.URL.Path == "/deep/"])(w, r)
		}, true},
		"only the name of TLS counts": {func(w http.ResponseWriter, r *http.Request) {
			says(map[bool]int{true: 200, false: 404}[r.TLS != nil && r.TLS.ServerName == "wiki.example"])(w, r)
		}, true},
	} {
		for scheme, start := range map[string]func(*httptest.Server){"http": (*httptest.Server).Start, "https": (*httptest.Server).StartTLS} {
			if what == "only the name of TLS counts" && scheme == "http" {
				continue
			}
			var mended atomic.Bool
			var hosts sync.Map
			proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch hosts.Store(r.Host, true); {
				case r.Host == "wiki.example":
					w.WriteHeader(http.StatusForbidden)
				case mended.Load():
					panic(http.ErrAbortHandler)
				default:
					c.nobody(w, r)
				}
			}))
			proxy.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				if mended.Load() && h.ServerName != "wiki.example" {
					return nil, errors.New("nobody has this host")
				}
				return nil, nil
			}}
			proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
			start(proxy)
			t.Cleanup(proxy.Close)
			var said []string
			p := proberOf(t, proxy, func(e audit.Event) { said = append(said, e.Kind) })
			p.round(t.Context(), p.proxies[0])
			raised := strings.Join(p.raised(), "\n")
			if (raised != "") != c.open || c.open && !strings.Contains(raised, "proxy edge serves a host that nobody has") {
				t.Errorf("%s, %s: raised %q", scheme, what, raised)
			}
			if _, ok := hosts.Load("payroll.example"); ok {
				t.Errorf("%s, %s: asked for a service that is not behind it", scheme, what)
			}
			mended.Store(true)
			p.round(t.Context(), p.proxies[0])
			if left := p.raised(); len(left) > 0 {
				t.Errorf("%s, %s: mended, and still %q", scheme, what, left)
			}
			if c.open != slices.Contains(said, "proxy.open") || c.open != slices.Contains(said, "proxy.closed") {
				t.Errorf("%s, %s: recorded %q", scheme, what, said)
			}
		}
	}
}

// The program answers by gRPC, on the listener that everything else is on, those
// alone who are listed at the time; and a session that ends has ended for them.
func TestAnEnvoyIsAnsweredByGRPCFromWhenItIsListed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	alice := l.in("campus", "alice")
	cookie := alice.sessionAt(l.at("wiki", "/"))
	ask := func() (*auth.CheckResponse, error) {
		t.Helper()
		c, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", l.port), grpc.WithAuthority("gatehouse"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return auth.NewAuthorizationClient(c).Check(t.Context(), &auth.CheckRequest{Attributes: &auth.AttributeContext{
			Source: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "192.0.2.7"}}}},
			Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
				Method: http.MethodGet, Scheme: "http", Host: fmt.Sprintf("wiki.localhost:%d", l.port), Path: "/x",
				Headers: map[string]string{"cookie": cookie.Name + "=" + cookie.Value, "x-forwarded-user": "forged"},
			}},
		}})
	}
	if resp, err := ask(); status.Code(err) != codes.Unavailable {
		t.Fatalf("before it is listed: %v %v", resp, err)
	}
	l.reload(func(s string) string {
		return strings.Replace(s, "\nstore: ", "\n  forward_auth: [ { id: edge, kind: envoy, from: [127.0.0.1/32] } ]\nstore: ", 1)
	})
	resp, err := ask()
	user := ""
	for _, o := range resp.GetOkResponse().GetHeaders() {
		if o.Header.Key == "x-forwarded-user" {
			user += o.Header.Value
		}
	}
	if err != nil || user != "alice" {
		t.Fatalf("once it is: the service gets the name %q: %v %v", user, resp, err)
	}
	l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"false"}}, nil)
	if resp, err := ask(); err != nil || resp.GetDeniedResponse().GetStatus().GetCode() != http.StatusUnauthorized {
		t.Errorf("whose account is disabled: %v %v", resp, err)
	}
	l.reload(func(s string) string {
		return strings.Replace(s, "\n  forward_auth: [ { id: edge, kind: envoy, from: [127.0.0.1/32] } ]", "", 1)
	})
	if resp, err := ask(); status.Code(err) != codes.Unavailable {
		t.Errorf("no longer listed: %v %v", resp, err)
	}
}
