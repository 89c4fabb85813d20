package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-sso/gatehouse/gateway/extauthz"
)

// An envoy asks by gRPC as Envoy does, with gRPC's own client and Envoy's own
// messages, and does with an answer what Envoy does. As an http.RoundTripper it is
// the proxy: what comes back for a request that may pass says what the service
// would have got.
type envoy struct {
	f     *front
	ask   auth.AuthorizationClient
	raw   bool // encode_raw_headers
	alter func(*auth.AttributeContext)
	meta  []string // more metadata of the call
}

// envoy starts one, which the gateway knows by the name of a cluster.
func (f *front) envoy() *envoy { return f.envoyAs("gatehouse") }

// envoyAs is one whose calls name another host.
func (f *front) envoyAs(authority string) *envoy {
	f.t.Helper()
	trust := insecure.NewCredentials()
	if f.tls != nil {
		tc := f.tls.Clone()
		tc.InsecureSkipVerify = true // its name is in no certificate
		trust = credentials.NewTLS(tc)
	}
	c, err := rpc.NewClient("passthrough:///"+authority, rpc.WithTransportCredentials(trust), rpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", f.addr)
	}))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return &envoy{f: f, ask: auth.NewAuthorizationClient(c)}
}

// attributes are what Envoy says of a request.
func (e *envoy) attributes(r *http.Request) *auth.AttributeContext {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	about := &auth.AttributeContext_HttpRequest{
		Id: "7", Method: r.Method, Path: r.URL.RequestURI(), Host: host, Scheme: e.f.c.Public.Scheme, Protocol: "HTTP/1.1", Size: -1, Headers: map[string]string{},
	}
	h := maps.Clone(r.Header)
	h["X-Forwarded-For"] = append(slices.Clip(h["X-Forwarded-For"]), "192.0.2.7")
	h["X-Forwarded-Proto"], h["X-Envoy-External-Address"] = []string{about.Scheme}, []string{"192.0.2.7"}
	h[":authority"], h[":method"], h[":path"], h[":scheme"] = []string{host}, []string{about.Method}, []string{about.Path}, []string{about.Scheme}
	list := &core.HeaderMap{}
	for name, lines := range h {
		name = strings.ToLower(name)
		for _, l := range lines {
			if have, ok := about.Headers[name]; ok {
				about.Headers[name] = have + "," + l
			} else {
				about.Headers[name] = l
			}
			list.Headers = append(list.Headers, &core.HeaderValue{Key: name, RawValue: []byte(l)})
		}
	}
	if e.raw {
		about.Headers, about.HeaderMap = nil, list
	}
	socket := &core.SocketAddress{Address: "192.0.2.7", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 40000}}
	return &auth.AttributeContext{
		Source:            &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: socket}}},
		Destination:       &auth.AttributeContext_Peer{Principal: "gate"},
		Request:           &auth.AttributeContext_Request{Http: about},
		ContextExtensions: map[string]string{"route": "wiki"},
	}
}

// check asks.
func (e *envoy) check(ctx context.Context, r *http.Request) (*auth.CheckResponse, error) {
	a := e.attributes(r)
	if e.alter != nil {
		e.alter(a)
	}
	return e.ask.Check(metadata.AppendToOutgoingContext(ctx, e.meta...), &auth.CheckRequest{Attributes: a})
}

func (e *envoy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.check(r.Context(), r)
	if err != nil {
		return nil, err
	}
	answer := &http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: r}
	if ok := resp.GetOkResponse(); ok != nil && resp.GetStatus().GetCode() == 0 {
		got := passed(r.Header, ok, false)
		if d := cmp.Diff(got, passed(r.Header, ok, true)); d != "" {
			e.f.t.Errorf("%s %s: it matters which Envoy does first, setting or removing:\n%s", r.Method, r.URL, d)
		}
		body, err := json.Marshal(seen{Method: r.Method, URI: r.URL.RequestURI(), Host: r.Host, Header: got})
		answer.StatusCode, answer.Body = http.StatusOK, io.NopCloser(bytes.NewReader(body))
		return answer, err
	}
	no := resp.GetDeniedResponse()
	if no == nil || resp.GetStatus().GetCode() == 0 {
		return nil, fmt.Errorf("neither yes nor no: %v", resp)
	}
	for _, h := range no.Headers {
		answer.Header.Add(h.Header.Key, h.Header.Value)
	}
	answer.StatusCode, answer.Body = int(no.Status.Code), io.NopCloser(strings.NewReader(no.Body))
	return answer, nil
}

