package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func (d *desk) targetPages() {
	d.page("/targets", d.targets, nil)
	id := []string{"id"}
	d.page("/target", d.target, map[string]act{
		"test":      {route: "POST /v1/target/test", fields: id, done: "tested"},
		"pause":     {route: "POST /v1/target/pause", fields: []string{"id", "why"}, done: "paused"},
		"resume":    {route: "POST /v1/target/resume", fields: id, done: "resumed"},
		"provision": {route: "POST /v1/target/provision", fields: []string{"id", "name"}, done: "provisioned"},
		"reconcile": {route: "POST /v1/reconciliation", form: func(r *http.Request) url.Values {
			return url.Values{"target": {r.FormValue("id")}, "mode": {r.FormValue("mode")}}
		}, done: "reconciling"},
		"approve": {route: "POST /v1/target/held", form: heldOf("approve"), done: "held_approved"},
		"reject":  {route: "POST /v1/target/held", form: heldOf("reject"), done: "held_rejected"},
		"answer":  {route: "POST /v1/target/case", form: caseOf, done: "answered"},
	})
}

// heldOf decides about the people who were ticked. That nobody is ticked is not
// "all": nobody has an empty name.
func heldOf(answer string) func(*http.Request) url.Values {
	return func(r *http.Request) url.Values {
		q := url.Values{"id": {r.FormValue("id")}, "answer": {answer}}
		if r.FormValue("all") == "" {
			if q["name"] = r.PostForm["name"]; len(q["name"]) == 0 {
				q["name"] = []string{""}
			}
		}
		return q
	}
}

// caseOf reads "adopt ID", "create" or "ignore".
func caseOf(r *http.Request) url.Values {
	answer, account, _ := strings.Cut(r.FormValue("answer"), " ")
	return url.Values{"id": {r.FormValue("id")}, "name": {r.FormValue("name")}, "answer": {answer}, "account": {account}}
}

// targetState is how a target does.
func targetState(t outbox.TargetView) web.Cell {
	state := t.State
	if state == "working" && t.Failed > 0 {
		state = "degraded"
	}
	c := marked("target_state", state)
	c.Note = t.Why
	return c
}

// targets lists systems that hold accounts.
func (d *desk) targets(r *http.Request) (web.Board, error) {
	b := d.board(r, "targets", say("targets.title"), "")
	var list []outbox.TargetView
	if err := d.ask(r, "GET /v1/targets", &list); err != nil {
		return b, err
	}
	table := &web.Table{Caption: say("targets.all"), Head: heads("target.target", "target.state", "target.hour", "target.failed"), None: say("target.none")}
	for _, t := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: titled(t.Title, t.ID), URL: at("/target", "id", t.ID)}, targetState(t), text(strconv.Itoa(t.Runs)), text(strconv.Itoa(t.Failed))))
	}
	b.Lead = says("targets.lead")
	b.Blocks = []web.Block{{Table: table, Ways: []web.Way{{Text: say("targets.tasks"), URL: at("/tasks", "kind", "sync")}}}}
	return b, nil
}

// target is one: how it does, what waits for a person, what was tried.
func (d *desk) target(r *http.Request) (web.Board, error) {
	b := d.board(r, "targets", say("target.title"), "")
	var list []outbox.TargetView
	if err := d.ask(r, "GET /v1/targets", &list); err != nil {
		return b, err
	}
	id := r.FormValue("id")
	i := slices.IndexFunc(list, func(t outbox.TargetView) bool { return t.ID == id })
	if i < 0 {
		return b, &api.Error{Status: http.StatusNotFound, Code: "path.unknown", Text: "there is no target " + id}
	}
	t, here, admin := list[i], at("/target", "id", id), d.may(r)
	b.Name = titled(t.Title, t.ID)
	b.Blocks = append(b.Blocks, targetFacts(t, here, admin))
	for _, more := range []func(*http.Request, string, string, bool) ([]web.Block, error){d.targetHeld, d.targetCases, d.targetTried, d.targetReports} {
		blocks, err := more(r, id, here, admin)
		if err != nil {
			return b, err
		}
		b.Blocks = append(b.Blocks, blocks...)
	}
	return b, nil
}

func targetFacts(t outbox.TargetView, here string, admin bool) web.Block {
	block := web.Block{Facts: []web.Fact{
		{Label: say("target.state"), Cell: targetState(t)},
		{Label: say("target.hour"), Cell: text(strconv.Itoa(t.Runs))},
		{Label: say("target.failed"), Cell: text(strconv.Itoa(t.Failed))},
	}}
	if t.Again > 0 {
		block.Facts = append(block.Facts, web.Fact{Label: say("target.again"), Cell: text(t.Again.Round(time.Second).String())})
	}
	if !t.Quarantined.IsZero() {
		block.Facts = append(block.Facts, web.Fact{Label: say("target.quarantined"), Cell: web.Cell{At: t.Quarantined}})
	}
	if t.Paused != nil {
		block.Facts = append(block.Facts, web.Fact{Label: say("target.paused"), Cell: web.Cell{At: t.Paused.Since, Note: t.Paused.By + " · " + t.Paused.Why}})
	}
	block.Ways = []web.Way{{Text: say("targets.tasks"), URL: at("/tasks", "kind", "sync", "after", "sync "+t.ID)}}
	if !admin {
		return block
	}
	block.Forms = []web.Form{button(here, "target.test", t.ID, does("test", "id", t.ID))}
	if t.State == "working" {
		block.Forms = append(block.Forms, web.Form{Action: here, Button: say("target.pause"), About: t.ID, Quiet: true, Fields: append(does("pause", "id", t.ID), input("why", "why", "target.why", ""))})
	} else {
		key := "target.resume"
		if t.State == "quarantine" {
			key = "target.restart"
		}
		block.Forms = append(block.Forms, web.Form{Action: here, Button: say(key), About: t.ID, Fields: does("resume", "id", t.ID)})
	}
	return block
}

