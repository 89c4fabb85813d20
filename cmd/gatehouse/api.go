package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// The verbs that look into the store or change it speak to this handler: over
// admin.sock when a gateway runs, in their own process when none does. Whoever
// can open the socket or the store is an administrator.
//
// People meet the same routes at /.gatehouse/api/v1/, signed in, and may what
// their duties say: each route names those that may use it, and administrators
// may use all.

type api struct {
	mux    *http.ServeMux // only raw adds to it, so nothing is outside the table
	p      *process
	s      *site
	people bool // it answers people, who have duties, and not the machine
	routes []apiRoute
}

// An apiRoute is one line of the table: a pattern and the duties that may use it
// besides administrators.
type apiRoute struct {
	pattern string
	duties  []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// newAPI is for the machine.
func newAPI(p *process, s *site) http.Handler { return routesOf(p, s, false) }

func routesOf(p *process, s *site, people bool) *api {
	a := &api{mux: http.NewServeMux(), p: p, s: s, people: people}
	a.route("GET /v1/users", a.users, "helpdesk", "auditors")
	a.route("GET /v1/user", a.user, "helpdesk", "auditors")
	a.route("POST /v1/user/active", a.setActive)
	a.route("DELETE /v1/user", a.deleteUser)
	a.route("POST /v1/user/link", a.link)
	a.route("DELETE /v1/user/link", a.unlink)
	a.route("GET /v1/client/dialect", a.dialect)
	a.route("GET /v1/sessions", a.sessions, "helpdesk", "auditors")
	a.route("DELETE /v1/sessions", a.endSessions)
	a.route("GET /v1/tasks", a.tasks, "helpdesk", "auditors")
	a.route("GET /v1/task", a.task, "helpdesk", "auditors")
	a.route("POST /v1/task/{what}", a.turnTask)
	a.targetRoutes()
	a.storeRoutes()
	a.accessRoutes()
	a.askRoutes()
	a.route("GET /v1/imports", a.imports, "auditors")
	a.route("POST /v1/imports", a.importFile)
	a.route("GET /v1/import", a.oneImport, "auditors")
	a.raw("GET /v1/import/result", a.importResult)
	a.route("POST /v1/reconciliation", a.reconcile)
	a.route("GET /v1/reconciliation", a.report, "auditors")
	a.route("GET /v1/sources", a.sources, "auditors")
	a.route("GET /v1/source/test", a.testSource)
	a.route("GET /v1/source/preview", a.previewSource)
	a.route("POST /v1/source/run", a.runSource)
	a.route("GET /v1/source/held", a.held)
	a.route("POST /v1/source/held", a.decideHeld)
	a.route("GET /v1/audit", a.events, "auditors")
	a.route("GET /v1/audit/verify", a.verify, "auditors")
	a.route("GET /v1/explain", a.explain, "helpdesk", "auditors")
	a.route("GET /v1/clients", a.clients, "auditors")
	a.route("GET /v1/client/tokens", a.clientTokens)
	a.route("POST /v1/client/tokens", a.makeToken)
	a.route("DELETE /v1/client/tokens", a.revokeToken)
	return a
}

// errNo is an answer of no: exit code 1, one sentence.
type errNo string

func (e errNo) Error() string { return string(e) }

// route adds a line to the table. Where it names no duties it is for
// administrators alone.
func (a *api) route(pattern string, fn func(*http.Request) (any, error), duties ...string) {
	a.raw(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := fn(r)
		if err != nil {
			sayAPI(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
	}, duties...)
}

// raw is route for a handler that writes its answer itself.
func (a *api) raw(pattern string, fn http.HandlerFunc, duties ...string) {
	a.routes = append(a.routes, apiRoute{pattern, duties})
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := a.may(r, duties); err != nil {
			sayAPI(w, err)
			return
		}
		fn(w, r)
	})
}

