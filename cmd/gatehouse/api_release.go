package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/sheet"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func (a *api) releaseRoutes() {
	const (
		editors, auditors = "release_editors", "auditors"
		takesOf           = "of which policy: live (in force), draft (what is in force where there is none), or the number of a version"
		takesTo           = "to! a recipient: service:ID or target:ID"
		takesRevision     = "revision of the draft that was looked at; nothing: there was none"
		takesPurpose      = "purpose for people to read"
		takesBasis        = "basis in law: consent, contract, legal_obligation, vital_interests, public_task or legitimate_interests"
		takesRetention    = "retention how long the recipient keeps it, for people to read"
		takesComment      = "comment for the history"
		takesUntilTried   = "until when it ends: a day (2026-12-31), a time or how long from now (8h, 30d); 7d where nothing is said"
	)
	draft := &webapi.ReleaseDraft{}
	a.route("GET /v1/release", a.release, editors, auditors).doc("The release policy: what each service and target learns, and whether there is a draft.", webapi.Release{},
		takesOf, "q recipients whose ID or title has this in it", "after goes on after this recipient", takesLimit)
	a.route("GET /v1/release/recipient", a.recipient, editors, auditors).doc("What one service or target learns.", webapi.ReleaseRecipient{}, takesTo, takesOf)
	takesRule := []string{
		takesTo, "was the recipient's name of the rule that is changed; nothing: it is another one", "attribute! of ours, or one that is built in", "as what the recipient calls it; the same where nothing is said",
		"values[] that may go out, exact or with *, one on a line; all where nothing is said", "transform an expression over value and values", "when an expression over user and login",
		"reference:boolean the values are users, and a target gets its own IDs of them", takesPurpose, takesBasis, takesRetention,
	}
	a.route("POST /v1/release/rule", a.saveRule, editors).doc("Releases an attribute in the draft, or changes how.", draft, append(slices.Clone(takesRule), takesRevision)...)
	a.route("GET /v1/release/rule", a.previewRule, editors, auditors).doc("What a recipient would learn about one person if the draft had this rule too; nothing is saved.", webapi.ReleasePreview{},
		slices.Concat(takesRule, []string{takesName}, takesSignIn)...)
	a.route("DELETE /v1/release/rule", a.dropRule, editors).doc("Releases something no more, in the draft.", draft, takesTo, takesRevision, "name! the recipient's name of it")
	a.route("POST /v1/release/bundle", a.saveBundle, editors).doc("Gives a recipient, in the draft, the attributes of a bundle and no others; rules that it has for them stay.", draft, takesTo, takesRevision,
		"bundle:anonymous|pseudonymous|personalized|r-and-s|coco-2! which", takesPurpose, takesBasis, takesRetention)
	a.route("GET /v1/release/cases", a.releaseCases, editors, auditors).doc("The test cases that are kept with the policy, and what comes of them.", []webapi.ReleaseCase{}, takesOf)
	a.route("POST /v1/release/case", a.saveCase, editors).doc("Keeps a test case in the draft, in place of one of the same name.", draft, takesRevision, "case! as JSON: name, to, person, sends, withholds")
	a.route("DELETE /v1/release/case", a.dropCase, editors).doc("Takes a test case out of the draft.", draft, takesRevision, "name! of the case")
	a.route("GET /v1/release/preview", a.previewRelease, editors, auditors).doc("What recipients would learn about one person, and what would be kept back and why.", []webapi.ReleasePreview{},
		append([]string{takesOf, "name of a user, or their ID", "person a made-up one in place of a user, as JSON: user_name, store, identity_provider, acr, amr, signed_in, attributes, groups, roles",
			"to this recipient alone", "after goes on after this recipient", takesLimit}, takesSignIn...)...)
	a.route("GET /v1/release/diff", a.diffRelease, editors, auditors).doc("What differs between two policies.", webapi.ReleaseDiff{}, "was live, draft or a version; live where nothing is said", "is live, draft or a version; draft where nothing is said")
	a.route("GET /v1/release/needs", a.releaseNeeds, editors, auditors).doc("What people who used services lately would lose by the draft that they require.", []webapi.ReleaseNeed{})
	a.route("GET /v1/release/impact", a.impact, editors, auditors).doc("What the draft changes for everybody, as far as it was looked at.", webapi.ReleaseReport{})
	a.route("POST /v1/release/impact", a.startImpact, editors).doc("Begins to look at what the draft changes for everybody.", webapi.ReleaseReport{})
	a.route("GET /v1/release/affected", a.affected, editors, auditors).doc("People for whom the draft changes something.", webapi.AffectedPage{}, "to at this recipient", "after goes on after this user", takesLimit)
	a.route("POST /v1/release/publish", a.publishRelease, editors).doc("Puts the draft into force.", webapi.ReleaseVersion{}, takesRevision, takesComment, "accept:boolean also if people lose what a service requires")
	a.route("POST /v1/release/rollback", a.rollbackRelease, editors).doc("Puts an earlier version into force again, as a version of its own.", webapi.ReleaseVersion{}, "version! its number; 0: what the file says alone", takesComment)
	a.route("POST /v1/release/rebase", a.rebaseRelease, editors).doc("Puts the draft on top of the version in force.", draft, takesRevision)
	a.route("DELETE /v1/release/draft", a.discardRelease, editors).doc("Throws the draft away.", map[string]bool{}, takesRevision)
	a.route("GET /v1/release/history", a.releaseHistory, editors, auditors).doc("Published versions, the newest first.", []webapi.ReleaseVersion{}, "before:integer this version", takesLimit)
	a.route("GET /v1/release/trial", a.releaseTrial, editors, auditors).doc("What a draft that is tried beside the policy in force would change for those who come.", webapi.ReleaseReport{})
	a.route("POST /v1/release/trial", a.startReleaseTrial, editors).doc("Begins to try the draft, as it is, beside the policy in force.", webapi.ReleaseReport{}, takesUntilTried)
	a.route("DELETE /v1/release/trial", a.stopReleaseTrial, editors).doc("Ends the trial.", webapi.ReleaseReport{})
	a.route("GET /v1/release/export", a.exportRelease, editors, auditors).doc("All that release editors keep, in the form that apply takes.", versions.Policy{}, takesOf)
	a.route("POST /v1/release/apply", a.applyRelease, editors).doc("Makes the draft what an exported policy says.", draft, takesRevision).reads("application/json")
	a.raw("GET /v1/release/record", a.releaseRecord, editors, auditors).doc("The record of processing: who learns what about people, why, by which right and for how long.", nil, "format:json|csv of the answer; json where nothing is said").file("application/json, text/csv")
}

