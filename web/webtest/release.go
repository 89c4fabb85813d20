package webtest

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// releaseSamples are the pages of the release editor, in the order in which one
// meets them.
func releaseSamples(at time.Time, who web.Who) []Sample {
	const path = "/.gatehouse/admin/release"
	say := func(key string, with ...string) web.Text { return web.Text{Key: key, With: with} }
	says := func(keys ...string) (list []web.Text) {
		for _, k := range keys {
			list = append(list, say(k))
		}
		return list
	}
	n := func(key string, n int) web.Text { return web.Text{Key: key, Count: &n} }
	row := func(cells ...web.Cell) web.Row { return web.Row{Cells: cells} }
	text := func(s string) web.Cell { return web.Cell{Value: s} }
	board := func(here, title, name string, blocks ...web.Block) web.Board {
		b := web.Board{Desk: web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout"}, Title: say(title), Name: name, Blocks: blocks}
		for _, key := range []string{"services", "release"} {
			b.Places = append(b.Places, web.Place{Key: key, URL: "/.gatehouse/admin/" + key, Here: key == "release"})
		}
		for _, w := range [][2]string{{"", "release.all"}, {"/draft", "release.draft"}, {"/preview", "release.preview"}, {"/cases", "release.cases"}, {"/history", "release.history"}} {
			way := web.Way{Text: say(w[1]), URL: path + w[0], Here: w[0] == here}
			if w[0] == "/draft" {
				way.Count = 3
			}
			b.Ways = append(b.Ways, way)
		}
		return b
	}
	hidden := []web.Field{{Kind: "hidden", Name: "do", Value: "save"}, {Kind: "hidden", Name: "revision", Value: "r1"}}
	field := func(id, kind, label, hint string) web.Field {
		return web.Field{ID: id, Name: id, Kind: kind, Label: say(label), Hint: say(hint)}
	}
	act := func(button, about string) web.Cell {
		return web.Cell{Forms: []web.Form{{Action: path + "/to?to=service%3Awiki", Fields: hidden, Button: say(button), About: about, Quiet: true}}}
	}
	yes := web.Cell{Text: say("release.yes"), Mark: "good", URL: path + "/rule?to=service%3Awiki&was=mail"}
	no := web.Cell{Text: say("release.no"), URL: path + "/rule?to=service%3Awiki&attribute=groups", Says: says("release.by_draft")}
	matrix := board("", "release.title", "",
		web.Block{Heading: say("release.now"), Facts: []web.Fact{
			{Label: say("release.in_force"), Cell: web.Cell{Text: say("release.version", "n", "4"), At: at, Note: "Less mail"}},
			{Label: say("release.draft"), Cell: web.Cell{Text: n("release.changes", 3), URL: path + "/draft", Note: "carol, dana", Mark: "wait"}},
		}},
		web.Block{Heading: say("release.who_learns"), Forms: []web.Form{{Search: true, Fields: []web.Field{field("q", "search", "release.search", "")}, Button: say("find")}}, Table: &web.Table{
			Caption: say("release.matrix"), Head: []web.Text{say("release.recipient"), {Else: "display_name"}, {Else: "groups"}, {Else: "mail"}}, MoreURL: path + "?after=service%3Awiki",
			Rows: []web.Row{
				row(web.Cell{Value: "Wiki", URL: path + "/to?to=service%3Awiki", Note: "service:wiki"}, yes, no, web.Cell{Text: say("release.partly"), Mark: "good", Note: "email"}),
				row(web.Cell{Value: "Payroll", URL: path + "/to?to=service%3Apayroll", Says: says("release.by_file"), Note: "service:payroll"}, web.Cell{Text: say("release.no")}, web.Cell{Text: say("release.no")}, web.Cell{Text: say("release.no_basis"), Mark: "bad"}),
			},
		}},
		web.Block{Heading: say("release.record"), Lead: says("release.record_text"), Ways: []web.Way{{Text: say("release.record_csv"), URL: "/.gatehouse/api/v1/release/record?format=csv", File: true}}})

	because := web.Text{Key: "why.no_rule"}
	back := n("release.back", 2)
	back.Why = &because
	sentences := []web.Text{n("release.sum", 4), back, say("release.missing", "attributes", "eppn")}
	learns := &web.Table{Caption: say("release.learns", "recipient", "Wiki"), Sum: sentences, Head: says("release.name", "release.values", "release.becomes"), Rows: []web.Row{
		row(text("mail"), web.Cell{Values: []string{"bob@uni.example"}}, web.Cell{Text: say("release.sent"), Mark: "good", Says: says("release.draft_gains")}),
		row(text("groups"), web.Cell{Text: n("release.withheld", 2)}, web.Cell{Text: because, Mark: "bad", Says: says("release.draft_loses")}),
	}}
	recipient := board("to", "release.one", "Wiki",
		web.Block{Heading: say("release.rules"), Lead: says("release.file_text"), Facts: []web.Fact{{Label: say("release.kept"), Cell: web.Cell{Text: say("release.by_editors")}}, {Label: say("release.requires"), Cell: text("user_name")}}, Table: &web.Table{
			Caption: say("release.rules"), Head: says("release.name", "release.limits", "release.purpose", "release.basis", "release.retention", "act"), Rows: []web.Row{
				row(web.Cell{Value: "email", URL: path + "/rule?to=service%3Awiki&was=email", Note: "mail", Says: says("release.by_draft")}, web.Cell{Values: []string{"*@uni.example", "value.lowerAscii()"}}, text("To send you notices"), web.Cell{Text: say("basis.contract")}, text("Until you leave"), act("release.remove", "email")),
				row(web.Cell{Value: "groups", Says: says("release.taken")}, web.Cell{Text: say("release.whole")}, text(""), web.Cell{Text: say("release.no_basis"), Mark: "bad"}, text(""), act("release.put_back", "groups")),
			},
		}},
		web.Block{Heading: say("release.preview"), Forms: []web.Form{{Search: true, Action: path + "/to", Fields: []web.Field{field("name", "text", "release.whom", "")}, Button: say("release.look")}}, Table: learns})
	rule := board("rule", "release.edit", "Wiki",
		web.Block{Heading: web.Text{Else: "email"}, Ways: []web.Way{{Text: say("release.back_to", "recipient", "Wiki"), URL: path + "/to?to=service%3Awiki"}}, Forms: []web.Form{{
			Action: path + "/rule?to=service%3Awiki&was=email", Tall: true, Button: say("release.save"), Look: say("release.look"), Live: "look", Fields: append(hidden[:2:2],
				web.Field{Kind: "heading", Label: say("release.what")},
				web.Field{ID: "attribute", Name: "attribute", Kind: "select", Label: say("release.attribute"), Options: []web.Option{{Value: "mail", Name: "mail – E-mail address", Chosen: true}, {Value: "groups", Name: "groups"}}},
				field("as", "text", "release.as", "release.as_hint"), field("values", "area", "release.only", "release.only_hint"), field("transform", "text", "release.transform", "release.transform_hint"),
				web.Field{ID: "reference", Name: "reference", Kind: "check", Value: "true", Label: say("release.reference")},
				web.Field{Kind: "heading", Label: say("release.what_for")}, field("purpose", "text", "release.purpose", "release.purpose_hint"))}}},
		web.Block{ID: "look", Beside: true, Heading: say("release.preview"), Table: learns})
	rule.Problem = &web.Problem{Code: "release.invalid", Text: "service:wiki: mail: transform: line 1, column 10: it can not be read"}
	differs := &web.Table{Caption: say("release.differs"), Head: says("release.recipient", "release.name", "release.was", "release.is"), Rows: []web.Row{
		row(web.Cell{Value: "Wiki", URL: path + "/to?to=service%3Awiki"}, text("first"), web.Cell{Text: say("release.no")}, web.Cell{Values: []string{"given_name", "value.upperAscii()", "To greet", "contract"}}),
	}}
	counts := &web.Table{Caption: say("release.everybody"), Head: says("release.recipient", "release.compared", "release.gains", "release.loses", "release.other", "release.some"), Rows: []web.Row{
		row(web.Cell{Value: "Wiki", URL: path + "/affected?to=service%3Awiki"}, text("3 / 212"), web.Cell{Values: []string{"first: 2"}}, web.Cell{Values: []string{"mail: 3"}}, web.Cell{}, web.Cell{Values: []string{"alice", "bob"}}),
	}}
	draft := board("/draft", "release.draft", "",
		web.Block{Heading: say("release.differs"), Lead: []web.Text{say("release.need", "n", "3", "of", "212", "days", "30", "service", "Wiki", "attribute", "mail")}, Table: differs, Facts: []web.Fact{
			{Label: say("release.authors"), Cell: text("carol, dana")}, {Label: say("release.saved"), Cell: web.Cell{At: at}}, {Label: say("release.cases"), Cell: web.Cell{Text: n("release.failing", 1), Mark: "bad", URL: path + "/cases"}}}},
		web.Block{ID: "everybody", Watch: true, WatchURL: path + "/draft", Heading: say("release.everybody"), Lead: says("release.everybody_text"), Table: counts,
			Facts: []web.Fact{{Label: say("release.began"), Cell: web.Cell{At: at}}, {Label: say("release.looked"), Cell: web.Cell{Done: 500, Total: 100_000}}}, Ways: []web.Way{{Text: say("release.look_again"), URL: path + "/draft"}}},
		web.Block{Heading: say("release.trial"), Lead: says("release.trial_text"), Forms: []web.Form{{Action: path + "/draft", Quiet: true, Button: say("release.try"), Fields: append(hidden[:2:2],
			web.Field{ID: "until", Name: "until", Kind: "select", Label: say("release.until"), Options: []web.Option{{Value: "1d", Text: n("release.days", 1)}, {Value: "7d", Text: n("release.days", 7), Chosen: true}}})}}},
		web.Block{Heading: say("release.publish"), Lead: says("release.publish_text"), Forms: []web.Form{{Action: path + "/draft", Button: say("release.publish"), Fields: append(hidden[:2:2], field("comment", "text", "release.comment", ""),
			web.Field{ID: "accept", Name: "accept", Kind: "check", Value: "true", Label: say("release.accept")})}}},
		web.Block{Heading: say("release.discard"), Lead: says("release.discard_text"), Forms: []web.Form{{Action: path + "/draft", Fields: hidden, Button: say("release.discard"), Danger: true}}})
	draft.Done = "release_saved"
	preview := board("/preview", "release.preview", "",
		web.Block{Heading: say("release.made_up"), Forms: []web.Form{{Search: true, Action: path + "/preview", Button: say("release.look"), Fields: []web.Field{field("user_name", "text", "people.user_name", ""), field("attributes", "area", "release.attributes", "release.attributes_hint")}}}},
		web.Block{Heading: web.Text{Else: "Wiki"}, Table: learns, Ways: []web.Way{{Text: say("release.keep_case"), URL: path + "/cases?to=service%3Awiki"}}})
	cases := board("/cases", "release.cases", "",
		web.Block{Table: &web.Table{Caption: say("release.cases"), Head: says("release.name", "release.recipient", "release.state", "act"), Rows: []web.Row{
			row(text("Kim is greeted"), text("service:wiki"), web.Cell{Text: say("release.fails"), Mark: "bad", Values: []string{"first should be KIM, and is nothing"}}, act("release.remove", "Kim is greeted")),
		}}},
		web.Block{Heading: say("release.new_case"), Forms: []web.Form{{Action: path + "/cases", Tall: true, Button: say("release.save"), Fields: append(hidden[:2:2], web.Field{Kind: "heading", Label: say("release.case_wants")}, field("sends", "area", "release.sends", "release.attributes_hint"))}}})
	history := board("/history", "release.history", "", web.Block{Table: &web.Table{Caption: say("release.history"), Head: says("release.number", "release.when_published", "release.by", "release.differs", "release.comment", "act"), MoreURL: path + "/history?before=3", Rows: []web.Row{
		row(web.Cell{Text: say("release.version", "n", "4")}, web.Cell{At: at}, web.Cell{Value: "alice", Note: "carol"}, web.Cell{Text: n("release.changes", 3), URL: path + "/diff?is=4&was=3"}, web.Cell{Value: "Less mail", Says: []web.Text{say("release.again", "n", "2")}}, web.Cell{Text: say("release.in_force"), Mark: "good"}),
		row(web.Cell{Text: say("release.version", "n", "3")}, web.Cell{At: at}, text("carol"), web.Cell{Text: n("release.changes", 1), URL: path + "/diff?is=3&was=2"}, text(""), act("release.rollback", "3")),
	}}})
	affected := board("affected", "release.affected", "", web.Block{Heading: say("release.affected"), Facts: []web.Fact{{Label: say("release.looked"), Cell: text("500")}}, Ways: []web.Way{{Text: say("release.next"), URL: path + "/affected?after=u1"}}, Table: &web.Table{
		Caption: say("release.affected"), Head: says("people.user_name", "release.recipient", "release.gains", "release.loses", "release.other"), Rows: []web.Row{row(text("alice"), text("Wiki"), web.Cell{Values: []string{"first"}}, web.Cell{Values: []string{"mail"}}, web.Cell{})},
	}})
	return []Sample{
		{"release-matrix", 200, matrix}, {"release-recipient", 200, recipient}, {"release-rule", 409, rule}, {"release-draft", 200, draft}, {"release-preview", 200, preview},
		{"release-cases", 200, cases}, {"release-history", 200, history}, {"release-diff", 200, board("diff", "release.differs", "3 → 4", web.Block{Table: differs})}, {"release-affected", 200, affected},
	}
}
