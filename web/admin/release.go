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

// releasePages are the editor of what services and targets learn about people:
// everything is done to a draft, which counts when it is published.
func (d *desk) releasePages() {
	rule := []string{"to", "revision", "was", "attribute", "as", "values", "transform", "when", "purpose", "basis", "retention", "reference"}
	d.page("/release", d.release, nil)
	d.page("/release/to", d.releaseTo, map[string]act{
		"remove": {route: "DELETE /v1/release/rule", fields: []string{"to", "revision", "name"}, done: "release_saved"},
		"bundle": {route: "POST /v1/release/bundle", fields: []string{"to", "revision", "bundle", "purpose", "basis"}, done: "release_saved"},
	})
	d.page("/release/rule", d.releaseRule, map[string]act{
		"save": {route: "POST /v1/release/rule", fields: rule, done: "release_saved"},
	})
	d.page("/release/draft", d.releaseDraft, map[string]act{
		"publish": {route: "POST /v1/release/publish", fields: []string{"revision", "comment", "accept"}, done: "release_published", to: "/release/history"},
		"discard": {route: "DELETE /v1/release/draft", fields: []string{"revision"}, done: "release_discarded", to: "/release"},
		"rebase":  {route: "POST /v1/release/rebase", fields: []string{"revision"}, done: "release_saved"},
		"impact":  {route: "POST /v1/release/impact", done: "release_impact"},
		"try":     {route: "POST /v1/release/trial", fields: []string{"until"}, done: "release_tried"},
		"stop":    {route: "DELETE /v1/release/trial", done: "release_try_stopped"},
	})
	d.page("/release/affected", d.releaseAffected, nil)
	d.page("/release/preview", d.releasePreview, nil)
	d.page("/release/history", d.releaseHistory, map[string]act{
		"rollback": {route: "POST /v1/release/rollback", fields: []string{"version"}, done: "release_published"},
	})
	d.page("/release/diff", d.releaseDiff, nil)
	d.page("/release/cases", d.releaseCases, map[string]act{
		"save":   {route: "POST /v1/release/case", form: caseForm, done: "release_saved"},
		"remove": {route: "DELETE /v1/release/case", fields: []string{"name", "revision"}, done: "release_saved"},
	})
}

// releaseBoard begins a page of the editor.
func (d *desk) releaseBoard(r *http.Request, here string, title web.Text, name string) web.Board {
	b := d.board(r, "release", title, name)
	for _, w := range []struct{ path, key string }{
		{"/release", "release.all"}, {"/release/draft", "release.draft"}, {"/release/preview", "release.preview"}, {"/release/cases", "release.cases"}, {"/release/history", "release.history"},
	} {
		b.Ways = append(b.Ways, web.Way{Text: web.Text{Key: w.key}, URL: at(w.path), Here: w.path == here})
	}
	return b
}

// revision is that of the draft, empty if there is none.
func (d *desk) revision(r *http.Request) (string, *api.ReleaseDraft, error) {
	var rel api.Release
	if err := d.ask(r, "GET /v1/release", &rel, "limit", "1"); err != nil || rel.Draft == nil {
		return "", nil, err
	}
	return rel.Draft.Revision, rel.Draft, nil
}

// recipientsOf are so many on a page of the matrix.
const recipientsOf = 20