// appends is what Envoy is told of a header that is there: nil, nothing.
func appends(o *core.HeaderValueOption) *wrapperspb.BoolValue {
	//lint:ignore SA1019 what took its place is not read by every Envoy that is in use
	return o.Append
}

// passed is what a service gets: the headers of a client as an answer changes them.
func passed(client http.Header, ok *auth.OkHttpResponse, removeFirst bool) http.Header {
	h := http.Header{}
	for name, lines := range client {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(lines)
	}
	set := func() {
		for _, o := range ok.Headers {
			if appends(o) == nil || appends(o).Value { // what is not said is one thing in one Envoy and another in the next
				h.Add(o.Header.Key, o.Header.Value)
			} else {
				h.Set(o.Header.Key, o.Header.Value)
			}
		}
	}
	remove := func() {
		for _, name := range ok.HeadersToRemove {
			h.Del(name)
		}
	}
	if removeFirst {
		remove()
		set()
	} else {
		set()
		remove()
	}
	return h
}

// through asks by gRPC about what a guest wants.
func (e *envoy) through(p *guest, method, host, target string, lines ...string) answer {
	e.f.t.Helper()
	u, err := url.Parse(e.f.c.Public.Scheme + "://" + e.f.at(host))
	if err != nil {
		e.f.t.Fatal(err)
	}
	r := &http.Request{Method: method, URL: u, Host: e.f.at(host), Header: http.Header{}}
	u.Opaque = "//" + u.Host + target // as it is, whatever that is
	if _, key, ok := strings.Cut(strings.TrimSpace(p.cookie(host)), ": "); ok {
		lines = append([]string{"Cookie: " + key}, lines...)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Add(name, value)
	}
	old := e.alter
	defer func() { e.alter = old }()
	e.alter = func(a *auth.AttributeContext) {
		a.Request.Http.Path = target
		if old != nil {
			old(a)
		}
	}
	resp, err := e.RoundTrip(r)
	if err != nil {
		e.f.t.Fatalf("%s %s%s: %v", method, host, target, err)
	}
	body, _ := io.ReadAll(resp.Body)
	return answer{resp, string(body)}
}

func TestAnEnvoyThatAsksByGRPCIsAnsweredAsARequestIsDecided(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*front, *Config){"in clear": func(*front, *Config) {}, "over TLS": overTLS} {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, raw %t", name, raw), func(t *testing.T) {
				t.Parallel()
				f := newFront(t, behind("envoy"), change)
				e := f.envoy()
				e.raw = raw
				for _, c := range f.questions() {
					what := fmt.Sprint(c.who.name(), " ", c.method, " ", c.host, c.uri)
					direct := f.ask(c.who, c.method, c.host, c.uri, c.lines...)
					asked := e.through(c.who, c.method, c.host, c.uri, c.lines...)
					if asked.StatusCode != direct.StatusCode || asked.code() != direct.code() {
						t.Errorf("%s: %d %q, and itself %d %q", what, asked.StatusCode, asked.code(), direct.StatusCode, direct.code())
					}
					for _, name := range []string{"Content-Type", "Cache-Control", "Content-Security-Policy", "Strict-Transport-Security"} {
						if direct.StatusCode != http.StatusOK && asked.Header.Get(name) != direct.Header.Get(name) {
							t.Errorf("%s: %s is %q, and itself %q", what, name, asked.Header.Get(name), direct.Header.Get(name))
						}
					}
					if asked.back() != direct.back() || len(asked.Header["Set-Cookie"]) != len(direct.Header["Set-Cookie"]) {
						t.Errorf("%s: to %q with %d cookies, and itself to %q with %d", what, asked.Header.Get("Location"), len(asked.Header["Set-Cookie"]), direct.Header.Get("Location"), len(direct.Header["Set-Cookie"]))
					}
					if direct.StatusCode != http.StatusOK {
						continue
					}
					got, itself := asked.seen().Header, direct.seen().Header
					for _, h := range []http.Header{got, itself} { // the rest of the path there is this client's
						maps.DeleteFunc(h, func(name string, _ []string) bool { return !f.g.wall.holds(name) && name != "Cookie" })
						delete(h, "X-Forwarded-For")
					}
					if d := cmp.Diff(itself, got); d != "" {
						t.Errorf("%s: the service receives otherwise (-itself +asked):\n%s", what, d)
					}
				}
			})
		}
	}
}

