package admin

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func (d *desk) providerPages() {
	d.page("/providers", d.providers, nil)
	id := []string{"id"}
	d.page("/provider", d.provider, map[string]act{
		"refresh": {route: "POST /v1/provider/refresh", fields: id, done: "refreshed"},
		"try": {route: "POST /v1/provider/try", fields: id, shows: func(r *http.Request, answer []byte) (web.Page, error) {
			var b api.Begun
			err := json.Unmarshal(answer, &b)
			return web.GoOn{URL: b.URL, To: d.Provider(r.FormValue("id"))}, err
		}},
	})
	d.page("/provider/trial", d.trial, nil)
}

func providerState(p api.Provider) web.Cell {
	switch {
	case p.Error != "":
		return web.Cell{Text: say("provider.failing"), Mark: "bad", Note: p.Error}
	case p.Read.IsZero():
		return web.Cell{Text: say("provider.unread"), Mark: "wait"}
	}
	return web.Cell{Text: say("provider.good"), Mark: "good"}
}

// providers lists where people prove who they are.
func (d *desk) providers(r *http.Request) (web.Board, error) {
	b := d.board(r, "providers", say("providers.title"), "")
	var list []api.Provider
	if err := d.ask(r, "GET /v1/providers", &list); err != nil {
		return b, err
	}
	table := &web.Table{Caption: say("providers.all"), Head: heads("person.provider", "provider.protocol", "target.state", "provider.read", "end.until"), None: say("providers.none")}
	for _, p := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: p.Title, URL: at("/provider", "id", p.ID)}, web.Cell{Text: word("protocol", p.Protocol)}, providerState(p), web.Cell{At: p.Read}, web.Cell{At: p.ValidUntil}))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

// provider is one: what it publishes, how it is understood, and a way to try it.
func (d *desk) provider(r *http.Request) (web.Board, error) {
	b := d.board(r, "providers", say("provider.title"), "")
	var p api.Provider
	if err := d.ask(r, "GET /v1/provider", &p, "id", r.FormValue("id")); err != nil {
		return b, err
	}
	b.Name = p.Title
	facts := web.Block{Facts: []web.Fact{
		{Label: say("target.state"), Cell: providerState(p)},
		{Label: say("provider.protocol"), Cell: web.Cell{Text: word("protocol", p.Protocol)}},
		{Label: say("provider.issuer"), Cell: text(p.Issuer)},
		{Label: say("provider.recipient"), Cell: text(p.Recipient)},
		{Label: say("provider.callback"), Cell: text(p.Callback)},
		{Label: say("provider.read"), Cell: web.Cell{At: p.Read}},
		{Label: say("end.until"), Cell: web.Cell{At: p.ValidUntil}},
		{Label: say("provider.mode"), Cell: web.Cell{Text: word("jit", p.Mode)}},
		{Label: say("provider.user_store"), Cell: text(d.Store(p.UserStore))},
	}}
	facts.Ways = []web.Way{{Text: say("sessions.title"), URL: at("/sessions", "idp", p.ID)}}
	if p.Metadata != "" {
		facts.Ways = append(facts.Ways, web.Way{Text: say("provider.metadata"), URL: p.Metadata, File: true})
	}
	keys := &web.Table{Caption: say("provider.keys"), Head: heads("provider.key", "provider.algorithm"), None: say("provider.no_keys")}
	for _, k := range p.Keys {
		keys.Rows = append(keys.Rows, row(text(k.ID), text(k.Kind)))
	}
	trial := web.Block{Heading: say("trial.try"), Lead: says("trial.text")}
	if d.may(r) {
		here := at("/provider", "id", p.ID)
		facts.Forms = []web.Form{button(here, "provider.refresh", p.Title, does("refresh", "id", p.ID))}
		trial.Forms = []web.Form{{Action: here, Button: say("trial.begin"), About: p.Title, Leaves: true, Fields: does("try", "id", p.ID)}}
	}
	b.Blocks = []web.Block{facts, {Heading: say("provider.keys"), Table: keys}, {Heading: say("provider.mapping"), Table: mappingTable(p.Mapping, nil)}, trial}
	return b, nil
}

// mappingTable is which of their attributes ours are made of, and with values what
// came of it.
func mappingTable(list []api.Mapped, values map[string][]string) *web.Table {
	table := &web.Table{Caption: say("provider.mapping"), Head: heads("provider.ours", "provider.theirs"), None: say("provider.no_mapping")}
	if values != nil {
		table.Head = append(table.Head, say("person.values"))
	}
	for _, m := range list {
		cells := []web.Cell{attribute(m.Attribute), text(strings.Join(m.From, ", "))}
		if values != nil {
			cells = append(cells, web.Cell{Values: values[m.Attribute]})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	return table
}

// trial is what an identity provider said in a sign-in that let nobody in.
func (d *desk) trial(r *http.Request) (web.Board, error) {
	b := d.board(r, "providers", say("trial.title"), "")
	var v api.Trial
	if err := d.ask(r, "GET /v1/provider/trial", &v, "key", r.URL.Query().Get("key")); err != nil {
		return b, err
	}
	b.Name = d.Provider(v.Provider)
	b.Lead = says("trial.nobody")
	b.Ways = []web.Way{{Text: say("trial.back"), URL: at("/provider", "id", v.Provider)}}
	outcome := web.Cell{Text: say("trial.good"), Mark: "good"}
	if v.Code != "" {
		outcome = web.Cell{Text: say("trial.refused"), Mark: "bad", Note: v.Code + ": " + v.Error}
	}
	facts := []web.Fact{{Label: say("trial.outcome"), Cell: outcome}, {Label: say("trial.at"), Cell: web.Cell{At: v.At}}}
	if v.Subject != "" {
		facts = append(facts, web.Fact{Label: say("person.issuer"), Cell: text(v.Issuer)}, web.Fact{Label: say("person.subject"), Cell: text(v.Subject)},
			web.Fact{Label: say("trial.acr"), Cell: text(v.ACR)}, web.Fact{Label: say("trial.amr"), Cell: web.Cell{Values: v.AMR}}, web.Fact{Label: say("trial.signed_in"), Cell: web.Cell{At: v.SignedIn}})
	}
	b.Blocks = []web.Block{{Facts: facts}}
	said := &web.Table{Caption: say("trial.said"), Head: heads("provider.theirs", "person.values"), None: say("trial.said_nothing")}
	for _, name := range sortedKeys(v.Said) {
		said.Rows = append(said.Rows, row(text(name), web.Cell{Values: v.Said[name]}))
	}
	b.Blocks = append(b.Blocks, web.Block{Heading: say("trial.said"), Table: said})
	if u := v.User; u != nil {
		who := say("trial.known", "name", u.UserName)
		if v.Fresh {
			who = say("trial.fresh", "name", u.UserName)
		}
		var p api.Provider
		if err := d.ask(r, "GET /v1/provider", &p, "id", v.Provider); err != nil {
			return b, err
		}
		b.Blocks = append(b.Blocks, web.Block{Heading: say("trial.made"), Lead: []web.Text{who}, Facts: []web.Fact{{Label: say("person.has_roles"), Cell: web.Cell{Values: each(u.Roles, d.Role)}}}, Table: mappingTable(p.Mapping, u.Attributes)})
	}
	return b, nil
}
