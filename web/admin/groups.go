package admin

import (
	"net/http"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

func (d *desk) groupPages() {
	d.page("/groups", d.groups, map[string]act{
		"create": {route: "POST /v1/groups", fields: []string{"name"}, done: "group_created"},
	})
	d.page("/group", d.group, map[string]act{
		"add":    {route: "POST /v1/group/member", fields: []string{"group", "name"}, done: "joined"},
		"remove": {route: "DELETE /v1/group/member", fields: []string{"group", "name"}, done: "left"},
		"delete": {route: "DELETE /v1/group", fields: []string{"group"}, done: "group_deleted", to: "/groups"},
	})
}

// groups lists those of the directory, or those found.
func (d *desk) groups(r *http.Request) (web.Board, error) {
	b := d.board(r, "groups", say("groups.title"), "")
	q := r.URL.Query()
	var list []api.Group
	if err := d.ask(r, "GET /v1/groups", &list, "limit", pageAsk, "q", q.Get("q"), "after", q.Get("after")); err != nil {
		return b, err
	}
	b.Lead = says("groups.lead")
	table := &web.Table{Caption: say("groups.all"), Head: heads("groups.name", "people.changed"), None: say("groups.none")}
	if len(list) > pageOf {
		list = list[:pageOf]
		after := list[pageOf-1].ID
		if q.Get("q") != "" {
			after = list[pageOf-1].Name
		}
		table.MoreURL = at("/groups", "q", q.Get("q"), "after", after)
	}
	for _, g := range list {
		table.Rows = append(table.Rows, row(web.Cell{Value: g.Name, URL: at("/group", "group", g.ID)}, web.Cell{At: g.Modified}))
	}
	search := web.Field{ID: "q", Name: "q", Kind: "search", Label: say("groups.search"), Value: q.Get("q")}
	b.Blocks = []web.Block{{Forms: []web.Form{{Search: true, Fields: []web.Field{search}, Button: say("find")}}, Table: table}}
	if d.may(r) {
		name := input("name", "name", "groups.name", r.PostForm.Get("name"))
		name.Required = true
		b.Blocks = append(b.Blocks, web.Block{Heading: say("groups.create"), Forms: []web.Form{{Action: at("/groups"), Button: say("groups.create_button"), Fields: append(does("create"), name)}}})
	}
	return b, nil
}

// group is one and who is in it.
func (d *desk) group(r *http.Request) (web.Board, error) {
	b := d.board(r, "groups", say("group.title"), "")
	var g api.Group
	if err := d.ask(r, "GET /v1/group", &g, "group", r.FormValue("group"), "after", r.URL.Query().Get("after"), "limit", "50"); err != nil {
		return b, err
	}
	b.Name = g.Name
	here, admin := at("/group", "group", g.ID), d.may(r)
	members := &web.Table{Caption: say("group.members"), Head: heads("people.user_name"), None: say("group.none")}
	if admin {
		members.Head = append(members.Head, say("act"))
	}
	for _, m := range g.Members {
		cells := []web.Cell{{Value: m.Name, URL: at("/person", "name", m.ID)}}
		if admin {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "group.remove", m.Name, does("remove", "group", g.ID, "name", m.ID))}})
		}
		members.Rows = append(members.Rows, row(cells...))
	}
	if g.More != "" {
		members.MoreURL = at("/group", "group", g.ID, "after", g.More)
	}
	block := web.Block{Heading: say("group.members"), Table: members}
	if len(g.Inside) > 0 {
		block.Facts = []web.Fact{{Label: say("group.inside"), Cell: web.Cell{Values: g.Inside}}}
	}
	b.Blocks = []web.Block{block}
	if admin {
		name := input("name", "name", "people.user_name", r.PostForm.Get("name"))
		name.Required = true
		b.Blocks = append(b.Blocks,
			web.Block{Heading: say("group.add"), Forms: []web.Form{{Action: here, Button: say("group.add_button"), Fields: append(does("add", "group", g.ID), name)}}},
			web.Block{Heading: say("group.delete"), Lead: says("group.delete_text"), Forms: []web.Form{{Action: here, Button: say("group.delete_button"), About: g.Name, Danger: true, Fields: does("delete", "group", g.ID)}}})
	}
	return b, nil
}