// release is the matrix: recipients and attributes.
func (d *desk) release(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "/release", say("release.title"), "")
	q := r.URL.Query()
	var rel api.Release
	if err := d.ask(r, "GET /v1/release", &rel, "q", q.Get("q"), "after", q.Get("after"), "limit", strconv.Itoa(recipientsOf)); err != nil {
		return b, err
	}
	b.Lead = says("release.lead")
	var names []string
	for _, rec := range rel.Recipients {
		for _, e := range rec.Rules {
			if !slices.Contains(names, e.Attribute) {
				names = append(names, e.Attribute)
			}
		}
	}
	slices.Sort(names)
	table := &web.Table{Caption: say("release.matrix"), Head: heads("release.recipient", "release.kept"), None: say("release.nobody")}
	for _, a := range names {
		table.Head = append(table.Head, word("attribute", a))
	}
	for _, rec := range rel.Recipients {
		cells := []web.Cell{{Value: rec.Title, URL: at("/release/to", "to", rec.To), Note: rec.To}, d.kept(rec)}
		for _, a := range names {
			cells = append(cells, matrixCell(rec, a))
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	if rel.More {
		table.MoreURL = at("/release", "q", q.Get("q"), "after", rel.Recipients[len(rel.Recipients)-1].To)
	}
	search := web.Field{ID: "q", Name: "q", Kind: "search", Label: say("release.search"), Value: q.Get("q")}
	record := func(key, format string) web.Way {
		return web.Way{Text: web.Text{Key: key}, URL: "/.gatehouse/api/v1/release/record?format=" + format, File: true}
	}
	b.Blocks = []web.Block{
		{Heading: say("release.now"), Facts: releaseFacts(rel)},
		{Heading: say("release.who_learns"), Forms: []web.Form{{Search: true, Fields: []web.Field{search}, Button: say("find")}}, Table: table},
		{Heading: say("release.record"), Lead: says("release.record_text"), Ways: []web.Way{record("release.record_csv", "csv"), record("release.record_json", "json")}},
	}
	return b, nil
}

func releaseFacts(rel api.Release) []web.Fact {
	list := []web.Fact{{Label: say("release.in_force"), Cell: web.Cell{Text: say("release.version", "n", strconv.Itoa(rel.InForce.Number)), Note: rel.InForce.Comment, At: rel.InForce.At}}}
	state := web.Cell{Text: say("release.no_draft")}
	if dr := rel.Draft; dr != nil {
		state = web.Cell{Text: say("release.changes", "n", strconv.Itoa(dr.Changes)), URL: at("/release/draft"), Note: strings.Join(dr.Authors, ", "), Mark: "wait"}
	}
	list = append(list, web.Fact{Label: say("release.draft"), Cell: state})
	if len(rel.Lost) > 0 {
		list = append(list, web.Fact{Label: say("release.lost"), Cell: web.Cell{Values: rel.Lost}})
	}
	return list
}

func (d *desk) kept(rec api.ReleaseRecipient) web.Cell {
	if rec.Edited {
		return web.Cell{Text: say("release.by_editors")}
	}
	return web.Cell{Text: say("release.by_file"), Note: rec.Pos}
}

func matrixCell(rec api.ReleaseRecipient, attribute string) web.Cell {
	c := web.Cell{Text: say("release.no")}
	to := at("/release/rule", "to", rec.To, "attribute", attribute)
	for _, e := range rec.Rules {
		if e.Attribute != attribute {
			continue
		}
		c = web.Cell{Text: say("release.yes"), Mark: "good", Note: e.As}
		to = at("/release/rule", "to", rec.To, "was", e.Name())
		if len(e.Values)+len(e.Transform)+len(e.When) > 0 {
			c.Text = say("release.partly")
		}
		if rec.Basis && e.Basis == "" {
			c.Text, c.Mark = say("release.no_basis"), "bad"
		}
	}
	if rec.Edited {
		c.URL = to
	}
	return c
}

// releaseTo is one recipient: its rules, ways to add some, and what it would learn
// about somebody.
func (d *desk) releaseTo(r *http.Request) (web.Board, error) {
	to, q := r.FormValue("to"), r.URL.Query()
	b := d.releaseBoard(r, "", say("release.one"), "")
	var rec api.ReleaseRecipient
	if err := d.ask(r, "GET /v1/release/recipient", &rec, "to", to); err != nil {
		return b, err
	}
	revision, _, err := d.revision(r)
	if err != nil {
		return b, err
	}
	b.Name = rec.Title
	here, editor := at("/release/to", "to", to), rec.Edited && d.may(r, "release_editors")
	table := &web.Table{Caption: say("release.rules"), None: say("release.nothing"), Head: heads("release.name", "release.attribute", "release.limits", "release.purpose", "release.basis", "release.retention")}
	if editor {
		table.Head = append(table.Head, say("act"))
	}
	for _, e := range rec.Rules {
		name := web.Cell{Value: e.Name()}
		if editor {
			name.URL = at("/release/rule", "to", to, "was", e.Name())
		}
		basis := web.Cell{Text: word("basis", e.Basis)}
		if e.Basis == "" {
			basis = web.Cell{Text: say("release.none")}
			if rec.Basis {
				basis = web.Cell{Text: say("release.no_basis"), Mark: "bad"}
			}
		}
		cells := []web.Cell{name, {Text: word("attribute", e.Attribute)}, {Values: limitsOf(e)}, text(e.Purpose), basis, text(e.Retention)}
		if editor {
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "release.remove", e.Name(), does("remove", "to", to, "revision", revision, "name", e.Name()))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	facts := []web.Fact{{Label: say("release.kept"), Cell: d.kept(rec)}}
	if len(rec.Requires) > 0 {
		facts = append(facts, web.Fact{Label: say("release.requires"), Cell: web.Cell{Values: rec.Requires}})
	}
	if len(rec.Changed) > 0 {
		facts = append(facts, web.Fact{Label: say("release.changed"), Cell: web.Cell{Values: rec.Changed}})
	}
	b.Blocks = []web.Block{{Heading: say("release.rules"), Facts: facts, Table: table}}
	if !rec.Edited {
		b.Blocks[0].Lead = says("release.file_text")
	}
	if editor {
		var rel api.Release
		if err := d.ask(r, "GET /v1/release", &rel, "limit", "1"); err != nil {
			return b, err
		}
		add := []web.Field{{Kind: "hidden", Name: "to", Value: to}, choice("attribute", "attribute", "release.attribute", "", attributeOptions(rel.Attributes)...)}
		var bundles []web.Option
		for _, bundle := range versions.Bundles() {
			bundles = append(bundles, web.Option{Value: bundle.ID, Name: bundle.Title})
		}
		b.Blocks = append(b.Blocks,
			web.Block{Heading: say("release.add"), Forms: []web.Form{{Search: true, Action: Path + "/release/rule", Fields: add, Button: say("release.add_button")}}},
			web.Block{Heading: say("release.bundle"), Lead: says("release.bundle_text"), Forms: []web.Form{{Action: here, Button: say("release.bundle_button"), Fields: append(does("bundle", "to", to, "revision", revision),
				choice("bundle", "bundle", "release.bundle", "", bundles...), input("bundle_purpose", "purpose", "release.purpose", ""), basisChoice("bundle_basis", ""))}}})
	}
	who := input("name", "name", "release.whom", q.Get("name"))
	block := web.Block{Heading: say("release.preview"), Forms: []web.Form{{Search: true, Action: Path + "/release/to", Fields: []web.Field{{Kind: "hidden", Name: "to", Value: to}, who}, Button: say("release.look")}}}
	if name := q.Get("name"); name != "" {
		var seen []api.ReleasePreview
		if err := d.ask(r, "GET /v1/release/preview", &seen, "to", to, "name", name, "of", "draft"); err != nil {
			return b, err
		}
		for _, p := range seen {
			block.Lead, block.Table = previewTable(p)
		}
	}
	b.Blocks = append(b.Blocks, block)
	return b, nil
}

func attributeOptions(list []api.ReleaseAttribute) (options []web.Option) {
	for _, a := range list {
		options = append(options, web.Option{Value: a.ID, Name: a.ID})
	}
	return options
}

// limitsOf are what a rule lets through, in its own words.
func limitsOf(e versions.Rule) (list []string) {
	list = append(list, e.Values...)
	for _, s := range []string{e.Transform, e.When} {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

func basisChoice(id, chosen string) web.Field {
	options := []web.Option{{Value: "", Text: say("release.none")}}
	for _, s := range []string{"consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"} {
		options = append(options, web.Option{Value: s, Text: word("basis", s)})
	}
	return choice(id, "basis", "release.basis", chosen, options...)
}

// previewTable is what one recipient would learn about somebody.
func previewTable(p api.ReleasePreview) ([]web.Text, *web.Table) {
	table := &web.Table{Caption: say("release.learns"), Head: heads("release.name", "release.values", "release.why"), None: say("release.nothing")}
	for _, s := range p.Sent {
		table.Rows = append(table.Rows, row(text(s.Name), web.Cell{Values: s.Values}, web.Cell{Text: say("release.sent"), Mark: "good"}))
	}
	back := 0
	for _, w := range p.Withheld {
		if w.Values > 0 {
			back++
		}
		table.Rows = append(table.Rows, row(text(w.Attribute), web.Cell{Text: say("release.withheld", "n", strconv.Itoa(w.Values))}, web.Cell{Value: w.Why}))
	}
	return says("release.sum", "n", strconv.Itoa(len(p.Sent)), "m", strconv.Itoa(back)), table
}

// releaseRule edits one rule, or adds one.
func (d *desk) releaseRule(r *http.Request) (web.Board, error) {
	to, was := r.FormValue("to"), r.URL.Query().Get("was")
	b := d.releaseBoard(r, "", say("release.edit"), "")
	var rec api.ReleaseRecipient
	if err := d.ask(r, "GET /v1/release/recipient", &rec, "to", to); err != nil {
		return b, err
	}
	var rel api.Release
	if err := d.ask(r, "GET /v1/release", &rel, "limit", "1"); err != nil {
		return b, err
	}
	b.Name = rec.Title
	e := versions.Rule{Attribute: r.FormValue("attribute")}
	for _, o := range rec.Rules {
		if o.Name() == was {
			e = o
		}
	}
	revision := ""
	if rel.Draft != nil {
		revision = rel.Draft.Revision
	}
	if r.Method == http.MethodPost { // what was typed is not lost
		revision, was = r.PostForm.Get("revision"), r.PostForm.Get("was")
		e = versions.Rule{
			Attribute: r.PostForm.Get("attribute"), As: r.PostForm.Get("as"), Values: strings.Split(r.PostForm.Get("values"), "\n"), Transform: r.PostForm.Get("transform"), When: r.PostForm.Get("when"),
			Purpose: r.PostForm.Get("purpose"), Basis: r.PostForm.Get("basis"), Retention: r.PostForm.Get("retention"), Reference: r.PostForm.Get("reference") == "true",
		}
	}
	if !rec.Edited || !d.may(r, "release_editors") {
		b.Lead = says("release.file_text")
		return b, nil
	}
	values := web.Field{ID: "values", Name: "values", Kind: "area", Label: say("release.only"), Hint: say("release.only_hint"), Value: strings.Join(e.Values, "\n")}
	fields := append(does("save", "to", to, "revision", revision, "was", was),
		choice("attribute", "attribute", "release.attribute", e.Attribute, attributeOptions(rel.Attributes)...),
		input("as", "as", "release.as", e.As), values,
		input("transform", "transform", "release.transform", e.Transform), input("when", "when", "release.when", e.When),
		input("purpose", "purpose", "release.purpose", e.Purpose), basisChoice("basis", e.Basis), input("retention", "retention", "release.retention", e.Retention))
	if rec.Kind == "target" {
		fields = append(fields, web.Field{ID: "reference", Name: "reference", Kind: "check", Value: "true", Label: say("release.reference"), Checked: e.Reference})
	}
	b.Blocks = []web.Block{{Heading: say("release.edit"), Forms: []web.Form{{Action: at("/release/rule", "to", to), Fields: fields, Button: say("release.save")}},
		Ways: []web.Way{{Name: rec.Title, URL: at("/release/to", "to", to)}}}}
	return b, nil
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
		title := diff.Titles[c.To]
		if title == "" {
			title = c.To
		}
		table.Rows = append(table.Rows, row(web.Cell{Value: title, URL: at("/release/to", "to", c.To)}, text(c.Name), rule(c.Was), rule(c.Is)))
	}
	return table
}

// releaseDraft is what would be published, whom it concerns, and what can become
// of it.
func (d *desk) releaseDraft(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "/release/draft", say("release.draft"), "")
	_, dr, err := d.revision(r)
	if err != nil {
		return b, err
	}
	here := at("/release/draft")
	editor := d.may(r, "release_editors")
	if dr == nil {
		b.Lead = says("release.no_draft")
	} else {
		var diff api.ReleaseDiff
		if err := d.ask(r, "GET /v1/release/diff", &diff); err != nil {
			return b, err
		}
		var needs []api.ReleaseNeed
		if err := d.ask(r, "GET /v1/release/needs", &needs); err != nil {
			return b, err
		}
		first := web.Block{Heading: say("release.differs"), Facts: []web.Fact{
			{Label: say("release.authors"), Cell: web.Cell{Values: dr.Authors}}, {Label: say("release.saved"), Cell: web.Cell{At: dr.At}},
			{Label: say("release.failing"), Cell: web.Cell{Value: strconv.Itoa(dr.Failing), URL: at("/release/cases")}},
		}, Table: diffTable(diff)}
		for _, n := range needs {
			first.Lead = append(first.Lead, say("release.need", "n", strconv.Itoa(n.People), "of", strconv.Itoa(n.Of), "service", n.Title, "attribute", n.Attribute))
		}
		b.Blocks = append(b.Blocks, first)
		if editor {
			publish := append(does("publish", "revision", dr.Revision), input("comment", "comment", "release.comment", r.PostForm.Get("comment")))
			if len(needs) > 0 {
				publish = append(publish, web.Field{ID: "accept", Name: "accept", Kind: "check", Value: "true", Label: say("release.accept")})
			}
			forms := []web.Form{{Action: here, Fields: publish, Button: say("release.publish")}}
			if dr.Behind {
				forms = append(forms, button(here, "release.rebase", "", does("rebase", "revision", dr.Revision)))
			}
			b.Blocks = append(b.Blocks, web.Block{Heading: say("release.publish"), Forms: append(forms, web.Form{Action: here, Fields: does("discard", "revision", dr.Revision), Button: say("release.discard"), Danger: true})})
		}
	}
	var impact, trial api.ReleaseReport
	if err := d.ask(r, "GET /v1/release/impact", &impact); err != nil {
		return b, err
	}
	if err := d.ask(r, "GET /v1/release/trial", &trial); err != nil {
		return b, err
	}
	whole := web.Block{Heading: say("release.everybody"), Lead: says("release.everybody_text"), Ways: []web.Way{{Text: say("release.affected"), URL: at("/release/affected")}}}
	if !impact.Started.IsZero() {
		whole.Facts, whole.Table = reportFacts(impact), reportTable(impact)
	}
	beside := web.Block{Heading: say("release.trial"), Lead: says("release.trial_text")}
	if !trial.Started.IsZero() {
		beside.Facts, beside.Table = reportFacts(trial), reportTable(trial)
	}
	if editor && dr != nil {
		whole.Forms = []web.Form{button(here, "release.count", "", does("impact"))}
		beside.Forms = []web.Form{{Action: here, Fields: append(does("try"), input("until", "until", "release.until", "7d")), Button: say("release.try")}}
	}
	if editor && !trial.Started.IsZero() && trial.Ended.IsZero() {
		beside.Forms = append(beside.Forms, button(here, "release.stop", "", does("stop")))
	}
	b.Blocks = append(b.Blocks, whole, beside)
	return b, nil
}

func reportFacts(rep api.ReleaseReport) []web.Fact {
	facts := []web.Fact{{Label: say("release.began"), Cell: web.Cell{At: rep.Started}}}
	if rep.Task != nil && rep.Task.Progress != nil && rep.Ended.IsZero() {
		facts = append(facts, web.Fact{Label: say("release.looked"), Cell: web.Cell{Value: strconv.FormatInt(rep.Task.Progress.Done, 10)}})
	}
	if !rep.Ended.IsZero() {
		facts = append(facts, web.Fact{Label: say("release.ended"), Cell: web.Cell{At: rep.Ended}})
	}
	if rep.Stale {
		facts = append(facts, web.Fact{Label: say("release.draft"), Cell: web.Cell{Text: say("release.stale"), Mark: "wait"}})
	}
	return facts
}

func reportTable(rep api.ReleaseReport) *web.Table {
	table := &web.Table{Caption: say("release.counts"), Head: heads("release.recipient", "release.compared", "release.gains", "release.loses", "release.other", "release.some"), None: say("release.same")}
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
		title := rep.Titles[to]
		if title == "" {
			title = to
		}
		table.Rows = append(table.Rows, row(web.Cell{Value: title, URL: at("/release/affected", "to", to)}, text(strconv.Itoa(c.Differ)+" / "+strconv.Itoa(c.Compared)),
			web.Cell{Values: counts(c.Gains)}, web.Cell{Values: counts(c.Loses)}, web.Cell{Values: counts(c.Changes)}, web.Cell{Values: some}))
	}
	return table
}

// releaseAffected are people for whom the draft changes something.
func (d *desk) releaseAffected(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "", say("release.affected"), "")
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

// madeUp is the person that a form describes, as JSON; empty: none.
func madeUp(q url.Values) string {
	p := versions.Person{UserName: q.Get("user_name"), Provider: q.Get("idp"), ACR: q.Get("acr"), Attributes: map[string][]string{}, Groups: words(q.Get("groups")), Roles: words(q.Get("roles"))}
	for line := range strings.Lines(q.Get("attributes")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			name = strings.TrimSpace(name)
			p.Attributes[name] = append(p.Attributes[name], strings.TrimSpace(value))
		}
	}
	if p.UserName == "" && len(p.Attributes)+len(p.Groups)+len(p.Roles) == 0 {
		return ""
	}
	raw, _ := json.Marshal(p) // of strings
	return string(raw)
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == '\n' || c == '\r' || c == ' ' })
}

