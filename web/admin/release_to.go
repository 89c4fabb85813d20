package admin

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// releaseTo is one recipient: its rules, what it would learn about somebody, and
// ways to add some.
func (d *desk) releaseTo(r *http.Request) (web.Board, error) {
	to, name := r.FormValue("to"), r.URL.Query().Get("name")
	b, rel, err := d.releaseBoard(r, "", say("release.one"))
	if err != nil {
		return b, err
	}
	var rec api.ReleaseRecipient
	if err := d.ask(r, "GET /v1/release/recipient", &rec, "to", to); err != nil {
		return b, err
	}
	var was api.ReleaseRecipient // by what is in force
	if len(rec.Changed) == 0 {
		was = rec
	} else if err := d.ask(r, "GET /v1/release/recipient", &was, "to", to, "of", "live"); err != nil {
		return b, err
	}
	b.Name = rec.Title
	editor := rec.Edited && d.may(r, "release_editors")
	here := at("/release/to", "to", to, "name", name)
	hidden := func(do string, more ...string) []web.Field {
		return does(do, append([]string{"to", to, "revision", revision(rel)}, more...)...)
	}
	facts := []web.Fact{{Label: say("release.kept"), Cell: web.Cell{Text: say("release.by_editors")}}}
	if !rec.Edited {
		facts[0].Cell = web.Cell{Text: say("release.by_file"), Note: rec.Pos}
	}
	if len(rec.Requires) > 0 {
		facts = append(facts, web.Fact{Label: say("release.requires"), Cell: web.Cell{Value: strings.Join(rec.Requires, ", ")}})
	}
	rules := web.Block{Heading: say("release.rules"), Facts: facts, Table: rulesOf(rec, was, here, name, editor, hidden)}
	if !rec.Edited {
		rules.Lead = says("release.file_text")
	}
	q := r.URL.Query()
	look := web.Block{Heading: say("release.preview"), Lead: says("release.preview_text"), Forms: []web.Form{{
		Search: true, Action: Path + "/release/to", Button: say("release.look"),
		Fields: []web.Field{{Kind: "hidden", Name: "to", Value: to}, input("name", "name", "release.whom", name), d.signInFold("", q, rel.Providers)},
	}}}
	if name != "" {
		var seen []api.ReleasePreview
		if err := d.ask(r, "GET /v1/release/preview", &seen, append(signIn(q), "to", to, "name", name, "of", "draft")...); err != nil {
			said, refused := refusal(err)
			if !refused {
				return b, err
			}
			look.Lead = []web.Text{said}
		}
		for _, p := range seen {
			look.Table = previewTable(p)
		}
	}
	b.Blocks = []web.Block{rules, look}
	if !editor {
		return b, nil
	}
	add := []web.Field{{Kind: "hidden", Name: "to", Value: to}, {Kind: "hidden", Name: "name", Value: name}, choice("attribute", "attribute", "release.attribute", "", attributeOptions(rel.Attributes)...)}
	var bundles []web.Option
	for _, bundle := range versions.Bundles() {
		bundles = append(bundles, web.Option{Value: bundle.ID, Name: bundle.Title})
	}
	b.Blocks = append(b.Blocks,
		web.Block{Heading: say("release.add"), Forms: []web.Form{{Search: true, Action: Path + "/release/rule", Fields: add, Button: say("release.add_button")}}},
		web.Block{Heading: say("release.bundle"), Lead: says("release.bundle_text"), Forms: []web.Form{{Action: here, Button: say("release.bundle_button"), Fields: append(hidden("bundle"),
			choice("bundle", "bundle", "release.bundle", "", bundles...), input("bundle_purpose", "purpose", "release.purpose", ""), basisChoice("bundle_basis", ""))}}})
	return b, nil
}