// who is the name of whoever did something.
func (a *api) who(ctx context.Context, id string) string {
	if id == "" || id == access.Machine {
		return id
	}
	return a.s.nameOf(ctx, id)
}

func (a *api) whoAll(ctx context.Context, ids []string) (names []string) {
	for _, id := range ids {
		names = append(names, a.who(ctx, id))
	}
	return names
}

// reading reads what "of" names: the draft, which is what is in force where there
// is none, "live" or the number of a version.
func (a *api) reading(ctx context.Context, of string) (*reading, error) {
	name, p, err := a.policyOf(ctx, of)
	if err != nil {
		return nil, err
	}
	return a.s.readOnce(name, p)
}

// policyOf is a policy with its name, under which there is never another one.
func (a *api) policyOf(ctx context.Context, of string) (name string, p versions.Policy, err error) {
	switch of {
	case "", "draft":
		d, p, _, err := a.s.versions.Draft(ctx)
		return d.Name(), p, err
	case "live":
		return a.s.version.Name(), a.s.policy, nil
	}
	n, err := versions.Number(of)
	if err != nil {
		return "", p, err
	}
	v, p, err := a.s.versions.Version(ctx, n)
	return v.Name(), p, err
}

func (a *api) releaseVersion(ctx context.Context, v versions.Version) webapi.ReleaseVersion {
	return webapi.ReleaseVersion{Number: v.Number, By: a.who(ctx, v.By), At: v.At, Comment: v.Comment, Authors: a.whoAll(ctx, v.Authors), Again: v.Again}
}

func (a *api) release(r *http.Request) (any, error) {
	ctx := r.Context()
	read, err := a.reading(ctx, r.FormValue("of"))
	if err != nil {
		return nil, err
	}
	out := webapi.Release{InForce: a.releaseVersion(ctx, a.s.version), SecondPerson: a.s.file.Release.SecondPerson, Attributes: a.releasable(), Providers: []string{}, Recipients: []webapi.ReleaseRecipient{}, Lost: a.s.lost}
	for _, p := range a.s.cfg.IdentityProviders {
		out.Providers = append(out.Providers, p.ID)
	}
	if out.Draft, err = a.draft(ctx); err != nil {
		return nil, err
	}
	live, q, limit := whole(a.s.file, a.s.policy), strings.ToLower(r.FormValue("q")), limitOf(r)
	passed := r.FormValue("after") == ""
	for i, rec := range recipients(a.s.file) {
		if !passed {
			passed = rec.to == r.FormValue("after")
			continue
		}
		if q != "" && !strings.Contains(strings.ToLower(rec.to+" "+rec.title), q) {
			continue
		}
		if len(out.Recipients) == limit {
			out.More = true
			break
		}
		out.Recipients = append(out.Recipients, a.recipientView(rec, i, read, live))
	}
	return out, nil
}