func TestP10_OnlyAListedEnvoyIsAnsweredByGRPC(t *testing.T) {
	t.Parallel()
	ask := func(e *envoy) (*auth.CheckResponse, error) {
		return e.check(t.Context(), e.f.request(nil, "GET", "open", "/", nil))
	}
	want := func(what string, e *envoy, code codes.Code, reason string) {
		t.Helper()
		resp, err := ask(e)
		if rpcstatus.Code(err) != code || !strings.Contains(rpcstatus.Convert(err).Message(), reason) {
			t.Errorf("%s: %v %v, want %v with %q", what, resp, err, code, reason)
		}
	}
	there := netip.MustParsePrefix("192.0.2.0/24")
	elsewhere := func(_ *front, c *Config) { c.Proxies[0].From = []netip.Prefix{there} }
	// Without TLS nobody else is spoken with at all; a client of gRPC says so.
	for name, change := range map[string][]func(*front, *Config){"no list": nil, "another address": {behind("envoy"), elsewhere}, "another kind": {behind("traefik")}} {
		want(name, newFront(t, change...).envoy(), codes.Unavailable, "")
		f := newFront(t, append(change, overTLS)...)
		code, reason := codes.PermissionDenied, ReasonProxy
		if name == "no list" {
			code, reason = codes.Unimplemented, ReasonHostUnknown
		}
		want(name, f.envoy(), code, reason)
	}
	f := newFront(t, behind("envoy"))
	if resp, err := ask(f.envoy()); err != nil || resp.GetOkResponse() == nil {
		t.Fatalf("control: %v %v", resp, err)
	}
	// What a listed proxy passes on for a client is no question: it has a host of ours,
	// or says by which protocol it came.
	want("passed on to a service", f.envoyAs(f.at("payroll")), codes.Unauthenticated, ReasonSignIn)
	want("passed on to the gateway", f.envoyAs(f.at("gate")), codes.Unimplemented, ReasonPathUnknown)
	client := f.envoy()
	client.meta = []string{"x-forwarded-proto", "https"}
	want("passed on to a host of nobody", client, codes.Unimplemented, ReasonHostUnknown)
	// Nor is it by another protocol, method or kind of content.
	for _, a := range []answer{
		f.ask(nil, "POST", "other", extauthz.Path, "Content-Type: application/grpc", "Content-Length: 0"),
		f.ask(nil, "POST", "wiki", extauthz.Path, "Content-Type: application/grpc", "Content-Length: 0"),
		f.ask(nil, "GET", "other", extauthz.Path),
	} {
		if a.Header.Get("Grpc-Status") == "0" || a.StatusCode == 200 && a.Header.Get("Grpc-Status") == "" {
			t.Errorf("by HTTP/1: %d %v", a.StatusCode, a.Header)
		}
	}
}