// rulesOf is what a recipient gets by the draft, with what the draft took away.
func rulesOf(is, was api.ReleaseRecipient, here, name string, editor bool, hidden func(string, ...string) []web.Field) *web.Table {
	table := &web.Table{Caption: say("release.rules"), None: say("release.nothing"), Head: heads("release.name", "release.limits", "release.purpose", "release.basis", "release.retention")}
	if editor {
		table.Head = append(table.Head, say("act"))
	}
	named := func(rules []versions.Rule, name string) bool {
		return slices.ContainsFunc(rules, func(e versions.Rule) bool { return e.Name() == name })
	}
	line := func(e versions.Rule, first web.Cell, acts ...web.Form) {
		if e.As != "" {
			first.Note = e.Attribute
		}
		limits, basis := web.Cell{Values: limitsOf(e)}, web.Cell{Text: word("basis", e.Basis)}
		if len(limits.Values) == 0 {
			limits = web.Cell{Text: say("release.whole")}
		}
		if e.Basis == "" {
			basis = web.Cell{Text: say("release.none")}
			if is.Basis {
				basis = web.Cell{Text: say("release.no_basis"), Mark: "bad"}
			}
		}
		cells := []web.Cell{first, limits, text(e.Purpose), basis, text(e.Retention)}
		if editor {
			cells = append(cells, web.Cell{Forms: acts})
		}
		table.Rows = append(table.Rows, row(cells...))
	}
	for _, e := range is.Rules {
		first := web.Cell{Value: e.Name()}
		if editor {
			first.URL = at("/release/rule", "to", is.To, "was", e.Name(), "name", name)
		}
		if slices.Contains(is.Changed, e.Name()) {
			first.Says = says("release.by_draft")
		}
		line(e, first, button(here, "release.remove", e.Name(), hidden("remove", "name", e.Name())))
	}
	for _, e := range was.Rules {
		if named(is.Rules, e.Name()) {
			continue
		}
		line(e, web.Cell{Value: e.Name(), Says: says("release.taken")}, button(here, "release.put_back", e.Name(), hidden("back", formOf(e)...)))
	}
	return table
}

// refusal is what the API said no with, if it did.
func refusal(err error) (web.Text, bool) {
	var e *api.Error
	if errors.As(err, &e) {
		return web.Text{Else: e.Text}, true
	}
	return web.Text{}, false
}

