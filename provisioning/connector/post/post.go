// Package post sends bytes to an address and judges what comes back, for
// connectors that need no more of HTTP than that. Answers are bounded, redirects
// are not followed (they would carry credentials away), and of a call that fails
// it is known whether it may have been carried out.
package post

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// Bounds of one call.
const (
	MaxAnswer = 1 << 20        // bytes
	MaxAfter  = 24 * time.Hour // what Retry-After asks for is cut to this
)

// A Client posts to one address. Make one with New.
type Client struct {
	url  string
	http http.Client
}

// New makes a Client of an absolute http or https address. c does the calls and
// bounds their time; nil: the default transport.
func New(address string, c *http.Client) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("the address must be an absolute http or https one, without user or fragment")
	}
	p := &Client{url: address}
	if c != nil {
		p.http = *c
	}
	p.http.Jar = nil
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p, nil
}

// A Reply is what came back, whatever its status.
type Reply struct {
	Status int
	HTML   bool          // it is a page for people
	After  time.Duration // what Retry-After asks for, within [0, MaxAfter]
	Body   []byte        // at most MaxAnswer + 1 bytes: one more means that it was cut
	Cut    error         // it broke off
}

// Post sends a body; head completes the request. An error is a *connector.Error
// without address, secret or content in it.
func (p *Client) Post(ctx context.Context, body []byte, head func(*http.Request)) (Reply, error) {
	// Once there is a connection, what happened to the call is not known without an answer.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return Reply{}, &connector.Error{Class: connector.Route, Text: "make the request", Err: err}
	}
	head(req)
	resp, err := p.http.Do(req)
	if err != nil {
		if own := (*connector.Error)(nil); errors.As(err, &own) { // from the credentials
			return Reply{}, own
		}
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return Reply{}, &connector.Error{Ambiguous: sent.Load(), Text: "call the address", Err: err}
	}
	defer resp.Body.Close()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	r := Reply{Status: resp.StatusCode, HTML: kind == "text/html", After: RetryAfter(resp.Header.Get("Retry-After"), time.Now())}
	r.Body, r.Cut = io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	return r, nil
}

// RetryAfter reads seconds or a date and keeps it within [0, MaxAfter].
func RetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	var d time.Duration
	if n, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		d = time.Duration(min(max(n, 0), int64(MaxAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), MaxAfter)
}
