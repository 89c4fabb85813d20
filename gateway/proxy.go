package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-sso/gatehouse/gateway/lean"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// pass hands the request to its service: what the client said, less what only
// we may say, and what we say.
func (v *visit) pass() {
	r, s := v.r, v.service
	if r.Header["Upgrade"] != nil {
		if s.NoWebSocket || !webSocket(r) {
			// Whatever else one could switch to would leave the wall behind.
			delete(r.Header, "Upgrade")
		} else if v.foreign() {
			v.refuse(foreignSocket(r))
			return
		}
	}
	st := v.newStream()
	v.g.c.Streams.add(st)
	defer v.g.c.Streams.remove(st)
	usual := s.upstreams != nil && s.upstreams.Lean != nil && lean.Fits(r)
	if !usual || r.ContentLength != 0 {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		st.also(cancel)
		r = r.WithContext(ctx)
	}
	// What ended after the decision and before the stream was there to be cut.
	if v.g.c.Streams.turn.Load() != v.turn && v.g.c.Streams.judge.Load().over(st) != "" {
		v.refuse(refusal{code: ReasonRevoked, detail: errCut.Error()})
		return
	}
	if s.Handler != nil {
		v.inProcess(r)
		return
	}
	v.trip = s.upstreams.Begin(v.hint())
	defer v.trip.End()
	if v.span != nil {
		defer v.away(r)()
	}
	if d := s.upstreams.Timeouts.Whole; d > 0 && r.Header["Upgrade"] == nil {
		defer time.AfterFunc(d, func() { st.end(errSlow) }).Stop()
	}
	jwt, err := v.ready.jwt(r.Context())
	if err != nil {
		v.refuse(err)
		return
	}
	state := v.provisioned()
	v.w.Header()["Content-Type"] = nil // what a service does not say is not guessed
	if r.ContentLength != 0 {
		r.Body = patient{r.Body, http.NewResponseController(v.w), r.Context(), v.w.one}
	}
	if usual {
		v.forward(r, jwt, state)
		return
	}
	(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			s.aim(p.Out.URL)
			p.Out.Host = s.authority
			p.Out.URL.RawQuery = r.URL.RawQuery
			v.dress(p.Out.Header, jwt, state)
			// A trailer comes after every check and would be merged into the
			// headers by some servers.
			p.Out.Trailer = nil
		},
		Transport:      (*travel)(v),
		FlushInterval:  100 * time.Millisecond, // for what drips; streams without a length are flushed at once
		BufferPool:     buffers,
		ModifyResponse: v.undress,
		ErrorHandler:   v.broken,
		ErrorLog:       v.g.noise,
	}).ServeHTTP(v.w, r)
}

// forward sends the usual request on a connection of our own.
func (v *visit) forward(r *http.Request, jwt *token, state string) {
	buf := lean.Head()
	defer lean.Done(buf)
	s := v.service
	head := lean.AppendHead((*buf)[:0], r.Method, s.target(r), s.authority, r.Header, func(name string) bool {
		return name == "Cookie" || name == "Authorization" && !s.KeepAuthorization
	})
	if cookies := r.Header["Cookie"]; cookies != nil {
		if rest := withoutOurs(cookies); rest != "" {
			head = lean.AppendField(head, "Cookie", rest)
		}
	}
	head = v.from.AppendTo(append(head, "X-Forwarded-For: "...))
	head = append(append(head, "\r\nX-Forwarded-Host: "...), s.authority...)
	head = append(append(head, "\r\nX-Forwarded-Proto: "...), v.g.scheme()...)
	head = append(head, "\r\n"...)
	if s.prefix != nil {
		head = lean.AppendField(head, "X-Forwarded-Prefix", s.prefix[0])
	}
	head = v.ready.told.AppendTo(head)
	if jwt != nil {
		for _, name := range s.tokens {
			// No byte of a token could end its line.
			head = append(jwt.AppendTo(append(append(head, name...), ": "...)), "\r\n"...)
		}
	}
	if state != "" {
		head = lean.AppendField(head, "X-Gatehouse-Provisioned", state)
	}
	*buf = head
	for {
		m := v.trip.Next()
		if m == nil {
			v.broken(nil, r, errDown)
			return
		}
		err := s.upstreams.Lean.Forward(v.w, r, m.Addr, head, &v.w.stream.line, v.undress)
		if err == nil || !v.trip.Again(r, err) {
			if err != nil {
				v.broken(nil, r, err)
			}
			return
		}
	}
}

// target is what a service gets in its request line.
func (s *service) target(r *http.Request) string {
	if s.upstreams.Rewrite.Zero() {
		return r.URL.RequestURI()
	}
	u := *r.URL
	s.aim(&u)
	return u.RequestURI()
}

// foreign reports whether a page of another origin asks. Browsers let any page open
// a WebSocket anywhere, and say of which origin it is.
func (v *visit) foreign() bool {
	o := v.r.Header["Origin"]
	return len(o) > 1 || len(o) == 1 && !strings.EqualFold(o[0], v.g.origin(v.host))
}

