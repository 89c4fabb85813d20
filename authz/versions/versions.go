// Package versions keeps what the release policy was, is, and may become.
//
//	version n ──Save──▶ draft ──Save──▶ draft ──Publish──▶ version n+1, in force
//	    ▲                 │  checked at each step  ▲
//	    │                 └─Discard                └─ by somebody else, where two are needed
//	    └──Rollback: an earlier version again, as version n+2; what was in between stays in the history
//
// A [Policy] is plain data: what each service and target gets by its own rules,
// and the test cases that whoever edits it wrote down. A recipient without an
// entry has what the configuration says. What a policy means (whether its
// expressions compile, which attributes there are, what a test case comes to) is
// asked of functions that are handed in, so this package knows authz only by its
// words.
//
// There is one draft. A change of it names the revision that it was made of;
// made of another, it is refused and nothing is lost. A draft that was begun
// before somebody else published is refused too, until it is put on top of that.
//
// The rules of one recipient are stored once, under the hash of what they say. A
// version is a list of recipients with hashes; so it is small, what did not
// change is not stored again, and it never changes afterwards.
package versions

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Rule releases one attribute to one recipient. Empty fields mean what they
// mean in an authz.ReleaseRule.
type Rule struct {
	Attribute string   `json:"attribute"`
	As        string   `json:"as,omitempty"`
	Values    []string `json:"values,omitempty"`
	Transform string   `json:"transform,omitempty"`
	When      string   `json:"when,omitempty"`
	Reference bool     `json:"reference,omitempty"` // the values are users; a target gets its own IDs of them
	Purpose   string   `json:"purpose,omitempty"`
	Basis     string   `json:"basis,omitempty"`
	Retention string   `json:"retention,omitempty"` // how long the recipient keeps it, in words
}

// Name is what the recipient calls the attribute.
func (r Rule) Name() string {
	if r.As != "" {
		return r.As
	}
	return r.Attribute
}

// A Person of a test case or a preview, made up.
type Person struct {
	UserName   string              `json:"user_name,omitempty"`
	Store      string              `json:"store,omitempty"`
	Provider   string              `json:"identity_provider,omitempty"`
	ACR        string              `json:"acr,omitempty"`
	AMR        []string            `json:"amr,omitempty"`
	SignedIn   time.Time           `json:"signed_in,omitzero"`
	Attributes map[string][]string `json:"attributes,omitempty"`
	Groups     []string            `json:"groups,omitempty"`
	Roles      []string            `json:"roles,omitempty"` // given to them by name
}

// Subject is the person as policy sees somebody, without the roles that follow
// from attributes and groups.
func (p Person) Subject() authz.Subject {
	return authz.Subject{
		ID: "made-up", Active: true, UserName: p.UserName, Store: p.Store, Provider: p.Provider, ACR: p.ACR, AMR: p.AMR, AuthTime: p.SignedIn,
		Attributes: p.Attributes, Groups: p.Groups, Granted: p.Roles,
	}
}

// A Case is a sentence about the policy that has to stay true: this person, at
// this recipient, is known by these values and never by those attributes.
type Case struct {
	Name      string              `json:"name"`
	To        string              `json:"to"` // "service:payroll"
	Person    Person              `json:"person"`
	Sends     map[string][]string `json:"sends,omitempty"`     // by the recipient's names; the values in any order
	Withholds []string            `json:"withholds,omitempty"` // attributes of ours of which nothing goes
}

// Holds says what of the case is not so, or nothing.
func (c Case) Holds(rel authz.Release) (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Sends)) {
		var got []string
		for _, s := range rel.Sent {
			if s.Name == name {
				got = s.Values
			}
		}
		if want := c.Sends[name]; !slices.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))) {
			wrong = append(wrong, fmt.Sprintf("%s should be %s, and is %s", name, strings.Join(want, ", "), orNothing(got)))
		}
	}
	for _, a := range c.Withholds {
		for _, s := range rel.Sent {
			if s.Attribute == a {
				wrong = append(wrong, a+" should be withheld, and goes out as "+s.Name)
			}
		}
	}
	return wrong
}