func attributeOptions(list []api.ReleaseAttribute) (options []web.Option) {
	for _, a := range list {
		options = append(options, web.Option{Value: a.ID, Name: a.ID, Text: word("attribute", a.ID)})
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

// whys are the words of why something is withheld.
var whys = map[string]string{
	authz.WhyNoRule: "no_rule", authz.WhyNone: "none", authz.WhyFiltered: "filtered", authz.WhyWhen: "when", authz.WhyWhenErr: "when_failed", authz.WhyTransform: "transform_failed",
	authz.WhyEmptied: "emptied", authz.WhyNoKey: "no_key", authz.WhyNoConsent: "no_consent", authz.WhyNoBasis: "no_basis",
}

func why(said string) web.Text {
	t := word("why", whys[said])
	t.Else = said
	return t
}

// previewTable is what one recipient would learn about somebody, in sentences and
// in full.
func previewTable(p api.ReleasePreview) *web.Table {
	table := &web.Table{Caption: say("release.learns", "recipient", p.Title), Head: heads("release.name", "release.values", "release.becomes"), None: say("release.nothing")}
	differs := map[string]string{}
	for _, d := range p.Differs {
		differs[d.Name] = d.What
		if d.What == authz.Loses {
			differs[d.Attribute] = d.What
		}
	}
	sent := 0
	for _, s := range p.Sent {
		sent += len(s.Values)
		state := web.Cell{Text: say("release.sent"), Mark: "good"}
		switch differs[s.Name] {
		case authz.Gains:
			state.Says = says("release.draft_gains")
		case authz.Changes:
			state.Says = says("release.draft_changes")
		}
		table.Rows = append(table.Rows, row(text(s.Name), web.Cell{Values: s.Values}, state))
	}
	var order []string
	back := map[string]int{}
	for _, w := range p.Withheld {
		state := web.Cell{Text: why(w.Why)}
		if w.Required {
			state.Mark = "bad"
		}
		if differs[w.Attribute] == authz.Loses {
			state.Says = says("release.draft_loses")
		}
		values := web.Cell{Text: sayn("release.withheld", w.Values)}
		if w.Values == 0 {
			values = web.Cell{Text: say("release.has_none")}
		}
		table.Rows = append(table.Rows, row(attribute(w.Attribute), values, state))
		if w.Values == 0 {
			continue
		}
		if back[w.Why] == 0 {
			order = append(order, w.Why)
		}
		back[w.Why] += w.Values
	}
	table.Sum = []web.Text{sayn("release.sum", sent)}
	for _, reason := range order {
		said, because := sayn("release.back", back[reason]), why(reason)
		said.Why = &because
		table.Sum = append(table.Sum, said)
	}
	if len(p.Missing) > 0 {
		table.Sum = append(table.Sum, say("release.missing", "attributes", strings.Join(p.Missing, ", ")))
	}
	return table
}

// ruleForm is the rule that was typed.
func ruleForm(f url.Values) versions.Rule {
	return versions.Rule{
		Attribute: f.Get("attribute"), As: f.Get("as"), Values: strings.Split(f.Get("values"), "\n"), Transform: f.Get("transform"), When: f.Get("when"),
		Purpose: f.Get("purpose"), Basis: f.Get("basis"), Retention: f.Get("retention"), Reference: f.Get("reference") == "true",
	}
}

// formOf is a form with the rule: names and values alternate.
func formOf(e versions.Rule) []string {
	return []string{
		"attribute", e.Attribute, "as", e.As, "values", strings.Join(e.Values, "\n"), "transform", e.Transform, "when", e.When,
		"purpose", e.Purpose, "basis", e.Basis, "retention", e.Retention, "reference", strconv.FormatBool(e.Reference),
	}
}

// releaseRule edits one rule, or adds one, and shows what would come of it.
func (d *desk) releaseRule(r *http.Request) (web.Board, error) {
	to, was, name := r.FormValue("to"), r.FormValue("was"), r.FormValue("name")
	b, rel, err := d.releaseBoard(r, "", say("release.edit"))
	if err != nil {
		return b, err
	}
	var rec api.ReleaseRecipient
	if err := d.ask(r, "GET /v1/release/recipient", &rec, "to", to); err != nil {
		return b, err
	}
	b.Name = rec.Title
	back := []web.Way{{Text: say("release.back_to", "recipient", rec.Title), URL: at("/release/to", "to", to, "name", name)}}
	if !rec.Edited || !d.may(r, "release_editors") {
		b.Lead, b.Blocks = says("release.file_text"), []web.Block{{Ways: back}}
		return b, nil
	}
	e, rev := versions.Rule{Attribute: r.FormValue("attribute")}, revision(rel)
	for _, o := range rec.Rules {
		if o.Name() == was {
			e = o
		}
	}
	if r.Form.Has("revision") { // what was typed is not lost
		e, rev = ruleForm(r.Form), r.FormValue("revision")
	}
	here := at("/release/rule", "to", to, "was", was)
	area := web.Field{ID: "values", Name: "values", Kind: "area", Label: say("release.only"), Hint: say("release.only_hint"), Value: strings.Join(e.Values, "\n")}
	hinted := func(f web.Field, hint string) web.Field { f.Hint = web.Text{Key: hint}; return f }
	fields := append(does("save", "to", to, "revision", rev, "was", was),
		web.Field{Kind: "heading", Label: say("release.what")},
		choice("attribute", "attribute", "release.attribute", e.Attribute, attributeOptions(rel.Attributes)...),
		hinted(input("as", "as", "release.as", e.As), "release.as_hint"), area,
		hinted(input("transform", "transform", "release.transform", e.Transform), "release.transform_hint"), hinted(input("when", "when", "release.when", e.When), "release.when_hint"))
	if rec.Kind == "target" {
		fields = append(fields, web.Field{ID: "reference", Name: "reference", Kind: "check", Value: "true", Label: say("release.reference"), Checked: e.Reference})
	}
	fields = append(fields, web.Field{Kind: "heading", Label: say("release.what_for")},
		hinted(input("purpose", "purpose", "release.purpose", e.Purpose), "release.purpose_hint"), basisChoice("basis", e.Basis), hinted(input("retention", "retention", "release.retention", e.Retention), "release.retention_hint"),
		web.Field{Kind: "heading", Label: say("release.try_out")},
		hinted(input("name", "name", "release.whom", name), "release.whom_hint"), d.signInFold("", r.Form, rel.Providers))
	look := web.Block{ID: "look", Beside: true, Heading: say("release.preview"), Lead: says("release.look_text")}
	if name != "" {
		var seen api.ReleasePreview
		err := d.ask(r, "GET /v1/release/rule", &seen, slices.Concat(formOf(e), signIn(r.Form), []string{"to", to, "was", was, "name", name})...)
		said, refused := refusal(err)
		switch {
		case refused:
			look.Lead = []web.Text{said}
		case err != nil:
			return b, err
		default:
			look.Lead, look.Table = nil, previewTable(seen)
		}
	}
	form := web.Form{Action: here, Tall: true, Fields: fields, Button: say("release.save"), Look: say("release.look"), Live: look.ID}
	heading := say("release.add")
	if was != "" {
		heading = web.Text{Else: was}
	}
	b.Blocks = []web.Block{{Heading: heading, Forms: []web.Form{form}, Ways: back}, look}
	return b, nil
}

// A person is a made-up one with the time of their sign-in as it was typed: whether
// it is one, the API says.
type person struct {
	versions.Person
	SignedIn string `json:"signed_in,omitempty"`
}

// madeUp is the person that a form describes; false: none.
func madeUp(q url.Values) (p person, ok bool) {
	p.Person = versions.Person{
		UserName: q.Get("user_name"), Attributes: valuesOf(q.Get("attributes")), Groups: words(q.Get("groups")), Roles: words(q.Get("roles")),
		Provider: q.Get("idp"), ACR: strings.TrimSpace(q.Get("acr")), AMR: words(q.Get("amr")),
	}
	p.SignedIn = strings.TrimSpace(q.Get("signed_in"))
	if ago, err := time.ParseDuration(p.SignedIn); err == nil && ago >= 0 {
		p.SignedIn = time.Now().UTC().Add(-ago).Format(time.RFC3339)
	}
	return p, p.UserName != "" || len(p.Attributes)+len(p.Groups)+len(p.Roles) > 0
}

// signInFold has the fields for the sign-in that a preview supposes; their IDs begin
// with a prefix, where a page has several such forms.
func (d *desk) signInFold(prefix string, q url.Values, providers []string) web.Field {
	field := func(name, label, hint string) web.Field {
		f := input(prefix+name, name, label, q.Get(name))
		f.Hint = web.Text{Key: hint}
		return f
	}
	any := []web.Option{{Text: say("release.any_provider")}}
	for _, id := range providers {
		any = append(any, web.Option{Value: id, Name: d.Provider(id)})
	}
	return web.Field{Kind: "fold", Label: say("release.sign_in"), Checked: q.Get("idp")+q.Get("acr")+q.Get("amr")+q.Get("signed_in") != "", Fields: []web.Field{
		choice(prefix+"idp", "idp", "person.provider", q.Get("idp"), any...), field("acr", "release.acr", "release.acr_hint"),
		field("amr", "release.amr", "release.amr_hint"), field("signed_in", "release.signed_in", "release.signed_in_hint"),
	}}
}

// signIn is what such fields say, as the API takes it.
func signIn(q url.Values) []string {
	return []string{"idp", q.Get("idp"), "acr", strings.TrimSpace(q.Get("acr")), "amr", strings.Join(words(q.Get("amr")), "\n"), "signed_in", strings.TrimSpace(q.Get("signed_in"))}
}

// valuesOf reads lines such as mail: ada@uni.example.
func valuesOf(text string) map[string][]string {
	list := map[string][]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			name = strings.TrimSpace(name)
			list[name] = append(list[name], strings.TrimSpace(value))
		}
	}
	return list
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == '\n' || c == '\r' || c == ' ' })
}

