package versions_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world keeps versions in a store in which every transaction is tried twice.
type world struct {
	*testing.T
	*versions.Versions
	store  store.Store
	events []versions.Event
}

func newWorld(t *testing.T, change ...func(*versions.Config)) *world {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{T: t, store: storetest.Twice(st)}
	c := versions.Config{Store: w.store, Now: func() time.Time { return noon }, Record: func(_ store.Tx, e versions.Event) error {
		w.events = append(w.events, e)
		return nil
	}}
	for _, fn := range change {
		fn(&c)
	}
	w.Versions = versions.New(c)
	return w
}

// gives is a change by which a recipient gets these attributes.
func gives(to string, attributes ...string) func(*versions.Policy) error {
	return func(p *versions.Policy) error {
		rules := []versions.Rule{}
		for _, a := range attributes {
			rules = append(rules, versions.Rule{Attribute: a})
		}
		p.Rules[to] = rules
		return nil
	}
}

func (w *world) save(by, revision string, change func(*versions.Policy) error) versions.Draft {
	w.Helper()
	d, err := w.Save(w.Context(), by, revision, change)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func (w *world) publish(by string, d versions.Draft) versions.Version {
	w.Helper()
	v, err := w.Publish(w.Context(), by, d.Revision, "", nil)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// inForce is what counts, as "service:a=mail,groups".
func (w *world) inForce() string {
	w.Helper()
	_, p, err := versions.InForce(w.Context(), w.store)
	if err != nil {
		w.Fatal(err)
	}
	var parts []string
	for to, rules := range p.Rules {
		var names []string
		for _, r := range rules {
			names = append(names, r.Name())
		}
		parts = append(parts, to+"="+strings.Join(names, ","))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// refused checks that an error is a refusal with this code.
func (w *world) refused(err error, code string) {
	w.Helper()
	if r, ok := versions.IsRefusal(err); !ok || r.Code != code || r.Text == "" {
		w.Errorf("got %v, want a refusal %s", err, code)
	}
}

func TestADraftCountsWhenItIsPublishedAndAnEarlierVersionAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.save("ada", "", gives("service:a", "mail"))
	if got := w.inForce(); got != "" {
		t.Errorf("a draft counts: %s", got)
	}
	d = w.save("ada", d.Revision, gives("service:b", "groups"))
	if v := w.publish("ada", d); v.Number != 1 || v.Again != -1 {
		t.Errorf("published %+v", v)
	}
	w.publish("ben", w.save("ben", "", gives("service:a", "groups")))
	if got := w.inForce(); got != "service:a=groups service:b=groups" {
		t.Errorf("in force: %s", got)
	}
	for n, want := range map[int]string{1: "service:a=mail service:b=groups", 0: ""} {
		v, err := w.Rollback(t.Context(), "ada", n, "back")
		if got := w.inForce(); err != nil || got != want || v.Again != n {
			t.Errorf("rolled back to %d: %s, %+v, %v", n, got, v, err)
		}
	}
	_, err := w.Rollback(t.Context(), "ada", 9, "")
	w.refused(err, versions.ReasonNone)
	list, err := w.History(t.Context(), 0, 2)
	if err != nil || len(list) != 2 || list[0].Number != 4 || list[1].Number != 3 {
		t.Errorf("history %+v, %v", list, err)
	}
	if list, err = w.History(t.Context(), 3, 10); err != nil || len(list) != 2 || list[0].Number != 2 || list[0].By != "ben" {
		t.Errorf("history %+v, %v", list, err)
	}
	if _, _, ok, err := w.Draft(t.Context()); ok || err != nil {
		t.Errorf("the draft is still there: %v", err)
	}
	published := slices.DeleteFunc(w.events, func(e versions.Event) bool { return e.Kind != "release.published" })
	if len(published) == 0 || !slices.Equal(published[0].Names, []string{"service:a", "service:b"}) {
		t.Errorf("recorded %+v", published)
	}
}

// Of two people who change what they both saw, one is told that it is another by
// now, and nothing of either is lost.
func TestAChangeOfWhatSomebodyElseChangedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.save("ada", "", gives("service:a", "mail"))
	_, err := w.Save(t.Context(), "ben", "", gives("service:a", "phone"))
	w.refused(err, versions.ReasonStale)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	for i := range 8 {
		wg.Go(func() {
			_, err := w.Save(t.Context(), fmt.Sprint(i), d.Revision, gives(fmt.Sprint("service:", i), "mail"))
			mu.Lock()
			defer mu.Unlock()
			if r, ok := versions.IsRefusal(err); ok {
				done[r.Code]++
			} else if err == nil {
				done["saved"]++
			}
		})
	}
	wg.Wait()
	if done["saved"] != 1 || done[versions.ReasonStale] != 7 {
		t.Errorf("%v", done)
	}
	now, p, _, err := w.Draft(t.Context())
	if err != nil || len(p.Rules) != 2 || !slices.Contains(now.Authors, "ada") || len(now.Authors) != 2 {
		t.Errorf("the draft is %+v, %v, %v", now, p, err)
	}
	for _, fail := range []error{w.Discard(t.Context(), "ben", d.Revision), second(w.Publish(t.Context(), "ben", d.Revision, "", nil)), second(w.Rebase(t.Context(), "ben", d.Revision))} {
		w.refused(fail, versions.ReasonStale)
	}
	if err := w.Discard(t.Context(), "ben", now.Revision); err != nil {
		t.Error(err)
	}
	w.refused(w.Discard(t.Context(), "ben", now.Revision), versions.ReasonNone)
}

func second[T any](_ T, err error) error { return err }

// A draft that somebody else's publication overtook does not take it back.
func TestAnOvertakenDraftIsPutOnTop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish("ada", w.save("ada", "", func(p *versions.Policy) error {
		return errors.Join(gives("service:a", "mail")(p), gives("service:b", "mail")(p), gives("service:c", "mail")(p))
	}))
	d := w.save("ada", "", func(p *versions.Policy) error { delete(p.Rules, "service:c"); return gives("service:a", "phone")(p) })
	if _, err := w.Rollback(t.Context(), "ben", 0, ""); err != nil {
		t.Fatal(err)
	}
	_, err := w.Publish(t.Context(), "ada", d.Revision, "", nil)
	w.refused(err, versions.ReasonStale)
	if d, err = w.Rebase(t.Context(), "ada", d.Revision); err != nil || d.Base != 2 {
		t.Fatal(d, err)
	}
	w.publish("ada", d)
	if got := w.inForce(); got != "service:a=phone" {
		t.Errorf("in force: %s", got)
	}
}

func TestWhoChangedADraftDoesNotPublishItWhereTwoAreNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *versions.Config) { c.SecondPerson = true })
	d := w.save("ada", "", gives("service:a", "mail"))
	d = w.save("ben", d.Revision, gives("service:a", "mail", "phone"))
	for _, by := range []string{"ada", "ben"} {
		_, err := w.Publish(t.Context(), by, d.Revision, "", nil)
		w.refused(err, versions.ReasonSecond)
	}
	if got := w.inForce(); got != "" {
		t.Errorf("in force: %s", got)
	}
	w.publish("eve", d)
	if got := w.inForce(); got != "service:a=mail,phone" {
		t.Errorf("in force: %s", got)
	}
}