// held is what a target or a client would take away, beyond what may be at once.
func (d *desk) held(r *http.Request, of, id, here string, admin bool) ([]web.Block, error) {
	if !d.may(r, "auditors") {
		return nil, nil
	}
	var held api.Held
	if err := d.ask(r, "GET /v1/"+of+"/held", &held, "id", id, "after", r.FormValue("held"), "limit", strconv.Itoa(pageOf)); err != nil || held.Case == nil {
		return nil, err
	}
	block := web.Block{Heading: say("held.title"), Lead: []web.Text{say("held."+of, "n", strconv.Itoa(held.Case.Held))}, Facts: []web.Fact{
		{Label: say("held.since"), Cell: web.Cell{At: held.Case.Opened}}, {Label: say("held.expires"), Cell: web.Cell{At: held.Case.Expires}},
	}}
	table := &web.Table{Caption: say("held.all"), Head: heads("people.user_name", "held.how", "reason")}
	if held.Next != "" {
		table.MoreURL = here + "&" + url.Values{"held": {held.Next}}.Encode()
	}
	fields := does("approve", "id", id)
	for n, it := range held.Items {
		table.Rows = append(table.Rows, row(web.Cell{Value: it.Name, URL: at("/person", "name", it.UserID)}, web.Cell{Text: word("held_how", it.How)}, text(it.Reason)))
		fields = append(fields, web.Field{ID: fmt.Sprintf("held-%d", n), Name: "name", Value: it.UserID, Kind: "check", Called: it.Name})
	}
	block.Table = table
	if admin {
		some := fields
		reject := slices.Concat(does("reject", "id", id), withIDs(fields[2:], "kept"))
		block.Forms = []web.Form{
			{Action: here, Button: say("held.approve_some"), Fields: some, Quiet: true},
			{Action: here, Button: say("held.reject_some"), Fields: reject, Quiet: true},
			{Action: here, Button: say("held.approve_all"), Danger: true, Fields: does("approve", "id", id, "all", "yes")},
			{Action: here, Button: say("held.reject_all"), Fields: does("reject", "id", id, "all", "yes")},
		}
	}
	return []web.Block{block}, nil
}

// targetHeld are accounts that a target would lose.
func (d *desk) targetHeld(r *http.Request, id, here string, admin bool) ([]web.Block, error) {
	return d.held(r, "target", id, here, admin)
}

// withIDs are fields with IDs of their own, for a second form of a page.
func withIDs(fields []web.Field, prefix string) (list []web.Field) {
	for _, f := range fields {
		f.ID = prefix + "-" + f.ID
		list = append(list, f)
	}
	return list
}

