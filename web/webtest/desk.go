package webtest

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// deskSamples are the pages at which somebody works.
func deskSamples(at time.Time, who web.Who) []Sample {
	around := func(here string) web.Desk {
		d := web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout"}
		for _, key := range []string{"overview", "people", "targets"} {
			d.Places = append(d.Places, web.Place{Key: key, URL: "/.gatehouse/admin/" + key, Here: key == here})
		}
		return d
	}
	say := func(key string, with ...string) web.Text { return web.Text{Key: key, With: with} }
	search := web.Form{Search: true, Button: say("find"), Fields: []web.Field{{ID: "q", Name: "q", Kind: "search", Label: say("people.search"), Hint: say("flow.hint")}}}
	list := web.Board{Desk: around("people"), Title: say("people.title"), Ways: []web.Way{{Text: say("back"), URL: "/.gatehouse/admin/people", Here: true}}, Blocks: []web.Block{{
		Forms: []web.Form{search},
		Table: &web.Table{Caption: say("people.all"), Head: []web.Text{say("people.name"), say("people.state"), say("people.changed"), say("act")}, MoreURL: "/.gatehouse/admin/people?after=u2", Rows: []web.Row{
			{Cells: []web.Cell{{Value: "Bob Baker", URL: "/.gatehouse/admin/person?name=u1", Note: "bob@uni.example"}, {Text: say("state.active"), Mark: "good"}, {At: at}, {Forms: []web.Form{{Action: "/.gatehouse/admin/person", Button: say("person.end"), About: "Bob Baker", Quiet: true, Fields: []web.Field{{Kind: "hidden", Name: "do", Value: "end"}}}}}}},
			{Cells: []web.Cell{{Value: "partners/dana", URL: "/.gatehouse/admin/person?name=u2"}, {Text: say("state.inactive"), Mark: "bad"}, {Values: []string{"staff", "library"}}, {Done: 3, Total: 10, Says: []web.Text{say("clause.roles", "values", "finance")}}}},
		}},
	}}}
	refused := web.Board{Desk: around("people"), Title: say("people.title"), Blocks: []web.Block{{Table: &web.Table{Caption: say("people.all"), None: say("people.none")}}}}
	refused.Problem = &web.Problem{Code: "access.step_up", Text: "Changes need a sign-in from the last ten minutes.", AgainURL: "/.gatehouse/fresh?return=%2F"}
	full := web.Board{Desk: around("overview"), Title: say("target.title"), Name: "Directory", Lead: []web.Text{say("targets.lead")}, Blocks: []web.Block{
		{Heading: say("overview.today"), Facts: []web.Fact{{Label: say("overview.sign_ins"), Cell: web.Cell{Value: "12", URL: "/.gatehouse/admin/audit?kind=login"}}, {Name: "mail", Cell: web.Cell{Text: say("provider.failing"), Mark: "wait", Note: "404"}}},
			Chart: &web.Chart{Caption: say("overview.hours"), Head: say("overview.hour"), Series: []web.Text{say("overview.sign_ins"), say("overview.not_let_in")}, Points: []web.Point{{Label: "00:00", Values: []int{3, 0}}, {Label: "01:00", Values: []int{9, 4}}}}},
		{Heading: say("token.made"), Lead: []web.Text{say("token.once")}, Once: "gh_0123456789", Ways: []web.Way{{Name: "directory", URL: "/.gatehouse/admin/target?id=directory"}}},
	}}
	forms := web.Board{Desk: around("people"), Title: say("person.title"), Name: "Bob Baker", Blocks: []web.Block{
		{Heading: say("person.grant"), Forms: []web.Form{{Action: "/.gatehouse/admin/person", Button: say("person.grant"), Danger: true, Fields: []web.Field{
			{ID: "role", Name: "role", Kind: "select", Label: say("person.role"), Options: []web.Option{{Value: "finance", Name: "Finance office", Chosen: true}, {Value: "any", Text: say("task.any")}}},
			{ID: "until", Name: "until", Kind: "date", Label: say("person.until"), Required: true},
			{ID: "values", Name: "values", Kind: "area", Label: say("person.values"), Value: "a\nb"},
			{ID: "held", Name: "name", Kind: "check", Called: "Bob Baker", Checked: true, Value: "u1"},
		}}}},
	}}
	full.Done = "created"
	return []Sample{{"people", 200, list}, {"people-refused", 403, refused}, {"board", 200, full}, {"board-forms", 200, forms}}
}