func TestWhereThereIsNoDraftNobodyIsAskedAboutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Publish(t.Context(), "ada", "", "", func(versions.Policy) error {
		t.Error("somebody was asked whether a draft may be published that is not there")
		return nil
	})
	w.refused(err, versions.ReasonNone)
}

func TestWhatDoesNotCheckIsNeitherSavedNorPublished(t *testing.T) {
	t.Parallel()
	bad := false
	w := newWorld(t, func(c *versions.Config) {
		c.Check = func(p versions.Policy) error {
			if bad || len(p.Rules["service:a"]) > 1 {
				return &versions.Refusal{Code: versions.ReasonInvalid, Text: "no"}
			}
			return nil
		}
	})
	d := w.save("ada", "", gives("service:a", "mail"))
	_, err := w.Save(t.Context(), "ada", d.Revision, gives("service:a", "mail", "phone"))
	w.refused(err, versions.ReasonInvalid)
	_, err = w.Publish(t.Context(), "ada", d.Revision, "", func(p versions.Policy) error {
		return &versions.Refusal{Code: versions.ReasonNeeds, Text: fmt.Sprint(len(p.Rules))}
	})
	w.refused(err, versions.ReasonNeeds)
	bad = true
	_, err = w.Publish(t.Context(), "ada", d.Revision, "", nil)
	w.refused(err, versions.ReasonInvalid)
	if got := w.inForce(); got != "" {
		t.Errorf("in force: %s", got)
	}
}

