// Package authzen answers services that ask for decisions: the Authorization
// API 1.0 of OpenID AuthZEN, as far as it evaluates.
//
//	POST evaluation   {subject, action, resource, context} ─▶ {decision, context}
//	POST evaluations  defaults, a list of these, options   ─▶ {evaluations: […]}
//	GET  configuration
//
// The policy that decides is the gateway's own, so what is asked for is in its
// words:
//
//	subject   type user, id a user name (with the user store before it, partners/kim) or a user's ID
//	action    name a method of HTTP
//	resource  type service, id a service; properties.path the path, / if left out
//	context   identity_provider, acr, amr, auth_time: how the person signed in, as the service knows it;
//	          ip: where from, as may properties.ip_address of the subject
//
// What is not said is not known, and counts against the person as everywhere.
// What can not be decided about is a decision of no, which says what is wrong.
// Who asks bears a service token that names the services it may ask about; all
// others do not exist for it.
package authzen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
)

// ErrNobody: there is no such user.
var ErrNobody = errors.New("there is no such user")

// Config of a Handler.
type Config struct {
	// Base is the address of the gateway, without a slash at its end, and Prefix
	// the path of the endpoints.
	Base, Prefix string
	Decide       func(authz.Request) authz.Decision
	// Subject is a user by name or ID, with their roles; ErrNobody if there is none.
	Subject  func(ctx context.Context, name string) (authz.Subject, error)
	Services []string // that there are
	Callers  *bearer.Callers
	// Decided is told of each decision, under the support code of its question, and
	// Refused of who may not ask.
	Decided func(Question, authz.Decision)
	Refused func(code, from string)
	Support func() string // makes a support code
	Now     func() time.Time
}

// A Question is what was asked, and by whom.
type Question struct {
	authz.Request
	Token   string // its name
	Support string // a support code; the answer has it if it is no
}

// Limits of a request.
const (
	maxBody        = 256 << 10 // bytes
	maxEvaluations = 100
)

// semantics are how a list of evaluations may be worked off.
const (
	executeAll   = "execute_all"
	denyOnFirst  = "deny_on_first_deny"
	permitOnOnce = "permit_on_first_permit"
)

// Handler serves the endpoints below Prefix.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+c.Prefix+"configuration", c.configuration)
	mux.HandleFunc("POST "+c.Prefix+"evaluation", func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, false) })
	mux.HandleFunc("POST "+c.Prefix+"evaluations", func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, true) })
	return mux
}

// configuration says where everything is (section 9 of the specification).
func (c Config) configuration(w http.ResponseWriter, _ *http.Request) {
	at := c.Base + c.Prefix
	w.Header().Set("Cache-Control", "public, max-age=3600")
	say(w, http.StatusOK, map[string]string{
		"policy_decision_point": c.Base, "access_evaluation_endpoint": at + "evaluation", "access_evaluations_endpoint": at + "evaluations",
	})
}

// A fault is what is wrong with a request, with its status.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

func wrong(format string, args ...any) error {
	return &fault{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func say(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if h["Cache-Control"] == nil {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}

// fail answers with an error about all of a request: its status, and one sentence.
func fail(w http.ResponseWriter, err error) {
	st, text := http.StatusInternalServerError, "the gateway can not decide at the moment"
	var f *fault
	if errors.As(err, &f) {
		st, text = f.status, f.text
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(st)
	_, _ = io.WriteString(w, text+"\n")
}

func (c Config) serve(w http.ResponseWriter, r *http.Request, many bool) {
	if id := r.Header["X-Request-Id"]; len(id) == 1 && len(id[0]) <= 256 {
		w.Header()["X-Request-Id"] = id
	}
	from, _ := netip.ParseAddr(r.Header.Get("X-Forwarded-For")) // the gateway's own word
	token, err := c.asker(w, r, from)
	if err != nil {
		fail(w, err)
		return
	}
	var q question
	if err := q.read(w, r); err != nil {
		fail(w, err)
		return
	}
	support := c.Support()
	if !many || len(q.Evaluations) == 0 {
		a, err := c.evaluate(r.Context(), token, support, q.tuple)
		if err != nil {
			fail(w, err)
			return
		}
		say(w, http.StatusOK, a)
		return
	}
	semantic, err := q.semantic()
	if err != nil {
		fail(w, err)
		return
	}
	list := []answer{}
	for _, one := range q.Evaluations {
		a, err := c.evaluate(r.Context(), token, support, one.or(q.tuple))
		var f *fault
		if errors.As(err, &f) {
			a, err = answer{Context: map[string]any{"error": map[string]any{"status": f.status, "message": f.text}}}, nil
		}
		if err != nil {
			fail(w, err) // nobody knows
			return
		}
		list = append(list, a)
		if semantic == denyOnFirst && !a.Decision || semantic == permitOnOnce && a.Decision {
			break
		}
	}
	say(w, http.StatusOK, map[string]any{"evaluations": list})
}

// asker is the token of whoever asks.
func (c Config) asker(w http.ResponseWriter, r *http.Request, from netip.Addr) (*bearer.Token, error) {
	text, err := bearer.Credential(r.Header["Authorization"])
	var token *bearer.Token
	if err == nil {
		token, err = c.Callers.Asker(text, from)
	}
	if err == nil {
		return token, nil
	}
	var no *bearer.Refusal
	if !errors.As(err, &no) {
		return nil, err
	}
	c.Refused(no.Code, from.String())
	switch no.Code {
	case bearer.ReasonUnknown:
		w.Header().Set("WWW-Authenticate", `Bearer realm="Gatehouse"`)
		return nil, &fault{http.StatusUnauthorized, no.Code + ": a service token that may ask for decisions is needed"}
	case bearer.ReasonThrottled:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.After.Seconds()))))
		return nil, &fault{http.StatusTooManyRequests, no.Code + ": too many wrong tokens"}
	case bearer.ReasonScope:
		return nil, &fault{http.StatusForbidden, no.Code + ": this token may not ask for decisions"}
	}
	return nil, err
}

