package admin

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// eventFields are what events can be searched by.
var eventFields = []string{"flow", "user", "kind", "service", "provider", "target"}

// audit is what happened, the newest first.
func (d *desk) audit(r *http.Request) (web.Board, error) {
	b := d.board(r, "audit", say("audit.title"), "")
	q := r.URL.Query()
	form := []string{"limit", strconv.Itoa(pageOf), "before", q.Get("before")}
	var search []web.Field
	export := url.Values{}
	for _, name := range eventFields {
		form = append(form, name, q.Get(name))
		search = append(search, input(name, name, "audit."+name, q.Get(name)))
		if v := q.Get(name); v != "" {
			export.Set(name, v)
		}
	}
	var found api.Events
	if err := d.ask(r, "GET /v1/audit", &found, form...); err != nil {
		return b, err
	}
	table := eventsTable(say("audit.events"), found.Events, found.Names)
	if found.Next > 0 {
		next := url.Values{"before": {strconv.FormatUint(found.Next, 10)}}
		for name, v := range export {
			next[name] = v
		}
		table.MoreURL = Path + "/audit?" + next.Encode()
		if len(found.Events) < pageOf {
			table.None = say("searched_so_far")
			b.Lead = says("searched_so_far")
		}
	}
	way := func(key, format string) web.Way {
		to := url.Values{"format": {format}}
		for name, v := range export {
			to[name] = v
		}
		return web.Way{Text: say(key), URL: "/.gatehouse/api/v1/audit/export?" + to.Encode(), File: true}
	}
	b.Blocks = []web.Block{
		{Forms: []web.Form{{Search: true, Fields: search, Button: say("find")}}, Table: table, Ways: []web.Way{way("audit.csv", "csv"), way("audit.jsonl", "jsonl")}},
		{Heading: say("audit.chain"), Lead: says("audit.chain_text"), Ways: []web.Way{{Text: say("audit.verify"), URL: at("/audit", "verify", "yes")}}},
	}
	if q.Get("verify") != "" {
		whole := web.Cell{Text: say("audit.whole"), Mark: "good"}
		err := d.ask(r, "GET /v1/audit/verify", nil)
		var broken *api.Error
		switch {
		case errors.As(err, &broken) && broken.Code == "api.refused":
			whole = web.Cell{Text: say("audit.broken"), Mark: "bad", Note: broken.Text}
		case err != nil:
			return b, err
		}
		b.Blocks[1].Facts = []web.Fact{{Label: say("audit.chain"), Cell: whole}}
	}
	return b, nil
}

// eventsTable shows events, with people by their names where those are known.
func eventsTable(caption web.Text, list []audit.Event, names map[string]string) *web.Table {
	table := &web.Table{Caption: caption, Head: heads("audit.at", "audit.kind", "reason", "audit.flow", "audit.who", "audit.where", "audit.text"), None: say("audit.none")}
	for _, e := range list {
		who := text(titled(names[e.UserID], e.UserID))
		if e.UserID != "" {
			who.URL = at("/person", "name", e.UserID)
		}
		who.Note = titled(names[e.By], e.By)
		table.Rows = append(table.Rows, row(web.Cell{At: e.At}, web.Cell{Text: word("event", e.Kind)}, text(e.Code), web.Cell{Value: e.Flow, URL: flowURL(e.Flow)}, who,
			text(strings.Join(strings.Fields(e.Service+" "+e.Provider+" "+e.Target), ", ")), web.Cell{Value: e.Text, Note: strings.Join(e.Names, ", ")}))
	}
	return table
}

func flowURL(code string) string {
	if code == "" {
		return ""
	}
	return at("/flow", "code", code)
}

// flow is all that a support code leads to.
func (d *desk) flow(r *http.Request) (web.Board, error) {
	b := d.board(r, "overview", say("flow.title"), "")
	code := strings.TrimSpace(r.FormValue("code"))
	b.Blocks = []web.Block{codeSearch(code)}
	if code == "" && d.may(r, "helpdesk", "auditors") {
		return b, nil
	}
	var f api.Flow
	err := d.ask(r, "GET /v1/flow", &f, "code", code)
	var none *api.Error
	if errors.As(err, &none) && none.Status == http.StatusNotFound {
		b.Problem = &web.Problem{Code: none.Code, Text: none.Text}
		return b, nil
	}
	if err != nil {
		return b, err
	}
	b.Name = f.Code
	b.Lead = says("flow.lead")
	facts := web.Block{Heading: say("flow.who"), Facts: []web.Fact{{Label: say("reason"), Cell: text(f.Refused)}}}
	if f.User != nil {
		facts.Facts = append(facts.Facts, web.Fact{Label: say("people.user_name"), Cell: web.Cell{Value: f.User.UserName, URL: at("/person", "name", f.User.ID)}}, web.Fact{Label: say("people.state"), Cell: active(f.User.Active)})
	}
	if f.Provider != nil {
		facts.Facts = append(facts.Facts, web.Fact{Label: say("person.provider"), Cell: web.Cell{Value: f.Provider.Title, URL: at("/provider", "id", f.Provider.ID)}}, web.Fact{Label: say("trial.said"), Cell: web.Cell{Values: f.Said}})
	}
	if f.Service != "" {
		facts.Facts = append(facts.Facts, web.Fact{Label: say("person.service"), Cell: web.Cell{Value: d.Service(f.Service), URL: at("/service", "id", f.Service)}})
	}
	b.Blocks = append(b.Blocks, facts, web.Block{Heading: say("flow.events"), Table: eventsTable(say("flow.events_order"), f.Events, f.Names)})
	if len(f.Said) > 0 {
		b.Blocks = append(b.Blocks, web.Block{Heading: say("provider.mapping"), Table: mappingTable(f.Mapped, nil)})
	}
	if f.Outcome != "" {
		released := web.Cell{Values: f.Released}
		var withheld web.Cell
		for _, w := range f.Withheld {
			because := why(w.Why)
			withheld.Says = append(withheld.Says, web.Text{Key: "flow.withheld", With: []string{"attribute", w.Attribute}, Why: &because})
		}
		b.Blocks = append(b.Blocks, web.Block{Heading: say("flow.rules"), Lead: says("flow.now"), Facts: []web.Fact{
			{Label: say("person.answer"), Cell: marked("outcome", f.Outcome)}, {Label: say("flow.released"), Cell: released}, {Label: say("person.withheld"), Cell: withheld},
		}, Table: d.rulesTable(f.Rules)})
	}
	b.Blocks = append(b.Blocks, d.operationBlocks(f.Steps)...)
	return b, nil
}