func (a *api) releasable() (list []webapi.ReleaseAttribute) {
	for _, t := range a.s.file.AttributeTypes() {
		list = append(list, webapi.ReleaseAttribute{ID: t.ID, Title: t.Title})
	}
	for _, id := range authz.Builtin() {
		if !slices.ContainsFunc(list, func(l webapi.ReleaseAttribute) bool { return l.ID == id }) {
			list = append(list, webapi.ReleaseAttribute{ID: id, Title: id})
		}
	}
	slices.SortFunc(list, func(x, y webapi.ReleaseAttribute) int { return strings.Compare(x.ID, y.ID) })
	return list
}

// draftView is the draft after a change of it.
func (a *api) draftView(ctx context.Context) (any, error) {
	d, err := a.draft(ctx)
	return d, err
}

func (a *api) draft(ctx context.Context) (*webapi.ReleaseDraft, error) {
	d, p, ok, err := a.s.versions.Draft(ctx)
	if err != nil || !ok {
		return nil, err
	}
	read, err := a.s.readOnce(d.Name(), p)
	if err != nil {
		return nil, err
	}
	_, failing := read.try(a.s)
	return &webapi.ReleaseDraft{
		Revision: d.Revision, Base: d.Base, Behind: d.Base != a.s.version.Number, By: a.who(ctx, d.By), Authors: a.whoAll(ctx, d.Authors), At: d.At, Failing: failing,
		Changes: len(versions.Diff(whole(a.s.file, a.s.policy), read.rules)), Mine: a.people && slices.Contains(d.Authors, authz.SubjectFrom(ctx).ID),
	}, nil
}

func (a *api) recipientView(rec recipient, i int, read *reading, live map[string][]versions.Rule) webapi.ReleaseRecipient {
	kind, id, _ := strings.Cut(rec.to, ":")
	v := webapi.ReleaseRecipient{To: rec.to, Kind: kind, ID: id, Title: rec.title, Edited: rec.edited, Basis: rec.basis, Requires: rec.requires, Rules: append([]versions.Rule{}, read.rules[rec.to]...)}
	if !rec.edited {
		section, n := "services", i
		if rec.target != nil {
			section, n = "targets", i-len(a.s.file.Services)
		}
		v.Pos = a.s.file.Pos(section, n, "release")
	}
	for _, c := range versions.Diff(map[string][]versions.Rule{rec.to: live[rec.to]}, map[string][]versions.Rule{rec.to: read.rules[rec.to]}) {
		v.Changed = append(v.Changed, c.Name)
	}
	for _, text := range read.lost {
		if rest, ok := strings.CutPrefix(text, rec.to+": "); ok {
			v.Lost = append(v.Lost, rest)
		}
	}
	return v
}

// recipientOf finds the recipient that a request names.
func (a *api) recipientOf(r *http.Request) (recipient, int, error) {
	all := recipients(a.s.file)
	i := slices.IndexFunc(all, func(c recipient) bool { return c.to == r.FormValue("to") })
	if i < 0 {
		return recipient{}, 0, &versions.Refusal{Code: versions.ReasonNone, Text: fmt.Sprintf("there is no recipient %q — write service:ID or target:ID", r.FormValue("to"))}
	}
	return all[i], i, nil
}

func (a *api) recipient(r *http.Request) (any, error) {
	rec, i, err := a.recipientOf(r)
	if err != nil {
		return nil, err
	}
	read, err := a.reading(r.Context(), r.FormValue("of"))
	if err != nil {
		return nil, err
	}
	return a.recipientView(rec, i, read, whole(a.s.file, a.s.policy)), nil
}

// save changes the draft's rules of one recipient.
func (a *api) save(r *http.Request, rec recipient, change func(rules []versions.Rule) ([]versions.Rule, error)) (any, error) {
	if !rec.edited {
		return nil, inFile(rec)
	}
	return a.saveDraft(r, func(p *versions.Policy) error {
		rules, err := change(slices.Clone(rec.rules(*p)))
		if err != nil {
			return err
		}
		p.Rules = maps.Clone(p.Rules)
		p.Rules[rec.to] = rules
		return nil
	})
}

func (a *api) saveDraft(r *http.Request, change func(*versions.Policy) error) (any, error) {
	if _, err := a.s.versions.Save(r.Context(), a.actor(r), r.FormValue("revision"), change); err != nil {
		return nil, err
	}
	return a.draftView(r.Context())
}

