package admin

import (
	"net/http"
	"strconv"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// mine lists the services for which the person answers.
func (d *desk) mine(r *http.Request) (web.Board, error) {
	b := d.board(r, "mine", say("mine.title"), "")
	var list []api.Service
	if err := d.ask(r, "GET /v1/me/owned", &list); err != nil {
		return b, err
	}
	b.Lead = says("mine.lead")
	table := &web.Table{Caption: say("mine.title"), Head: heads("services.service", "services.address", "services.attributes"), None: say("mine.none")}
	for _, s := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: s.Title, URL: at("/mine/service", "id", s.ID), Note: s.Description}, web.Cell{Value: s.URL, URL: s.URL}, text(strconv.Itoa(len(s.Release)))))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

// mineService is one of them: who asks for it, who has access, what it learns, what
// happened.
func (d *desk) mineService(r *http.Request) (web.Board, error) {
	b := d.board(r, "mine", say("service.title"), "")
	var s api.OwnedService
	if err := d.ask(r, "GET /v1/me/owned/service", &s, "id", r.FormValue("id")); err != nil {
		return b, err
	}
	b.Name = s.Title
	facts := web.Block{Facts: []web.Fact{
		{Label: say("services.address"), Cell: web.Cell{Value: s.URL, URL: s.URL}}, {Label: say("mine.signed_in"), Cell: text(strconv.Itoa(s.SignedIn))}, {Label: say("service.contact"), Cell: text(s.Contact)},
	}}
	asks := &web.Table{Caption: say("mine.waiting"), Head: heads("people.user_name", "person.role", "mine.reason", "mine.made", "person.until"), None: say("mine.none_waiting")}
	for _, q := range s.Waiting {
		asks.Rows = append(asks.Rows, row(text(q.UserName), text(q.RoleTitle), text(q.Reason), web.Cell{At: q.Made}, web.Cell{Until: q.Until}))
	}
	waiting := web.Block{Heading: say("mine.waiting"), Table: asks}
	if len(s.Waiting) > 0 && d.waiting(r).Decides {
		waiting.Ways = []web.Way{{Text: say("mine.decide"), URL: "/.gatehouse/requests/open"}}
	}
	granted := &web.Table{Caption: say("mine.granted"), Head: heads("people.user_name", "person.role", "mine.by", "person.until"), None: say("mine.none_granted")}
	for _, g := range s.Granted {
		until := web.Cell{Until: g.Until}
		if g.Until.IsZero() {
			until = web.Cell{Text: say("mine.no_end")}
		}
		granted.Rows = append(granted.Rows, row(text(g.UserName), text(g.RoleTitle), text(g.Granter), until))
	}
	events := &web.Table{Caption: say("service.activity"), Head: heads("audit.at", "audit.kind", "reason", "audit.flow", "audit.who", "audit.text"), None: say("audit.none")}
	for _, e := range s.Events {
		who := text(e.User)
		if e.By != e.User {
			who.Note = e.By
		}
		events.Rows = append(events.Rows, row(web.Cell{At: e.At}, web.Cell{Text: word("event", e.Kind)}, text(e.Code), text(e.Flow), who, text(e.Text)))
	}
	b.Blocks = []web.Block{
		facts, waiting,
		{Heading: say("mine.who"), Lead: says("service.access_text"), Table: d.serviceRules(s.Service)}, {Heading: say("mine.granted"), Table: granted},
		{Heading: say("service.release"), Table: serviceRelease(s.Service)}, {Heading: say("service.activity"), Table: events},
	}
	return b, nil
}
