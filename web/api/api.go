// Package api is how the pages speak with the gateway's API: as any program
// does, in the name of the person in front of them.
//
//	page ──Call──▶ the table of routes and duties ──▶ the function behind it
//
// So nothing can be done from a page that the API would not do for the same
// person, and who may do what is said in one place.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// A Client calls the API in this process.
type Client struct {
	// Handler serves the API at /v1/…, and finds the person in the request's
	// context.
	Handler http.Handler
}

// An Error is what the API answered instead. Nothing was done.
type Error struct {
	Status int    `json:"-"`
	Code   string `json:"code"` // a reason code; empty where it has none
	Text   string `json:"error"`
}

func (e *Error) Error() string { return e.Text }

// Reason is the code.
func (e *Error) Reason() string { return e.Code }

// Refused is the error that an answer says, by its status and what is in it.
func Refused(status int, body []byte) *Error {
	e := &Error{Status: status}
	if err := json.Unmarshal(body, e); err != nil || e.Text == "" {
		e.Text = http.StatusText(status)
	}
	return e
}

// Call does what "GET /v1/users" and the like name, with a form, for the person
// in ctx, and reads the answer into one. A refusal is an *Error.
func (c Client) Call(ctx context.Context, route string, form url.Values, into any) error {
	method, path, _ := strings.Cut(route, " ")
	var body io.Reader
	target := path
	if method == http.MethodGet || method == http.MethodDelete { // ParseForm reads no body of them
		target += "?" + form.Encode()
	} else {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("call %s: %w", route, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := &answer{header: http.Header{}, status: http.StatusOK}
	c.Handler.ServeHTTP(w, r)
	if w.status >= http.StatusBadRequest {
		return Refused(w.status, w.body.Bytes())
	}
	if into == nil {
		return nil
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = w.body.Bytes()
		return nil
	}
	if err := json.Unmarshal(w.body.Bytes(), into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", route, err)
	}
	return nil
}

// An answer is kept in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
