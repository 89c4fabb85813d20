package admin

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

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
		"back":   {route: "POST /v1/release/rule", fields: rule, done: "release_saved"},
		"remove": {route: "DELETE /v1/release/rule", fields: []string{"to", "revision", "name"}, done: "release_saved"},
		"bundle": {route: "POST /v1/release/bundle", fields: []string{"to", "revision", "bundle", "purpose", "basis"}, done: "release_saved"},
	})
	d.page("/release/rule", d.releaseRule, map[string]act{
		"save": {route: "POST /v1/release/rule", fields: rule, done: "release_saved", next: recipientPage},
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

// recipientPage is where one goes on after a rule was saved: to all of them, with
// the person at whom one looked.
func recipientPage(r *http.Request) string {
	return at("/release/to", "to", r.PostForm.Get("to"), "name", r.PostForm.Get("name"))
}

// releaseBoard begins a page of the editor, with the policy by the draft: those of
// its recipients for which some asks, or what there is to know of the draft.
func (d *desk) releaseBoard(r *http.Request, here string, title web.Text, some ...string) (web.Board, api.Release, error) {
	b := d.board(r, "release", title, "")
	if len(some) == 0 {
		some = []string{"limit", "1"}
	}
	var rel api.Release
	err := d.ask(r, "GET /v1/release", &rel, some...)
	changes := 0
	if rel.Draft != nil {
		changes = rel.Draft.Changes
	}
	for _, w := range []struct {
		path, key string
		count     int
	}{
		{"/release", "release.all", 0}, {"/release/draft", "release.draft", changes}, {"/release/preview", "release.preview", 0}, {"/release/cases", "release.cases", 0}, {"/release/history", "release.history", 0},
	} {
		b.Ways = append(b.Ways, web.Way{Text: web.Text{Key: w.key}, URL: at(w.path), Here: w.path == here, Count: w.count})
	}
	return b, rel, err
}

// revision is that of the draft, empty if there is none.
func revision(rel api.Release) string {
	if rel.Draft == nil {
		return ""
	}
	return rel.Draft.Revision
}

// recipientsOf are so many on a page of the matrix; of fewer than searchedOf nobody
// searches.
const (
	recipientsOf = 20
	searchedOf   = 8
)

// release is the matrix: recipients and attributes.
func (d *desk) release(r *http.Request) (web.Board, error) {
	q := r.URL.Query()
	some := []string{"q", q.Get("q"), "after", q.Get("after"), "limit", strconv.Itoa(recipientsOf)}
	b, is, err := d.releaseBoard(r, "/release", say("release.title"), some...)
	if err != nil {
		return b, err
	}
	was := is // by what is in force
	if is.Draft != nil {
		was = api.Release{}
		if err := d.ask(r, "GET /v1/release", &was, append(some, "of", "live")...); err != nil {
			return b, err
		}
	}
	b.Lead = says("release.lead")
	var names []string
	for _, rec := range slices.Concat(is.Recipients, was.Recipients) {
		for _, e := range rec.Rules {
			if !slices.Contains(names, e.Attribute) {
				names = append(names, e.Attribute)
			}
		}
	}
	slices.Sort(names)
	table := &web.Table{Caption: say("release.matrix"), Head: heads("release.recipient"), None: say("release.nobody")}
	for _, a := range names {
		table.Head = append(table.Head, word("attribute", a))
	}
	for i, rec := range is.Recipients {
		first := web.Cell{Value: rec.Title, URL: at("/release/to", "to", rec.To), Note: rec.To}
		if !rec.Edited {
			first.Says = says("release.by_file")
		}
		cells := []web.Cell{first}
		for _, a := range names {
			cells = append(cells, matrixCell(rec, was.Recipients[i], a))
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	if is.More {
		table.MoreURL = at("/release", "q", q.Get("q"), "after", is.Recipients[len(is.Recipients)-1].To)
	}
	record := func(key, format string) web.Way {
		return web.Way{Text: web.Text{Key: key}, URL: "/.gatehouse/api/v1/release/record?format=" + format, File: true}
	}
	matrix := web.Block{Heading: say("release.who_learns"), Table: table}
	if q.Get("q") != "" || q.Get("after") != "" || len(is.Recipients) >= searchedOf {
		matrix.Forms = []web.Form{{Search: true, Fields: []web.Field{{ID: "q", Name: "q", Kind: "search", Label: say("release.search"), Value: q.Get("q")}}, Button: say("find")}}
	}
	b.Blocks = []web.Block{
		{Heading: say("release.now"), Facts: releaseFacts(is)}, matrix,
		{Heading: say("release.record"), Lead: says("release.record_text"), Ways: []web.Way{record("release.record_csv", "csv"), record("release.record_json", "json")}},
	}
	return b, nil
}

// versionName says a version; the one before the first is the file alone.
func versionName(n int) web.Text {
	if n == 0 {
		return say("release.file_version")
	}
	return say("release.version", "n", strconv.Itoa(n))
}

func releaseFacts(rel api.Release) []web.Fact {
	list := []web.Fact{{Label: say("release.in_force"), Cell: web.Cell{Text: versionName(rel.InForce.Number), Note: rel.InForce.Comment, At: rel.InForce.At}}}
	state := web.Cell{Text: say("release.no_draft")}
	if dr := rel.Draft; dr != nil {
		state = web.Cell{Text: sayn("release.changes", dr.Changes), URL: at("/release/draft"), Note: strings.Join(dr.Authors, ", "), Mark: "wait"}
	}
	list = append(list, web.Fact{Label: say("release.draft"), Cell: state})
	if len(rel.Lost) > 0 {
		list = append(list, web.Fact{Label: say("release.lost"), Cell: web.Cell{Values: rel.Lost}})
	}
	return list
}

// matrixCell is what becomes of an attribute at a recipient: by the draft, and
// whether that differs from what is in force.
func matrixCell(is, was api.ReleaseRecipient, attribute string) web.Cell {
	c := web.Cell{Text: say("release.no")}
	to := at("/release/rule", "to", is.To, "attribute", attribute)
	of := func(rec api.ReleaseRecipient) (list []versions.Rule) {
		for _, e := range rec.Rules {
			if e.Attribute == attribute {
				list = append(list, e)
			}
		}
		return list
	}
	rules := of(is)
	for _, e := range rules {
		c = web.Cell{Text: say("release.yes"), Mark: "good", Note: e.As}
		to = at("/release/rule", "to", is.To, "was", e.Name())
		if len(e.Values)+len(e.Transform)+len(e.When) > 0 {
			c.Text = say("release.partly")
		}
		if is.Basis && e.Basis == "" {
			c.Text, c.Mark = say("release.no_basis"), "bad"
		}
	}
	if !reflect.DeepEqual(rules, of(was)) {
		c.Says = says("release.by_draft")
	}
	if is.Edited {
		c.URL = to
	}
	return c
}
