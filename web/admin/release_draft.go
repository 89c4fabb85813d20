package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// releaseDraft is what would be published: what differs, whom it concerns, a trial,
// and what can become of it, in the order in which one goes on.
func (d *desk) releaseDraft(r *http.Request) (web.Board, error) {
	b, rel, err := d.releaseBoard(r, "/release/draft", say("release.draft"))
	if err != nil {
		return b, err
	}
	dr, here, editor := rel.Draft, at("/release/draft"), d.may(r, "release_editors")
	var publish *web.Block
	if dr == nil {
		b.Lead = says("release.draft_none")
	} else {
		b.Lead = says("release.draft_text")
		var diff api.ReleaseDiff
		if err := d.ask(r, "GET /v1/release/diff", &diff); err != nil {
			return b, err
		}
		var needs []api.ReleaseNeed
		if err := d.ask(r, "GET /v1/release/needs", &needs); err != nil {
			return b, err
		}
		cases := web.Cell{Text: say("release.all_hold"), Mark: "good", URL: at("/release/cases")}
		if dr.Failing > 0 {
			cases = web.Cell{Text: sayn("release.failing", dr.Failing), Mark: "bad", URL: at("/release/cases")}
		}
		first := web.Block{Heading: say("release.differs"), Facts: []web.Fact{
			{Label: say("release.authors"), Cell: web.Cell{Value: strings.Join(dr.Authors, ", ")}}, {Label: say("release.saved"), Cell: web.Cell{At: dr.At}}, {Label: say("release.cases"), Cell: cases},
		}, Table: diffTable(diff)}
		for _, n := range needs {
			first.Lead = append(first.Lead, say("release.need", "n", strconv.Itoa(n.People), "of", strconv.Itoa(n.Of), "days", strconv.Itoa(n.Days), "service", n.Title, "attribute", n.Attribute))
		}
		b.Blocks = append(b.Blocks, first)
		if editor {
			block := publishBlock(r, rel, len(needs) > 0)
			publish = &block
		}
	}
	everybody, err := d.everybody(r, editor && dr != nil)
	if err != nil {
		return b, err
	}
	trial, err := d.beside(r, editor, dr != nil)
	if err != nil {
		return b, err
	}
	b.Blocks = append(b.Blocks, everybody...)
	b.Blocks = append(b.Blocks, trial...)
	if publish != nil {
		b.Blocks = append(b.Blocks, *publish, web.Block{Heading: say("release.discard"), Lead: says("release.discard_text"),
			Forms: []web.Form{{Action: here, Fields: does("discard", "revision", dr.Revision), Button: say("release.discard"), Danger: true}}})
	}
	return b, nil
}

// publishBlock is how a draft comes into force; not by whoever changed it, where
// two are wanted, and not over what somebody else published meanwhile.
func publishBlock(r *http.Request, rel api.Release, needs bool) web.Block {
	dr, here := rel.Draft, at("/release/draft")
	block := web.Block{Heading: say("release.publish")}
	switch {
	case dr.Behind:
		block.Lead = says("release.behind")
		block.Forms = []web.Form{{Action: here, Fields: does("rebase", "revision", dr.Revision), Button: say("release.rebase")}}
	case rel.SecondPerson && dr.Mine:
		block.Lead = says("release.second_person")
	default:
		block.Lead = says("release.publish_text")
		fields := append(does("publish", "revision", dr.Revision), input("comment", "comment", "release.comment", r.PostForm.Get("comment")))
		if needs {
			fields = append(fields, web.Field{ID: "accept", Name: "accept", Kind: "check", Value: "true", Label: say("release.accept")})
		}
		block.Forms = []web.Form{{Action: here, Fields: fields, Button: say("release.publish")}}
	}
	return block
}

