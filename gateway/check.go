package gateway

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/extauthz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// A check is a question that Envoy asks by gRPC. The request that it describes
// takes the question's place, as with every other question; a check stands behind
// the answer, and makes a message of it.
//
// A call is a question if a proxy asks it that is listed, and asks it itself. Where
// the same proxy passes requests of clients on to the gateway, one of them could
// look like a question. But it has a host that people can go to, and Envoy says of
// whatever it passes on by which protocol it came.
type check struct {
	http.ResponseWriter
	header http.Header // of the answer
	status int
	body   []byte
	given  http.Header // what the service is to receive; nil: nobody said that this may pass
	forged []string    // headers of the client that the wall holds back
	cancel context.CancelFunc
}

// maxCheck is more than the headers of any request that Envoy lets through. Bodies,
// if Envoy is made to send them, count; nobody looks at them.
const maxCheck = 1 << 20

// AsksInClear reports whether a proxy that asks by gRPC may be at an address. It is
// for who decides with whom HTTP/2 is spoken without TLS.
func (g *Gateway) AsksInClear(from net.Addr) bool {
	p := g.asker(from.String())
	return p != nil && ProxyKinds[p.Kind].Checks
}

// isCheck reports whether a request is the call, and not one that a client made.
func (v *visit) isCheck() bool {
	if !extauthz.Is(v.r) || v.r.Header["X-Forwarded-Proto"] != nil {
		return false
	}
	host := canonicalHost(v.r.Host)
	_, known := v.g.routes.hosts[host]
	return !known && host != v.g.host
}

// check puts the request that a proxy asks about by gRPC in the place of the call.
func (v *visit) check(p *Proxy) error {
	ctx, cancel := v.r.Context(), context.CancelFunc(func() {})
	if d := extauthz.Timeout(v.r.Header); d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
	}
	c := &check{ResponseWriter: v.w.ResponseWriter, header: maps.Clone(v.w.Header()), cancel: cancel}
	v.proxy, v.checks, v.w.ResponseWriter = p, c, &verdict{ResponseWriter: c}
	by := time.Now().Add(bodyTime)
	if end, ok := ctx.Deadline(); ok && end.Before(by) {
		by = end
	}
	_ = http.NewResponseController(c.ResponseWriter).SetReadDeadline(by) // not every writer has one
	msg, err := extauthz.Message(v.r.Body, maxCheck)
	var q extauthz.Request
	if err == nil {
		q, err = extauthz.Read(msg)
	}
	// From here on nothing of the call is left: it is neither a request to a service,
	// nor is its sender somebody to be answered by gRPC's conventions.
	was := v.r
	v.r = (&http.Request{URL: was.URL, RequestURI: was.RequestURI, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: q.Header, RemoteAddr: was.RemoteAddr, Body: http.NoBody}).WithContext(ctx)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refusal{code: ReasonBody, detail: "proxy " + p.ID + ": " + err.Error()}
	case err == nil && behindComma(q.Header["Cookie"]):
		return refusal{code: ReasonCookies, detail: "proxy " + p.ID + " joined lines with the gateway's cookie by a comma"}
	case err == nil:
		v.r.RemoteAddr = net.JoinHostPort(q.From.String(), "0")
		for name := range q.Header {
			if v.g.wall.holds(name) {
				c.forged = append(c.forged, name)
			}
		}
	}
	return v.instead(q.Method, q.Scheme, q.Host, q.Path, err)
}

// behindComma reports whether a cookie of ours stands behind a comma, which is how
// Envoy joins lines: it would be hidden in the value of another one, and go to the
// service with it.
func behindComma(lines []string) bool {
	for _, line := range lines {
		for i, part := range strings.Split(line, ",") {
			name, _, _ := strings.Cut(part, "=")
			if i > 0 && session.Ours(strings.TrimSpace(name)) {
				return true
			}
		}
	}
	return false
}

func (c *check) Header() http.Header { return c.header }

func (c *check) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *check) Write(p []byte) (int, error) {
	c.body = append(c.body, p...)
	return len(p), nil
}

// FlushError is for http.ResponseController. The answer is one message.
func (c *check) FlushError() error { return nil }

// Unwrap is for http.ResponseController.
func (c *check) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// give is where goes what a service is to receive. It gets the same as by way of the
// gateway: Envoy can be told to take the client's lines away.
func (c *check) give(v *visit) http.Header {
	c.given = http.Header{"X-Forwarded-For": {v.from.String()}, "X-Forwarded-Host": {v.service.authority}, "X-Forwarded-Proto": {v.g.scheme()}}
	if v.r.Header["Upgrade"] != nil { // then Envoy passes Connection on as it came, and what the client named there would go
		c.given["Connection"] = []string{"Upgrade"}
	}
	return c.given
}

// end sends the answer, if there is one.
func (c *check) end(v *visit) {
	defer c.cancel()
	if v.broke {
		return
	}
	var body []byte
	if c.given != nil && c.status == http.StatusOK {
		rest := c.forged[:0]
		for _, name := range c.forged {
			if _, ours := c.given[name]; !ours {
				rest = append(rest, strings.ToLower(name))
			}
		}
		body = extauthz.Yes(c.given, v.service.held, rest)
	} else {
		for _, name := range []string{"Connection", "Content-Length"} { // of a message that is not sent
			delete(c.header, name)
		}
		body = extauthz.No(c.status, c.header, c.body)
	}
	h := c.ResponseWriter.Header()
	h["Content-Type"] = []string{"application/grpc"}
	h[http.TrailerPrefix+"Grpc-Status"] = []string{"0"}
	_, _ = c.ResponseWriter.Write(body) // a proxy that went away lets nobody in
}