// What is not described as Envoy does it is a no, as an answer and not as an error
// of gRPC, which an Envoy may have been told to take for a yes.
func TestP10_WhatEnvoyDoesNotSayOrSaysTwiceIsANo(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	alice := f.guest("alice")
	for name, c := range map[string]struct {
		alter  func(*auth.AttributeContext)
		status int
		code   string
	}{
		"nothing":              {func(a *auth.AttributeContext) { a.Request = nil }, 400, ReasonQuestion},
		"no source":            {func(a *auth.AttributeContext) { a.Source = nil }, 400, ReasonQuestion},
		"a source by name":     {func(a *auth.AttributeContext) { a.Source.Address.GetSocketAddress().Address = "client" }, 400, ReasonQuestion},
		"no method":            {func(a *auth.AttributeContext) { a.Request.Http.Method = "" }, 400, ReasonQuestion},
		"no host":              {func(a *auth.AttributeContext) { a.Request.Http.Host = "" }, 400, ReasonQuestion},
		"no scheme":            {func(a *auth.AttributeContext) { a.Request.Http.Scheme = "" }, 400, ReasonQuestion},
		"another scheme":       {func(a *auth.AttributeContext) { a.Request.Http.Scheme = "https" }, 400, ReasonQuestion},
		"no path":              {func(a *auth.AttributeContext) { a.Request.Http.Path = "" }, 400, ReasonQuestion},
		"an address as a path": {func(a *auth.AttributeContext) { a.Request.Http.Path = "http://open.test/" }, 400, ReasonQuestion},
		"a star":               {func(a *auth.AttributeContext) { a.Request.Http.Path = "*" }, 400, ReasonQuestion},
		"a space":              {func(a *auth.AttributeContext) { a.Request.Http.Path = "/a b" }, 400, ReasonQuestion},
		"a fragment":           {func(a *auth.AttributeContext) { a.Request.Http.Path = "/public/#/" }, 400, ReasonPath},
		"a query beside":       {func(a *auth.AttributeContext) { a.Request.Http.Query = "x" }, 400, ReasonQuestion},
		"a fragment beside":    {func(a *auth.AttributeContext) { a.Request.Http.Fragment = "x" }, 400, ReasonQuestion},
		"headers twice": {func(a *auth.AttributeContext) {
			a.Request.Http.HeaderMap = &core.HeaderMap{Headers: []*core.HeaderValue{{Key: "cookie", Value: "a=b"}}}
		}, 400, ReasonQuestion},
		"a header in two spellings": {func(a *auth.AttributeContext) { a.Request.Http.Headers["Cookie"] = "a=b" }, 400, ReasonQuestion},
		"a line in a header":        {func(a *auth.AttributeContext) { a.Request.Http.Headers["x-a"] = "b\r\nx-c: d" }, 400, ReasonQuestion},
		"a name that is none":       {func(a *auth.AttributeContext) { a.Request.Http.Headers["x a"] = "b" }, 400, ReasonQuestion},
		"two cookies of ours": {func(a *auth.AttributeContext) {
			h := a.Request.Http.Headers
			h["cookie"] = h["cookie"] + "; " + h["cookie"]
		}, 400, ReasonCookies},
		"ours behind a comma": {func(a *auth.AttributeContext) {
			h := a.Request.Http.Headers
			h["cookie"] = "theme=dark," + h["cookie"]
		}, 400, ReasonCookies},
		"an unknown host":    {func(a *auth.AttributeContext) { a.Request.Http.Host = "other.test" }, 421, ReasonHostUnknown},
		"user info":          {func(a *auth.AttributeContext) { a.Request.Http.Host = "open.test@other.test" }, 421, ReasonHostUnknown},
		"an address of ours": {func(a *auth.AttributeContext) { a.Request.Http.Path = "/.gatehouse/assets/" }, 404, ReasonPathUnknown},
		"more than there is": {func(a *auth.AttributeContext) { a.Request.Http.RawBody = make([]byte, maxCheck) }, 413, ReasonBody},
	} {
		e := f.envoy()
		e.alter = c.alter
		r := f.request(alice, "GET", "wiki", "/x", nil)
		resp, err := e.check(t.Context(), r)
		no := resp.GetDeniedResponse()
		if err != nil || no == nil || resp.GetStatus().GetCode() != int32(codes.PermissionDenied) {
			t.Errorf("%s: %v %v", name, resp, err)
			continue
		}
		if got := (answer{nil, no.Body}).code(); int(no.Status.Code) != c.status || got != c.code {
			t.Errorf("%s: %d %q, want %d %q", name, no.Status.Code, got, c.status, c.code)
		}
	}
	// What says nothing about the request may be there.
	e := f.envoy()
	e.alter = func(a *auth.AttributeContext) {
		a.Request.Http.Body, a.Request.Http.RawBody = "some=text", []byte{0xff}
		a.TlsSession = &auth.AttributeContext_TLSSession{Sni: "other.test"}
		a.MetadataContext = &core.Metadata{}
	}
	if a := e.through(alice, "POST", "wiki", "/x"); a.StatusCode != 200 {
		t.Errorf("control: %d %s", a.StatusCode, a.body)
	}
}

