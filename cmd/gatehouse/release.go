package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// What release editors publish takes the place of the lists in the file, for the
// services and targets that the file leaves to them. Then everything is made of
// that configuration as of any other: there is one way from a list of releases to
// headers, tokens and accounts.

// A recipient is a service or a target, as the release policy sees it.
type recipient struct {
	to, title string
	list      []configs.Release // of the file
	edited    bool              // release editors keep it
	requires  []string          // attributes
	target    *configs.Target   // nil: a service
	service   *configs.Service
	basis     bool // it gets nothing without one
}

func recipients(cfg *configs.Config) (all []recipient) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		all = append(all, recipient{to: "service:" + s.ID, title: cmp.Or(s.Title, s.ID), list: s.Release, edited: s.Edited(), requires: s.Requires, service: s,
			basis: s.RequireBasis || cfg.Release.RequireBasis})
	}
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		all = append(all, recipient{to: "target:" + t.ID, title: cmp.Or(t.Title, t.ID), list: t.Release, edited: t.Edited(), target: t,
			basis: t.RequireBasis || cfg.Release.RequireBasis})
	}
	return all
}

// rules are what the recipient has by a policy of release editors.
func (r recipient) rules(p versions.Policy) []versions.Rule {
	if rules, ok := p.Rules[r.to]; ok && r.edited {
		return rules
	}
	out := make([]versions.Rule, 0, len(r.list))
	for _, e := range r.list {
		out = append(out, versions.Rule{
			Attribute: e.Attribute, As: e.As, Values: e.Values, Transform: e.Transform, When: e.When, Reference: e.Reference,
			Purpose: e.Purpose, Basis: e.Basis, Retention: e.Retention,
		})
	}
	return out
}

func toReleases(rules []versions.Rule) []configs.Release {
	out := make([]configs.Release, 0, len(rules)) // not nil: it says that nothing goes
	for _, e := range rules {
		out = append(out, configs.Release{
			Attribute: e.Attribute, As: e.As, Values: e.Values, Transform: e.Transform, When: e.When, Reference: e.Reference,
			Purpose: e.Purpose, Basis: e.Basis, Retention: e.Retention,
		})
	}
	return out
}

// whole is what every recipient has by a policy of release editors.
func whole(cfg *configs.Config, p versions.Policy) map[string][]versions.Rule {
	m := map[string][]versions.Rule{}
	for _, r := range recipients(cfg) {
		m[r.to] = r.rules(p)
	}
	return m
}

// published is the configuration with what release editors say in it. Rules that
// the file has no place for any more (an attribute that is gone from it) are left
// out, so that nothing goes, and named.
func published(file *configs.Config, p versions.Policy, programs *authz.Programs) (cfg *configs.Config, lost []string) {
	eff := *file
	eff.Services, eff.Targets = slices.Clone(file.Services), slices.Clone(file.Targets)
	c := newReleaseChecker(file, programs)
	for _, r := range recipients(file) {
		if !r.edited {
			continue
		}
		var rules []versions.Rule
		for _, rule := range r.rules(p) {
			if wrong := c.rule(r, rule); wrong != "" {
				lost = append(lost, r.to+": "+wrong)
				continue
			}
			rules = append(rules, rule)
		}
		list := toReleases(rules)
		for i := range eff.Services {
			if s := &eff.Services[i]; r.service != nil && s.ID == r.service.ID {
				s.Release, s.ReleaseIn = list, "editor"
			}
		}
		for i := range eff.Targets {
			if t := &eff.Targets[i]; r.target != nil && t.ID == r.target.ID {
				t.Release, t.ReleaseIn = list, "editor"
			}
		}
	}
	return &eff, lost
}

// releaseRules are those of every recipient, as authz compiles them.
func releaseRules(cfg *configs.Config) map[string][]authz.ReleaseRule {
	all := map[string][]authz.ReleaseRule{}
	i := map[bool]int{} // of services, of targets
	for _, r := range recipients(cfg) {
		section, pairwise := "targets", false
		if r.service != nil {
			section, pairwise = "services", r.service.Pairwise
		}
		n := i[r.target != nil]
		i[r.target != nil]++
		list := []authz.ReleaseRule{}
		for j, e := range r.list {
			list = append(list, authz.ReleaseRule{
				Attribute: e.Attribute, As: e.As, Pos: cfg.Pos(section, n, "release", j), Purpose: e.Purpose, Basis: e.Basis, NeedsBasis: r.basis,
				Values: e.Values, Transform: e.Transform, When: e.When, Required: slices.Contains(r.requires, e.Attribute),
			})
		}
		// A name that nobody else knows takes the place of ours, so it always goes.
		if pairwise && !slices.ContainsFunc(list, func(r authz.ReleaseRule) bool { return r.Attribute == "pairwise_id" }) {
			list = append(list, authz.ReleaseRule{Attribute: "pairwise_id", Pos: cfg.Pos(section, n, "pairwise")})
		}
		all[r.to] = list
	}
	return all
}

// A releaseChecker finds mistakes in rules that do not come from the file.
type releaseChecker struct {
	known []string
	names authz.Known
}

