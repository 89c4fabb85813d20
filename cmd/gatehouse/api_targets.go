package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// targetRoutes are what the API can do about targets.
func (a *api) targetRoutes() {
	const takesID = "id! a target"
	ids := map[string]string{}
	a.route("GET /v1/targets", func(r *http.Request) (any, error) { return a.targetViews(r.Context()), nil }, "helpdesk", "auditors").doc(
		"Targets in the order of the configuration, and how they do.", []outbox.TargetView{})
	a.route("POST /v1/target/test", a.testTarget).doc("Asks a target whether its address and our credentials are right; changes nothing there.", map[string]bool{}, takesID)
	a.route("POST /v1/target/probe", a.probeTarget).doc("Finds out by experiment what a target can do; makes an account to try with, and removes it.", webapi.Probe{}, takesID)
	a.route("GET /v1/target/preview", a.previewTarget, "auditors").doc(
		"Whose account would be made, changed, disabled or deleted; writes nothing.", webapi.Preview{},
		takesID, "file another configuration, by its path on this machine; over the socket only", takesAfter, takesLimit)
	a.route("POST /v1/target/provision", a.provision).doc("Brings one user's account into step now, and tells the steps.", []outbox.Operation{}, takesName, "id[] targets; all where none is named")
	a.route("POST /v1/target/pause", a.pauseTarget).doc("Leaves a target alone until it is resumed; what changes meanwhile waits.", ids, takesID, "why for whoever looks at it")
	a.route("POST /v1/target/resume", a.resumeTarget).doc("Asks a target again that is paused, or was left alone after failures.", ids, takesID)
	a.route("GET /v1/target/cases", a.cases, "helpdesk", "auditors").doc(
		"Accounts that are there already and are not known to be the user's.", []webapi.Case{}, "id a target; all where none is named", "after goes on after this one: the target, a slash, the user's ID", takesLimit)
	a.route("POST /v1/target/case", a.resolveCase).doc("Answers a case: the account is the user's, another is to be made, or none.", ids,
		takesID, takesName, "answer:adopt|create|ignore! what is to be done", "account with adopt, which: the target's ID of it")
	a.route("GET /v1/target/held", a.held, "auditors").doc("What a target would take away beyond what may be at once, and waits for a person.", webapi.Held{}, takesID, takesNext, takesLimit)
	a.route("POST /v1/target/held", a.decideHeld).doc("Lets accounts be taken away that are held, or keeps them.", map[string]int{},
		takesID, "name[] of these users; all where none is named", "answer:approve|reject approve where nothing is said")
	a.route("GET /v1/operations", a.operations, "helpdesk", "auditors").doc(
		"What was tried at targets: of a user the newest first, else in the order of their keys.", []outbox.Operation{},
		"name of this user: user name or ID", "target at this target", "failed:boolean only what failed; needs a target", "flow because of the request with this support code",
		"after goes on after this one: its key", takesLimit)
	a.route("POST /v1/reconciliation", a.reconcile).doc("Begins to compare a target with the directory, or lets it go on.", task.Task{}, "target! which", takesMode)
	a.route("GET /v1/reconciliation", a.report, "helpdesk", "auditors").doc("What the last comparison of a target found.", reconcile.Report{}, "target! which", takesMode)
}

const takesMode = "mode:preview|run|incremental! preview finds and changes nothing, run mends, incremental looks at what changed lately"

// targetSays turns what outbox says into an answer of no, with the cure.
func targetSays(err error, target string) error {
	switch {
	case errors.Is(err, outbox.ErrNoTarget):
		return errNone(fmt.Sprintf("there is no target %q — `gatehouse targets list` shows those there are", target))
	case errors.Is(err, outbox.ErrNoTest):
		return errNo(fmt.Sprintf("the connector of %s can not do this — `gatehouse targets provision` tries it with one user", target))
	case errors.Is(err, outbox.ErrNoCase):
		return errNone("there is no such case — `gatehouse targets cases` shows those there are")
	case errors.Is(err, outbox.ErrNoCandidate):
		return errNo("this account is not among the candidates, or is another user's — `gatehouse targets cases` shows them")
	}
	var ce *connector.Error
	if errors.As(err, &ce) {
		said := strings.TrimPrefix(ce.Error(), ce.Class.String()+": ")
		switch ce.Class {
		case connector.Transient:
			return errNo(fmt.Sprintf("%s does not answer as it should at the moment (transient): %s — see that it runs and can be reached from here", target, said))
		case connector.Auth:
			return errNo(fmt.Sprintf("%s does not take our credentials (auth): %s — see what the configuration of the target says of them", target, said))
		case connector.Route:
			return errNo(fmt.Sprintf("%s is not what the configuration says it is (route): %s — see the address and the kind of the target", target, said))
		}
		return errNo(fmt.Sprintf("%s refuses (%s): %s", target, ce.Class, said))
	}
	return err
}