// sayAPI answers with an error: its sentence, and its reason code where it has one.
func sayAPI(w http.ResponseWriter, err error) {
	st, v := http.StatusInternalServerError, map[string]string{"error": err.Error()}
	var no errNo
	var refused *access.Refusal
	switch {
	case errors.As(err, &refused):
		st, _ = gateway.Status(refused.Code)
		v = map[string]string{"error": refused.Text, "code": refused.Code}
	case errors.As(err, &no), errors.Is(err, provisioning.ErrNotFound):
		st = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(st)
	_ = json.NewEncoder(w).Encode(v)
}

func (a *api) view(u provisioning.User) webapi.User {
	v := webapi.User{
		ID: u.ID, UserName: a.s.directory.FullName(u.Store, u.UserName), Active: u.Active, Attributes: map[string][]string{},
		Roles: []string{}, Groups: []string{}, Version: u.Version, Created: u.Created, Modified: u.Modified,
	}
	for attr := range u.Attributes {
		v.Attributes[attr] = provisioning.Effective(u, attr)
	}
	return v
}

const pageOf = 200

func limitOf(r *http.Request) int {
	n, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || n < 1 {
		return pageOf
	}
	return min(n, 10*pageOf)
}

func (a *api) users(r *http.Request) (any, error) {
	list := []webapi.User{}
	seq := a.s.directory.Users(r.Context(), r.FormValue("after"), limitOf(r))
	if q := r.FormValue("q"); q != "" {
		userStore, prefix := a.s.directory.SplitName(q)
		seq = a.s.directory.Search(r.Context(), userStore, prefix, r.FormValue("after"), limitOf(r))
	}
	for u, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, a.view(u))
	}
	return list, nil
}

// named finds a user by name or by ID.
func (a *api) named(r *http.Request) (provisioning.User, error) {
	name := r.FormValue("name")
	u, err := a.s.directory.ByName(r.Context(), first(a.s.directory.SplitName(name)), second(a.s.directory.SplitName(name)))
	if errors.Is(err, provisioning.ErrNotFound) {
		u, err = a.s.directory.User(r.Context(), name)
	}
	if errors.Is(err, provisioning.ErrNotFound) {
		return u, errNo(fmt.Sprintf("there is no user %q — `gatehouse users list` shows those there are", name))
	}
	return u, err
}

func first(a, _ string) string  { return a }
func second(_, b string) string { return b }

func (a *api) user(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	v := a.view(u)
	v.Claims, v.Grants = u.Attributes, u.Grants
	sub, err := a.subject(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	v.Roles, v.Groups = notNil(sub.Roles), notNil(sub.Groups)
	if v.Links, err = a.s.directory.Links(r.Context(), u.ID); err != nil {
		return nil, err
	}
	if v.Accounts, err = a.s.outbox.States(r.Context(), u.ID); err != nil {
		return nil, err
	}
	v.Evidence, err = a.s.lifecycle.Evidence(r.Context(), u.ID)
	return v, err
}

func notNil(s []string) []string { return append([]string{}, s...) }

func (a *api) subject(ctx context.Context, id string) (authz.Subject, error) {
	sub, err := a.s.directory.Subject(ctx, id)
	return a.s.rules.policy.Roles(sub), err
}

func (a *api) setActive(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	active := r.FormValue("active") == "true"
	u, _, err = a.s.directory.Change(r.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error {
		u.Active = active
		return nil
	})
	if err == nil && !active {
		_, err = a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser)
	}
	if err != nil {
		return nil, err
	}
	return a.view(u), nil
}

func (a *api) deleteUser(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	if err := a.s.directory.Delete(r.Context(), u.ID, provisioning.Admin); err != nil {
		return nil, err
	}
	if _, err := a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser); err != nil {
		return nil, err
	}
	return a.view(u), nil
}

// link lets a user sign in as the person that an identity provider calls so. Only
// an administrator can know that both are one.
func (a *api) link(r *http.Request) (any, error) { return a.relink(r, true) }

// unlink takes that back, and ends the user's sessions.
func (a *api) unlink(r *http.Request) (any, error) { return a.relink(r, false) }

func (a *api) relink(r *http.Request, link bool) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	provider, ref := r.FormValue("provider"), federation.Ref{Issuer: r.FormValue("issuer"), Subject: r.FormValue("subject")}
	if !slices.ContainsFunc(a.s.cfg.IdentityProviders, func(p configs.IdentityProvider) bool { return p.ID == provider }) {
		return nil, errNo(fmt.Sprintf("there is no identity provider %q — the configuration lists those there are", provider))
	}
	if link {
		u, _, err = a.s.directory.Link(r.Context(), u.ID, ref, provider, provisioning.Admin)
	} else if u, _, err = a.s.directory.Unlink(r.Context(), u.ID, ref, provisioning.Admin); err == nil {
		_, err = a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser)
	}
	var taken *provisioning.Conflict
	var invalid *provisioning.Invalid
	if errors.As(err, &taken) || errors.As(err, &invalid) {
		return nil, errNo(err.Error())
	}
	if err != nil {
		return nil, err
	}
	return a.view(u), nil
}