func orNothing(values []string) string {
	if len(values) == 0 {
		return "not sent"
	}
	return strings.Join(values, ", ")
}

// A Policy says what recipients get by rules of their own, by recipient
// ("service:payroll", "target:crm"), and which cases must hold. An entry without
// rules releases nothing; no entry: what the configuration says.
type Policy struct {
	Rules map[string][]Rule `json:"release"`
	Cases []Case            `json:"cases,omitempty"`
}

// A Draft is what may be published.
type Draft struct {
	Revision string    `json:"revision"` // of the draft; another after each change
	Base     int       `json:"base"`     // version that it was made of
	By       string    `json:"by"`       // who changed it last
	Authors  []string  `json:"authors"`  // everybody who changed it
	Begun    time.Time `json:"begun"`
	At       time.Time `json:"at"` // of the last change
	Tree     tree      `json:"tree"`
}

// A Version was published, and stays as it is. The zero Version is what the
// configuration says alone, before anything was published.
type Version struct {
	Number  int       `json:"number"` // from 1
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Comment string    `json:"comment,omitempty"`
	Authors []string  `json:"authors,omitempty"` // of the draft
	// Again is the earlier version that this one says again; -1: none. 0 is the
	// zero Version.
	Again int  `json:"again"`
	Tree  tree `json:"tree"`
}

// Name is one under which there is never another policy.
func (v Version) Name() string { return fmt.Sprint("version ", v.Number) }

// Name is that of the draft as it is; where there is none, of the version that it
// would be made of.
func (d Draft) Name() string {
	if d.Revision == "" {
		return Version{Number: d.Base}.Name()
	}
	return "draft " + d.Revision
}

// A tree is the hash of each recipient's rules, by recipient; the hash of the
// cases is under casesKey.
type tree map[string]string

// casesKey is no recipient: those have a colon.
const casesKey = "cases"

// A part is what a hash stands for: the rules of a recipient, or all cases.
type part struct {
	Hash  string `json:"hash"`
	Rules []Rule `json:"rules,omitempty"`
	Cases []Case `json:"cases,omitempty"`
}

var (
	parts    = &store.Table[part]{Name: "release_part", Key: func(p part) string { return p.Hash }}
	drafts   = &store.Table[Draft]{Name: "release_draft", Key: func(Draft) string { return "draft" }}
	versions = &store.Table[Version]{Name: "release_version", Key: func(v Version) string { return key(v.Number) }}
)

// key counts down, so that the newest version comes first.
func key(n int) string { return fmt.Sprintf("%010d", math.MaxInt32-n) }

// Reason codes.
const (
	ReasonStale   = "release.changed_meanwhile"
	ReasonInvalid = "release.invalid"
	ReasonCases   = "release.case_fails"
	ReasonSecond  = "release.second_person"
	ReasonNeeds   = "release.required_lost"
	ReasonFile    = "release.in_file"
	ReasonNone    = "release.none"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonStale:   "Somebody else changed the draft, or published, since this was shown.",
	ReasonInvalid: "The release policy would have a mistake in it.",
	ReasonCases:   "A test case that is kept with the release policy does not hold.",
	ReasonSecond:  "A release policy is published by somebody who did not change the draft.",
	ReasonNeeds:   "People who use a service would lose an attribute that it requires.",
	ReasonFile:    "What this recipient learns stands in the configuration file.",
	ReasonNone:    "There is no such draft, version, rule or test case.",
}

// A Refusal is an answer of no: its reason code and a sentence for whoever asked.
type Refusal struct{ Code, Text string }

func (r *Refusal) Error() string { return r.Text }

// Reason is the code.
func (r *Refusal) Reason() string { return r.Code }

func stale(text string) error { return &Refusal{ReasonStale, text} }

// An Event is something that happened to the policy.
type Event struct {
	Kind    string // "release.saved", "release.discarded", "release.published"
	By      string
	Version int      // published; 0: none
	Comment string   // of what was published
	Names   []string // recipients whose rules it changed, "cases"
}

