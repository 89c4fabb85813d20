package admin

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// whichSessions are the parameters that say which sessions a page is about.
var whichSessions = []string{"name", "idp", "service"}

func (d *desk) sessionPages() {
	d.page("/sessions", d.sessions, map[string]act{
		"end":       {route: "DELETE /v1/sessions", fields: []string{"id"}, done: "ended"},
		"end_these": {route: "DELETE /v1/sessions", fields: append(whichSessions, "all"), done: "these_ended"},
	})
}

// sessions lists who is signed in: everybody, or a person, at an identity provider,
// with a service, and ends them.
func (d *desk) sessions(r *http.Request) (web.Board, error) {
	b := d.board(r, "sessions", say("sessions.title"), "")
	q := r.URL.Query()
	var which []string // names and values
	all := true
	for _, name := range whichSessions {
		which = append(which, name, q.Get(name))
		all = all && q.Get(name) == ""
	}
	which = slices.Clip(which)
	fields, err := d.sessionSearch(r, q)
	if err != nil {
		return b, err
	}
	b.Lead = says("sessions.lead")
	var list []api.Session
	if err := d.ask(r, "GET /v1/sessions", &list, append(which, "limit", pageAsk, "after", q.Get("after"))...); err != nil {
		return b, err
	}
	here, admin := at("/sessions", which...), d.may(r)
	table := &web.Table{Caption: say("sessions.title"), Head: heads("people.user_name", "person.provider", "person.begun", "person.seen", "person.ends"), None: say("sessions.none")}
	if admin {
		table.Head = append(table.Head, say("act"))
	}
	if len(list) > pageOf {
		list = list[:pageOf]
		table.MoreURL = at("/sessions", append(which, "after", list[pageOf-1].ID)...)
	}
	for _, s := range list {
		cells := []web.Cell{{Value: s.User, URL: at("/person", "name", s.UserID)}, text(d.Provider(s.Provider)), {At: s.Created}, {At: s.Seen}, {At: s.Until}}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "person.end", s.User, does("end", "id", s.ID))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	b.Blocks = []web.Block{{Forms: []web.Form{{Search: true, Fields: fields, Button: say("find")}}, Table: table}}
	if admin && len(list) > 0 {
		end := web.Block{Heading: say("sessions.end_these"), Lead: says("sessions.end_these_text")}
		if all {
			end = web.Block{Heading: say("sessions.end_everybody"), Lead: says("sessions.end_everybody_text")}
			which = []string{"all", "true"}
		}
		end.Forms = []web.Form{{Action: here, Button: end.Heading, Danger: true, Fields: does("end_these", which...)}}
		b.Blocks = append(b.Blocks, end)
	}
	return b, nil
}

// sessionSearch are the fields that say whose sessions, from where and for what.
func (d *desk) sessionSearch(r *http.Request, q url.Values) ([]web.Field, error) {
	var providers []api.Provider
	if err := d.ask(r, "GET /v1/providers", &providers); err != nil {
		return nil, err
	}
	var services []api.Service
	if err := d.ask(r, "GET /v1/services", &services); err != nil {
		return nil, err
	}
	from, to := []web.Option{{Text: say("sessions.any")}}, []web.Option{{Text: say("sessions.any")}}
	for _, p := range providers {
		from = append(from, web.Option{Value: p.ID, Name: p.Title})
	}
	// One that is not configured any more can have left sessions all the same.
	if idp := q.Get("idp"); !slices.ContainsFunc(from, func(o web.Option) bool { return o.Value == idp }) {
		from = append(from, web.Option{Value: idp, Name: idp})
	}
	for _, s := range services {
		to = append(to, web.Option{Value: s.ID, Name: s.Title})
	}
	return []web.Field{input("name", "name", "people.user_name", q.Get("name")),
		choice("idp", "idp", "person.provider", q.Get("idp"), from...), choice("service", "service", "person.service", q.Get("service"), to...)}, nil
}