// everybody is what the draft changes for all users, as far as they were looked at;
// nothing where none is there and nobody asked.
func (d *desk) everybody(r *http.Request, start bool) ([]web.Block, error) {
	var rep api.ReleaseReport
	if err := d.ask(r, "GET /v1/release/impact", &rep); err != nil {
		return nil, err
	}
	if rep.Started.IsZero() && !start {
		return nil, nil
	}
	here := at("/release/draft")
	block := web.Block{ID: "everybody", Heading: say("release.everybody"), Lead: says("release.everybody_text"), Ways: []web.Way{{Text: say("release.affected"), URL: at("/release/affected")}}}
	if !rep.Started.IsZero() {
		block.Facts, block.Table = reportFacts(rep), reportTable("release.everybody", rep)
	}
	if !rep.Started.IsZero() && rep.Ended.IsZero() && !rep.Stale {
		block.Watch, block.WatchURL = true, here
		block.Ways = append(block.Ways, web.Way{Text: say("release.look_again"), URL: here})
	} else if start {
		block.Forms = []web.Form{button(here, "release.count", "", does("impact"))}
	}
	return []web.Block{block}, nil
}

// beside is what the draft changes for those who come while it is tried.
func (d *desk) beside(r *http.Request, editor, start bool) ([]web.Block, error) {
	var rep api.ReleaseReport
	if err := d.ask(r, "GET /v1/release/trial", &rep); err != nil {
		return nil, err
	}
	if rep.Started.IsZero() && !(editor && start) {
		return nil, nil
	}
	here := at("/release/draft")
	block := web.Block{Heading: say("release.trial"), Lead: says("release.trial_text")}
	if !rep.Started.IsZero() {
		block.Facts, block.Table = reportFacts(rep), reportTable("release.trial", rep)
	}
	if running := !rep.Started.IsZero() && rep.Ended.IsZero(); editor && running {
		block.Forms = []web.Form{button(here, "release.stop", "", does("stop"))}
	} else if editor && start {
		until := choice("until", "until", "release.until", "7d")
		for _, n := range []int{1, 3, 7, 14, 30} {
			until.Options = append(until.Options, web.Option{Value: strconv.Itoa(n) + "d", Text: sayn("release.days", n), Chosen: n == 7})
		}
		block.Forms = []web.Form{{Action: here, Fields: append(does("try"), until), Button: say("release.try"), Quiet: true}}
	}
	return []web.Block{block}, nil
}

// diffTable is what differs between two policies.
func diffTable(diff api.ReleaseDiff) *web.Table {
	table := &web.Table{Caption: say("release.differs"), Head: heads("release.recipient", "release.name", "release.was", "release.is"), None: say("release.same")}
	rule := func(e *versions.Rule) web.Cell {
		if e == nil {
			return web.Cell{Text: say("release.no")}
		}
		list := append([]string{e.Attribute}, limitsOf(*e)...)
		for _, s := range []string{e.Purpose, e.Basis, e.Retention} {
			if s != "" {
				list = append(list, s)
			}
		}
		return web.Cell{Values: list}
	}
	for _, c := range diff.Changes {
		table.Rows = append(table.Rows, row(web.Cell{Value: titled(diff.Titles[c.To], c.To), URL: at("/release/to", "to", c.To)}, text(c.Name), rule(c.Was), rule(c.Is)))
	}
	return table
}

func reportFacts(rep api.ReleaseReport) []web.Fact {
	facts := []web.Fact{{Label: say("release.began"), Cell: web.Cell{At: rep.Started}}}
	if rep.Ended.IsZero() && rep.Task != nil {
		looked := web.Cell{Text: say("release.looking"), Mark: "wait"}
		if p := rep.Task.Progress; p != nil {
			looked = web.Cell{Done: p.Done, Total: p.Total}
			if p.Total == 0 {
				looked = web.Cell{Value: strconv.FormatInt(p.Done, 10)}
			}
		}
		facts = append(facts, web.Fact{Label: say("release.looked"), Cell: looked})
	}
	if !rep.Ended.IsZero() {
		facts = append(facts, web.Fact{Label: say("release.ended"), Cell: web.Cell{At: rep.Ended}})
	}
	if rep.Stale {
		facts = append(facts, web.Fact{Label: say("release.draft"), Cell: web.Cell{Text: say("release.stale"), Mark: "wait"}})
	}
	return facts
}