func newReleaseChecker(cfg *configs.Config, programs *authz.Programs) releaseChecker {
	c := releaseChecker{known: authz.Builtin(), names: authz.Known{UserStores: storeIDs(cfg), Attributes: cfg.Readable(), Programs: programs}}
	for _, a := range cfg.AttributeTypes() {
		c.known = append(c.known, a.ID)
	}
	return c
}

// bases in law that a rule can name.
var bases = []string{"consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"}

// maxWords bounds texts and expressions of a rule, in bytes.
const maxWords = 4000

// rule says what is wrong with one rule, or nothing.
func (c releaseChecker) rule(r recipient, e versions.Rule) string {
	switch {
	case !slices.Contains(c.known, e.Attribute):
		return fmt.Sprintf("there is no attribute %q", e.Attribute)
	case strings.ContainsAny(e.As, " \t\r\n"):
		return fmt.Sprintf("%q can not be a name: write it without spaces", e.As)
	case e.Basis != "" && !slices.Contains(bases, e.Basis):
		return fmt.Sprintf("%q is no basis: there are %s", e.Basis, strings.Join(bases, ", "))
	case max(len(e.As), len(e.Transform), len(e.When), len(e.Purpose), len(e.Retention), len(strings.Join(e.Values, ","))) > maxWords:
		return fmt.Sprintf("%s: a text is longer than %d bytes", e.Attribute, maxWords)
	case e.Reference && r.target == nil:
		return e.Attribute + ": references are for targets"
	}
	_, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{r.to: {{
		Attribute: e.Attribute, As: e.As, Values: e.Values, Transform: e.Transform, When: e.When, Pos: r.to,
	}}}, c.names)
	if len(mistakes) > 0 {
		text := strings.TrimPrefix(mistakes[0].Text, fmt.Sprintf("release of %q to %s: ", e.Attribute, r.to)) // which is said anyway
		return cured(e.Attribute+": "+text, mistakes[0].Cure)
	}
	if r.target == nil {
		return ""
	}
	n := namesOf(*r.target)
	path := n.place(e.Attribute, e.As)
	if path == "" {
		return cured(fmt.Sprintf("nothing says where %s goes at the target %s", e.Attribute, r.target.ID), n.say)
	}
	if err := n.check(path); err != nil {
		return cured(fmt.Sprintf("%q is no %s: %v", path, n.called, err), n.mend)
	}
	back := slices.ContainsFunc(r.target.Reconcile.Drift, func(d configs.Drift) bool { return d.Attribute == e.Attribute && d.Policy == "theirs" })
	if back && (e.Transform != "" || len(e.Values) > 0) {
		return e.Attribute + " comes back from the target, so it can not go there changed"
	}
	return ""
}

func cured(text, cure string) string {
	if cure == "" {
		return text
	}
	return text + " — " + cure
}

// maxCases and maxRules bound what one policy, and one recipient, may hold.
const (
	maxCases = 500
	maxRules = 200
)

// check says everything that is wrong with a policy of release editors.
func (c releaseChecker) check(cfg *configs.Config, p versions.Policy) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	all := recipients(cfg)
	for _, r := range all {
		rules, ok := p.Rules[r.to]
		if !ok || !r.edited {
			continue
		}
		if len(rules) > maxRules {
			say("%s: more than %d rules", r.to, maxRules)
			continue
		}
		seen := map[string]bool{}
		var there []string
		for _, e := range rules {
			if text := c.rule(r, e); text != "" {
				say("%s: %s", r.to, text)
			}
			if name := strings.ToLower(e.Name()); seen[name] {
				say("%s: two attributes are called %q — give each its own name", r.to, e.Name())
			} else {
				seen[name] = true
			}
			if r.target != nil {
				there = append(there, namesOf(*r.target).place(e.Attribute, e.As))
			}
		}
		if r.target != nil && r.target.SCIM2 != nil {
			if lacks := scim2.Profiles[r.target.SCIM2.Profile].Lacks(there); len(lacks) > 0 {
				say("%s: %s makes no account without %s", r.to, r.target.SCIM2.Profile, strings.Join(lacks, ", "))
			}
		}
	}
	for to := range p.Rules {
		if !strings.HasPrefix(to, "service:") && !strings.HasPrefix(to, "target:") {
			say("%q is no recipient: write service:ID or target:ID", to)
		}
	}
	if len(p.Cases) > maxCases {
		say("there are more than %d test cases", maxCases)
	}
	named := map[string]bool{}
	for _, t := range p.Cases {
		switch {
		case t.Name == "" || len(t.Name) > 200:
			say("a test case has no name, or a very long one")
		case named[t.Name]:
			say("two test cases are called %q", t.Name)
		case !slices.ContainsFunc(all, func(r recipient) bool { return r.to == t.To }):
			say("the test case %q is about %q, which is no recipient", t.Name, t.To)
		case len(t.Sends)+len(t.Withholds) == 0:
			say("the test case %q wants nothing", t.Name)
		}
		named[t.Name] = true
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return &versions.Refusal{Code: versions.ReasonInvalid, Text: strings.Join(wrong, "\n")}
	}
	return nil
}