// sessionView is a session as the tools show it: nothing that opens it.
type sessionView struct {
	ID       string    `json:"id"`
	User     string    `json:"user"`
	UserID   string    `json:"user_id"`
	Provider string    `json:"identity_provider"`
	ACR      string    `json:"acr,omitempty"`
	Created  time.Time `json:"created"`
	Seen     time.Time `json:"seen"`
	Until    time.Time `json:"until"`
	Waiting  bool      `json:"waiting,omitempty"`
}

// sessionFilter reads of whom (name), from where (idp) and for which service
// sessions are wanted.
func (a *api) sessionFilter(r *http.Request) (f session.Filter, err error) {
	if r.FormValue("name") != "" {
		u, err := a.named(r)
		if err != nil {
			return f, err
		}
		f.User = u.ID
	}
	// One that is not configured any more can have left sessions all the same.
	f.Provider = r.FormValue("idp")
	if id := r.FormValue("service"); id != "" {
		i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == id })
		if i < 0 {
			return f, errNo(fmt.Sprintf("there is no service %q — the configuration lists those there are", id))
		}
		f.Host = a.s.cfg.Services[i].Host
	}
	return f, nil
}

func (a *api) sessions(r *http.Request) (any, error) {
	f, err := a.sessionFilter(r)
	if err != nil {
		return nil, err
	}
	rows, err := a.s.sessions.Find(r.Context(), f, r.FormValue("after"), limitOf(r))
	if err != nil {
		return nil, err
	}
	list := []sessionView{}
	for _, s := range rows {
		list = append(list, a.sessionView(r.Context(), s))
	}
	return list, nil
}

func (a *api) sessionView(ctx context.Context, s session.Session) sessionView {
	v := sessionView{ID: s.ID, UserID: s.UserID, User: s.UserID, Provider: s.Provider, ACR: s.ACR, Created: s.Created, Seen: s.Seen, Until: s.Until, Waiting: s.Hold != nil}
	if u, err := a.s.directory.User(ctx, s.UserID); err == nil {
		v.User = a.s.directory.FullName(u.Store, u.UserName)
	}
	return v
}

func (a *api) endSessions(r *http.Request) (any, error) {
	if id := r.FormValue("id"); id != "" {
		if _, err := a.s.sessions.Peek(r.Context(), id); errors.Is(err, session.ErrNone) {
			return nil, errNo(fmt.Sprintf("there is no session %q — `gatehouse sessions list` shows those there are", id))
		}
		return map[string]int{"ended": 1}, a.s.sessions.End(r.Context(), id, session.ReasonAdmin)
	}
	f, err := a.sessionFilter(r)
	if err != nil {
		return nil, err
	}
	if f.User == "" && f.Provider == "" && f.Host == "" {
		return nil, errNo("nothing says which sessions — name an ID, or --user, --idp or --service")
	}
	n, err := a.s.sessions.EndAll(r.Context(), f, session.ReasonAdmin)
	return map[string]int{"ended": n}, err
}

// tasks lists what is not done; after is "kind key".
func (a *api) tasks(r *http.Request) (any, error) {
	var after task.Task
	after.Kind, after.Key, _ = strings.Cut(r.FormValue("after"), " ")
	list, err := task.List(r.Context(), a.p.store, after, limitOf(r))
	return append([]task.Task{}, list...), err
}

// task shows one, also when it is done, as long as how far it came is kept.
func (a *api) task(r *http.Request) (any, error) {
	var t task.Task
	var ok bool
	err := a.p.store.View(r.Context(), func(tx store.Tx) (err error) {
		t, ok, err = task.Look(tx, r.FormValue("kind"), r.FormValue("key"))
		return err
	})
	if err == nil && !ok {
		err = errNoTask
	}
	return t, err
}

const errNoTask errNo = "there is no such task — `gatehouse tasks list` shows those there are"

// turnTask does what a person wants of a task, and shows it.
func (a *api) turnTask(r *http.Request) (any, error) {
	turn := map[string]func(context.Context, store.Store, string, string) error{
		"pause": task.Pause, "resume": task.Resume, "cancel": task.Cancel, "requeue": task.Requeue,
	}[r.PathValue("what")]
	if turn == nil {
		return nil, errNo("a task can be paused, resumed, cancelled and requeued")
	}
	switch err := turn(r.Context(), a.p.store, r.FormValue("kind"), r.FormValue("key")); {
	case errors.Is(err, task.ErrNotFound):
		return nil, errNoTask
	case errors.Is(err, task.ErrCancelled):
		return nil, errNo("the task was cancelled — `gatehouse tasks requeue` begins it anew")
	case err != nil:
		return nil, err
	}
	return a.task(r)
}

