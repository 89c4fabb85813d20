// Package client asks a SCIM 2.0 server over HTTP, and expects nothing good of it.
//
// Answers are bounded in size and time, redirects are not followed (they would
// carry our credentials away), identifiers are escaped wherever they come from,
// and an answer that is not SCIM is never taken for one. Every error is an
// [*Error] that says what is known: the status, whether the answer was SCIM's,
// whether the request may have been carried out, when to come back.
//
// All resources of an endpoint are walked with [Client.All], by cursor where the
// server has them ([Client.Cursors]), else by number. [Client.V1] is the same
// client for a server that speaks SCIM 1.1.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// Bounds of one call.
const (
	Timeout       = 10 * time.Second
	MaxAnswer     = 1 << 20        // bytes
	MaxRetryAfter = 24 * time.Hour // what a server asks for is cut to this
)

// A Client asks one server. Make one with New.
type Client struct {
	base    string
	http    http.Client
	timeout time.Duration // of one call
	auth    func(*http.Request)
	v1      bool
}

// V1 is a Client of the same server that speaks SCIM 1.1 with it. Messages are
// given and returned as of 2.0. What 1.1 does not have is errors.ErrUnsupported:
// bulks, cursors, and changes that its PATCH can not say.
func (c *Client) V1() *Client {
	old := *c
	old.v1 = true
	return &old
}

// New makes a Client of the server at base, an absolute address such as
// https://crm.example/scim/v2. c does the calls; nil: the default transport. auth
// adds credentials to a request; nil: none.
func New(base string, c *http.Client, auth func(*http.Request)) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("scim client: the address must be an absolute http or https one, without user, query or fragment")
	}
	cl := &Client{base: strings.TrimSuffix(base, "/"), timeout: Timeout, auth: auth}
	if c != nil {
		cl.http = *c
	}
	if own := cl.http.Timeout; own > 0 && own < Timeout {
		cl.timeout = own
	}
	cl.http.Timeout = 0 // one clock is enough for a call
	cl.http.Jar = nil
	cl.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return cl, nil
}

// ErrID: what was given can not be the id of a resource.
var ErrID = errors.New("this can not be an id")

// An Error says why a call did not succeed. Its text has no secret and no
// value of a resource.
type Error struct {
	Op     string // "POST /Users"
	OfOne  bool   // the call was about one resource, by its id
	Status int    // of the answer; 0: none
	Type   string // scimType
	// SCIM: the answer was SCIM's own, not that of something in between.
	SCIM bool
	HTML bool // the answer was a page for people
	// Sent: the request may have reached the server, and it may have carried it out.
	Sent bool
	// After is what Retry-After asks for, within [0, MaxRetryAfter].
	After time.Duration
	// Unreadable: the answer's status is a success but its content can not be used.
	Unreadable bool
	Err        error
}

