package scim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A model of a user, too simple to be wrong: three strings, and e-mail
// addresses told apart by their type.
type model struct {
	title, given, department string
	emails                   []email
}

type email struct{ Value, Type string }

func (m model) clone() model { m.emails = slices.Clone(m.emails); return m }

func (m model) json() string {
	o := scim.NewObject("schemas", []any{scim.UserURN}, "userName", "u")
	if m.title != "" {
		o.Set("title", m.title)
	}
	if m.given != "" {
		o.Set("name", scim.NewObject("givenName", m.given))
	}
	if m.department != "" {
		o.Set(scim.EnterpriseUserURN, scim.NewObject("department", m.department))
	}
	var list []any
	for _, e := range m.emails {
		el := scim.NewObject("value", e.Value)
		if e.Type != "" {
			el.Set("type", e.Type)
		}
		list = append(list, el)
	}
	o.Set("emails", list)
	return string(o.AppendJSON(nil))
}

// A step is an operation as JSON and what it does to the model; false: it must be refused.
type step struct {
	op  string
	run func(m *model) bool
}

func (m *model) add(e email) {
	for _, old := range m.emails {
		if old.Value == e.Value && (e.Type == "" || old.Type == e.Type) {
			return
		}
	}
	m.emails = append(m.emails, e)
}

func steps() *rapid.Generator[step] {
	words := rapid.SampledFrom([]string{"a", "B", `q"\`, "ü"})
	types := rapid.SampledFrom([]string{"work", "home", ""})
	return rapid.Custom(func(t *rapid.T) step {
		op := rapid.SampledFrom([]string{"add", "replace", "remove", "Add", "REPLACE"}).Draw(t, "op")
		fold := strings.ToLower(op)
		v := words.Draw(t, "value")
		if fold == "remove" {
			v = ""
		}
		text := func(path string, field func(*model) *string) step {
			return step{opJSON(op, path, v), func(m *model) bool { *field(m) = v; return true }}
		}
		typ := types.Draw(t, "type")
		e := email{v, typ}
		filter := fmt.Sprintf(`emails[type eq %q]`, strings.ToUpper(typ))
		hit := func(m *model) bool {
			return slices.ContainsFunc(m.emails, func(e email) bool { return e.Type == typ && typ != "" })
		}
		switch rapid.IntRange(0, 8).Draw(t, "kind") {
		case 0:
			return text("Title", func(m *model) *string { return &m.title })
		case 1:
			return text("name.givenname", func(m *model) *string { return &m.given })
		case 2:
			return text(scim.EnterpriseUserURN+":department", func(m *model) *string { return &m.department })
		case 3: // all addresses
			return step{opJSON(op, "emails", list(fold, e)), func(m *model) bool {
				switch fold {
				case "add":
					m.add(e)
				case "replace":
					m.emails = []email{e}
				default:
					m.emails = nil
				}
				return true
			}}
		case 4: // chosen addresses
			var value any
			if fold != "remove" {
				value = e.object()
			}
			return step{opJSON(op, filter, value), func(m *model) bool {
				if !hit(m) {
					return fold == "remove"
				}
				var out []email
				for _, old := range m.emails {
					switch {
					case old.Type != typ:
						out = append(out, old)
					case fold == "remove":
					default:
						out = append(out, e)
					}
				}
				m.emails = out
				return true
			}}
		case 5: // a part of chosen addresses
			return step{opJSON(op, filter+".value", v), func(m *model) bool {
				if !hit(m) {
					return fold == "remove"
				}
				for i := range m.emails {
					if m.emails[i].Type == typ {
						m.emails[i].Value = v
					}
				}
				return true
			}}
		case 6: // no path
			if fold == "remove" {
				return step{opJSON(op, "", nil), func(*model) bool { return false }}
			}
			return step{opJSON(op, "", scim.NewObject("title", v, "name", scim.NewObject("givenName", v))), func(m *model) bool { m.title, m.given = v, v; return true }}
		case 7:
			return step{opJSON(op, "id", v), func(*model) bool { return false }}
		default:
			return step{opJSON(op, "colour", v), func(*model) bool { return false }}
		}
	})
}

func (e email) object() *scim.Object {
	o := scim.NewObject("value", e.Value)
	if e.Type != "" {
		o.Set("type", e.Type)
	}
	return o
}

func list(fold string, e email) any {
	if fold == "remove" {
		return nil
	}
	return []any{e.object()}
}

func opJSON(op, path string, v any) string {
	o := scim.NewObject("op", op)
	if path != "" {
		o.Set("path", path)
	}
	if v != "" {
		o.Set("value", v)
	}
	return string(o.AppendJSON(nil))
}

// What PATCH does is what the model says, and what it refuses changes nothing.
func TestPatchAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := model{}
		cur := user(t, `{"userName":"u"}`)
		for range rapid.IntRange(1, 6).Draw(rt, "patches") {
			next, ok := m.clone(), true
			var ops []string
			for range rapid.IntRange(1, 3).Draw(rt, "operations") {
				s := steps().Draw(rt, "step")
				ops = append(ops, s.op)
				ok = ok && s.run(&next)
			}
			before := text(cur)
			got, err := patch(t, scim.UserType(), cur, ops...)
			if text(cur) != before {
				rt.Fatalf("%v changed the resource that was given", ops)
			}
			if !ok {
				if err == nil {
					rt.Fatalf("%v was done to %s", ops, before)
				}
				continue
			}
			if err != nil {
				rt.Fatalf("%v to %s: %v", ops, before, err)
			}
			want := next.json()
			// An address whose value was removed is one without a value.
			want = strings.ReplaceAll(want, `"value":"",`, "")
			wantUser := mustNew(rt, want)
			if !got.Equal(wantUser) {
				rt.Fatalf("%v to %s: %s", ops, before, cmp.Diff(text(wantUser), text(got)))
			}
			m, cur = next, got
		}
	})
}

func mustNew(t *rapid.T, json string) *scim.Resource {
	o, err := scim.Decode([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	r, err := scim.UserType().New(o)
	if err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return r
}

// filters are conditions on attributes that the type has.
func filters(depth int) *rapid.Generator[scim.Filter] {
	return rapid.Custom(func(t *rapid.T) scim.Filter {
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		if depth <= 0 {
			kind %= 3
		}
		sub := filters(depth - 1)
		switch kind {
		case 3:
			return scim.And{Left: sub.Draw(t, "left"), Right: sub.Draw(t, "right")}
		case 4:
			return scim.Or{Left: sub.Draw(t, "left"), Right: sub.Draw(t, "right")}
		case 5:
			return scim.Not{Filter: sub.Draw(t, "filter")}
		case 0:
			inner := scim.Compare{Path: scim.Path{Name: "type"}, Op: scim.Eq, Value: rapid.SampledFrom([]string{"work", "home", "x"}).Draw(t, "type")}
			p := scim.Path{Name: "emails", Filter: inner}
			if rapid.Bool().Draw(t, "continued") {
				p.Sub = "value"
				return scim.Compare{Path: p, Op: scim.Co, Value: "@"}
			}
			return scim.Has{Path: p}
		default:
			p := rapid.SampledFrom([]scim.Path{{Name: "title"}, {Name: "name", Sub: "givenName"}, {Name: "userName"}, {URN: scim.EnterpriseUserURN, Name: "department"}}).Draw(t, "path")
			op := rapid.SampledFrom([]scim.Op{scim.Eq, scim.Ne, scim.Co, scim.Sw, scim.Ew, scim.Pr, scim.Gt, scim.Ge, scim.Lt, scim.Le}).Draw(t, "op")
			f := scim.Compare{Path: p, Op: op}
			if op != scim.Pr {
				f.Value = rapid.SampledFrom([]string{"", "a", "B", "ab", `"\`, "ü", "x) or (y"}).Draw(t, "value")
			}
			return f
		}
	})
}