func (a *api) events(r *http.Request) (any, error) {
	q := audit.Query{Flow: r.FormValue("flow"), UserID: r.FormValue("user"), Kind: r.FormValue("kind"), Limit: limitOf(r)}
	list := []audit.Event{}
	for e, err := range audit.Events(r.Context(), a.p.store, q) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// verify follows the hash chain of the audit log from its beginning.
func (a *api) verify(r *http.Request) (any, error) {
	err := audit.Verify(r.Context(), a.p.store)
	var tampered *audit.TamperedError
	if errors.As(err, &tampered) {
		err = errNo(err.Error() + " — compare with a backup, and find out who can write the store")
	}
	return map[string]bool{"whole": err == nil}, err
}

// explanation is what explain says: the decision with its trace, and what would
// be released, by the functions that the gateway itself calls.
type explanation struct {
	User     webapi.User      `json:"user"`
	Service  string           `json:"service"`
	Outcome  string           `json:"outcome"`
	Code     string           `json:"code,omitempty"`
	Reasons  []authz.Reason   `json:"reasons"`
	Needs    authz.Needs      `json:"needs,omitzero"`
	Sent     []authz.Released `json:"sent"`
	Withheld []authz.Withheld `json:"withheld"`
	Headers  []gateway.Header `json:"headers"`
	Targets  []targetPreview  `json:"targets,omitempty"`
}

// No: the answer to "may they?" is no.
func (x explanation) No() bool { return x.Outcome != authz.Allow.String() }

// targetPreview is what a target would get.
type targetPreview struct {
	Target  string           `json:"target"`
	Account bool             `json:"account"` // whether the person should have one
	Sent    []authz.Released `json:"sent"`
}

func (a *api) explain(r *http.Request) (any, error) {
	service := r.FormValue("service")
	i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == service })
	if i < 0 {
		return nil, errNo(fmt.Sprintf("there is no service %q — the configuration lists those there are", service))
	}
	x := explanation{Service: service, Reasons: []authz.Reason{}, Sent: []authz.Released{}, Withheld: []authz.Withheld{}, Headers: []gateway.Header{}}
	var sub authz.Subject
	if r.FormValue("name") != "" {
		u, err := a.named(r)
		if err != nil {
			return nil, err
		}
		x.User = a.view(u)
		if sub, err = a.subject(r.Context(), u.ID); err != nil {
			return nil, err
		}
		x.User.Roles, x.User.Groups = notNil(sub.Roles), notNil(sub.Groups)
		sub.Provider, sub.ACR, sub.AuthTime = r.FormValue("idp"), r.FormValue("acr"), a.p.now()
		if sub.Provider == "" {
			if links, err := a.s.directory.Links(r.Context(), u.ID); err == nil && len(links) > 0 {
				sub.Provider = links[0].Provider
			}
		}
	}
	from, err := netip.ParseAddr(cmp.Or(r.FormValue("from"), "127.0.0.1"))
	if err != nil {
		return nil, errNo("from is not an address")
	}
	d := a.s.rules.policy.Decide(authz.Request{
		Subject: sub, Service: service, Method: cmp.Or(r.FormValue("method"), "GET"), Path: cmp.Or(r.FormValue("path"), "/"), From: from, Now: a.p.now(),
	})
	x.Outcome, x.Code, x.Needs = d.Outcome.String(), d.Code, d.Needs
	x.Reasons = append(x.Reasons, d.Reasons...)
	if sub.ID != "" {
		rel := a.s.rules.release.Release("service:"+service, sub)
		x.Sent, x.Withheld = append(x.Sent, rel.Sent...), append(x.Withheld, rel.Withheld...)
		multi := multi(a.s.cfg)
		x.Headers = append(x.Headers, gateway.Outgoing(gateway.Several(headers(a.s.cfg.Services[i].Headers), func(attr string) bool { return multi[attr] }), rel)...)
		for _, t := range a.s.cfg.Targets {
			x.Targets = append(x.Targets, targetPreview{t.ID, a.s.rules.scopes[t.ID](sub), append([]authz.Released{}, a.s.rules.release.Release("target:"+t.ID, sub).Sent...)})
		}
	}
	return x, nil
}