func (e *Error) Error() string {
	text := e.Op
	if e.Status != 0 {
		text += ": " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	}
	if e.Type != "" {
		text += " (" + e.Type + ")"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Get reads a resource, if the server can without these attributes.
func (c *Client) Get(ctx context.Context, endpoint, id string, without ...string) (*scim.Resource, error) {
	cl := call{method: http.MethodGet, endpoint: endpoint, id: id, has: true}
	if len(without) > 0 && !c.v1 {
		cl.query = url.Values{"excludedAttributes": {strings.Join(without, ",")}}
	}
	return c.resource(ctx, cl)
}

// Create makes a resource and returns what the server made of it.
func (c *Client) Create(ctx context.Context, endpoint string, r *scim.Object) (*scim.Resource, error) {
	return c.resource(ctx, call{method: http.MethodPost, endpoint: endpoint, body: r})
}

// Replace replaces a resource, on condition that it is at the version match, if that is not empty.
func (c *Client) Replace(ctx context.Context, endpoint, id, match string, r *scim.Object) (*scim.Resource, error) {
	return c.resource(ctx, call{method: http.MethodPut, endpoint: endpoint, id: id, has: true, match: match, body: r})
}

// Patch changes a resource, on condition that it is at the version match, if that
// is not empty. The resource is nil if the server answers without one.
func (c *Client) Patch(ctx context.Context, endpoint, id, match string, p scim.Patch) (*scim.Resource, error) {
	cl := call{method: http.MethodPatch, endpoint: endpoint, id: id, has: true, match: match, body: p.Object()}
	if c.v1 {
		var err error
		if cl.body, err = v1.WritePatch(p); err != nil {
			return nil, &Error{Op: cl.op(), OfOne: true, Err: err}
		}
	}
	return c.resource(ctx, cl)
}

// Delete removes a resource.
func (c *Client) Delete(ctx context.Context, endpoint, id string) error {
	_, _, err := c.do(ctx, call{method: http.MethodDelete, endpoint: endpoint, id: id, has: true})
	return err
}

// Config reads what the server says that it can do.
func (c *Client) Config(ctx context.Context) (*scim.Object, error) {
	cl := call{method: http.MethodGet, endpoint: "/ServiceProviderConfig"}
	if c.v1 {
		cl.endpoint += "s"
	}
	o, _, err := c.do(ctx, cl)
	return o, err
}

// call is a request to be made.
type call struct {
	method, endpoint, id string
	has                  bool // an id; one that is empty is an error, not another address
	match                string
	query                url.Values
	body                 *scim.Object
}

// op names the call for people: without the id, which is the server's business.
func (cl call) op() string {
	if cl.has {
		return cl.method + " " + cl.endpoint + "/…"
	}
	return cl.method + " " + cl.endpoint
}

// read makes 2.0 of what a 1.1 server answers.
func (cl call) read(o *scim.Object) *scim.Object {
	core := scim.UserURN
	if cl.endpoint == "/Groups" {
		core = scim.GroupURN
	}
	list := o.List("Resources")
	if list == nil {
		return v1.Read(o, core)
	}
	o = o.Clone()
	for i, v := range o.List("Resources") {
		if r, ok := v.(*scim.Object); ok {
			list[i] = v1.Read(r, core)
		}
	}
	o.Set("Resources", list)
	return o
}

func (cl call) unreadable(err error) *Error {
	return &Error{Op: cl.op(), Status: http.StatusOK, Sent: true, Unreadable: true, Err: err}
}

func (c *Client) resource(ctx context.Context, cl call) (*scim.Resource, error) {
	o, h, err := c.do(ctx, cl)
	if err != nil || o == nil {
		return nil, err
	}
	r := &scim.Resource{Object: *o}
	if tag := h.Get("ETag"); r.Version() == "" && tag != "" {
		meta := r.Sub("meta").Clone()
		if meta == nil {
			meta = new(scim.Object)
		}
		meta.Set("version", tag)
		r.Set("meta", meta)
	}
	return r, nil
}

// do makes a call and returns the object that answers it; nil: the answer has no content.
func (c *Client) do(ctx context.Context, cl call) (*scim.Object, http.Header, error) {
	fail := &Error{Op: cl.op(), OfOne: cl.has}
	if cl.has && (cl.id == "" || cl.id == "." || cl.id == "..") {
		// As a segment of an address these mean other places, escaped or not.
		fail.Err = ErrID
		return nil, nil, fail
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Once there is a connection, what happened to the request is not known without an answer.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})

	req, err := c.request(ctx, cl)
	if err != nil {
		fail.Err = err
		return nil, nil, fail
	}
	resp, err := c.http.Do(req)
	if err != nil {
		fail.Sent = sent.Load()
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // without the address, whose filter has a name in it
		}
		fail.Err = err
		return nil, nil, fail
	}
	defer resp.Body.Close()
	fail.Status, fail.Sent = resp.StatusCode, true
	fail.HTML = isHTML(resp.Header)
	fail.After = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if resp.StatusCode/100 == 2 {
		o, h, err := success(cl, resp, data, err, fail)
		if c.v1 && o != nil {
			o = cl.read(o)
		}
		return o, h, err
	}
	if o, err := scim.Decode(data); err == nil {
		fail.SCIM = isSCIM(resp.Header, o) || c.v1 && len(o.List("Errors")) > 0
		if fail.SCIM && known(o.String("scimType")) {
			fail.Type = o.String("scimType")
		}
	}
	return nil, nil, fail
}

// success reads the content of a 2xx answer. To a change of what is there it may be empty.
func success(cl call, resp *http.Response, data []byte, err error, fail *Error) (*scim.Object, http.Header, error) {
	empty := len(bytes.TrimSpace(data)) == 0
	switch {
	case err != nil: // what it would have said is not known
		fail.Status, fail.Err = 0, fmt.Errorf("the answer breaks off: %w", err)
		return nil, nil, fail
	case len(data) > MaxAnswer:
		fail.Unreadable, fail.Err = true, fmt.Errorf("the answer is larger than %d bytes", MaxAnswer)
		return nil, nil, fail
	case empty && cl.has && cl.method != http.MethodGet:
		return nil, resp.Header, nil
	}
	o, err := scim.Decode(data)
	if err != nil || fail.HTML {
		fail.Unreadable, fail.Err = true, errors.New("the answer is not SCIM's JSON")
		return nil, nil, fail
	}
	return o, resp.Header, nil
}

func (c *Client) request(ctx context.Context, cl call) (*http.Request, error) {
	at := c.base + cl.endpoint
	if cl.has {
		at += "/" + url.PathEscape(cl.id)
	}
	if len(cl.query) > 0 {
		// A space as %20: some servers take a plus in a filter literally.
		at += "?" + strings.ReplaceAll(cl.query.Encode(), "+", "%20")
	}
	kind, accept := scim.MediaType, scim.MediaType+", application/json;q=0.9"
	if c.v1 {
		kind, accept = v1.MediaType, v1.MediaType
		if cl.body != nil && cl.method != http.MethodPatch {
			cl.body = v1.Write(cl.body)
		}
	}
	var body io.Reader
	if cl.body != nil {
		body = bytes.NewReader(cl.body.AppendJSON(nil))
	}
	req, err := http.NewRequestWithContext(ctx, cl.method, at, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if cl.body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if cl.match != "" {
		req.Header.Set("If-Match", cl.match)
	}
	if c.auth != nil {
		c.auth(req)
	}
	return req, nil
}

func isHTML(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
}

// isSCIM reports whether an error is SCIM's: it says so in its type or its schemas.
func isSCIM(h http.Header, o *scim.Object) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	if kind == scim.MediaType {
		return true
	}
	for _, s := range o.List("schemas") {
		if s, ok := s.(string); ok && strings.EqualFold(s, scim.ErrorURN) {
			return true
		}
	}
	return false
}

// known keeps text of the server's own choice out of our errors.
func known(scimType string) bool {
	_, ok := scim.Reasons["scim."+scimType]
	return ok
}

// retryAfter reads seconds or a date and keeps it within bounds.
func retryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	var d time.Duration
	if n, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		d = time.Duration(min(max(n, 0), int64(MaxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), MaxRetryAfter)
}