// lines are the values of a field with one on each line, or of a field that is
// repeated.
func lines(list []string) (out []string) {
	for _, s := range list {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

// ruleOf is the rule that a form describes.
func ruleOf(r *http.Request) versions.Rule {
	e := versions.Rule{
		Attribute: r.FormValue("attribute"), As: strings.TrimSpace(r.FormValue("as")), Values: lines(r.Form["values"]), Transform: strings.TrimSpace(r.FormValue("transform")),
		When: strings.TrimSpace(r.FormValue("when")), Reference: r.FormValue("reference") == "true",
		Purpose: strings.TrimSpace(r.FormValue("purpose")), Basis: r.FormValue("basis"), Retention: strings.TrimSpace(r.FormValue("retention")),
	}
	if e.As == e.Attribute {
		e.As = ""
	}
	return e
}

// put puts the rule of a form among others: in place of the one that it was, or
// at their end.
func (rec recipient) put(r *http.Request, rules []versions.Rule) ([]versions.Rule, error) {
	e, was := ruleOf(r), r.FormValue("was")
	if was == "" {
		return append(rules, e), nil
	}
	i := slices.IndexFunc(rules, func(o versions.Rule) bool { return o.Name() == was })
	if i < 0 {
		return nil, noRule(rec, was)
	}
	rules[i] = e
	return rules, nil
}

func (a *api) saveRule(r *http.Request) (any, error) {
	rec, _, err := a.recipientOf(r)
	if err != nil {
		return nil, err
	}
	return a.save(r, rec, func(rules []versions.Rule) ([]versions.Rule, error) { return rec.put(r, rules) })
}

// previewRule shows what a rule would do that is not saved.
func (a *api) previewRule(r *http.Request) (any, error) {
	rec, _, err := a.recipientOf(r)
	if err != nil {
		return nil, err
	}
	if !rec.edited {
		return nil, inFile(rec)
	}
	_, p, err := a.policyOf(r.Context(), "draft")
	if err != nil {
		return nil, err
	}
	rules, err := rec.put(r, slices.Clone(rec.rules(p)))
	if err != nil {
		return nil, err
	}
	one := versions.Policy{Rules: map[string][]versions.Rule{rec.to: rules}} // what others learn is not asked
	if err := newReleaseChecker(a.s.file, a.s.programs).check(a.s.file, one); err != nil {
		return nil, err
	}
	read, err := a.s.read(one)
	if err != nil {
		return nil, err
	}
	sub, err := a.someone(r)
	if err != nil {
		return nil, err
	}
	return a.learns(rec, read, sub), nil
}

func inFile(rec recipient) error {
	return &versions.Refusal{Code: versions.ReasonFile, Text: fmt.Sprintf("what %s learns stands in the configuration file — write release_in: editor there to change it here", rec.title)}
}

func noRule(rec recipient, name string) error {
	return &versions.Refusal{Code: versions.ReasonNone, Text: fmt.Sprintf("nothing is released to %s as %q", rec.title, name)}
}

func (a *api) dropRule(r *http.Request) (any, error) {
	rec, _, err := a.recipientOf(r)
	if err != nil {
		return nil, err
	}
	name := r.FormValue("name")
	return a.save(r, rec, func(rules []versions.Rule) ([]versions.Rule, error) {
		i := slices.IndexFunc(rules, func(o versions.Rule) bool { return o.Name() == name })
		if i < 0 {
			return nil, noRule(rec, name)
		}
		return slices.Delete(rules, i, i+1), nil
	})
}

// saveBundle gives a recipient the attributes of a bundle, and no others. Rules
// that it has for them stay.
func (a *api) saveBundle(r *http.Request) (any, error) {
	rec, _, err := a.recipientOf(r)
	if err != nil {
		return nil, err
	}
	all := versions.Bundles()
	i := slices.IndexFunc(all, func(b versions.Bundle) bool { return b.ID == r.FormValue("bundle") })
	if i < 0 {
		return nil, &versions.Refusal{Code: versions.ReasonNone, Text: fmt.Sprintf("there is no bundle %q", r.FormValue("bundle"))}
	}
	want := all[i].Attributes
	if want == nil {
		if want = rec.requires; len(want) == 0 {
			return nil, &versions.Refusal{Code: versions.ReasonInvalid, Text: fmt.Sprintf("nothing says what %s requires — list it under requires in the configuration", rec.title)}
		}
	}
	return a.save(r, rec, func(rules []versions.Rule) ([]versions.Rule, error) {
		var out []versions.Rule
		for _, attribute := range want {
			i := slices.IndexFunc(rules, func(o versions.Rule) bool { return o.Attribute == attribute })
			if i >= 0 {
				out = append(out, rules[i])
				continue
			}
			out = append(out, versions.Rule{Attribute: attribute, Purpose: strings.TrimSpace(r.FormValue("purpose")), Basis: r.FormValue("basis"), Retention: strings.TrimSpace(r.FormValue("retention"))})
		}
		return out, nil
	})
}

func (a *api) releaseCases(r *http.Request) (any, error) {
	read, err := a.reading(r.Context(), r.FormValue("of"))
	if err != nil {
		return nil, err
	}
	list, _ := read.try(a.s)
	return list, nil
}

// saveCase keeps a test case, in place of one of the same name.
func (a *api) saveCase(r *http.Request) (any, error) {
	var c versions.Case
	if err := strictly(r.FormValue("case"), &c, "test case"); err != nil {
		return nil, err
	}
	return a.saveDraft(r, func(p *versions.Policy) error {
		p.Cases = slices.Clone(p.Cases)
		if i := slices.IndexFunc(p.Cases, func(o versions.Case) bool { return o.Name == c.Name }); i >= 0 {
			p.Cases[i] = c
		} else {
			p.Cases = append(p.Cases, c)
		}
		return nil
	})
}

func (a *api) dropCase(r *http.Request) (any, error) {
	name := r.FormValue("name")
	return a.saveDraft(r, func(p *versions.Policy) error {
		i := slices.IndexFunc(p.Cases, func(o versions.Case) bool { return o.Name == name })
		if i < 0 {
			return &versions.Refusal{Code: versions.ReasonNone, Text: fmt.Sprintf("there is no test case %q", name)}
		}
		p.Cases = slices.Delete(slices.Clone(p.Cases), i, i+1)
		return nil
	})
}

// someone is the person that a preview is about: a user by name, or a made-up
// one, as they would come by a sign-in.
func (a *api) someone(r *http.Request) (authz.Subject, error) {
	var sub authz.Subject
	switch {
	case r.FormValue("person") != "":
		var p versions.Person
		if err := strictly(r.FormValue("person"), &p, "made-up person"); err != nil {
			return sub, err
		}
		sub = p.Subject()
		sub.Store = cmp.Or(sub.Store, storeIDs(a.s.file)[0])
	default:
		u, err := a.named(r)
		if err != nil {
			return sub, err
		}
		if a.p.glances.first(a.actor(r), u.ID, a.p.now()) {
			a.p.recorder.Record(audit.Event{Kind: "release.previewed", UserID: u.ID, By: a.actor(r)})
		}
		return a.asSignedIn(r, u.ID)
	}
	return a.s.rules.policy.Roles(sub), nil
}

// strictly reads the JSON of a form's field.
func strictly(raw string, into any, what string) error {
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var when *time.ParseError
	switch {
	case errors.As(err, &when):
		return &versions.Refusal{Code: versions.ReasonInvalid, Text: fmt.Sprintf("signed_in is a time (2026-12-31T17:00:00Z), not %s", when.Value)}
	case err != nil:
		return &versions.Refusal{Code: versions.ReasonInvalid, Text: fmt.Sprintf("this is no %s: %v", what, err)}
	}
	return nil
}

// Glances at people's values are recorded once for whoever looks, at whom, until
// glanceTime has passed: a preview is made anew while somebody types, and an auditor
// wants to know who saw whose values and when, not how often they typed.
type glances struct {
	mu sync.Mutex
	at map[[2]string]time.Time // by who looked, at whom
}

const (
	glanceTime = 10 * time.Minute
	maxGlances = 10_000 // then all is forgotten, and recorded again
)

// first reports whether a glance is to be recorded.
func (g *glances) first(by, at string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	who := [2]string{by, at}
	if last, ok := g.at[who]; ok && now.Sub(last) < glanceTime && !now.Before(last) {
		return false
	}
	if g.at == nil || len(g.at) >= maxGlances {
		g.at = map[[2]string]time.Time{}
	}
	g.at[who] = now
	return true
}

func (a *api) previewRelease(r *http.Request) (any, error) {
	read, err := a.reading(r.Context(), r.FormValue("of"))
	if err != nil {
		return nil, err
	}
	sub, err := a.someone(r)
	if err != nil {
		return nil, err
	}
	list, limit, to := []webapi.ReleasePreview{}, limitOf(r), r.FormValue("to")
	passed := r.FormValue("after") == ""
	for _, rec := range recipients(a.s.file) {
		if !passed {
			passed = rec.to == r.FormValue("after")
			continue
		}
		if to != "" && rec.to != to {
			continue
		}
		if len(list) == limit {
			break
		}
		list = append(list, a.learns(rec, read, sub))
	}
	return list, nil
}

// learns is what a recipient would learn about somebody, and what of it differs
// from what it learns by what is in force.
func (a *api) learns(rec recipient, read *reading, sub authz.Subject) webapi.ReleasePreview {
	rel := read.release.Release(rec.to, sub)
	v := webapi.ReleasePreview{
		To: rec.to, Title: rec.title, Sent: append([]authz.Released{}, rel.Sent...), Withheld: append([]authz.Withheld{}, rel.Withheld...), Missing: rel.Missing(),
		Differs: authz.Compare(a.s.rules.release.Release(rec.to, sub), rel),
	}
	if rec.target != nil {
		v.Account = a.s.rules.scopes[rec.target.ID](sub)
		return v
	}
	v.Naming = rel.Naming.String()
	several := multi(a.s.cfg)
	for _, h := range gateway.Outgoing(gateway.Several(headers(rec.service.Headers), func(attr string) bool { return several[attr] }), rel) {
		v.Headers = append(v.Headers, webapi.Header(h))
	}
	return v
}

func (a *api) titles() map[string]string {
	m := map[string]string{}
	for _, rec := range recipients(a.s.file) {
		m[rec.to] = rec.title
	}
	return m
}

func (a *api) diffRelease(r *http.Request) (any, error) {
	d := webapi.ReleaseDiff{Was: cmp.Or(r.FormValue("was"), "live"), Is: cmp.Or(r.FormValue("is"), "draft"), Changes: []versions.Change{}, Titles: a.titles()}
	_, was, err := a.policyOf(r.Context(), d.Was)
	if err != nil {
		return nil, err
	}
	_, is, err := a.policyOf(r.Context(), d.Is)
	if err != nil {
		return nil, err
	}
	d.Changes = append(d.Changes, versions.Diff(whole(a.s.file, was), whole(a.s.file, is))...)
	return d, nil
}

func (a *api) releaseNeeds(r *http.Request) (any, error) {
	read, err := a.reading(r.Context(), "draft")
	if err != nil {
		return nil, err
	}
	list, err := a.s.needs(r.Context(), read)
	return append([]webapi.ReleaseNeed{}, list...), err
}

// inForce puts what was published into force, and shows it.
func (a *api) inForce(ctx context.Context, v versions.Version, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if a.p.renew != nil && a.p.site.Load().version.Number != v.Number {
		// Whoever published it may go away meanwhile. What fails is tried again by itself.
		if err := a.p.renew(context.WithoutCancel(ctx)); err != nil {
			return nil, fmt.Errorf("version %d is published, and comes into force as soon as it can: %w", v.Number, err)
		}
	}
	return a.releaseVersion(ctx, v), nil
}

func (a *api) publishRelease(r *http.Request) (any, error) {
	d, accepted := versions.Draft{Revision: r.FormValue("revision")}, r.FormValue("accept") == "true"
	v, err := a.s.versions.Publish(r.Context(), a.actor(r), d.Revision, strings.TrimSpace(r.FormValue("comment")), func(p versions.Policy) error {
		read, err := a.s.readOnce(d.Name(), p)
		if err != nil {
			return err
		}
		return a.s.mayPublish(r.Context(), read, accepted)
	})
	return a.inForce(r.Context(), v, err)
}

func (a *api) rollbackRelease(r *http.Request) (any, error) {
	n, err := versions.Number(r.FormValue("version"))
	if err != nil {
		return nil, err
	}
	v, err := a.s.versions.Rollback(r.Context(), a.actor(r), n, strings.TrimSpace(r.FormValue("comment")))
	return a.inForce(r.Context(), v, err)
}

func (a *api) rebaseRelease(r *http.Request) (any, error) {
	if _, err := a.s.versions.Rebase(r.Context(), a.actor(r), r.FormValue("revision")); err != nil {
		return nil, err
	}
	return a.draftView(r.Context())
}

func (a *api) discardRelease(r *http.Request) (any, error) {
	return map[string]bool{"discarded": true}, a.s.versions.Discard(r.Context(), a.actor(r), r.FormValue("revision"))
}

func (a *api) releaseHistory(r *http.Request) (any, error) {
	before, _ := strconv.Atoi(r.FormValue("before"))
	limit := limitOf(r)
	found, err := a.s.versions.History(r.Context(), before, limit+1)
	if err != nil {
		return nil, err
	}
	list := []webapi.ReleaseVersion{}
	for i, v := range found[:min(limit, len(found))] {
		view := a.releaseVersion(r.Context(), v)
		was := versions.Policy{}
		if i+1 < len(found) {
			if _, was, err = a.s.versions.Version(r.Context(), found[i+1].Number); err != nil {
				return nil, err
			}
		}
		_, is, err := a.s.versions.Version(r.Context(), v.Number)
		if err != nil {
			return nil, err
		}
		view.Changes = len(versions.Diff(whole(a.s.file, was), whole(a.s.file, is)))
		list = append(list, view)
	}
	return list, nil
}

// reportView is a report with names in place of IDs.
func (a *api) reportView(ctx context.Context, kind string) (webapi.ReleaseReport, error) {
	v := webapi.ReleaseReport{Titles: a.titles(), Names: map[string]string{}}
	rep, _, err := a.s.versions.Report(ctx, kind)
	if err != nil {
		return v, err
	}
	v.Report = rep
	// Pages of ours learn nothing by the policy, and what is gone from the file neither.
	maps.DeleteFunc(v.Recipients, func(to string, _ *versions.Count) bool { return v.Titles[to] == "" })
	for _, c := range rep.Recipients {
		for _, id := range c.Some {
			if v.Names[id] == "" { // most are the same everywhere
				v.Names[id] = a.s.nameOf(ctx, id)
			}
		}
	}
	d, _, ok, err := a.s.versions.Draft(ctx)
	v.Stale = !ok || d.Revision != rep.Revision
	return v, err
}

func (a *api) impact(r *http.Request) (any, error) {
	v, err := a.reportView(r.Context(), versions.Impact)
	if err != nil {
		return nil, err
	}
	err = a.p.store.View(r.Context(), func(tx store.Tx) error {
		t, ok, err := task.Look(tx, taskImpact, impactKey)
		if ok {
			v.Task = &t
		}
		return err
	})
	return v, err
}

func (a *api) startImpact(r *http.Request) (any, error) {
	if err := a.s.beginImpact(r.Context(), a.actor(r), a.p.now()); err != nil {
		return nil, err
	}
	return a.impact(r)
}

func (a *api) releaseTrial(r *http.Request) (any, error) {
	a.p.site.Load().writeTrial(r.Context())
	return a.reportView(r.Context(), versions.Shadow)
}

// startReleaseTrial tries the draft for a time: seven days where nothing is said.
func (a *api) startReleaseTrial(r *http.Request) (any, error) {
	until, err := endOf(cmp.Or(r.FormValue("until"), "7d"), a.p.now())
	if err != nil {
		return nil, err
	}
	a.p.site.Load().writeTrial(r.Context())
	if _, err := a.s.versions.Try(r.Context(), a.actor(r), until); err != nil {
		return nil, err
	}
	return a.renewed(r)
}

func (a *api) stopReleaseTrial(r *http.Request) (any, error) {
	a.p.site.Load().writeTrial(r.Context())
	_, err := a.s.versions.Stop(r.Context(), a.actor(r))
	if no, ok := versions.IsRefusal(err); ok && no.Code == versions.ReasonNone && a.p.site.Load().trial != nil {
		err = nil // it was stopped, and the site could not be made without it
	}
	if err != nil {
		return nil, err
	}
	return a.renewed(r)
}

// renewed makes the site anew, so that everybody is met who comes from now on. Where
// that fails, the same request again does it.
func (a *api) renewed(r *http.Request) (any, error) {
	if a.p.renew != nil {
		if err := a.p.renew(context.WithoutCancel(r.Context())); err != nil {
			return nil, fmt.Errorf("it is kept, and not done yet; ask for it again: %w", err)
		}
	}
	return a.reportView(r.Context(), versions.Shadow)
}

// exportRelease gives all that is kept by release editors, in the form that
// applyRelease takes.
func (a *api) exportRelease(r *http.Request) (any, error) {
	_, p, err := a.policyOf(r.Context(), cmp.Or(r.FormValue("of"), "live"))
	if err != nil {
		return nil, err
	}
	return exported(a, p), nil
}

func exported(a *api, p versions.Policy) versions.Policy {
	out := versions.Policy{Rules: maps.Clone(p.Rules), Cases: p.Cases}
	if out.Rules == nil {
		out.Rules = map[string][]versions.Rule{}
	}
	for _, rec := range recipients(a.s.file) {
		if rec.edited {
			out.Rules[rec.to] = append([]versions.Rule{}, rec.rules(p)...)
		}
	}
	return out
}

// maxPolicy bounds an exported policy, in bytes.
const maxPolicy = 8 << 20

// applyRelease makes the draft what an exported policy says.
func (a *api) applyRelease(r *http.Request) (any, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxPolicy))
	if err != nil {
		return nil, err
	}
	want, err := versions.Decode(raw)
	if err != nil {
		return nil, err
	}
	d, now, _, err := a.s.versions.Draft(r.Context())
	if err != nil {
		return nil, err
	}
	for _, rec := range recipients(a.s.file) {
		if rules, ok := want.Rules[rec.to]; ok && !rec.edited && len(versions.Diff(map[string][]versions.Rule{rec.to: now.Rules[rec.to]}, map[string][]versions.Rule{rec.to: rules})) > 0 {
			return nil, &versions.Refusal{Code: versions.ReasonFile, Text: fmt.Sprintf("what %s learns stands in the configuration file — write release_in: editor there, or take it out of what is applied", rec.to)}
		}
	}
	// Whoever names no revision means whatever there is.
	if revision := r.URL.Query().Get("revision"); revision != "" && revision != d.Revision {
		return nil, &versions.Refusal{Code: versions.ReasonStale, Text: "the draft was changed meanwhile"}
	}
	if _, err := a.s.versions.Save(r.Context(), a.actor(r), d.Revision, func(p *versions.Policy) error { *p = want; return nil }); err != nil {
		return nil, err
	}
	return a.draftView(r.Context())
}

