package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
)

// An apiRoute is one line of the table: a pattern, the duties that may use it
// besides administrators, and what its document says: what it is for, what it
// takes and what it answers. What it does not say that it takes is refused.
type apiRoute struct {
	pattern string
	duties  []string
	text    string
	takes   []param
	answer  reflect.Type // of the JSON that it answers with; nil: it answers with a media type
	media   string       // of the answer, where it is no JSON
	body    string       // media type of a body that is no form
	fresh   bool         // it wants a fresh sign-in although it changes nothing
}

// A param is one thing that a route takes, in the query or in a form.
type param struct {
	name, text     string
	kind           string   // string, integer, boolean
	among          []string // the only values; nil: any
	required, many bool
}

// doc says what a route is for, what it answers with (a value of the type) and
// what it takes, one each:
//
//	"name! a user"             it has to be there
//	"id[] targets"             it may be there several times
//	"limit:integer at most"    a number, or boolean
//	"answer:approve|deny what" one of these
func (rt *apiRoute) doc(text string, answer any, takes ...string) *apiRoute {
	rt.text, rt.answer = text, reflect.TypeOf(answer)
	for _, t := range takes {
		head, text, _ := strings.Cut(t, " ")
		p := param{text: text, kind: "string"}
		head, p.required = strings.CutSuffix(head, "!")
		head, p.many = strings.CutSuffix(head, "[]")
		name, kind, _ := strings.Cut(head, ":")
		p.name = name
		switch {
		case kind == "integer" || kind == "boolean":
			p.kind = kind
		case kind != "":
			p.among = strings.Split(kind, "|")
		}
		rt.takes = append(rt.takes, p)
	}
	return rt
}

// file says that a route answers with a media type that is no JSON.
func (rt *apiRoute) file(media string) *apiRoute {
	rt.media, rt.answer = media, nil
	return rt
}

// reads says that a route reads a body of a media type; what it takes besides
// stands in the query.
func (rt *apiRoute) reads(media string) *apiRoute {
	rt.body = media
	return rt
}

// afresh says that a route gives away so much that it wants a fresh sign-in.
func (rt *apiRoute) afresh() *apiRoute {
	rt.fresh = true
	return rt
}

// What many routes take.
const (
	takesName  = "name! a user: user name, with the prefix of the user store where it is not the first, or ID"
	takesAfter = "after goes on after this one: the ID of the last that was listed"
	takesNext  = "after goes on there: what next was on the page before"
	takesLimit = "limit:integer at most so many, from 1 to 2000; 200 where nothing is said"
	takesUntil = "until when it ends: a day (2026-12-31), a time (2026-12-31T17:00:00Z) or how long from now (8h, 30d)"
)

// pageOf is how many a list has where nothing else is said.
const pageOf = 200

func limitOf(r *http.Request) int {
	n, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || n < 1 {
		return pageOf
	}
	return min(n, 10*pageOf)
}

// method and path of the pattern.
func (rt *apiRoute) method() string { m, _, _ := strings.Cut(rt.pattern, " "); return m }
func (rt *apiRoute) path() string   { _, p, _ := strings.Cut(rt.pattern, " "); return p }

// safe: it changes nothing.
func (rt *apiRoute) safe() bool { return rt.method() == http.MethodGet }

// check refuses a request that asks for something else than the route says that
// it takes. What is there and empty is as if it were not there.
func (rt *apiRoute) check(r *http.Request) error {
	given := r.URL.Query()
	if rt.body == "" {
		if r.Body == nil { // as of a request that was never sent
			r.Body = http.NoBody
		}
		if err := r.ParseForm(); err != nil {
			return errBad("the form can not be read")
		}
		given = r.Form
	}
	for name := range given {
		if !slices.ContainsFunc(rt.takes, func(p param) bool { return p.name == name }) {
			return errBad(fmt.Sprintf("%s takes no %q — it takes %s", rt.pattern, name, rt.names()))
		}
	}
	for _, p := range rt.takes {
		if err := p.check(valuesOf(r, given, p.name)); err != nil {
			return err
		}
	}
	return nil
}

// valuesOf are those of a parameter that are not empty.
func valuesOf(r *http.Request, given url.Values, name string) (list []string) {
	for _, v := range append(slices.Clone(given[name]), r.PathValue(name)) {
		if v != "" {
			list = append(list, v)
		}
	}
	return list
}