// A reading is what a policy of release editors means at a site.
type reading struct {
	cfg     *configs.Config
	rules   map[string][]versions.Rule
	policy  versions.Policy
	release *authz.ReleasePolicy
	lost    []string
}

// read finds out what a policy means.
func (s *site) read(p versions.Policy) (*reading, error) {
	cfg, lost := published(s.file, p, s.programs)
	release, mistakes := authz.CompileRelease(releaseRules(cfg), authz.Known{UserStores: storeIDs(cfg), Programs: s.programs})
	if len(mistakes) > 0 {
		return nil, &versions.Refusal{Code: versions.ReasonInvalid, Text: mistakes[0].String()}
	}
	return &reading{cfg, whole(s.file, p), p, release.With(s.pairwise), lost}, nil
}

// readings remembers what a few policies mean, by names under which there is never
// another one. They are of one site.
type readings struct {
	mu sync.Mutex
	of map[string]*reading
}

// maxReadings are remembered: what is in force, the draft, and what somebody looks
// at besides.
const maxReadings = 4

// readOnce is read, for a policy that is asked about again and again.
func (s *site) readOnce(name string, p versions.Policy) (*reading, error) {
	s.readings.mu.Lock()
	defer s.readings.mu.Unlock()
	if r := s.readings.of[name]; r != nil {
		return r, nil
	}
	r, err := s.read(p)
	if err != nil {
		return nil, err
	}
	if len(s.readings.of) >= maxReadings || s.readings.of == nil {
		s.readings.of = map[string]*reading{}
	}
	s.readings.of[name] = r
	return r, nil
}

// try runs the test cases of a reading.
func (r *reading) try(s *site) (list []webapi.ReleaseCase, failed int) {
	list = []webapi.ReleaseCase{}
	for _, c := range r.policy.Cases {
		v := webapi.ReleaseCase{Case: c, Wrong: c.Holds(r.release.Release(c.To, s.rules.policy.Roles(c.Person.Subject())))}
		if len(v.Wrong) > 0 {
			failed++
		}
		list = append(list, v)
	}
	return list, failed
}

// mayPublish refuses a policy of which a test case does not hold, or by which
// people lose what a service requires.
func (s *site) mayPublish(ctx context.Context, r *reading, accepted bool) error {
	verdicts, failed := r.try(s)
	for _, v := range verdicts {
		if len(v.Wrong) > 0 {
			return &versions.Refusal{Code: versions.ReasonCases, Text: fmt.Sprintf("the test case %q does not hold: %s (%d in all do not)", v.Name, strings.Join(v.Wrong, "; "), failed)}
		}
	}
	if accepted {
		return nil
	}
	needs, err := s.needs(ctx, r)
	if err != nil || len(needs) == 0 {
		return err
	}
	var lines []string
	for _, n := range needs {
		lines = append(lines, needText(n))
	}
	return &versions.Refusal{Code: versions.ReasonNeeds, Text: strings.Join(lines, "\n")}
}

func needText(n webapi.ReleaseNeed) string {
	text := fmt.Sprintf("%d of %d people who used %s in the last %d days would lose %s", n.People, n.Of, n.Title, n.Days, n.Attribute)
	if n.Even {
		text += ", and nobody would have it any more"
	}
	return text
}

// maxUsers is how many of those who use a service are looked at.
const maxUsers = 10_000

// needs looks at the people who used services lately that require attributes: who
// among them has one, and would not any more.
func (s *site) needs(ctx context.Context, r *reading) (list []webapi.ReleaseNeed, err error) {
	now := whole(s.file, s.policy)
	for _, rec := range recipients(s.file) {
		if len(rec.requires) == 0 || len(versions.Diff(map[string][]versions.Rule{rec.to: now[rec.to]}, map[string][]versions.Rule{rec.to: r.rules[rec.to]})) == 0 {
			continue
		}
		lost, people := map[string]int{}, map[string]bool{}
		err := s.usersOf(ctx, rec.service.Host, func(sub authz.Subject) {
			people[sub.ID] = true
			was, is := s.rules.release.Release(rec.to, sub), r.release.Release(rec.to, sub)
			for _, a := range rec.requires {
				if has(was, a) && !has(is, a) {
					lost[a]++
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for _, a := range rec.requires {
			is := func(rules []versions.Rule) bool {
				return slices.ContainsFunc(rules, func(e versions.Rule) bool { return e.Attribute == a })
			}
			even := is(now[rec.to]) && !is(r.rules[rec.to])
			if lost[a] > 0 || even {
				list = append(list, webapi.ReleaseNeed{To: rec.to, Title: rec.title, Attribute: a, People: lost[a], Of: len(people), Days: int(session.VisitsKept.Hours() / 24), Even: even})
			}
		}
	}
	return list, nil
}

func has(rel authz.Release, attribute string) bool {
	return slices.ContainsFunc(rel.Sent, func(r authz.Released) bool { return r.Attribute == attribute })
}