func (a *api) testTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	return map[string]bool{"ok": true}, targetSays(a.s.outbox.Test(r.Context(), id), id)
}

func (a *api) probeTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	rep, err := a.s.outbox.Probe(r.Context(), id)
	return webapi.Probe{Caps: rep.Caps, Findings: append([]connector.Finding{}, rep.Findings...)}, targetSays(err, id)
}

// previewTarget says what a configuration would change, the one in force or
// another in a file of this machine. It writes nothing.
func (a *api) previewTarget(r *http.Request) (any, error) {
	s, id := a.s, r.FormValue("id")
	if file := r.FormValue("file"); file != "" {
		cfg, mistakes := loadAll(file, configs.AllowInlineSecrets)
		if len(mistakes) > 0 {
			return nil, errNo(fmt.Sprintf("%s — and %d more; `gatehouse check -c %s` lists them", mistakes[0], len(mistakes)-1, file))
		}
		var err error
		if s, err = a.p.newSite(r.Context(), cfg, nil); err != nil {
			return nil, err
		}
	}
	v := webapi.Preview{Would: []outbox.Would{}, Sums: map[string]int{}}
	next, err := s.outbox.Preview(r.Context(), id, r.FormValue("after"), limitOf(r), func(w outbox.Would) error {
		v.Would = append(v.Would, w)
		v.Sums[w.What]++
		return nil
	})
	v.Next = next
	return v, targetSays(err, id)
}

func (a *api) provision(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	targets := r.Form["id"]
	if len(targets) == 0 {
		for _, t := range a.s.cfg.Targets {
			targets = append(targets, t.ID)
		}
	}
	list := []outbox.Operation{}
	for _, id := range targets {
		op, err := a.s.outbox.Provision(r.Context(), id, u.ID)
		if err != nil {
			return nil, targetSays(err, id)
		}
		list = append(list, op)
	}
	return list, nil
}

// targetViews are how targets do, with who paused them by name.
func (a *api) targetViews(ctx context.Context) []outbox.TargetView {
	list := append([]outbox.TargetView{}, a.s.outbox.Targets()...)
	for i, t := range list {
		if t.Paused != nil {
			p := *t.Paused
			p.By = a.who(ctx, p.By)
			list[i].Paused = &p
		}
	}
	return list
}

func (a *api) pauseTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	err := a.s.outbox.Pause(r.Context(), id, a.actor(r), r.FormValue("why"))
	return map[string]string{"id": id}, targetSays(err, id)
}

func (a *api) resumeTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	return map[string]string{"id": id}, targetSays(a.s.outbox.Resume(r.Context(), id, a.actor(r)), id)
}

func (a *api) cases(r *http.Request) (any, error) {
	rows, err := a.s.outbox.Cases(r.Context(), r.FormValue("id"), r.FormValue("after"), limitOf(r))
	list := []webapi.Case{}
	for _, c := range rows {
		list = append(list, webapi.Case{Case: c, Name: a.s.nameOf(r.Context(), c.UserID)})
	}
	return list, err
}

func (a *api) resolveCase(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	id := r.FormValue("id")
	answer := outbox.Answer(r.FormValue("answer"))
	if !slices.Contains([]outbox.Answer{outbox.AnswerAdopt, outbox.AnswerCreate, outbox.AnswerIgnore}, answer) {
		return nil, errNo("the answer must be adopt, create or ignore")
	}
	err = a.s.outbox.Resolve(r.Context(), id, u.ID, answer, r.FormValue("account"), a.actor(r))
	return map[string]string{"id": id, "user": u.ID, "answer": string(answer)}, targetSays(err, id)
}

