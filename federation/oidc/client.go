package oidc

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Bounds of what an identity provider may answer.
const (
	maxBody  = 1 << 20          // bytes of one answer, unpacked
	maxTime  = 10 * time.Second // for one request and its answer
	maxMoves = 3                // redirects
)

// bounded is c with bounds that the libraries above it do not set: an answer is
// read whole, up to maxBody and in maxTime; a redirect is followed within one
// host and for GET only, so that neither code, secret nor token goes elsewhere.
// It sends no cookies.
func bounded(c *http.Client) *http.Client {
	out := http.Client{Transport: http.DefaultTransport, Timeout: maxTime}
	if c != nil && c.Transport != nil {
		out.Transport = c.Transport
	}
	if c != nil && c.Timeout > 0 && c.Timeout < maxTime {
		out.Timeout = c.Timeout
	}
	out.Transport = whole{out.Transport}
	out.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		from := via[0]
		switch {
		case from.Method != http.MethodGet:
			return fmt.Errorf("a redirect after %s is not followed", from.Method)
		case r.URL.Scheme != from.URL.Scheme || r.URL.Host != from.URL.Host:
			return fmt.Errorf("a redirect to another host (%s) is not followed", brief(r.URL.Host))
		case len(via) > maxMoves:
			return fmt.Errorf("more than %d redirects", maxMoves)
		}
		return nil
	}
	return &out
}

// whole reads an answer to its end before anybody sees it. So every failure, also
// in the middle of a body, is an error of the request.
type whole struct{ next http.RoundTripper }

func (w whole) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxBody)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}