// Config of Versions.
type Config struct {
	Store store.Store
	// Check says what is wrong with a policy; nil: nothing. It may be called again.
	Check func(Policy) error
	// SecondPerson: who changed a draft does not publish it.
	SecondPerson bool
	// Record is called in the transaction that does it. nil: nothing is recorded.
	Record func(store.Tx, Event) error
	Now    func() time.Time // nil: time.Now
}

// Versions of the release policy.
type Versions struct{ c Config }

// New makes Versions of what the store holds.
func New(c Config) *Versions {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Check == nil {
		c.Check = func(Policy) error { return nil }
	}
	if c.Record == nil {
		c.Record = func(store.Tx, Event) error { return nil }
	}
	return &Versions{c}
}

// InForce is the version that counts, and what it says.
func InForce(ctx context.Context, st store.Store) (v Version, p Policy, err error) {
	err = st.View(ctx, func(tx store.Tx) error {
		if v, err = newest(tx); err != nil {
			return err
		}
		p, err = grow(tx, v.Tree)
		return err
	})
	return v, p, err
}

// Watch yields whenever something may have been published, by anybody, until ctx
// ends. The first comes at once.
func Watch(ctx context.Context, st store.Store) iter.Seq[[]byte] {
	return st.Watch(ctx, versions.Prefix())
}

// newest is the version in force.
func newest(tx store.Tx) (v Version, err error) {
	v.Again = -1
	for v, err = range versions.All(tx, "", 1) {
		break
	}
	return v, err
}

// grow reads what a tree stands for.
func grow(tx store.Tx, t tree) (p Policy, err error) {
	p.Rules = map[string][]Rule{}
	for to, hash := range t {
		found, ok, err := parts.Get(tx, hash)
		if err == nil && !ok {
			err = fmt.Errorf("%w: the rules %s of %s are not there", store.ErrDamaged, hash, to)
		}
		if err != nil {
			return p, err
		}
		if to == casesKey {
			p.Cases = found.Cases
		} else {
			p.Rules[to] = found.Rules
		}
	}
	return p, nil
}

