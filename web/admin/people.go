package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// pageOf is how many rows a list has; one more is asked for, to know whether there
// are others.
const (
	pageOf  = 50
	pageAsk = "51"
)

func (d *desk) peoplePages() {
	d.page("/people", d.people, map[string]act{
		"create": {route: "POST /v1/users", form: func(r *http.Request) url.Values {
			q := url.Values{"name": {r.FormValue("name")}}
			for _, attr := range []string{"display_name", "mail"} {
				if v := r.FormValue(attr); v != "" {
					q.Add("attribute", attr+"="+v)
				}
			}
			return q
		}, done: "created"},
	})
	d.page("/person", d.person, map[string]act{
		"disable":     {route: "POST /v1/user/active", fields: []string{"name"}, always: url.Values{"active": {"false"}}, done: "disabled"},
		"enable":      {route: "POST /v1/user/active", fields: []string{"name"}, always: url.Values{"active": {"true"}}, done: "enabled"},
		"say":         {route: "POST /v1/user/attributes", form: saidOf, done: "said"},
		"grant":       {route: "POST /v1/grant", fields: []string{"name", "role", "until"}, done: "granted"},
		"revoke":      {route: "DELETE /v1/grant", fields: []string{"name", "role"}, done: "revoked"},
		"end":         {route: "DELETE /v1/sessions", fields: []string{"id"}, done: "ended"},
		"end_all":     {route: "DELETE /v1/sessions", fields: []string{"name"}, done: "these_ended"},
		"unlink":      {route: "DELETE /v1/user/link", fields: []string{"name", "provider", "issuer", "subject"}, done: "unlinked"},
		"provision":   {route: "POST /v1/target/provision", fields: []string{"name", "id"}, done: "provisioned"},
		"join":        {route: "POST /v1/group/member", fields: []string{"name", "group"}, done: "joined"},
		"leave_group": {route: "DELETE /v1/group/member", fields: []string{"name", "group"}, done: "left"},
	})
	d.page("/person/delete", d.deletePerson, map[string]act{
		"delete": {route: "DELETE /v1/user", fields: []string{"name"}, done: "deleted", to: "/people"},
	})
}

// saidOf reads an attribute and its values, one a line.
func saidOf(r *http.Request) url.Values {
	q := url.Values{"name": {r.FormValue("name")}}
	for _, line := range strings.Split(r.FormValue("values"), "\n") {
		q.Add("attribute", r.FormValue("attribute")+"="+strings.TrimSpace(line))
	}
	return q
}

// people lists who is known, or found.
func (d *desk) people(r *http.Request) (web.Board, error) {
	q, typed := r.URL.Query(), r.PostForm
	b := d.board(r, "people", say("people.title"), "")
	var list []api.User
	if err := d.ask(r, "GET /v1/users", &list, "limit", pageAsk, "q", q.Get("q"), "after", q.Get("after")); err != nil {
		return b, err
	}
	table := &web.Table{Caption: say("people.all"), Head: heads("people.name", "people.user_name", "people.mail", "people.state", "people.changed"), None: say("people.none")}
	if q.Get("q") != "" {
		table.Caption = say("people.found", "query", q.Get("q"))
	}
	if len(list) > pageOf {
		list = list[:pageOf]
		last := list[pageOf-1]
		after := last.ID
		if q.Get("q") != "" {
			after = last.UserName
		}
		table.MoreURL = at("/people", "q", q.Get("q"), "after", after)
	}
	for _, u := range list {
		table.Rows = append(table.Rows, row(
			web.Cell{Value: titled(api.First(u.Attributes["display_name"]), u.UserName), URL: at("/person", "name", u.ID)},
			text(u.UserName), text(api.First(u.Attributes["mail"])), active(u.Active), web.Cell{At: u.Modified}))
	}
	search := web.Field{ID: "q", Name: "q", Kind: "search", Label: say("people.search"), Value: q.Get("q")}
	b.Blocks = append(b.Blocks, web.Block{Forms: []web.Form{{Search: true, Fields: []web.Field{search}, Button: say("find")}}, Table: table})
	if d.may(r) {
		name := input("name", "name", "people.user_name", typed.Get("name"))
		name.Required, name.Hint = true, say("people.name_hint")
		b.Blocks = append(b.Blocks, web.Block{Heading: say("people.create"), Lead: says("people.create_text"), Forms: []web.Form{{
			Action: at("/people"), Button: say("people.create_button"), Fields: append(does("create"), name,
				input("display_name", "display_name", "people.name", typed.Get("display_name")), input("mail", "mail", "people.mail", typed.Get("mail"))),
		}}})
	}
	return b, nil
}