func reportTable(caption string, rep api.ReleaseReport) *web.Table {
	table := &web.Table{Caption: web.Text{Key: caption}, Head: heads("release.recipient", "release.compared", "release.gains", "release.loses", "release.other", "release.some"), None: say("release.same")}
	counts := func(m map[string]int) (list []string) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			list = append(list, name+": "+strconv.Itoa(m[name]))
		}
		return list
	}
	for _, to := range slices.Sorted(maps.Keys(rep.Recipients)) {
		c := rep.Recipients[to]
		var some []string
		for _, id := range c.Some {
			some = append(some, rep.Names[id])
		}
		table.Rows = append(table.Rows, row(web.Cell{Value: titled(rep.Titles[to], to), URL: at("/release/affected", "to", to)}, text(strconv.Itoa(c.Differ)+" / "+strconv.Itoa(c.Compared)),
			web.Cell{Values: counts(c.Gains)}, web.Cell{Values: counts(c.Loses)}, web.Cell{Values: counts(c.Changes)}, web.Cell{Values: some}))
	}
	return table
}

// releaseAffected are people for whom the draft changes something.
func (d *desk) releaseAffected(r *http.Request) (web.Board, error) {
	b, _, err := d.releaseBoard(r, "", say("release.affected"))
	if err != nil {
		return b, err
	}
	q := r.URL.Query()
	var found api.AffectedPage
	if err := d.ask(r, "GET /v1/release/affected", &found, "to", q.Get("to"), "after", q.Get("after"), "limit", "50"); err != nil {
		return b, err
	}
	table := &web.Table{Caption: say("release.affected"), Head: heads("people.user_name", "release.recipient", "release.gains", "release.loses", "release.other"), None: say("release.nobody_here")}
	for _, p := range found.People {
		for _, where := range p.At {
			by := map[string][]string{}
			for _, diff := range where.Diff {
				by[diff.What] = append(by[diff.What], diff.Name)
			}
			table.Rows = append(table.Rows, row(text(p.UserName), text(where.Title), web.Cell{Values: by[authz.Gains]}, web.Cell{Values: by[authz.Loses]}, web.Cell{Values: by[authz.Changes]}))
		}
	}
	block := web.Block{Heading: say("release.affected"), Facts: []web.Fact{{Label: say("release.looked"), Cell: web.Cell{Value: strconv.Itoa(found.Looked)}}}, Table: table}
	if found.Next != "" {
		block.Ways = []web.Way{{Text: say("release.next"), URL: at("/release/affected", "to", q.Get("to"), "after", found.Next)}}
	}
	b.Blocks = []web.Block{block}
	return b, nil
}