// What a filter means is what its parts mean by themselves, and it survives being written.
func TestFilterAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	var means func(f scim.Filter, r *scim.Object) bool
	means = func(f scim.Filter, r *scim.Object) bool {
		switch f := f.(type) {
		case scim.And:
			return means(f.Left, r) && means(f.Right, r)
		case scim.Or:
			return means(f.Left, r) || means(f.Right, r)
		case scim.Not:
			return !means(f.Filter, r)
		case scim.Has:
			return strings.Contains(string(r.AppendJSON(nil)), `"type":"`+f.Path.Filter.(scim.Compare).Value.(string)+`"`)
		case scim.Compare:
			if f.Path.Filter != nil {
				return means(scim.Has{Path: f.Path}, r) // every address has an @
			}
			v := r.String(f.Path.Name)
			if f.Path.Sub != "" {
				v = r.Sub("name").String("givenName")
			}
			if f.Path.URN != "" {
				v = r.Sub(f.Path.URN).String("department")
			}
			if v == "" || f.Op == scim.Pr {
				return f.Op == scim.Ne || v != ""
			}
			a, b := strings.ToLower(v), strings.ToLower(f.Value.(string))
			return map[scim.Op]bool{scim.Eq: a == b, scim.Ne: a != b, scim.Co: strings.Contains(a, b), scim.Sw: strings.HasPrefix(a, b), scim.Ew: strings.HasSuffix(a, b), scim.Gt: a > b, scim.Ge: a >= b, scim.Lt: a < b, scim.Le: a <= b}[f.Op]
		}
		return false
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := filters(3).Draw(rt, "filter")
		value := rapid.SampledFrom([]string{"", "a", "A", "b", "AB", "Ü", `"\`})
		m := model{title: value.Draw(rt, "title"), given: value.Draw(rt, "given"), department: value.Draw(rt, "department")}
		for _, typ := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"work", "home"}), rapid.ID).Draw(rt, "types") {
			m.emails = append(m.emails, email{"a@" + typ, typ})
		}
		r := mustNew(rt, m.json())
		parsed, err := scim.UserType().Filter(f.String())
		if err != nil {
			rt.Skip("longer than what is read")
		}
		if got, want := parsed.Match(&r.Object), means(f, &r.Object); got != want {
			rt.Fatalf("%s on %s: %v, want %v", f, text(r), got, want)
		}
		if parsed.String() != f.String() {
			rt.Fatalf("%s is written as %s", f, parsed)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{`userName eq "a"`, `emails[type eq "work" and value co "@"].value sw "x" or not (title pr)`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq null`, `a.b gt 1.5e3 and (c le true)`, `$ref pr`, `((((`, `a eq "\ud83d\ude00\u0000"`, `urn:x:2.0 pr`} {
		f.Add(seed)
	}
	r := bjensen(f)
	f.Fuzz(func(t *testing.T, in string) {
		if p, err := scim.ParsePath(in); err == nil {
			again, err := scim.ParsePath(p.String())
			if len(p.String()) <= scim.MaxFilter && (err != nil || again.String() != p.String()) {
				t.Fatalf("the path %q is written as %q, which reads as %q, %v", in, p, again, err)
			}
			p.Values(&r.Object)
		}
		flt, err := scim.ParseFilter(in)
		if err != nil {
			if scim.AsError(err).Type != scim.InvalidFilter {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		written := flt.String()
		if len(written) > scim.MaxFilter {
			return
		}
		again, err := scim.ParseFilter(written)
		if err != nil {
			t.Fatalf("%q is written as %q, which can not be read: %v", in, written, err)
		}
		if again.String() != written || again.Match(&r.Object) != flt.Match(&r.Object) {
			t.Fatalf("%q is written as %q, which is another filter", in, written)
		}
		if known, err := scim.UserType().Filter(in); err == nil {
			known.Match(&r.Object)
		}
	})
}

func FuzzPatch(f *testing.F) {
	for _, seed := range []string{
		`{"op":"add","path":"emails[type eq \"work\"].value","value":"x"}`, `{"op":"replace","value":{"name":{"givenName":null},"emails":[]}}`, `{"op":"remove","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"}`,
		`{"op":"add","path":"emails","value":[{"value":"a","primary":true}]},{"op":"remove","path":"emails[primary eq true]"}`, `{"op":"add","path":"schemas","value":[[[]]]}`, `{"op":"replace","path":"emails.type","value":{}}`,
	} {
		f.Add(seed)
	}
	rt := badged(f)
	f.Fuzz(func(t *testing.T, ops string) {
		o, err := scim.Decode([]byte(`{"schemas":["` + scim.PatchURN + `"],"Operations":[` + ops + `]}`))
		if err != nil {
			return
		}
		p, err := scim.ParsePatch(o)
		if err != nil {
			return
		}
		cur := bjensen(t)
		before := text(cur)
		p.Make, p.SkipReadOnly = len(ops)%2 == 0, len(ops)%3 == 0
		next, err := rt.Patch(cur, p)
		if text(cur) != before {
			t.Fatalf("%s changed the resource that was given", ops)
		}
		if err != nil {
			if e := scim.AsError(err); e.Status/100 != 4 {
				t.Fatalf("%s: %v", ops, err)
			}
			return
		}
		out := text(next)
		if !json.Valid([]byte(out)) || strings.Contains(out, ":null") && !strings.Contains(before+ops, ":null") {
			t.Fatalf("%s made %s", ops, out)
		}
		if next.ID() != cur.ID() || next.String("userName") == "" || !next.Sub("meta").Equal(cur.Sub("meta")) {
			t.Fatalf("%s changed what it may not: %s", ops, out)
		}
		// What comes out is a resource: read again it is the same.
		back, err := scim.Decode([]byte(out))
		if err != nil {
			t.Fatalf("%s made %s: %v", ops, out, err)
		}
		again, err := rt.Replace(next, back)
		if err != nil || !again.Equal(next) {
			t.Fatalf("%s made %s, which is read as %v, %v", ops, out, again, err)
		}
	})
}

func BenchmarkFilterParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scim.UserType().Filter(`userName eq "bjensen@example.com" and (active eq true or emails[type eq "work" and value co "@example.org"])`); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilterMatch(b *testing.B) {
	f, err := scim.UserType().Filter(`active eq true and emails[type eq "work" and value co "@example.com"]`)
	if err != nil {
		b.Fatal(err)
	}
	r := bjensen(b)
	b.ReportAllocs()
	for b.Loop() {
		if !f.Match(&r.Object) {
			b.Fatal("no match")
		}
	}
}

func BenchmarkPatch(b *testing.B) {
	r := bjensen(b)
	p := scim.Patch{Operations: []scim.Operation{{Op: "replace", Path: `emails[type eq "work"].value`, Value: "x@y"}, {Op: "replace", Path: "active", Value: false}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scim.UserType().Patch(r, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scim.Decode([]byte(barbara)); err != nil {
			b.Fatal(err)
		}
	}
}