func active(yes bool) web.Cell {
	if yes {
		return marked("state", "active")
	}
	return marked("state", "inactive")
}

// person is all that is known of one person, and what can be done about them.
func (d *desk) person(r *http.Request) (web.Board, error) {
	b := d.board(r, "people", say("person.title"), "")
	name := r.FormValue("name")
	var u api.User
	if err := d.ask(r, "GET /v1/user", &u, "name", name); err != nil {
		return b, err
	}
	b.Name = titled(api.First(u.Attributes["display_name"]), u.UserName)
	here, admin := at("/person", "name", name), d.may(r)
	b.Blocks = append(b.Blocks, d.personFacts(r, u, here, admin))
	for _, more := range []func(*http.Request, api.User, string, bool) ([]web.Block, error){d.personSaid, d.personMay, d.personRoles, d.personAccounts, d.personSessions} {
		blocks, err := more(r, u, here, admin)
		if err != nil {
			return b, err
		}
		b.Blocks = append(b.Blocks, blocks...)
	}
	if admin {
		b.Blocks = append(b.Blocks, web.Block{Heading: say("person.delete"), Lead: says("person.delete_lead"), Ways: []web.Way{{Text: say("person.delete_way"), URL: at("/person/delete", "name", u.ID)}}})
	}
	return b, nil
}

func (d *desk) personFacts(r *http.Request, u api.User, here string, admin bool) web.Block {
	block := web.Block{Facts: []web.Fact{
		{Label: say("people.user_name"), Cell: text(u.UserName)},
		{Label: say("person.id"), Cell: text(u.ID)},
		{Label: say("people.state"), Cell: active(u.Active)},
		{Label: say("person.created"), Cell: web.Cell{At: u.Created}},
		{Label: say("people.changed"), Cell: web.Cell{At: u.Modified}},
		{Label: say("person.groups"), Cell: web.Cell{Values: u.Groups}},
	}}
	if d.may(r, "auditors") {
		block.Ways = []web.Way{{Text: say("person.events"), URL: at("/audit", "user", u.ID)}}
	}
	if admin && u.Active {
		block.Forms = []web.Form{button(here, "person.disable", u.UserName, does("disable", "name", u.ID))}
	} else if admin {
		block.Forms = []web.Form{button(here, "person.enable", u.UserName, does("enable", "name", u.ID))}
	}
	return block
}

// personSaid is who said what, and when.
func (d *desk) personSaid(r *http.Request, u api.User, here string, admin bool) ([]web.Block, error) {
	table := &web.Table{Caption: say("person.said"), Head: heads("person.attribute", "person.values", "person.by", "person.at"), None: say("person.said_none")}
	for _, attr := range slices.Sorted(maps.Keys(u.Claims)) {
		for _, c := range u.Claims[attr] {
			table.Rows = append(table.Rows, row(attribute(attr), web.Cell{Values: c.Values}, d.source(c.Source), web.Cell{At: c.At}))
		}
	}
	block := web.Block{Heading: say("person.said"), Lead: says("person.said_text"), Table: table}
	if admin {
		var known []api.Attribute
		if err := d.ask(r, "GET /v1/attributes", &known); err != nil {
			return nil, err
		}
		var options []web.Option
		for _, a := range known {
			options = append(options, web.Option{Value: a.ID, Text: word("attribute", a.ID)})
		}
		values := web.Field{ID: "values", Name: "values", Kind: "area", Label: say("person.values"), Hint: say("person.values_hint"), Value: r.PostForm.Get("values")}
		block.Forms = []web.Form{{Action: here, Button: say("person.say"), Fields: append(does("say", "name", u.ID), choice("attribute", "attribute", "person.attribute", r.PostForm.Get("attribute"), options...), values)}}
	}
	return []web.Block{block}, nil
}