// A tuple is what is to be decided. Parts are nil where they are left out.
type tuple struct {
	Subject, Action, Resource *entity
	Context                   map[string]json.RawMessage
}

// An entity is a subject or a resource, or, with a name instead, an action.
type entity struct {
	Type, ID, Name string
	Properties     map[string]json.RawMessage
}

// or fills in what is left out.
func (t tuple) or(d tuple) tuple {
	if t.Subject == nil {
		t.Subject = d.Subject
	}
	if t.Action == nil {
		t.Action = d.Action
	}
	if t.Resource == nil {
		t.Resource = d.Resource
	}
	if t.Context == nil {
		t.Context = d.Context
	}
	return t
}

// A question is the body of a request.
type question struct {
	tuple
	Evaluations []tuple
	Options     map[string]json.RawMessage
}

func (q *question) semantic() (string, error) {
	raw, there := q.Options["evaluations_semantic"]
	if !there {
		return executeAll, nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || !slices.Contains([]string{executeAll, denyOnFirst, permitOnOnce}, s) {
		return "", wrong("options.evaluations_semantic is one of %s, %s and %s", executeAll, denyOnFirst, permitOnOnce)
	}
	return s, nil
}

// read reads a body. Keys are compared exactly; those that nobody knows are for
// somebody else.
func (q *question) read(w http.ResponseWriter, r *http.Request) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return wrong("the header Content-Type is not application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &fault{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody)}
	case err != nil:
		return wrong("the body did not arrive whole")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil || keys == nil {
		return wrong("the body is no object in JSON")
	}
	if name, is := twice(json.NewDecoder(bytes.NewReader(raw))); is {
		return wrong("the name %.64q is there twice in one object", name)
	}
	if q.tuple, err = tupleOf(keys); err != nil {
		return err
	}
	if err := part(keys, "options", &q.Options); err != nil {
		return err
	}
	var list []map[string]json.RawMessage
	if err := part(keys, "evaluations", &list); err != nil {
		return err
	}
	if len(list) > maxEvaluations {
		return wrong("there are more than %d evaluations", maxEvaluations)
	}
	for i, one := range list {
		t, err := tupleOf(one)
		if err != nil {
			return wrong("evaluations[%d]: %v", i, err)
		}
		q.Evaluations = append(q.Evaluations, t)
	}
	return nil
}

// twice finds a name that is there twice in an object: of the two whoever asks may mean
// the one that was not decided about. What it reads is JSON, and not too deep.
func twice(d *json.Decoder) (name string, is bool) {
	open, _ := d.Token()
	if _, nested := open.(json.Delim); !nested {
		return "", false
	}
	names := map[string]bool{}
	for d.More() {
		if open == json.Delim('{') {
			key, _ := d.Token()
			if name, _ = key.(string); names[name] {
				return name, true
			}
			names[name] = true
		}
		if name, is = twice(d); is {
			return name, true
		}
	}
	_, _ = d.Token() // its end
	return "", false
}

func tupleOf(keys map[string]json.RawMessage) (t tuple, err error) {
	for name, into := range map[string]**entity{"subject": &t.Subject, "action": &t.Action, "resource": &t.Resource} {
		var parts map[string]json.RawMessage
		if err := part(keys, name, &parts); err != nil {
			return t, err
		}
		if parts == nil {
			continue
		}
		e := &entity{}
		for key, text := range map[string]*string{"type": &e.Type, "id": &e.ID, "name": &e.Name} {
			if err := part(parts, key, text); err != nil {
				return t, wrong("%s.%v", name, err)
			}
		}
		if err := part(parts, "properties", &e.Properties); err != nil {
			return t, wrong("%s.%v", name, err)
		}
		*into = e
	}
	return t, part(keys, "context", &t.Context)
}

// part reads one key, if it is there.
func part(keys map[string]json.RawMessage, name string, into any) error {
	raw, there := keys[name]
	if !there {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return wrong("%s is not what it should be", name)
	}
	return nil
}

// An answer is one decision. The zero answer is no.
type answer struct {
	Decision bool           `json:"decision"`
	Context  map[string]any `json:"context,omitempty"`
}

// evaluate decides. A fault is about this one question; any other error is that
// nobody knows.
func (c Config) evaluate(ctx context.Context, token *bearer.Token, support string, t tuple) (answer, error) {
	q, err := c.request(token, t)
	if err != nil {
		return answer{}, err
	}
	who, err := c.Subject(ctx, t.Subject.ID)
	switch {
	case errors.Is(err, ErrNobody):
		return answer{}, &fault{http.StatusNotFound, "there is no such user"}
	case err != nil:
		return answer{}, err
	}
	q.Subject = who.SignedInAs(q.Subject)
	d := c.Decide(q)
	c.Decided(Question{q, token.Name, support}, d)
	if d.Outcome == authz.Allow {
		return answer{Decision: true}, nil
	}
	a := answer{Context: map[string]any{"id": d.Code, "support_code": support, "reason_admin": map[string]string{"en": authz.Reasons[d.Code]}}}
	if text := texts(d); text != "" {
		a.Context["reason_user"] = map[string]string{"en": text}
	}
	if d.Outcome == authz.StepUp {
		a.Context["acr_values"] = d.Needs.ACR
		if d.Needs.MaxAge > 0 {
			a.Context["max_age"] = int(d.Needs.MaxAge.Seconds())
		}
	}
	return a, nil
}

// texts are what the rules say to people who are refused, each once.
func texts(d authz.Decision) string {
	var list []string
	for _, r := range d.Reasons {
		about := r.Effect == authz.Deny && r.Matched
		if d.Code != authz.ReasonDenied {
			about = r.Effect == authz.Allow
		}
		if about && r.Text != "" && !slices.Contains(list, r.Text) {
			list = append(list, r.Text)
		}
	}
	return strings.Join(list, " ")
}

// methods that can be decided about.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// request is what a tuple asks, without the person.
func (c Config) request(token *bearer.Token, t tuple) (q authz.Request, err error) {
	switch {
	case t.Subject == nil || t.Subject.ID == "" || t.Subject.Type == "":
		return q, wrong("a subject has a type and an id")
	case t.Action == nil || t.Action.Name == "":
		return q, wrong("an action has a name")
	case t.Resource == nil || t.Resource.ID == "" || t.Resource.Type == "":
		return q, wrong("a resource has a type and an id")
	case t.Subject.Type != "user":
		return q, wrong("a subject is of the type user")
	case t.Resource.Type != "service":
		return q, wrong("a resource is of the type service")
	case !slices.Contains(methods, t.Action.Name):
		return q, wrong("an action is a method of HTTP, such as GET")
	case !token.May(t.Resource.ID) || !slices.Contains(c.Services, t.Resource.ID):
		return q, &fault{http.StatusForbidden, bearer.ReasonScope + ": this token may not ask about such a service"}
	}
	q = authz.Request{Service: t.Resource.ID, Method: t.Action.Name, Path: "/", Now: c.Now()}
	if err := part(t.Resource.Properties, "path", &q.Path); err != nil {
		return q, wrong("resource.properties.%v", err)
	}
	if !authz.Canonical(q.Path) {
		return q, wrong("resource.properties.path can be read in two ways: write it decoded, from its first slash, without a query")
	}
	var ip, at string
	for _, from := range []struct {
		in   map[string]json.RawMessage
		key  string
		into any
	}{
		{t.Subject.Properties, "ip_address", &ip}, {t.Context, "ip", &ip},
		{t.Context, "identity_provider", &q.Subject.Provider}, {t.Context, "acr", &q.Subject.ACR}, {t.Context, "amr", &q.Subject.AMR}, {t.Context, "auth_time", &at},
	} {
		if err := part(from.in, from.key, from.into); err != nil {
			return q, err
		}
	}
	if ip != "" {
		if q.From, err = netip.ParseAddr(ip); err != nil {
			return q, wrong("%q is no address", ip)
		}
		q.From = q.From.Unmap().WithZone("")
	}
	if at != "" {
		if q.Subject.AuthTime, err = time.Parse(time.RFC3339, at); err != nil {
			return q, wrong("auth_time is a time such as 2027-01-31T10:00:00Z")
		}
	}
	return q, nil
}