// The person is who is at the other end of Envoy's connection, whatever they say.
func TestP11_ByGRPCThePersonIsWhoIsConnectedToEnvoy(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"), func(_ *front, c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	})
	e := f.envoy()
	for _, c := range []struct{ source, forwarded, want string }{
		{"192.0.2.7", "203.0.113.1, 192.0.2.7", "192.0.2.7"},
		{"192.0.2.7", "203.0.113.1", "192.0.2.7"},
		{"192.0.2.7", "", "192.0.2.7"},
		{"198.51.100.9", "203.0.113.1, 192.0.2.7, 198.51.100.9", "192.0.2.7"},
		{"2001:db8::7", "203.0.113.1", "2001:db8::7"},
	} {
		e.alter = func(a *auth.AttributeContext) {
			a.Source.Address.GetSocketAddress().Address = c.source
			if a.Request.Http.Headers["x-forwarded-for"] = c.forwarded; c.forwarded == "" {
				delete(a.Request.Http.Headers, "x-forwarded-for")
			}
		}
		if a := e.through(nil, "GET", "open", "/"); a.seen().Header.Get("X-Forwarded-For") != c.want {
			t.Errorf("from %s by %q: the service is told %q, want %s", c.source, c.forwarded, a.seen().Header["X-Forwarded-For"], c.want)
		}
	}
}

func TestP21_ByGRPCCookiesOfOursAndCredentialsStayAtEnvoy(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"), func(_ *front, c *Config) { c.Services[1].KeepAuthorization = true })
	e, alice := f.envoy(), f.guest("alice", "fin")
	a := e.through(alice, "GET", "wiki", "/", "Authorization: Bearer theirs")
	if h := a.seen().Header; a.StatusCode != 200 || h["Cookie"] != nil || h["Authorization"] != nil {
		t.Errorf("%d, cookies %q, Authorization %q", a.StatusCode, h["Cookie"], h["Authorization"])
	}
	e.alter = func(at *auth.AttributeContext) { at.Request.Http.Headers["cookie"] += "; theme=dark" }
	a = e.through(alice, "GET", "payroll", "/", "Authorization: Bearer theirs")
	if h := a.seen().Header; a.StatusCode != 200 || !cmp.Equal(h["Cookie"], []string{"theme=dark"}) || h.Get("Authorization") != "Bearer theirs" {
		t.Errorf("%d, cookies %q, Authorization %q", a.StatusCode, h["Cookie"], h["Authorization"])
	}
}

func TestP20_ByGRPCAWebSocketMustComeFromTheServicesOwnPages(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	ws := []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-Websocket-Version: 13"}
	f.refused(e.through(alice, "GET", "wiki", "/ws", append(ws, "Origin: http://evil.test")...), 403, ReasonCrossSite)
	f.refused(e.through(alice, "GET", "wiki", "/ws", append(ws, "Origin: http://"+f.at("wiki"), "Origin: http://evil.test")...), 403, ReasonCrossSite)
	if a := e.through(alice, "GET", "wiki", "/ws", append(ws, "Origin: http://"+f.at("wiki"))...); a.StatusCode != 200 {
		t.Errorf("control: %d %s", a.StatusCode, a.body)
	}
}

// Of a request that switches protocols Envoy passes the Connection header on, by which
// the service's server would take away what the client named there.
func TestP03_ByGRPCConnectionCanNotNameOurHeadersAway(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	for _, e.raw = range []bool{false, true} {
		s := f.passed(e.through(alice, "GET", "wiki", "/ws", "Upgrade: websocket", "Connection: Upgrade, X-Forwarded-User", "Connection: X-Gatehouse-Jwt", "Origin: http://"+f.at("wiki")))
		if d := cmp.Diff([]string{"Upgrade"}, s.Header["Connection"]); d != "" || s.Header.Get("X-Forwarded-User") != "alice" {
			t.Errorf("the service gets the name %q, and Connection as %s", s.Header["X-Forwarded-User"], d)
		}
	}
}

// An Envoy can be told to say of a request's headers only some. What it does not
// say it was sent is removed all the same, as far as it has a name.
func TestP01_WhatEnvoyDoesNotTellOfIsRemovedToo(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	e.alter = func(a *auth.AttributeContext) {
		maps.DeleteFunc(a.Request.Http.Headers, func(name, _ string) bool { return name != "cookie" })
	}
	var lines []string
	for name := range f.g.wall.names {
		lines = append(lines, name+": forged")
	}
	for who, path := range map[*guest]string{alice: "/", nil: "/public/x"} {
		forged(t, f.passed(e.through(who, "GET", "wiki", path, lines...)))
	}
}

