package main

import (
	"cmp"
	"context"
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
)

// targetRoutes are what the API can do about targets.
func (a *api) targetRoutes() {
	a.route("GET /v1/targets", func(*http.Request) (any, error) { return append([]outbox.TargetView{}, a.s.outbox.Targets()...), nil })
	a.route("POST /v1/target/test", a.testTarget)
	a.route("POST /v1/target/probe", a.probeTarget)
	a.route("GET /v1/target/preview", a.previewTarget)
	a.route("POST /v1/target/provision", a.provision)
	a.route("POST /v1/target/pause", a.pauseTarget)
	a.route("POST /v1/target/resume", a.resumeTarget)
	a.route("GET /v1/target/cases", a.cases)
	a.route("POST /v1/target/case", a.resolveCase)
	a.route("GET /v1/target/held", a.held)
	a.route("POST /v1/target/held", a.decideHeld)
	a.route("GET /v1/operations", a.operations)
}

// targetSays turns what outbox says into an answer of no, with the cure.
func targetSays(err error, target string) error {
	switch {
	case errors.Is(err, outbox.ErrNoTarget):
		return errNo(fmt.Sprintf("there is no target %q — `gatehouse targets list` shows those there are", target))
	case errors.Is(err, outbox.ErrNoTest):
		return errNo(fmt.Sprintf("the connector of %s can not do this — `gatehouse targets provision` tries it with one user", target))
	case errors.Is(err, outbox.ErrNoCase):
		return errNo("there is no such case — `gatehouse targets cases` shows those there are")
	case errors.Is(err, outbox.ErrNoCandidate):
		return errNo("this account is not among the candidates, or is another user's — `gatehouse targets cases` shows them")
	}
	var ce *connector.Error
	if errors.As(err, &ce) {
		return errNo(fmt.Sprintf("%s answers: %v", target, err))
	}
	return err
}

func (a *api) testTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	return map[string]bool{"ok": true}, targetSays(a.s.outbox.Test(r.Context(), id), id)
}

// probeView is what a probe found.
type probeView struct {
	Caps     connector.Caps      `json:"caps"`
	Findings []connector.Finding `json:"findings"`
}

func (a *api) probeTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	rep, err := a.s.outbox.Probe(r.Context(), id)
	return probeView{rep.Caps, append([]connector.Finding{}, rep.Findings...)}, targetSays(err, id)
}

// preview is one page of what would become of people's accounts.
type preview struct {
	Would []outbox.Would `json:"would"`
	// Next is where the next page begins; empty: this was the last.
	Next string         `json:"next,omitempty"`
	Sums map[string]int `json:"sums"`
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
		rules, _ := compile(cfg) // loadAll found no mistakes in it
		var err error
		if s, err = a.p.newSite(r.Context(), cfg, rules); err != nil {
			return nil, err
		}
	}
	v := preview{Would: []outbox.Would{}, Sums: map[string]int{}}
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

func (a *api) pauseTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	err := a.s.outbox.Pause(r.Context(), id, string(provisioning.Admin), r.FormValue("why"))
	return map[string]string{"id": id}, targetSays(err, id)
}

func (a *api) resumeTarget(r *http.Request) (any, error) {
	id := r.FormValue("id")
	return map[string]string{"id": id}, targetSays(a.s.outbox.Resume(r.Context(), id, string(provisioning.Admin)), id)
}

// caseView is a case with the user's name.
type caseView struct {
	outbox.Case
	Name string `json:"name"`
}

func (a *api) nameOf(ctx context.Context, userID string) string {
	u, err := a.s.directory.User(ctx, userID)
	if err != nil {
		return userID
	}
	return a.s.directory.FullName(u.Store, u.UserName)
}

func (a *api) cases(r *http.Request) (any, error) {
	rows, err := a.s.outbox.Cases(r.Context(), r.FormValue("id"), r.FormValue("after"), limitOf(r))
	list := []caseView{}
	for _, c := range rows {
		list = append(list, caseView{c, a.nameOf(r.Context(), c.UserID)})
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
	err = a.s.outbox.Resolve(r.Context(), id, u.ID, answer, r.FormValue("account"), string(provisioning.Admin))
	return map[string]string{"id": id, "user": u.ID, "answer": string(answer)}, targetSays(err, id)
}

// heldView is what a target or a source would take away, and a person has to approve.
type heldView struct {
	Case  *guard.Case `json:"case,omitempty"`
	Items []heldItem  `json:"items"`
}

type heldItem struct {
	Name   string `json:"name"`
	UserID string `json:"user"`
	How    string `json:"how"`
	Reason string `json:"reason"`
}

func (a *api) heldAt(r *http.Request) (heldView, error) {
	v, ctx, id := heldView{Items: []heldItem{}}, r.Context(), r.FormValue("id")
	scope := guard.Target(id)
	if strings.HasPrefix(r.URL.Path, "/v1/source/") {
		scope = guard.Source(string(provisioning.SourceFeed(id)))
		if !slices.ContainsFunc(a.s.cfg.Sources, func(s configs.Source) bool { return s.ID == id }) {
			return v, errNo(fmt.Sprintf("there is no source %q — the configuration lists those there are", id))
		}
	} else if !slices.ContainsFunc(a.s.cfg.Targets, func(t configs.Target) bool { return t.ID == id }) {
		return v, targetSays(outbox.ErrNoTarget, id)
	}
	list, err := a.s.guard.Cases(ctx, scope, "", true, 1)
	if err != nil || len(list) == 0 {
		return v, err
	}
	v.Case = &list[0]
	items, err := a.s.guard.Items(ctx, list[0].ID, guard.ItemHeld, guard.Item{}, 10*pageOf)
	for _, it := range items {
		v.Items = append(v.Items, heldItem{a.nameOf(ctx, it.Act.Subject), it.Act.Subject, it.Act.How, it.Act.Reason})
	}
	return v, err
}

func (a *api) held(r *http.Request) (any, error) { return a.heldAt(r) }

// decideHeld approves or rejects what is held at a target or a source: of the
// people named, or of all.
func (a *api) decideHeld(r *http.Request) (any, error) {
	id := r.FormValue("id")
	v, err := a.heldAt(r)
	if err != nil {
		return nil, err
	}
	if v.Case == nil {
		return nil, errNo("nothing is held at " + id)
	}
	var users []string
	for _, name := range r.Form["name"] {
		i := slices.IndexFunc(v.Items, func(it heldItem) bool { return it.Name == name || it.UserID == name })
		if i < 0 {
			return nil, errNo(fmt.Sprintf("nothing of %q is held at %s", name, id))
		}
		users = append(users, v.Items[i].UserID)
	}
	decide := a.s.guard.Approve
	if r.FormValue("answer") == "reject" {
		decide = a.s.guard.Reject
	}
	n := cmp.Or(len(users), v.Case.Held)
	return map[string]int{"decided": n}, decide(r.Context(), v.Case.ID, string(provisioning.Admin), users...)
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
