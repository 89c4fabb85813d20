package admin

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (d *desk) taskPages() {
	acts := map[string]act{}
	for _, what := range []string{"pause", "resume", "cancel", "requeue"} {
		acts[what] = act{route: "POST /v1/task/" + what, fields: []string{"kind", "key"}, done: "task_" + what}
	}
	d.page("/tasks", d.tasks, acts)
}

// tasks lists what is not done.
func (d *desk) tasks(r *http.Request) (web.Board, error) {
	b := d.board(r, "tasks", say("tasks.title"), "")
	q := r.URL.Query()
	kind, state := q.Get("kind"), q.Get("state")
	var found api.Tasks
	if err := d.ask(r, "GET /v1/tasks", &found, "kind", kind, "state", state, "after", q.Get("after"), "limit", strconv.Itoa(pageOf)); err != nil {
		return b, err
	}
	b.Lead = says("tasks.lead")
	here, admin := r.URL.RequestURI(), d.may(r)
	table := &web.Table{Caption: say("tasks.all"), Head: heads("tasks.task", "target.state", "tasks.due", "tasks.progress", "tasks.failures", "error"), None: say("tasks.none")}
	if admin {
		table.Head = append(table.Head, say("act"))
	}
	if found.Next != "" {
		table.MoreURL = at("/tasks", "kind", kind, "state", state, "after", found.Next)
		if len(found.Tasks) < pageOf {
			table.None = say("searched_so_far")
			b.Lead = says("searched_so_far")
		}
	}
	for _, t := range found.Tasks {
		progress := web.Cell{}
		if p := t.Progress; p != nil {
			progress = web.Cell{Done: p.Done, Total: p.Total, Note: p.Note}
			if p.Total == 0 {
				progress.Value = strconv.FormatInt(p.Done, 10)
			}
		}
		about := titled(strings.Join(found.About(t), ", "), t.Key)
		cells := []web.Cell{{Text: word("task", t.Kind), Values: found.About(t), Note: t.Key}, marked("task_state", string(t.State)), {At: t.Due}, progress, text(strconv.Itoa(t.Attempts)), text(t.Error)}
		if admin {
			cells = append(cells, web.Cell{Forms: turns(here, t, about)})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	var states, kinds []web.Option
	for _, s := range []string{"", "waiting", "running", "parked", "paused", "cancelled"} {
		states = append(states, web.Option{Value: s, Text: word("task_state", titled(s, "any"))})
	}
	for _, k := range []string{"", "sync", "sync.group", "sync.everybody", "reconcile", "import", "directory.clear"} {
		kinds = append(kinds, web.Option{Value: k, Text: word("task", titled(k, "any"))})
	}
	if kind != "" && !slices.ContainsFunc(kinds, func(o web.Option) bool { return o.Value == kind }) {
		kinds = append(kinds, web.Option{Value: kind, Name: kind})
	}
	b.Blocks = []web.Block{{Forms: []web.Form{{Search: true, Button: say("find"), Fields: []web.Field{
		choice("kind", "kind", "tasks.kind", kind, kinds...), choice("state", "state", "target.state", state, states...),
	}}}, Table: table}}
	return b, nil
}

// turns are what can be done with a task in its state.
func turns(here string, t task.Task, about string) (list []web.Form) {
	can := map[task.State][]string{
		task.Waiting: {"requeue", "pause", "cancel"}, task.Running: {"pause", "cancel"}, task.Parked: {"requeue", "cancel"}, task.Paused: {"resume", "cancel"}, task.Cancelled: {"requeue"},
	}
	for _, what := range can[t.State] {
		list = append(list, button(here, "task."+what, about, does(what, "kind", t.Kind, "key", t.Key)))
	}
	return list
}