// personMay answers why the person can or can not use a service.
func (d *desk) personMay(r *http.Request, u api.User, _ string, _ bool) ([]web.Block, error) {
	var services []api.Service
	if err := d.ask(r, "GET /v1/services", &services); err != nil {
		return nil, err
	}
	chosen := r.URL.Query().Get("service")
	var options []web.Option
	for _, s := range services {
		options = append(options, web.Option{Value: s.ID, Name: s.Title})
	}
	block := web.Block{Heading: say("person.may"), Lead: says("person.may_text"), Forms: []web.Form{{
		Search: true, Action: at("/person"), Button: say("person.ask_may"),
		Fields: []web.Field{{Kind: "hidden", Name: "name", Value: u.ID}, choice("service", "service", "person.service", chosen, options...)},
	}}}
	if chosen == "" {
		return []web.Block{block}, nil
	}
	var x api.Explanation
	if err := d.ask(r, "GET /v1/explain", &x, "name", u.ID, "service", chosen); err != nil {
		return nil, err
	}
	block.Facts = []web.Fact{{Label: say("person.answer"), Cell: marked("outcome", x.Outcome)}, {Label: say("reason"), Cell: text(x.Code)}}
	block.Table = d.rulesTable(x.Reasons)
	sent := &web.Table{Caption: say("person.learns"), Head: heads("person.attribute", "person.as", "person.values", "person.purpose"), None: say("person.learns_none")}
	for _, s := range x.Sent {
		sent.Rows = append(sent.Rows, row(attribute(s.Attribute), text(s.Name), web.Cell{Values: s.Values}, text(s.Purpose)))
	}
	for _, s := range x.Withheld {
		sent.Rows = append(sent.Rows, row(attribute(s.Attribute), web.Cell{Text: say("person.withheld"), Mark: "wait"}, web.Cell{}, web.Cell{Text: why(s.Why)}))
	}
	return []web.Block{block, {Heading: say("person.learns"), Table: sent}}, nil
}

// personRoles are those that the person has, and those given by name.
func (d *desk) personRoles(r *http.Request, u api.User, here string, admin bool) ([]web.Block, error) {
	table := &web.Table{Caption: say("person.grants"), Head: heads("person.role", "person.since", "person.until", "person.giver"), None: say("person.grants_none")}
	for _, g := range u.Grants {
		cells := []web.Cell{text(titled(g.RoleTitle, g.Role)), {At: g.Since}, {Until: g.Until}, text(g.Granter)}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "person.revoke", titled(g.RoleTitle, g.Role), does("revoke", "name", u.ID, "role", g.Role))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	block := web.Block{Heading: say("person.roles"), Facts: []web.Fact{{Label: say("person.has_roles"), Cell: web.Cell{Values: each(u.Roles, d.Role)}}}, Table: table}
	if !admin {
		return []web.Block{block}, nil
	}
	table.Head = append(table.Head, say("act"))
	var roles []api.Role
	if err := d.ask(r, "GET /v1/roles", &roles); err != nil {
		return nil, err
	}
	if len(roles) > 0 {
		var options []web.Option
		for _, role := range roles {
			options = append(options, web.Option{Value: role.ID, Name: role.Title})
		}
		until := web.Field{ID: "until", Name: "until", Kind: "date", Label: say("person.until"), Hint: say("person.until_hint"), Value: r.PostForm.Get("until")}
		block.Forms = []web.Form{{Action: here, Button: say("person.grant"), Fields: append(does("grant", "name", u.ID), choice("role", "role", "person.role", r.PostForm.Get("role"), options...), until)}}
	}
	group := input("group", "group", "person.group", r.PostForm.Get("group"))
	group.Required = true
	block.Forms = append(block.Forms, web.Form{Action: here, Button: say("person.join"), Fields: append(does("join", "name", u.ID), group)})
	return []web.Block{block}, nil
}