// plant stores what a policy says, as far as it is not there yet. What a
// transaction has no room for is stored before it: parts that no tree names harm
// nobody, and go with the next draft.
func plant(tx store.Tx, p Policy) (tree, error) {
	t := tree{}
	put := func(name string, v part) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(raw)
		v.Hash = hex.EncodeToString(sum[:])
		t[name] = v.Hash
		if _, there, err := parts.Get(tx, v.Hash); there || err != nil {
			return err
		}
		return parts.Put(tx, v)
	}
	for _, to := range slices.Sorted(maps.Keys(p.Rules)) {
		if err := put(to, part{Rules: p.Rules[to]}); err != nil {
			return nil, err
		}
	}
	if len(p.Cases) > 0 {
		if err := put(casesKey, part{Cases: p.Cases}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// plantAhead stores the parts of a policy in as many transactions as that takes.
func (v *Versions) plantAhead(ctx context.Context, p Policy) error {
	names := slices.Sorted(maps.Keys(p.Rules))
	const bucket = 10
	for some := range slices.Chunk(names, bucket) {
		few := Policy{Rules: map[string][]Rule{}}
		for _, to := range some {
			few.Rules[to] = p.Rules[to]
		}
		if err := v.c.Store.Update(ctx, func(tx store.Tx) error { _, err := plant(tx, few); return err }); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes parts that no tree names: what drafts said on their way. Versions
// keep theirs for ever. What fails is removed after the next draft.
func (v *Versions) sweep(ctx context.Context) {
	var orphans []string
	if v.c.Store.View(ctx, func(tx store.Tx) error {
		orphans = nil
		named := map[string]bool{}
		for n, err := range versions.All(tx, "", 0) {
			if err != nil {
				return err
			}
			for _, hash := range n.Tree {
				named[hash] = true
			}
		}
		if err := growing(tx, named); err != nil {
			return err
		}
		for p, err := range parts.All(tx, "", 0) {
			if err != nil {
				return err
			}
			if !named[p.Hash] {
				orphans = append(orphans, p.Hash)
			}
		}
		return nil
	}) != nil {
		return
	}
	const bucket = 20
	for some := range slices.Chunk(orphans, bucket) {
		_ = v.c.Store.Update(ctx, func(tx store.Tx) error {
			// A version names nothing that no draft or earlier version named, so only
			// the draft can have come to name one meanwhile.
			named := map[string]bool{}
			if err := growing(tx, named); err != nil {
				return err
			}
			now, err := newest(tx)
			if err != nil {
				return err
			}
			for _, hash := range now.Tree {
				named[hash] = true
			}
			for _, hash := range some {
				if named[hash] {
					continue
				}
				if err := parts.Delete(tx, hash); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// growing adds what trees name that are no versions: the draft's, and that of what
// is tried.
func growing(tx store.Tx, named map[string]bool) error {
	d, _, err := drafts.Get(tx, "draft")
	if err != nil {
		return err
	}
	tried, _, err := reports.Get(tx, Shadow)
	if err != nil {
		return err
	}
	for _, t := range []tree{d.Tree, tried.Tree} {
		for _, hash := range t {
			named[hash] = true
		}
	}
	return nil
}

// Draft is the draft with what it says. Where there is none, ok is false and the
// policy is that in force.
func (v *Versions) Draft(ctx context.Context) (d Draft, p Policy, ok bool, err error) {
	err = v.c.Store.View(ctx, func(tx store.Tx) error {
		d, p, ok, err = v.draft(tx)
		return err
	})
	return d, p, ok, err
}

func (v *Versions) draft(tx store.Tx) (d Draft, p Policy, ok bool, err error) {
	if d, ok, err = drafts.Get(tx, "draft"); err != nil {
		return d, p, false, err
	}
	if !ok {
		now, err := newest(tx)
		if err != nil {
			return d, p, false, err
		}
		d = Draft{Base: now.Number, Tree: now.Tree}
	}
	p, err = grow(tx, d.Tree)
	return d, p, ok, err
}

// Save changes the draft, or begins one. revision is that of the draft which the
// change was made of, empty for none. change works on a copy, and may be called
// again.
func (v *Versions) Save(ctx context.Context, by, revision string, change func(*Policy) error) (Draft, error) {
	// Many parts at once are more than a transaction takes.
	_, p, _, err := v.Draft(ctx)
	if err != nil {
		return Draft{}, err
	}
	if err := change(&p); err != nil {
		return Draft{}, err
	}
	if err := v.plantAhead(ctx, p); err != nil {
		return Draft{}, fmt.Errorf("save the draft of the release policy: %w", err)
	}
	var d Draft
	err = v.c.Store.Update(ctx, func(tx store.Tx) (err error) {
		var p Policy
		if d, p, _, err = v.draft(tx); err != nil {
			return err
		}
		if d.Revision != revision {
			return stale("the draft was changed meanwhile — look at it again, and repeat what is still wanted")
		}
		was := d.Tree
		if err := change(&p); err != nil {
			return err
		}
		if err := v.c.Check(p); err != nil {
			return err
		}
		if d.Tree, err = plant(tx, p); err != nil {
			return err
		}
		return v.put(tx, &d, by, was)
	})
	return d, err
}

// put stores a draft that somebody changed.
func (v *Versions) put(tx store.Tx, d *Draft, by string, was tree) error {
	d.Revision, d.By, d.At = rand.Text(), by, v.c.Now().UTC()
	if d.Begun.IsZero() {
		d.Begun = d.At
	}
	if !slices.Contains(d.Authors, by) {
		d.Authors = append(d.Authors, by)
	}
	if err := drafts.Put(tx, *d); err != nil {
		return err
	}
	return v.c.Record(tx, Event{Kind: "release.saved", By: by, Names: differ(was, d.Tree)})
}

// Discard throws the draft away.
func (v *Versions) Discard(ctx context.Context, by, revision string) error {
	defer v.sweep(ctx)
	return v.c.Store.Update(ctx, func(tx store.Tx) error {
		if _, err := v.mine(tx, revision); err != nil {
			return err
		}
		if err := drafts.Delete(tx, "draft"); err != nil {
			return err
		}
		return v.c.Record(tx, Event{Kind: "release.discarded", By: by})
	})
}

// mine is the draft, if it is that of the revision.
func (v *Versions) mine(tx store.Tx, revision string) (Draft, error) {
	d, ok, err := drafts.Get(tx, "draft")
	switch {
	case err != nil:
		return d, err
	case !ok:
		return d, &Refusal{ReasonNone, "there is no draft"}
	case d.Revision != revision:
		return d, stale("the draft was changed meanwhile — look at it again")
	}
	return d, nil
}

// Rebase puts the draft on top of the version in force: recipients that the
// draft did not touch have what that version says, the others what the draft
// says.
func (v *Versions) Rebase(ctx context.Context, by, revision string) (d Draft, err error) {
	err = v.c.Store.Update(ctx, func(tx store.Tx) error {
		if d, err = v.mine(tx, revision); err != nil {
			return err
		}
		now, err := newest(tx)
		if err != nil {
			return err
		}
		base, err := version(tx, d.Base)
		if err != nil {
			return err
		}
		merged := maps.Clone(now.Tree)
		if merged == nil {
			merged = tree{}
		}
		for _, to := range differ(base.Tree, d.Tree) {
			if hash, ok := d.Tree[to]; ok {
				merged[to] = hash
			} else {
				delete(merged, to)
			}
		}
		p, err := grow(tx, merged)
		if err != nil {
			return err
		}
		if err := v.c.Check(p); err != nil {
			return err
		}
		was := d.Tree
		d.Base, d.Tree = now.Number, merged
		return v.put(tx, &d, by, was)
	})
	return d, err
}

// maxComment bounds what is said about a version, in characters.
const maxComment = 2000

// Publish makes the draft the version in force. must, if not nil, is asked about
// it last, outside of any transaction: what people would lose, for one.
func (v *Versions) Publish(ctx context.Context, by, revision, comment string, must func(Policy) error) (n Version, err error) {
	defer v.sweep(ctx)
	d, p, ok, err := v.Draft(ctx)
	if err != nil {
		return n, err
	}
	if ok && d.Revision == revision && must != nil {
		if err := must(p); err != nil {
			return n, err
		}
	}
	err = v.c.Store.Update(ctx, func(tx store.Tx) error {
		d, err := v.mine(tx, revision)
		if err != nil {
			return err
		}
		now, err := newest(tx)
		if err != nil {
			return err
		}
		switch {
		case d.Base != now.Number:
			return stale(fmt.Sprintf("version %d was published after this draft was begun — put the draft on top of it, and look at what differs", now.Number))
		case v.c.SecondPerson && slices.Contains(d.Authors, by):
			return &Refusal{ReasonSecond, "whoever changed the draft can not publish it — somebody else looks at it and does"}
		}
		p, err := grow(tx, d.Tree)
		if err != nil {
			return err
		}
		if err := v.c.Check(p); err != nil {
			return err
		}
		n = Version{Number: now.Number + 1, By: by, Comment: comment, Authors: d.Authors, Again: -1, Tree: d.Tree}
		if err := drafts.Delete(tx, "draft"); err != nil {
			return err
		}
		return v.publish(tx, &n, now.Tree)
	})
	return n, err
}

// Rollback makes an earlier version count again, as a version of its own; 0 is
// what the configuration says alone. It takes one person: somebody published it
// before.
func (v *Versions) Rollback(ctx context.Context, by string, number int, comment string) (n Version, err error) {
	err = v.c.Store.Update(ctx, func(tx store.Tx) error {
		now, err := newest(tx)
		if err != nil {
			return err
		}
		if number == now.Number {
			return &Refusal{ReasonNone, fmt.Sprintf("version %d is in force", number)}
		}
		old, err := version(tx, number)
		if err != nil {
			return err
		}
		n = Version{Number: now.Number + 1, By: by, Comment: comment, Again: number, Tree: old.Tree}
		return v.publish(tx, &n, now.Tree)
	})
	return n, err
}

func (v *Versions) publish(tx store.Tx, n *Version, was tree) error {
	if utf8.RuneCountInString(n.Comment) > maxComment {
		return &Refusal{ReasonInvalid, fmt.Sprintf("the comment is longer than %d characters", maxComment)}
	}
	n.At = v.c.Now().UTC()
	if err := versions.Put(tx, *n); err != nil {
		return err
	}
	return v.c.Record(tx, Event{Kind: "release.published", By: n.By, Version: n.Number, Comment: n.Comment, Names: differ(was, n.Tree)})
}

func version(tx store.Tx, number int) (Version, error) {
	if number == 0 {
		return Version{Again: -1}, nil
	}
	v, ok, err := versions.Get(tx, key(number))
	if err == nil && !ok {
		err = &Refusal{ReasonNone, "there is no version " + strconv.Itoa(number)}
	}
	return v, err
}

// Version is one version with what it says.
func (v *Versions) Version(ctx context.Context, number int) (n Version, p Policy, err error) {
	err = v.c.Store.View(ctx, func(tx store.Tx) error {
		if n, err = version(tx, number); err != nil {
			return err
		}
		p, err = grow(tx, n.Tree)
		return err
	})
	return n, p, err
}

// History lists versions, the newest first: those before a number (0: all), at
// most limit.
func (v *Versions) History(ctx context.Context, before, limit int) (list []Version, err error) {
	after := ""
	if before > 0 {
		after = key(before)
	}
	err = v.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for n, err := range versions.All(tx, after, limit) {
			if err != nil {
				return err
			}
			list = append(list, n)
		}
		return nil
	})
	return list, err
}

// Number reads the number of a version as people write it.
func Number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, &Refusal{ReasonNone, fmt.Sprintf("%q is no version — versions are numbers", s)}
	}
	return n, nil
}

// differ names what two trees say differently, sorted.
func differ(a, b tree) (names []string) {
	for to, hash := range a {
		if b[to] != hash {
			names = append(names, to)
		}
	}
	for to := range b {
		if _, ok := a[to]; !ok {
			names = append(names, to)
		}
	}
	slices.Sort(names)
	return names
}

// A Change is what differs about one name of one recipient.
type Change struct {
	To   string `json:"to"`
	Name string `json:"name"` // the recipient's name of the attribute
	Was  *Rule  `json:"was,omitempty"`
	Is   *Rule  `json:"is,omitempty"`
}

// Diff lists what differs between two sets of rules, by recipient and name.
func Diff(was, is map[string][]Rule) (list []Change) {
	all := maps.Clone(was)
	if all == nil {
		all = map[string][]Rule{}
	}
	maps.Copy(all, is)
	for _, to := range slices.Sorted(maps.Keys(all)) {
		find := func(rules []Rule, name string) *Rule {
			if i := slices.IndexFunc(rules, func(r Rule) bool { return strings.EqualFold(r.Name(), name) }); i >= 0 {
				return &rules[i]
			}
			return nil
		}
		for _, r := range was[to] {
			if now := find(is[to], r.Name()); now == nil || !same(r, *now) {
				list = append(list, Change{to, r.Name(), &r, now})
			}
		}
		for _, r := range is[to] {
			if find(was[to], r.Name()) == nil {
				list = append(list, Change{to, r.Name(), nil, &r})
			}
		}
	}
	return list
}

func same(a, b Rule) bool {
	values := slices.Equal(a.Values, b.Values)
	a.Values, b.Values = nil, nil
	return values && fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

// Decode reads a policy that was exported, strictly: what is not known is a
// mistake.
func Decode(raw []byte) (p Policy, err error) {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, &Refusal{ReasonInvalid, fmt.Sprintf("this is no exported release policy: %v", err)}
	}
	if dec.More() {
		return p, &Refusal{ReasonInvalid, "this is no exported release policy: something follows it"}
	}
	if p.Rules == nil {
		p.Rules = map[string][]Rule{}
	}
	return p, nil
}

// IsRefusal gives the refusal that an error is.
func IsRefusal(err error) (*Refusal, bool) {
	var r *Refusal
	return r, errors.As(err, &r)
}