// heldCase is the open case of a target, a source or a client; nil: nothing is held.
func (a *api) heldCase(r *http.Request) (*guard.Case, error) {
	id := r.FormValue("id")
	scope := guard.Target(id)
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/source/"):
		scope = guard.Source(string(provisioning.SourceFeed(id)))
		if !slices.ContainsFunc(a.s.cfg.Sources, func(s configs.Source) bool { return s.ID == id }) {
			return nil, errNone(fmt.Sprintf("there is no source %q — the configuration lists those there are", id))
		}
	case strings.HasPrefix(r.URL.Path, "/v1/client/"):
		scope = guard.Source(string(provisioning.SourceClient(id)))
		if !slices.ContainsFunc(a.s.cfg.Clients, func(c configs.Client) bool { return c.ID == id }) {
			return nil, errNone(fmt.Sprintf("there is no client %q — `gatehouse clients list` shows those there are", id))
		}
	case !slices.ContainsFunc(a.s.cfg.Targets, func(t configs.Target) bool { return t.ID == id }):
		return nil, targetSays(outbox.ErrNoTarget, id)
	}
	list, err := a.s.guard.Cases(r.Context(), scope, "", true, 1)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// held lists what a case holds, a page at a time.
func (a *api) held(r *http.Request) (any, error) {
	v, ctx, limit := webapi.Held{Items: []webapi.HeldItem{}}, r.Context(), limitOf(r)
	after, err := base64.RawURLEncoding.DecodeString(r.FormValue("after"))
	if err != nil {
		return nil, errNo("after must be what next was on the page before")
	}
	if v.Case, err = a.heldCase(r); err != nil || v.Case == nil {
		return v, err
	}
	items, err := a.s.guard.Items(ctx, v.Case.ID, guard.ItemHeld, string(after), limit+1)
	if len(items) > limit {
		items = items[:limit]
		v.Next = base64.RawURLEncoding.EncodeToString([]byte(items[limit-1].Key()))
	}
	for _, it := range items {
		v.Items = append(v.Items, webapi.HeldItem{Name: a.s.nameOf(ctx, it.Act.Subject), UserID: it.Act.Subject, How: it.Act.How, Reason: it.Act.Reason})
	}
	return v, err
}

// decideHeld approves or rejects what is held of a target, a source or a client: of the
// people named, or of all.
func (a *api) decideHeld(r *http.Request) (any, error) {
	id := r.FormValue("id")
	c, err := a.heldCase(r)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errNo("nothing is held at " + id)
	}
	names := r.Form["name"]
	var users []string
	for _, name := range names {
		u, err := a.s.userNamed(r.Context(), name)
		if errors.Is(err, provisioning.ErrNotFound) {
			u.ID = name // of a user who only passes through, or is deleted
		} else if err != nil {
			return nil, err
		}
		if !slices.Contains(users, u.ID) { // two names may be of one person
			users = append(users, u.ID)
		}
	}
	decide := a.s.guard.Approve
	if r.FormValue("answer") == "reject" {
		decide = a.s.guard.Reject
	}
	err = decide(r.Context(), c.ID, a.actor(r), users...)
	if errors.Is(err, guard.ErrNotFound) && len(names) > 0 {
		return nil, errNone(fmt.Sprintf("nothing is held at %s of one of %q", id, names))
	}
	return map[string]int{"decided": cmp.Or(len(users), c.Held)}, err
}

// operations lists what was tried: of a user, at a target, or because of the
// request that bears a support code.
func (a *api) operations(r *http.Request) (any, error) {
	q := outbox.Question{Target: r.FormValue("target"), Failed: r.FormValue("failed") == "true", After: r.FormValue("after"), Limit: limitOf(r)}
	list := []outbox.Operation{}
	if flow := r.FormValue("flow"); flow != "" {
		seen := map[string]bool{}
		for e, err := range audit.Events(r.Context(), a.p.store, audit.Query{Flow: flow}) {
			if err != nil {
				return nil, err
			}
			if e.UserID == "" || seen[e.UserID] {
				continue
			}
			seen[e.UserID] = true
			q.UserID = e.UserID
			ops, err := a.s.outbox.Operations(r.Context(), q)
			if err != nil {
				return nil, err
			}
			for _, op := range ops {
				if !op.At.Add(op.Took).Before(e.At) {
					list = append(list, op)
				}
			}
		}
		return list, nil
	}
	if r.FormValue("name") != "" {
		u, err := a.named(r)
		if err != nil {
			return nil, err
		}
		q.UserID = u.ID
	}
	ops, err := a.s.outbox.Operations(r.Context(), q)
	return append(list, ops...), err
}