func (d *desk) madeUpFields(q url.Values, providers []string) []web.Field {
	area := func(name, label, hint string) web.Field {
		return web.Field{ID: name, Name: name, Kind: "area", Label: web.Text{Key: label}, Hint: web.Text{Key: hint}, Value: q.Get(name)}
	}
	return []web.Field{input("user_name", "user_name", "people.user_name", q.Get("user_name")), area("attributes", "release.attributes", "release.attributes_hint"),
		input("groups", "groups", "release.groups", q.Get("groups")), input("roles", "roles", "release.roles", q.Get("roles")), d.signInFold("made_up_", q, providers)}
}

// releasePreview is what everybody would learn about one person by the draft.
func (d *desk) releasePreview(r *http.Request) (web.Board, error) {
	b, rel, err := d.releaseBoard(r, "/release/preview", say("release.preview"))
	if err != nil {
		return b, err
	}
	b.Lead = says("release.preview_text")
	q := r.URL.Query()
	p, made := madeUp(q)
	real, invented := q, url.Values(nil) // what is typed stays in its form
	if made {
		real, invented = nil, q
	}
	b.Blocks = []web.Block{
		{Heading: say("release.real"), Forms: []web.Form{{Search: true, Action: Path + "/release/preview", Fields: []web.Field{input("name", "name", "release.whom", real.Get("name")), d.signInFold("", real, rel.Providers)}, Button: say("release.look")}}},
		{Heading: say("release.made_up"), Forms: []web.Form{{Search: true, Action: Path + "/release/preview", Fields: d.madeUpFields(invented, rel.Providers), Button: say("release.look")}}},
	}
	person := ""
	switch {
	case real.Get("name") != "":
	case made:
		raw, _ := json.Marshal(p) // of strings
		person = string(raw)
	default:
		return b, nil
	}
	var seen []api.ReleasePreview
	err = d.ask(r, "GET /v1/release/preview", &seen, append(signIn(real), "name", real.Get("name"), "person", person, "of", "draft", "after", q.Get("after"), "limit", strconv.Itoa(recipientsOf))...)
	if said, refused := refusal(err); refused {
		b.Lead = []web.Text{said}
		return b, nil
	}
	if err != nil {
		return b, err
	}
	for _, p := range seen {
		block := web.Block{Heading: web.Text{Else: p.Title}}
		block.Table = previewTable(p)
		if person != "" && d.may(r, "release_editors") {
			block.Ways = []web.Way{{Text: say("release.keep_case"), URL: Path + "/release/cases?" + keptCase(q, p).Encode()}}
		}
		b.Blocks = append(b.Blocks, block)
	}
	if len(seen) == recipientsOf {
		next := maps.Clone(q)
		next.Set("after", seen[len(seen)-1].To)
		b.Blocks[len(b.Blocks)-1].Ways = []web.Way{{Text: say("release.next"), URL: Path + "/release/preview?" + next.Encode()}}
	}
	return b, nil
}

// keptCase is the form of a test case that says what a preview shows.
func keptCase(person url.Values, p api.ReleasePreview) url.Values {
	q := url.Values{"to": {p.To}}
	for _, name := range []string{"user_name", "attributes", "groups", "roles", "idp", "acr", "amr", "signed_in"} {
		q[name] = person[name]
	}
	var sends, withholds []string
	for _, s := range p.Sent {
		for _, v := range s.Values {
			sends = append(sends, s.Name+": "+v)
		}
	}
	for _, w := range p.Withheld {
		if w.Values > 0 {
			withholds = append(withholds, w.Attribute)
		}
	}
	q.Set("sends", strings.Join(sends, "\n"))
	q.Set("withholds", strings.Join(withholds, ", "))
	return q
}