func (rt *apiRoute) names() string {
	var list []string
	for _, p := range rt.takes {
		list = append(list, p.name)
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func (p param) check(values []string) error {
	switch {
	case len(values) == 0 && p.required:
		return errBad(fmt.Sprintf("%s is missing: %s", p.name, p.text))
	case len(values) > 1 && !p.many:
		return errBad(fmt.Sprintf("%s is given %d times, and can be given once", p.name, len(values)))
	}
	for _, v := range values {
		switch {
		case p.kind == "boolean" && v != "true" && v != "false":
			return errBad(fmt.Sprintf("%s is true or false, not %q", p.name, v))
		case p.among != nil && !slices.Contains(p.among, v):
			return errBad(fmt.Sprintf("%s is one of %s, not %q", p.name, strings.Join(p.among, ", "), v))
		}
		if _, err := strconv.Atoi(v); p.kind == "integer" && err != nil {
			return errBad(fmt.Sprintf("%s is a number, not %q", p.name, v))
		}
	}
	return nil
}

// Reason codes of the API, besides those of what is behind it.
const (
	reasonParameter = "api.parameter"
	reasonNotFound  = "api.not_found"
	reasonRefused   = "api.refused"
	reasonOwn       = "api.own_account"
	reasonInternal  = "api.internal"
)

var apiReasons = map[string]string{
	reasonParameter: "The request takes other parameters, or other values of them; nothing was done.",
	reasonNotFound:  "What the request names is not there.",
	reasonRefused:   "The answer is no; the sentence says why, and nothing was done.",
	reasonOwn:       "Administrators do not take their own way in away; another one does it, or who has the machine.",
	reasonInternal:  "A mistake of the gateway, or its store; the log of the machine says more.",
}

// apiStatus are the statuses of these codes.
var apiStatus = map[string]int{
	reasonParameter: http.StatusBadRequest, reasonNotFound: http.StatusNotFound, reasonRefused: http.StatusConflict, reasonOwn: http.StatusConflict,
	reasonInternal: http.StatusInternalServerError,
}

// Answers of no: exit code 1, one sentence. errNone says that something is not
// there, errBad that the question is wrong, errNo anything else.
type errNo string
type errNone string
type errBad string

func (e errNo) Error() string   { return string(e) }
func (e errNone) Error() string { return string(e) }
func (e errBad) Error() string  { return string(e) }

// Reason is the code of each.
func (errNo) Reason() string   { return reasonRefused }
func (errNone) Reason() string { return reasonNotFound }
func (errBad) Reason() string  { return reasonParameter }

// route adds a line to the table. Where it names no duties it is for
// administrators alone.
func (a *api) route(pattern string, fn func(*http.Request) (any, error), duties ...string) *apiRoute {
	var rt *apiRoute
	rt = a.raw(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := fn(r)
		if err == nil && rt.answer != nil && reflect.TypeOf(v) != rt.answer {
			err = fmt.Errorf("%s answers with a %T, and its document says %v", pattern, v, rt.answer)
		}
		if err != nil {
			a.no(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
	}, duties...)
	return rt
}

// raw is route for a handler that writes its answer itself.
func (a *api) raw(pattern string, fn http.HandlerFunc, duties ...string) *apiRoute {
	rt := &apiRoute{pattern: pattern, duties: duties}
	a.routes = append(a.routes, rt)
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := a.may(r, rt); err != nil {
			a.no(w, r, err)
			return
		}
		if err := rt.check(r); err != nil && rt.text != "" {
			a.no(w, r, err)
			return
		}
		if a.people && !rt.safe() {
			// What was begun is finished, also when whoever asked for it is cut off:
			// by closing the page, or because it ended their own session.
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		fn(w, r)
	})
	return rt
}

// no answers with an error. What is no answer of no is a mistake of ours, and
// people are not told its words.
func (a *api) no(w http.ResponseWriter, r *http.Request, err error) {
	if code, _ := apiReason(err); code == reasonInternal && a.people {
		a.p.log.ErrorContext(r.Context(), "api", "route", r.Method+" "+r.URL.Path, "error", err)
		err = errors.New(apiReasons[code])
	}
	sayAPI(w, err)
}

// sayAPI answers with an error: its sentence and its reason code.
func sayAPI(w http.ResponseWriter, err error) {
	code, text := apiReason(err)
	st := apiStatus[code]
	if known, ok := gateway.Status(code); st == 0 && ok {
		st = known
	} else if st == 0 {
		st = http.StatusConflict
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(st)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text, "code": code})
}

func apiReason(err error) (code, text string) {
	var said interface{ Reason() string }
	var refused *access.Refusal
	switch {
	case errors.As(err, &refused):
		return refused.Code, refused.Text
	case errors.As(err, &said):
		return said.Reason(), err.Error()
	case errors.Is(err, provisioning.ErrNotFound):
		return reasonNotFound, err.Error()
	}
	return reasonInternal, err.Error()
}