// releaseRecord is the record of processing: who learns what about people, why,
// by which right and for how long, as it is in force.
func (a *api) releaseRecord(w http.ResponseWriter, r *http.Request) {
	type row struct {
		Recipient string   `json:"recipient"`
		Title     string   `json:"title"`
		Attribute string   `json:"attribute"`
		Name      string   `json:"name"`
		Values    []string `json:"values,omitempty"`
		Transform string   `json:"transform,omitempty"`
		When      string   `json:"when,omitempty"`
		Purpose   string   `json:"purpose,omitempty"`
		Basis     string   `json:"basis,omitempty"`
		Retention string   `json:"retention,omitempty"`
		Goes      bool     `json:"goes"` // false: kept back for want of a basis
		KeptIn    string   `json:"kept_in"`
	}
	list := []row{}
	live := whole(a.s.file, a.s.policy)
	for _, rec := range recipients(a.s.file) {
		kept := "file"
		if rec.edited {
			kept = fmt.Sprintf("version %d", a.s.version.Number)
		}
		for _, e := range live[rec.to] {
			list = append(list, row{rec.to, rec.title, e.Attribute, e.Name(), e.Values, e.Transform, e.When, e.Purpose, e.Basis, e.Retention, !rec.basis || e.Basis != "", kept})
		}
	}
	if r.FormValue("format") != "csv" {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	put := func(cells ...string) {
		for i := range cells {
			cells[i] = sheet.Harmless(cells[i])
		}
		_ = c.Write(cells) // into memory
	}
	put("recipient", "title", "attribute", "name", "values", "transform", "when", "purpose", "basis", "retention", "goes", "kept_in")
	for _, e := range list {
		put(e.Recipient, e.Title, e.Attribute, e.Name, sheet.Join(e.Values), e.Transform, e.When, e.Purpose, e.Basis, e.Retention, strconv.FormatBool(e.Goes), e.KeptIn)
	}
	c.Flush()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="record-of-processing.csv"`)
	_, _ = w.Write(b.Bytes())
}

// affectedRows is after how many recipients of theirs a page of people is full.
const affectedRows = 500

func (a *api) affected(r *http.Request) (any, error) {
	c, err := a.s.comparison(r.Context())
	if err != nil {
		return nil, err
	}
	only := r.FormValue("to")
	if only != "" {
		c = c.at(only)
	}
	out, limit, titles := webapi.AffectedPage{People: []webapi.Affected{}}, limitOf(r), a.titles()
	last, rows, skim := "", 0, a.skim()
	for u, err := range a.s.directory.Users(r.Context(), r.FormValue("after"), 0) {
		if err != nil {
			return nil, err
		}
		if len(out.People) == limit || rows >= affectedRows || !skim.on() {
			out.Next = last
			break
		}
		one := webapi.Affected{UserID: u.ID, UserName: a.s.directory.FullName(u.Store, u.UserName)}
		err := c.each(r.Context(), a.s, u.ID, func(to string, diff []authz.Difference) {
			if len(diff) > 0 {
				one.At = append(one.At, webapi.AffectedAt{To: to, Title: titles[to], Diff: diff})
			}
		})
		if err != nil {
			return nil, err
		}
		if len(one.At) > 0 {
			out.People, rows = append(out.People, one), rows+len(one.At)
		}
		last = u.ID
		out.Looked++
	}
	return out, nil
}