func TestAnEnvoyThatAsksByGRPCLearnsAtOnceThatASessionEnded(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	if a := e.through(alice, "GET", "wiki", "/x"); a.StatusCode != 200 {
		t.Fatalf("control: %d %s", a.StatusCode, a.body)
	}
	alice.end()
	f.refused(e.through(alice, "GET", "wiki", "/x"), 401, ReasonSignIn)
}

func TestAThousandCallsAtOnceAreAnsweredEachForItself(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	alice.cookie("wiki") // made before
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			who := []*guest{alice, nil}[i%2]
			r := f.request(who, "GET", "wiki", fmt.Sprintf("/%d", i), nil)
			resp, err := e.check(t.Context(), r)
			if ok := resp.GetOkResponse(); err != nil || (ok != nil) != (who != nil) {
				t.Errorf("%d: %v %v", i, resp, err)
			}
		})
	}
	wg.Wait()
}

// call is a call as it comes to the gateway.
func (e *envoy) call(p *guest, timeout string) *http.Request {
	e.f.t.Helper()
	msg, err := proto.Marshal(&auth.CheckRequest{Attributes: e.attributes(e.f.request(p, "GET", "wiki", "/report/7", nil))})
	if err != nil {
		e.f.t.Fatal(err)
	}
	return &http.Request{
		Method: "POST", ProtoMajor: 2, URL: &url.URL{Path: extauthz.Path}, RequestURI: extauthz.Path, Host: "gatehouse", RemoteAddr: "127.0.0.1:1",
		Header: http.Header{"Content-Type": {"application/grpc"}, "Grpc-Timeout": {timeout}},
		Body:   io.NopCloser(bytes.NewReader(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...))),
	}
}

// A caller that waits no longer is not worked for.
func TestADeadlineOfGRPCIsThatOfTheQuestion(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	v := &visit{g: f.g, r: f.envoy().call(nil, "3S")}
	v.reply = reply{ResponseWriter: newRecorder()}
	v.w = &v.reply
	if err := v.question(); err != nil {
		t.Fatal(err)
	}
	by, ok := v.r.Context().Deadline()
	if left := time.Until(by); !ok || left <= 0 || left > 3*time.Second {
		t.Errorf("%v is left, %t", left, ok)
	}
	v.checks.end(v)
	if v.r.Context().Err() == nil {
		t.Error("the question goes on after its end")
	}
}

// BenchmarkForwardAuthByGRPC is BenchmarkForwardAuth by the other way.
func BenchmarkForwardAuthByGRPC(b *testing.B) {
	f := newFront(b, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	call := e.call(alice, "1S")
	msg, err := io.ReadAll(call.Body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := *call
		r.Body = io.NopCloser(bytes.NewReader(msg))
		w := newRecorder()
		f.g.ServeHTTP(w, &r)
		if w.Code != 200 || !bytes.Contains(w.Body.Bytes(), []byte("x-gatehouse-jwt")) {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// Who is not signed in is led through the sign-in and comes back, by answers that
// Envoy gives on.
func TestASignInBehindAnEnvoyThatAsksByGRPCLeadsBack(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	e, alice := f.envoy(), f.guest("alice")
	cookies := func(a answer) (line string) {
		for _, ck := range a.Cookies() {
			line += "; " + ck.Name + "=" + ck.Value
		}
		return "Cookie: " + strings.TrimPrefix(line, "; ")
	}
	target := func(a answer) string {
		to, err := url.Parse(a.Header.Get("Location"))
		if err != nil || a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d to %q: %.200s", a.StatusCode, a.Header.Get("Location"), a.body)
		}
		return to.RequestURI()
	}
	away := e.through(nil, "GET", "wiki", "/report?x=1", browse)
	handed := f.ask(alice, "GET", "gate", target(away), browse) // who has signed in there
	arrived := f.ask(nil, "GET", "wiki", target(handed), browse, cookies(away))
	back := e.through(nil, "GET", "wiki", target(arrived), browse, cookies(arrived))
	if s := f.passed(back); target(arrived) != "/report?x=1" || s.Header.Get("X-Forwarded-User") != "alice" || s.Header.Get("X-Gatehouse-Jwt") == "" {
		t.Errorf("back at %s as %v", target(arrived), s.Header)
	}
}