func foreignSocket(r *http.Request) refusal {
	return refusal{code: ReasonCrossSite, detail: "a WebSocket from the origin " + strings.Join(r.Header["Origin"], " ")}
}

// webSocket reports whether a request asks for a WebSocket and nothing else.
func webSocket(r *http.Request) bool {
	up := r.Header["Upgrade"]
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && len(up) == 1 && strings.EqualFold(up[0], "websocket") && httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade")
}

// dress gives a request on its way out the headers that only we may set. What
// the client called so has been stripped before.
func (v *visit) dress(h http.Header, jwt *token, state string) {
	fixed := []string{v.from.String(), v.service.authority, v.g.scheme()}
	h["X-Forwarded-For"], h["X-Forwarded-Host"], h["X-Forwarded-Proto"] = fixed[0:1:1], fixed[1:2:2], fixed[2:3:3]
	if v.service.prefix != nil {
		h["X-Forwarded-Prefix"] = v.service.prefix
	}
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
	v.ready.headers(func(name string, values []string) { h[name] = values })
	if jwt != nil {
		text := jwt.text()
		for _, name := range v.service.tokens {
			h[name] = text
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
	v.trip.Answered(resp.StatusCode)
	if resp.StatusCode == http.StatusSwitchingProtocols && v.r.Header["Upgrade"] == nil {
		return errors.New("the service switched protocols unasked")
	}
	if v.w.interim > maxInterim {
		return errFlood
	}
	for name, vals := range resp.Header {
		for _, val := range vals {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(val) {
				return errors.New("the service sent a header that is none")
			}
		}
	}
	scrub(resp.Header)
	if v.g.hsts != nil {
		delete(resp.Header, "Strict-Transport-Security") // said already
	}
	return v.home(resp)
}

// scrub removes from a response's headers names of ours, cookies of ours, and
// what would make a cookie reach beyond its host.
func scrub(h http.Header) {
	for name := range h {
		var buf [64]byte
		if f := fold(buf[:0], name); strings.HasPrefix(string(f), "x-gatehouse-") {
			delete(h, name)
		}
	}
	if c := h["Clear-Site-Data"]; c != nil {
		if h["Clear-Site-Data"] = ownData(c); h["Clear-Site-Data"] == nil {
			delete(h, "Clear-Site-Data")
		}
	}
	set := h["Set-Cookie"]
	if set == nil {
		return
	}
	keep := set[:0:0]
	for _, line := range set {
		if !setsOurs(line) {
			keep = append(keep, ownHost(line))
		}
	}
	if len(keep) == 0 {
		delete(h, "Set-Cookie")
	} else {
		h["Set-Cookie"] = keep
	}
}

// ownData takes the cookies from what a browser is told to forget: it would
// forget those of every host of the domain, ours too, and so end everybody's
// sign-in at every service.
func ownData(lines []string) []string {
	var keep []string
	for what := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		switch what = strings.TrimSpace(what); what {
		case `"cookies"`, "":
		case `"*"`:
			keep = append(keep, `"cache"`, `"storage"`)
		default:
			keep = append(keep, what)
		}
	}
	if keep == nil {
		return nil
	}
	return []string{strings.Join(keep, ", ")}
}

// setsOurs reports whether a Set-Cookie line would make a browser send a cookie
// of our name. A cookie without a name is sent as its value alone, so its
// value can look like a name.
func setsOurs(line string) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, value, _ := strings.Cut(pair, "=")
	if strings.TrimSpace(name) == "" {
		name, _, _ = strings.Cut(value, "=")
	}
	return session.Ours(strings.TrimSpace(name))
}

// ownHost takes the Domain from a cookie, so that it stays with the host that
// set it: one service could plant cookies into another, below its own name too.
func ownHost(line string) string {
	parts := strings.Split(line, ";")
	keep := parts[:1]
	for _, p := range parts[1:] {
		k, _, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(k), "domain") {
			keep = append(keep, p)
		}
	}
	return strings.Join(keep, ";")
}

// broken answers for a service that did not.
func (v *visit) broken(_ http.ResponseWriter, r *http.Request, err error) {
	var timeout net.Error
	var tooLarge *http.MaxBytesError
	code := ReasonUpstream
	switch {
	case errors.Is(v.w.stream.why(), errCut):
		code = ReasonRevoked
	case errors.Is(v.w.stream.why(), errFlood):
	case errors.Is(v.w.stream.why(), errSlow):
		code = ReasonUpstreamTimeout
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody is listening, and nothing is not an answer
	case errors.As(err, &tooLarge):
		code = ReasonBody
	case errors.Is(err, errStalled):
		code = ReasonBodyTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		code = ReasonUpstreamTimeout
	}
	var own refusal
	if errors.As(err, &own) {
		code = own.code
	}
	after := 0
	if set := v.trip.Set(); code == ReasonUpstream && set != nil && set.Down() {
		code, after = ReasonUpstreamDown, set.RetryAfter()
	}
	v.refuse(refusal{code: code, detail: err.Error(), after: after})
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
