package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// Transport makes what speaks to services: many idle connections, no
// compression of its own, bounded response headers. dial may be nil.
func Transport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// pass hands the request to its service: what the client said, less what only
// we may say, and what we say.
func (v *visit) pass() {
	r, s := v.r, v.service
	if up := r.Header["Upgrade"]; up != nil {
		if s.NoWebSocket || !webSocket(r) {
			// Whatever else one could switch to would leave the wall behind.
			delete(r.Header, "Upgrade")
			delete(r.Header, "Connection")
		} else if o := r.Header["Origin"]; len(o) > 1 || len(o) == 1 && !strings.EqualFold(o[0], v.g.origin(v.host)) {
			v.refuse(refusal{code: ReasonCrossSite, detail: "a WebSocket from the origin " + o[0]})
			return
		}
	}
	ready := v.who.in(v.g, s)
	var jwt string
	if v.session != nil {
		var err error
		if jwt, err = v.g.jwt(ready); err != nil {
			v.refuse(err)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		st := &stream{v.session.ID, v.session.UserID, s.ID, r.Method, v.path, v.from, cancel}
		v.g.c.Streams.add(st)
		defer v.g.c.Streams.remove(st)
		r = r.WithContext(ctx)
	}
	if s.Handler != nil {
		v.inProcess(r)
		return
	}
	state := v.provisioned(ready)
	(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(s.Upstream)
			p.Out.Host = r.Host
			p.Out.URL.RawQuery = r.URL.RawQuery
			v.dress(p.Out.Header, ready.headers, jwt, state)
			// A trailer comes after every check and would be merged into the
			// headers by some servers.
			p.Out.Trailer = nil
		},
		Transport:      v.g.c.Transport,
		BufferPool:     buffers,
		ModifyResponse: v.undress,
		ErrorHandler:   v.broken,
		ErrorLog:       slog.NewLogLogger(v.g.c.Log.Handler(), slog.LevelDebug),
	}).ServeHTTP(v.w, r)
}

// webSocket reports whether a request asks for a WebSocket and nothing else.
func webSocket(r *http.Request) bool {
	up := r.Header["Upgrade"]
	return r.ProtoMajor == 1 && len(up) == 1 && strings.EqualFold(up[0], "websocket") && httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade")
}

// dress gives a request on its way out the headers that only we may set. What
// the client called so has been stripped before.
func (v *visit) dress(h http.Header, identity []Header, jwt, state string) {
	h["X-Forwarded-For"] = []string{v.from.String()}
	h["X-Forwarded-Host"] = []string{v.r.Host}
	h["X-Forwarded-Proto"] = []string{v.g.scheme()}
	if !v.service.KeepAuthorization {
		delete(h, "Authorization")
	}
	if cookies := h["Cookie"]; cookies != nil {
		if rest := withoutOurs(cookies); rest != "" {
			h["Cookie"] = []string{rest}
		} else {
			delete(h, "Cookie")
		}
	}
	for _, id := range identity {
		h[id.Name] = id.Values
	}
	if jwt != "" {
		h[jwtHeader] = []string{jwt}
		for _, rule := range v.service.Headers {
			if rule.Attribute == JWTAttribute {
				h[http.CanonicalHeaderKey(rule.Name)] = []string{jwt}
			}
		}
	}
	if state != "" {
		h["X-Gatehouse-Provisioned"] = []string{state}
	}
}

// withoutOurs is a Cookie header without the gateway's own cookies.
func withoutOurs(lines []string) string {
	var keep []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, "=")
			if part != "" && !session.Ours(strings.TrimSpace(name)) {
				keep = append(keep, part)
			}
		}
	}
	return strings.Join(keep, "; ")
}

// undress takes out of a service's response what only we may say to a browser.
func (v *visit) undress(resp *http.Response) error {
	for name := range resp.Header {
		var buf [64]byte
		if f := fold(buf[:0], name); strings.HasPrefix(string(f), "x-gatehouse-") {
			delete(resp.Header, name)
		}
	}
	set := resp.Header["Set-Cookie"]
	if set == nil {
		return nil
	}
	keep := set[:0:0]
	for _, line := range set {
		name, _, _ := strings.Cut(line, "=")
		if session.Ours(strings.TrimSpace(name)) {
			continue
		}
		keep = append(keep, ownHost(line, v.host))
	}
	if len(keep) == 0 {
		delete(resp.Header, "Set-Cookie")
	} else {
		resp.Header["Set-Cookie"] = keep
	}
	return nil
}

// ownHost takes from a cookie a Domain that reaches beyond the service's own
// host: one service could plant cookies into another.
func ownHost(line, host string) string {
	parts := strings.Split(line, ";")
	keep := parts[:1]
	for _, p := range parts[1:] {
		k, d, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "domain") && !strings.EqualFold(strings.TrimPrefix(strings.TrimSpace(d), "."), host) {
			continue
		}
		keep = append(keep, p)
	}
	return strings.Join(keep, ";")
}

// broken answers for a service that did not.
func (v *visit) broken(_ http.ResponseWriter, r *http.Request, err error) {
	var timeout net.Error
	var tooLarge *http.MaxBytesError
	code := ReasonUpstream
	switch {
	case errors.Is(context.Cause(r.Context()), errCut):
		code = ReasonRevoked
	case r.Context().Err() != nil:
		return // nobody is listening
	case errors.As(err, &tooLarge):
		code = ReasonBody
	case errors.As(err, &timeout) && timeout.Timeout():
		code = ReasonUpstreamTimeout
	}
	v.refuse(refusal{code: code, detail: err.Error()})
}

// buffers for copying bodies.
var buffers = &bufferPool{}

type bufferPool struct{ p sync.Pool }

func (b *bufferPool) Get() []byte {
	if v, ok := b.p.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *bufferPool) Put(buf []byte) { b.p.Put(&buf) }