// releaseHistory lists versions; each can count again.
func (d *desk) releaseHistory(r *http.Request) (web.Board, error) {
	b, _, err := d.releaseBoard(r, "/release/history", say("release.history"))
	if err != nil {
		return b, err
	}
	b.Lead = says("release.history_text")
	q := r.URL.Query()
	var list []api.ReleaseVersion
	if err := d.ask(r, "GET /v1/release/history", &list, "before", q.Get("before"), "limit", pageAsk); err != nil {
		return b, err
	}
	editor := d.may(r, "release_editors")
	table := &web.Table{Caption: say("release.history"), Head: heads("release.number", "release.when_published", "release.by", "release.differs", "release.comment"), None: say("release.never")}
	if len(list) > pageOf {
		list = list[:pageOf]
		table.MoreURL = at("/release/history", "before", strconv.Itoa(list[pageOf-1].Number))
	}
	if editor {
		table.Head = append(table.Head, say("act"))
	}
	again := func(n int) web.Cell {
		s := strconv.Itoa(n)
		return web.Cell{Forms: []web.Form{button(at("/release/history"), "release.rollback", s, does("rollback", "version", s))}}
	}
	for i, v := range list {
		n := strconv.Itoa(v.Number)
		comment := web.Cell{Value: v.Comment}
		if v.Again >= 0 {
			comment.Says = says("release.again", "n", strconv.Itoa(v.Again))
		}
		cells := []web.Cell{{Text: say("release.version", "n", n)}, {At: v.At}, {Value: v.By, Note: strings.Join(v.Authors, ", ")},
			{Text: sayn("release.changes", v.Changes), URL: at("/release/diff", "was", strconv.Itoa(v.Number-1), "is", n)}, comment}
		if editor && (i > 0 || q.Get("before") != "") {
			cells = append(cells, again(v.Number))
		} else if editor {
			cells = append(cells, web.Cell{Text: say("release.in_force"), Mark: "good"})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	if table.MoreURL == "" && len(table.Rows) > 0 {
		cells := []web.Cell{{Text: versionName(0)}, {}, {}, {}, {}}
		if editor {
			cells = append(cells, again(0))
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

func (d *desk) releaseDiff(r *http.Request) (web.Board, error) {
	b, _, err := d.releaseBoard(r, "", say("release.differs"))
	if err != nil {
		return b, err
	}
	q := r.URL.Query()
	var diff api.ReleaseDiff
	if err := d.ask(r, "GET /v1/release/diff", &diff, "was", q.Get("was"), "is", q.Get("is")); err != nil {
		return b, err
	}
	b.Name = diff.Was + " → " + diff.Is
	b.Blocks = []web.Block{{Table: diffTable(diff)}}
	return b, nil
}

// caseForm makes a test case of a form.
func caseForm(r *http.Request) url.Values {
	f := r.PostForm
	c := struct {
		versions.Case
		Person person `json:"person"`
	}{Case: versions.Case{Name: f.Get("name"), To: f.Get("to"), Sends: valuesOf(f.Get("sends")), Withholds: words(f.Get("withholds"))}}
	c.Person, _ = madeUp(f)
	raw, _ := json.Marshal(c) // of strings
	return url.Values{"case": {string(raw)}, "revision": {f.Get("revision")}}
}

// releaseCases are sentences about the policy that have to stay true.
func (d *desk) releaseCases(r *http.Request) (web.Board, error) {
	editor := d.may(r, "release_editors")
	var some []string
	if editor {
		some = []string{"limit", "2000"} // to choose among
	}
	b, rel, err := d.releaseBoard(r, "/release/cases", say("release.cases"), some...)
	if err != nil {
		return b, err
	}
	var list []api.ReleaseCase
	if err := d.ask(r, "GET /v1/release/cases", &list); err != nil {
		return b, err
	}
	b.Lead = says("release.cases_text")
	here := at("/release/cases")
	table := &web.Table{Caption: say("release.cases"), Head: heads("release.name", "release.recipient", "release.state"), None: say("release.no_cases")}
	if editor {
		table.Head = append(table.Head, say("act"))
	}
	for _, c := range list {
		state := web.Cell{Text: say("release.holds"), Mark: "good"}
		if len(c.Wrong) > 0 {
			state = web.Cell{Text: say("release.fails"), Mark: "bad", Values: c.Wrong}
		}
		cells := []web.Cell{text(c.Name), text(c.To), state}
		if editor {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "release.remove_case", c.Name, does("remove", "name", c.Name, "revision", revision(rel)))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	b.Blocks = []web.Block{{Table: table}}
	if !editor {
		return b, nil
	}
	var to []web.Option
	for _, rec := range rel.Recipients {
		to = append(to, web.Option{Value: rec.To, Name: rec.Title})
	}
	if err := r.ParseForm(); err != nil {
		return b, err
	}
	f := r.Form // of what is saved, or of a preview
	fields := append(does("save", "revision", revision(rel)), input("name", "name", "release.name", f.Get("name")), choice("to", "to", "release.recipient", f.Get("to"), to...),
		web.Field{Kind: "heading", Label: say("release.case_person")})
	fields = append(fields, d.madeUpFields(f, rel.Providers)...)
	fields = append(fields, web.Field{Kind: "heading", Label: say("release.case_wants")},
		web.Field{ID: "sends", Name: "sends", Kind: "area", Label: say("release.sends"), Hint: say("release.attributes_hint"), Value: f.Get("sends")},
		input("withholds", "withholds", "release.withholds", f.Get("withholds")))
	b.Blocks = append(b.Blocks, web.Block{Heading: say("release.new_case"), Forms: []web.Form{{Action: here, Tall: true, Fields: fields, Button: say("release.save")}}})
	return b, nil
}