func madeUpFields(q url.Values) []web.Field {
	area := func(name, label, hint string) web.Field {
		return web.Field{ID: name, Name: name, Kind: "area", Label: web.Text{Key: label}, Hint: web.Text{Key: hint}, Value: q.Get(name)}
	}
	return []web.Field{input("user_name", "user_name", "people.user_name", q.Get("user_name")), area("attributes", "release.attributes", "release.attributes_hint"),
		input("groups", "groups", "release.groups", q.Get("groups")), input("roles", "roles", "release.roles", q.Get("roles"))}
}

// releasePreview is what everybody would learn about one person by the draft.
func (d *desk) releasePreview(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "/release/preview", say("release.preview"), "")
	q := r.URL.Query()
	b.Blocks = []web.Block{
		{Heading: say("release.real"), Forms: []web.Form{{Search: true, Action: Path + "/release/preview", Fields: []web.Field{input("name", "name", "release.whom", q.Get("name"))}, Button: say("release.look")}}},
		{Heading: say("release.made_up"), Forms: []web.Form{{Search: true, Action: Path + "/release/preview", Fields: madeUpFields(q), Button: say("release.look")}}},
	}
	person := madeUp(q)
	if q.Get("name") == "" && person == "" {
		return b, nil
	}
	if q.Get("name") != "" {
		person = ""
	}
	var seen []api.ReleasePreview
	if err := d.ask(r, "GET /v1/release/preview", &seen, "name", q.Get("name"), "person", person, "of", "draft", "after", q.Get("after"), "limit", strconv.Itoa(recipientsOf)); err != nil {
		return b, err
	}
	for _, p := range seen {
		block := web.Block{Heading: web.Text{Else: p.Title}}
		block.Lead, block.Table = previewTable(p)
		b.Blocks = append(b.Blocks, block)
	}
	if len(seen) == recipientsOf {
		next := maps.Clone(q)
		next.Set("after", seen[len(seen)-1].To)
		b.Blocks[len(b.Blocks)-1].Ways = []web.Way{{Text: say("release.next"), URL: Path + "/release/preview?" + next.Encode()}}
	}
	return b, nil
}