func TestAPolicyOfManyRecipientsIsSavedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := func(p *versions.Policy) error {
		for i := range 300 {
			rules := []versions.Rule{}
			for j := range 30 {
				rules = append(rules, versions.Rule{Attribute: fmt.Sprint("a", j), Purpose: fmt.Sprintf("%d %s", i, strings.Repeat("why ", 40))})
			}
			p.Rules[fmt.Sprint("service:", i)] = rules
		}
		return nil
	}
	w.publish("ada", w.save("ada", "", all))
	_, p, err := versions.InForce(t.Context(), w.store)
	if err != nil || len(p.Rules) != 300 || len(p.Rules["service:299"]) != 30 {
		t.Errorf("%d recipients, %v", len(p.Rules), err)
	}
}

// What drafts said on their way does not stay; what a version, the draft or a trial
// says does.
func TestWhatOnlyDraftsSaidGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stored := func() (n int) {
		t.Helper()
		if err := w.store.View(t.Context(), func(tx store.Tx) error {
			n = 0
			for p, err := range tx.Scan(nil, nil, 0) {
				if err != nil {
					return err
				}
				if parts, err := store.Parts(p.Key); err == nil && parts[0] == "release_part" {
					n++
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	d := w.save("ada", "", gives("service:a", "mail"))
	for i := range 50 {
		d = w.save("ada", d.Revision, gives("service:a", fmt.Sprint("a", i)))
	}
	if n := stored(); n < 51 {
		t.Fatalf("%d parts are stored of a draft", n)
	}
	w.publish("ada", d) // service:a, as the last draft had it
	d = w.save("ada", "", gives("service:b", "tried"))
	if _, err := w.Try(t.Context(), "ada", noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	d = w.save("ada", d.Revision, gives("service:b", "other"))
	if err := w.Discard(t.Context(), "ada", d.Revision); err != nil {
		t.Fatal(err)
	}
	if n := stored(); n != 2 {
		t.Errorf("%d parts are stored; want that of the version and that of the trial", n)
	}
	if _, p, ok, err := w.Tried(t.Context()); err != nil || !ok || len(p.Rules["service:b"]) != 1 {
		t.Errorf("what is tried is gone: %v, %v", p, err)
	}
	w.publish("ben", w.save("ben", "", gives("service:a", "again")))
	if _, err := w.Rollback(t.Context(), "ada", 1, ""); err != nil || w.inForce() != "service:a=a49" {
		t.Errorf("version 1 can not count again: %s, %v", w.inForce(), err)
	}
}

func rules() *rapid.Generator[[]versions.Rule] {
	text := rapid.StringMatching(`[a-c<"é ]{0,3}`)
	rule := rapid.Custom(func(t *rapid.T) versions.Rule {
		return versions.Rule{
			Attribute: rapid.SampledFrom([]string{"mail", "phone", "groups"}).Draw(t, "attribute"), As: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "as"),
			Values: rapid.SliceOfN(text, 0, 2).Draw(t, "values"), Transform: text.Draw(t, "transform"), When: text.Draw(t, "when"), Reference: rapid.Bool().Draw(t, "reference"),
			Purpose: text.Draw(t, "purpose"), Basis: text.Draw(t, "basis"), Retention: text.Draw(t, "retention"),
		}
	})
	return rapid.SliceOfNDistinct(rule, 0, 3, versions.Rule.Name)
}

// What is exported is read again as it was; and two policies differ by nothing
// just if they say the same of every name.
func TestAnExportIsReadAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := versions.Policy{Rules: rapid.MapOfN(rapid.SampledFrom([]string{"service:a", "service:b", "target:c"}), rules(), 0, 3).Draw(t, "rules")}
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := versions.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(q)
		if err != nil || string(again) != string(raw) {
			t.Fatalf("%s\n%s", raw, again)
		}
		if d := versions.Diff(p.Rules, q.Rules); len(d) > 0 {
			t.Fatal(d)
		}
		other := versions.Policy{Rules: rapid.MapOfN(rapid.SampledFrom([]string{"service:a", "service:b"}), rules(), 0, 2).Draw(t, "others")}
		// Whoever takes the changes of a diff comes to the other policy.
		got := map[string]map[string]versions.Rule{}
		for to, list := range p.Rules {
			got[to] = map[string]versions.Rule{}
			for _, r := range list {
				got[to][r.Name()] = r
			}
		}
		for _, c := range versions.Diff(p.Rules, other.Rules) {
			if got[c.To] == nil {
				got[c.To] = map[string]versions.Rule{}
			}
			delete(got[c.To], c.Name)
			if c.Is != nil {
				got[c.To][c.Is.Name()] = *c.Is
			}
		}
		for to, list := range other.Rules {
			for _, r := range list {
				if d := cmp.Diff(r, got[to][r.Name()], equateNil()); d != "" {
					t.Fatal(d)
				}
				delete(got[to], r.Name())
			}
		}
		for to, left := range got {
			if len(left) > 0 {
				t.Fatalf("%s still has %v", to, left)
			}
		}
	})
	for name, text := range map[string]string{"unknown key": `{"release":{"service:a":[{"atribute":"mail"}]}}`, "not JSON": `release: {}`, "more": `{} {}`, "list": `[]`} {
		if _, err := versions.Decode([]byte(text)); err == nil {
			t.Errorf("%s: read", name)
		} else if r, ok := versions.IsRefusal(err); !ok || r.Code != versions.ReasonInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func equateNil() cmp.Option {
	return cmp.Transformer("values", func(s []string) string { return strings.Join(s, "\x00") })
}

func TestACaseSaysWhatIsNotSo(t *testing.T) {
	t.Parallel()
	rel := authz.Release{Sent: []authz.Released{{Attribute: "mail", Name: "email", Values: []string{"a@b"}}, {Attribute: "groups", Name: "groups", Values: []string{"x", "y"}}}}
	for _, c := range []struct {
		name string
		c    versions.Case
		want int
	}{
		{"all is so", versions.Case{Sends: map[string][]string{"email": {"a@b"}, "groups": {"y", "x"}}, Withholds: []string{"phone"}}, 0},
		{"another value", versions.Case{Sends: map[string][]string{"email": {"b@b"}}}, 1},
		{"not sent", versions.Case{Sends: map[string][]string{"phone": {"1"}}}, 1},
		{"too many", versions.Case{Sends: map[string][]string{"groups": {"x"}}}, 1},
		{"leaks under another name", versions.Case{Withholds: []string{"mail"}}, 1},
	} {
		if got := c.c.Holds(rel); len(got) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestATallyCountsAndNamesAFew(t *testing.T) {
	t.Parallel()
	var whole, a, b versions.Tally
	for i := range 40 {
		diff := []authz.Difference{{Attribute: "mail", Name: "mail", What: []string{authz.Gains, authz.Loses, authz.Changes}[i%3]}}
		if i%4 == 0 {
			diff = nil
		}
		whole.Add("service:a", fmt.Sprint(i), diff)
		[]*versions.Tally{&a, &b}[i%2].Add("service:a", fmt.Sprint(i), diff)
	}
	a.Merge(b)
	c := whole.Recipients["service:a"]
	if c.Compared != 40 || c.Differ != 30 || c.Gains["mail"]+c.Loses["mail"]+c.Changes["mail"] != 30 || len(c.Some) != versions.MaxSome {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff(c, a.Recipients["service:a"], cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Some" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

func TestADraftIsTriedAsItWasAndUntilItsEnd(t *testing.T) {
	t.Parallel()
	now := noon
	w := newWorld(t, func(c *versions.Config) { c.Now = func() time.Time { return now } })
	_, err := w.Try(t.Context(), "ada", noon.Add(time.Hour))
	w.refused(err, versions.ReasonNone)
	d := w.save("ada", "", gives("service:a", "mail"))
	first, err := w.Try(t.Context(), "ada", noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	w.save("ada", d.Revision, gives("service:a", "phone"))
	_, p, ok, err := w.Tried(t.Context())
	if err != nil || !ok || p.Rules["service:a"][0].Attribute != "mail" {
		t.Errorf("tried: %v %v %v", p, ok, err)
	}
	var some versions.Tally
	some.Add("service:a", "u1", []authz.Difference{{Attribute: "mail", Name: "mail", What: authz.Gains}})
	for _, started := range []time.Time{first.Started, noon.Add(-time.Hour)} { // the second is of another try
		if err := w.Count(t.Context(), started, some); err != nil {
			t.Fatal(err)
		}
	}
	rep, _, err := w.Report(t.Context(), versions.Shadow)
	if err != nil || rep.Compared != 1 || rep.Recipients["service:a"].Gains["mail"] != 1 {
		t.Errorf("counted %+v, %v", rep, err)
	}
	now = noon.Add(time.Hour)
	if _, _, ok, err := w.Tried(t.Context()); ok || err != nil {
		t.Errorf("tried after its end: %v", err)
	}
	if _, err := w.Stop(t.Context(), "ada"); err != nil {
		t.Error(err)
	}
	_, err = w.Stop(t.Context(), "ada")
	w.refused(err, versions.ReasonNone)
}

// TestStoredForm pins what is in the store.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish("ada", w.save("ada", "", func(p *versions.Policy) error {
		p.Rules["service:a"] = []versions.Rule{{Attribute: "mail", As: "email", Values: []string{"*@b"}, Transform: "value", When: "true", Purpose: "p", Basis: "contract", Retention: "1y"}}
		p.Cases = []versions.Case{{Name: "c", To: "service:a", Person: versions.Person{Attributes: map[string][]string{"mail": {"a@b"}}}, Sends: map[string][]string{"email": {"a@b"}}, Withholds: []string{"phone"}}}
		return nil
	}))
	var got []string
	if err := w.store.View(t.Context(), func(tx store.Tx) error {
		got = nil
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			parts, err := store.Parts(p.Key)
			if err != nil {
				return err
			}
			got = append(got, strings.Join(parts, " ")+" "+string(p.Val))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`release_part r 03da75b2e8d4428080d8036bce5c3278334fc576f1f5501f2f3693e552434629 {"v":1,"row":{"hash":"03da75b2e8d4428080d8036bce5c3278334fc576f1f5501f2f3693e552434629","cases":[{"name":"c","to":"service:a","person":{"attributes":{"mail":["a@b"]}},"sends":{"email":["a@b"]},"withholds":["phone"]}]}}`,
		`release_part r 26f3b6626b2d5ab59ce4b0a2f09ce9d809a640f2f8dc4c277dc2b25b457738a0 {"v":1,"row":{"hash":"26f3b6626b2d5ab59ce4b0a2f09ce9d809a640f2f8dc4c277dc2b25b457738a0","rules":[{"attribute":"mail","as":"email","values":["*@b"],"transform":"value","when":"true","purpose":"p","basis":"contract","retention":"1y"}]}}`,
		`release_version r 2147483646 {"v":1,"row":{"number":1,"by":"ada","at":"2026-03-01T12:00:00Z","authors":["ada"],"again":-1,"tree":{"cases":"03da75b2e8d4428080d8036bce5c3278334fc576f1f5501f2f3693e552434629","service:a":"26f3b6626b2d5ab59ce4b0a2f09ce9d809a640f2f8dc4c277dc2b25b457738a0"}}}`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