// personAccounts are those at targets, with what was done last.
func (d *desk) personAccounts(r *http.Request, u api.User, here string, admin bool) ([]web.Block, error) {
	table := &web.Table{Caption: say("person.accounts"), Head: heads("target.target", "target.state", "person.remote", "error"), None: say("person.accounts_none")}
	if admin {
		table.Head = append(table.Head, say("act"))
	}
	for _, a := range u.Accounts {
		cells := []web.Cell{{Value: titled(a.Title, a.Target), URL: at("/target", "id", a.Target)}, marked("account", a.Status), text(a.RemoteID), text(a.Error)}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "person.provision", titled(a.Title, a.Target), does("provision", "name", u.ID, "id", a.Target))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	var ops []outbox.Operation
	if err := d.ask(r, "GET /v1/operations", &ops, "name", u.ID, "limit", "10"); err != nil {
		return nil, err
	}
	return append([]web.Block{{Heading: say("person.accounts"), Table: table}}, d.operationBlocks(ops)...), nil
}

// personSessions are where the person is signed in, as whom, and what says that
// they left.
func (d *desk) personSessions(r *http.Request, u api.User, here string, admin bool) ([]web.Block, error) {
	var list []api.Session
	if err := d.ask(r, "GET /v1/sessions", &list, "name", u.ID, "limit", "50"); err != nil {
		return nil, err
	}
	sessions := &web.Table{Caption: say("person.sessions"), Head: heads("person.provider", "person.begun", "person.seen", "person.ends"), None: say("person.sessions_none")}
	for _, s := range list {
		cells := []web.Cell{text(d.Provider(s.Provider)), {At: s.Created}, {At: s.Seen}, {At: s.Until}}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "person.end", s.ID, does("end", "id", s.ID))}})
		}
		sessions.Rows = append(sessions.Rows, row(cells...))
	}
	block := web.Block{Heading: say("person.sessions"), Table: sessions}
	links := &web.Table{Caption: say("person.links"), Head: heads("person.provider", "person.issuer", "person.subject", "person.seen"), None: say("person.links_none")}
	for _, l := range u.Links {
		cells := []web.Cell{text(d.Provider(l.Provider)), text(l.Ref.Issuer), text(l.Ref.Subject), {At: l.Seen}}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "person.unlink", d.Provider(l.Provider), does("unlink", "name", u.ID, "provider", l.Provider, "issuer", l.Ref.Issuer, "subject", l.Ref.Subject))}})
		}
		links.Rows = append(links.Rows, row(cells...))
	}
	if admin {
		sessions.Head, links.Head = append(sessions.Head, say("act")), append(links.Head, say("act"))
		if len(list) > 1 {
			block.Forms = []web.Form{button(here, "person.end_all", u.UserName, does("end_all", "name", u.ID))}
		}
	}
	blocks := []web.Block{block, {Heading: say("person.links"), Table: links}}
	if len(u.Evidence) > 0 {
		left := &web.Table{Caption: say("person.evidence"), Head: heads("person.kind", "person.by", "person.since", "person.outcome")}
		for _, e := range u.Evidence {
			left.Rows = append(left.Rows, row(web.Cell{Value: e.Kind, Note: e.Text}, d.source(e.By), web.Cell{At: e.First}, text(e.Outcome)))
		}
		blocks = append(blocks, web.Block{Heading: say("person.evidence"), Table: left})
	}
	return blocks, nil
}

// deletePerson says what deleting means, before it is done.
func (d *desk) deletePerson(r *http.Request) (web.Board, error) {
	b := d.board(r, "people", say("person.delete"), "")
	var u api.User
	if err := d.ask(r, "GET /v1/user", &u, "name", r.FormValue("name")); err != nil {
		return b, err
	}
	b.Name = u.UserName
	table := &web.Table{Caption: say("person.accounts"), Head: heads("target.target", "target.state"), None: say("person.accounts_none")}
	for _, a := range u.Accounts {
		table.Rows = append(table.Rows, row(text(titled(a.Title, a.Target)), marked("account", a.Status)))
	}
	b.Blocks = []web.Block{{Lead: says("person.delete_text"), Table: table, Ways: []web.Way{{Text: say("back"), URL: at("/person", "name", u.ID)}}}}
	if d.may(r) {
		b.Blocks[0].Forms = []web.Form{{Action: at("/person/delete", "name", u.ID), Button: say("person.delete_button"), About: u.UserName, Danger: true, Fields: does("delete", "name", u.ID)}}
	}
	return b, nil
}