// releaseHistory lists versions; each can count again.
func (d *desk) releaseHistory(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "/release/history", say("release.history"), "")
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
			comment.Text = say("release.again", "n", strconv.Itoa(v.Again))
		}
		cells := []web.Cell{{Text: say("release.version", "n", n)}, {At: v.At}, {Value: v.By, Note: strings.Join(v.Authors, ", ")},
			{Text: say("release.changes", "n", strconv.Itoa(v.Changes)), URL: at("/release/diff", "was", strconv.Itoa(v.Number-1), "is", n)}, comment}
		if editor && (i > 0 || q.Get("before") != "") {
			cells = append(cells, again(v.Number))
		} else if editor {
			cells = append(cells, web.Cell{Text: say("release.in_force")})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	if table.MoreURL == "" && len(table.Rows) > 0 {
		cells := []web.Cell{{Text: say("release.version", "n", "0")}, {Text: say("release.by_file")}, {}, {}, {}}
		if editor {
			cells = append(cells, again(0))
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	b.Blocks = []web.Block{{Table: table}}
	return b, nil
}

func (d *desk) releaseDiff(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "", say("release.differs"), "")
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
	c := versions.Case{Name: f.Get("name"), To: f.Get("to"), Sends: map[string][]string{}, Withholds: words(f.Get("withholds"))}
	if p := madeUp(f); p != "" {
		_ = json.Unmarshal([]byte(p), &c.Person) // it was made just now
	}
	for line := range strings.Lines(f.Get("sends")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			name = strings.TrimSpace(name)
			c.Sends[name] = append(c.Sends[name], strings.TrimSpace(value))
		}
	}
	raw, _ := json.Marshal(c) // of strings
	return url.Values{"case": {string(raw)}, "revision": {f.Get("revision")}}
}

