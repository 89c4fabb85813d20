package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// taskRoutes are what the API can do about work that waits.
func (a *api) taskRoutes() {
	one := []string{"kind! of the task", "key! of the task"}
	a.route("GET /v1/tasks", a.tasks, "helpdesk", "auditors").doc(
		"Tasks that are not done, in the order of kind and key.", webapi.Tasks{},
		"kind only of this kind", "state:waiting|running|parked|paused|cancelled only in this state",
		"after goes on after this one: kind, a space, key", takesLimit)
	a.route("GET /v1/task", a.task, "helpdesk", "auditors").doc("One task and how far it is; also when it is done, if it kept that.", task.Task{}, one...)
	a.route("POST /v1/task/{what}", a.turnTask).doc(
		"Pauses a task, lets it go on, cancels it, or makes it due now.", task.Task{}, append(one, "what:pause|resume|cancel|requeue! what to do")...)
}

// tasks lists what is not done; after is "kind key".
func (a *api) tasks(r *http.Request) (any, error) {
	var after task.Task
	after.Kind, after.Key, _ = strings.Cut(r.FormValue("after"), " ")
	kind, state, limit := r.FormValue("kind"), task.State(r.FormValue("state")), limitOf(r)
	if kind != "" && after.Kind < kind {
		after = task.Task{Kind: kind}
	}
	v := webapi.Tasks{Tasks: []task.Task{}, Names: map[string]string{}}
	for skim := a.skim(); ; {
		page, err := task.List(r.Context(), a.p.store, after, pageOf)
		if err != nil {
			return nil, err
		}
		for _, t := range page {
			if kind != "" && t.Kind != kind {
				return v, nil
			}
			if len(v.Tasks) == limit || !skim.on() {
				v.Next = after.Kind + " " + after.Key
				return v, nil
			}
			if after = t; state == "" || t.State == state {
				v.Tasks = append(v.Tasks, t)
				a.s.nameParts(r.Context(), t.Key, v.Names)
			}
		}
		if len(page) < pageOf {
			return v, nil
		}
	}
}

// nameParts adds what people call the parts of a task's key.
func (s *site) nameParts(ctx context.Context, key string, names map[string]string) {
	for _, id := range strings.Split(key, "/") {
		if _, looked := names[id]; !looked {
			names[id] = s.called(ctx, id)
		}
	}
}

// called is what people call whatever has an ID; nothing if that is not known.
func (s *site) called(ctx context.Context, id string) string {
	for _, title := range []func(string) string{s.targetTitle, s.serviceTitle, s.providerTitle, s.clientTitle} {
		if t := title(id); t != id {
			return t
		}
	}
	if c, ok := strings.CutPrefix(id, string(provisioning.SourceClient(""))); ok {
		return s.clientTitle(c)
	}
	if u, err := s.directory.User(ctx, id); err == nil {
		return s.directory.FullName(u.Store, u.UserName)
	}
	if g, err := s.directory.Group(ctx, id); err == nil {
		return s.directory.FullName(g.Store, g.Name)
	}
	if r, _, err := s.access.Get(ctx, id, access.Machine); err == nil {
		return s.nameOf(ctx, r.UserID) + ": " + s.roleTitle(r.Role)
	}
	return ""
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

const errNoTask errNone = "there is no such task — `gatehouse tasks list` shows those there are"

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
