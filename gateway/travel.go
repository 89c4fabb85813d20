package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

// What is between a request that may pass and the upstream that gets it: which
// one that is, what its path is there, and how the answer finds back.

var (
	errDown = errors.New("no upstream of the service is there")
	errSlow = errors.New("the service took longer than it may")
)

// sticky is the purpose of the cookie that keeps a browser at an upstream.
func (s *service) sticky() string { return "upstream-" + s.ID }

// hint is where this person was.
func (v *visit) hint() (h upstream.Hint) {
	switch v.service.upstreams.Sticky {
	case upstream.ByCookie:
		if ck, err := v.r.Cookie(v.g.c.Cookie.Name(v.service.sticky())); err == nil {
			h.Cookie = ck.Value
		}
	case upstream.BySession:
		h.Session = v.from.String()
		if v.session != nil {
			h.Session = v.session.ID
		}
	}
	return h
}

// aim makes a path the one that the service has.
func (s *service) aim(u *url.URL) {
	w := s.upstreams.Rewrite
	if w.Zero() {
		return
	}
	escaped := w.Target(u.EscapedPath())
	if path, err := url.PathUnescape(escaped); err == nil { // as it could before
		u.Path, u.RawPath = path, escaped
	}
}

// travel is the way of requests that the standard transport carries.
type travel visit

// RoundTrip is http.RoundTripper's.
func (t *travel) RoundTrip(r *http.Request) (*http.Response, error) {
	set := t.service.upstreams
	for {
		m := t.trip.Next()
		if m == nil {
			return nil, errDown
		}
		out := *r
		u := *r.URL
		u.Scheme, u.Host = m.URL.Scheme, m.URL.Host
		out.URL = &u
		resp, err := set.Transport.RoundTrip(&out)
		if err == nil || !t.trip.Again(r, err) {
			return resp, err
		}
	}
}

// home makes an answer one of the address that the browser knows, and bounds it.
func (v *visit) home(resp *http.Response) error {
	set := v.service.upstreams
	if w := set.Rewrite; !w.Zero() {
		origin, at := v.g.origin(v.host), v.trip.Host()
		for _, name := range []string{"Location", "Content-Location"} {
			for i, val := range resp.Header[name] {
				resp.Header[name][i] = w.Location(val, origin, at)
			}
		}
		for i, line := range resp.Header["Set-Cookie"] {
			resp.Header["Set-Cookie"][i] = w.Cookie(line)
		}
	}
	if value, moved := v.trip.Cookie(); moved {
		ck := v.g.c.Cookie.Make(v.service.sticky(), value)
		resp.Header.Add("Set-Cookie", ck.String())
		resp.Header.Add("Cache-Control", `no-cache="Set-Cookie"`) // it is this browser's alone
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if most := set.MaxBody; most > 0 && v.r.Method != http.MethodHead {
		if resp.ContentLength > most {
			return tooLarge(most)
		}
		if resp.ContentLength < 0 {
			resp.Body = &bounded{resp.Body, most, most}
		}
	}
	if d := set.Timeouts.Silence; d > 0 {
		st := v.w.stream
		resp.Body = &impatient{resp.Body, time.AfterFunc(d, func() { st.end(errSlow) }), d}
	}
	return nil
}

func tooLarge(most int64) error {
	return refusal{code: ReasonUpstreamLarge, detail: fmt.Sprintf("the answer has more than %d bytes", most)}
}

// bounded is a body that ends in an error when it goes on for too long.
type bounded struct {
	io.ReadCloser
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge(b.most)
	}
	return n, err
}

// impatient is a body that may not be silent for long.
type impatient struct {
	io.ReadCloser
	t *time.Timer
	d time.Duration
}

func (b *impatient) Read(p []byte) (int, error) {
	b.t.Reset(b.d)
	n, err := b.ReadCloser.Read(p)
	b.t.Stop()
	return n, err
}

func (b *impatient) Close() error {
	b.t.Stop()
	return b.ReadCloser.Close()
}

// truth is 1 for true.
func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