// releaseCases are sentences about the policy that have to stay true.
func (d *desk) releaseCases(r *http.Request) (web.Board, error) {
	b := d.releaseBoard(r, "/release/cases", say("release.cases"), "")
	var list []api.ReleaseCase
	if err := d.ask(r, "GET /v1/release/cases", &list); err != nil {
		return b, err
	}
	revision, _, err := d.revision(r)
	if err != nil {
		return b, err
	}
	b.Lead = says("release.cases_text")
	here, editor := at("/release/cases"), d.may(r, "release_editors")
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
			cells = append(cells, web.Cell{Forms: []web.Form{button(here, "release.remove", c.Name, does("remove", "name", c.Name, "revision", revision))}})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	b.Blocks = []web.Block{{Table: table}}
	if editor {
		f := r.PostForm
		fields := append(does("save", "revision", revision), input("name", "name", "release.name", f.Get("name")), input("to", "to", "release.to", f.Get("to")))
		fields = append(fields, madeUpFields(f)...)
		fields = append(fields, web.Field{ID: "sends", Name: "sends", Kind: "area", Label: say("release.sends"), Hint: say("release.attributes_hint"), Value: f.Get("sends")},
			input("withholds", "withholds", "release.withholds", f.Get("withholds")))
		b.Blocks = append(b.Blocks, web.Block{Heading: say("release.new_case"), Forms: []web.Form{{Action: here, Fields: fields, Button: say("release.save")}}})
	}
	return b, nil
}