// targetCases are accounts of which nothing proves whose they are.
func (d *desk) targetCases(r *http.Request, id, here string, admin bool) ([]web.Block, error) {
	var list []api.Case
	if err := d.ask(r, "GET /v1/target/cases", &list, "id", id, "limit", "50"); err != nil || len(list) == 0 {
		return nil, err
	}
	table := &web.Table{Caption: say("case.all"), Head: heads("people.user_name", "case.since", "case.candidates")}
	if admin {
		table.Head = append(table.Head, say("act"))
	}
	for n, c := range list {
		cells := []web.Cell{{Value: c.Name, URL: at("/person", "name", c.UserID)}, {At: c.At}, {}}
		var options []web.Option
		for _, x := range c.Candidates {
			why := say("case.bare", "account", x.RemoteID)
			switch {
			case x.Owner != "":
				why = say("case.owned", "account", x.RemoteID, "owner", x.Owner)
			case x.Foreign:
				why = say("case.foreign", "account", x.RemoteID)
			}
			cells[2].Says = append(cells[2].Says, why)
			if x.Owner == "" {
				options = append(options, web.Option{Value: "adopt " + x.RemoteID, Text: say("case.adopt", "account", x.RemoteID)})
			}
		}
		options = append(options, web.Option{Value: "create", Text: say("case.create")}, web.Option{Value: "ignore", Text: say("case.ignore")})
		if admin {
			answer := choice(fmt.Sprintf("answer-%d", n), "answer", "case.answer", "", options...)
			cells = append(cells, web.Cell{Forms: []web.Form{{Action: here, Button: say("case.do"), About: c.Name, Quiet: true, Fields: append(does("answer", "id", id, "name", c.UserID), answer)}}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	return []web.Block{{Heading: say("case.title"), Lead: says("case.text"), Table: table}}, nil
}

// targetTried lets one account be brought into step, and shows what was tried.
func (d *desk) targetTried(r *http.Request, id, here string, admin bool) ([]web.Block, error) {
	name := r.FormValue("name")
	block := web.Block{Heading: say("target.provision"), Lead: says("target.provision_text")}
	who := input("name", "name", "people.user_name", name)
	who.Required = true
	if admin {
		block.Forms = []web.Form{{Action: at("/target", "id", id, "name", name), Button: say("target.provision_button"), Fields: append(does("provision", "id", id), who)}}
	}
	block.Forms = append(block.Forms, web.Form{Search: true, Action: at("/target"), Button: say("target.look"), Quiet: true,
		Fields: append([]web.Field{{Kind: "hidden", Name: "id", Value: id}}, withIDs([]web.Field{input("name", "name", "people.user_name", name)}, "look")...)})
	form := []string{"target", id, "failed", "true", "limit", "10"}
	if name != "" {
		form = []string{"target", id, "name", name, "limit", "3"}
	}
	var ops []outbox.Operation
	err := d.ask(r, "GET /v1/operations", &ops, form...)
	var refused *api.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return []web.Block{block}, nil // there is nobody of that name
	}
	if err != nil {
		return nil, err
	}
	return append([]web.Block{block}, d.operationBlocks(ops)...), nil
}

// operationBlocks show attempts, each with its steps.
func (d *desk) operationBlocks(ops []outbox.Operation) (list []web.Block) {
	for _, op := range ops {
		table := &web.Table{Caption: say("op.steps"), Head: heads("op.step", "op.outcome", "op.text")}
		for _, s := range op.Steps {
			state := "yes"
			if !s.OK {
				state = "no"
			}
			table.Rows = append(table.Rows, row(web.Cell{Text: word("step", s.Name)}, marked("step_ok", state), text(s.Text)))
		}
		for _, c := range op.Calls {
			table.Rows = append(table.Rows, row(web.Cell{Text: say("op.call")}, text(fmt.Sprintf("%s %s → %d", c.Method, c.Path, c.Status)), web.Cell{Says: []web.Text{say("op.names", "sent", titled(c.Sent, "—"), "got", titled(c.Got, "—"))}}))
		}
		b := web.Block{Heading: say("op.title", "target", d.Target(op.Target)), Facts: []web.Fact{
			{Label: say("op.at"), Cell: web.Cell{At: op.At}}, {Label: say("op.took"), Cell: text(op.Took.Round(time.Millisecond).String())},
		}, Table: table}
		if op.Did != "" {
			b.Facts = append(b.Facts, web.Fact{Label: say("op.did"), Cell: web.Cell{Text: word("did", op.Did)}})
		}
		if op.Error != "" {
			b.Facts = append(b.Facts, web.Fact{Label: say("error"), Cell: web.Cell{Value: op.Error, Note: op.Class}})
		}
		if !op.Next.IsZero() {
			b.Facts = append(b.Facts, web.Fact{Label: say("op.next"), Cell: web.Cell{At: op.Next}})
		}
		list = append(list, b)
	}
	return list
}

// targetReports are what comparisons found, and the way to make one.
func (d *desk) targetReports(r *http.Request, id, here string, admin bool) (list []web.Block, err error) {
	first := web.Block{Heading: say("report.title"), Lead: says("report.text")}
	if admin {
		for _, mode := range []string{"preview", "run"} {
			first.Forms = append(first.Forms, button(here, "report."+mode, id, does("reconcile", "id", id, "mode", mode)))
		}
	}
	list = append(list, first)
	for _, mode := range []reconcile.Mode{reconcile.Run, reconcile.Preview, reconcile.Incremental} {
		var rep reconcile.Report
		err := d.ask(r, "GET /v1/reconciliation", &rep, "target", id, "mode", string(mode))
		var none *api.Error
		if errors.As(err, &none) && none.Status == http.StatusNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		block := web.Block{Heading: word("report_mode", string(mode)), Facts: []web.Fact{{Label: say("report.started"), Cell: web.Cell{At: rep.Started}}, {Label: say("report.ended"), Cell: web.Cell{At: rep.Ended}}}}
		if rep.Unsound != "" {
			block.Facts = append(block.Facts, web.Fact{Label: say("report.unsound"), Cell: web.Cell{Value: rep.Unsound, Note: rep.Text}})
		}
		table := &web.Table{Caption: say("report.found"), Head: heads("report.situation", "report.after", "report.count"), None: say("report.none")}
		for _, situation := range sortedKeys(rep.Matrix) {
			for _, after := range sortedKeys(rep.Matrix[situation]) {
				table.Rows = append(table.Rows, row(web.Cell{Text: word("situation", situation)}, web.Cell{Text: word("became", after)}, text(strconv.Itoa(rep.Matrix[situation][after]))))
			}
		}
		block.Table = table
		list = append(list, block)
	}
	return list, nil
}
