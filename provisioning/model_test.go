package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// A model is the directory as plain maps, written without looking at it.
type model struct {
	users map[string]*person // by ID
	links map[string]string  // subject → ID
	names map[string]string  // group ID → name
	inner map[string][]string
}

type person struct {
	name, store string
	active      bool
	said        map[string]map[Source][]string // attribute, source
	groups      map[string]bool
	version     uint64
}

func (m *model) taken(store, name string) bool {
	for _, p := range m.users {
		if p.store == store && Fold(p.name) == Fold(name) {
			return true
		}
	}
	return false
}

// effective by the definition: in the order of the world's precedence.
func (p *person) effective(attr string) []string {
	var all []string
	for _, s := range []Source{Admin, "scim:hr", "idp:campus", "idp:partner"} {
		values := p.said[attr][s]
		if len(values) == 0 {
			continue
		}
		if attr != "groups" && attr != "course" {
			return values
		}
		for _, v := range values {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	return all
}

// say reports whether it makes a difference.
func (p *person) say(by Source, attr string, values []string) bool {
	if slices.Equal(p.said[attr][by], values) {
		return false
	}
	if p.said[attr] == nil {
		p.said[attr] = map[Source][]string{}
	}
	p.said[attr][by] = values
	return true
}

func (m *model) above(group string, seen map[string]bool) {
	if seen[group] {
		return
	}
	seen[group] = true
	for outer, inner := range m.inner {
		if slices.Contains(inner, group) {
			m.above(outer, seen)
		}
	}
}

// hearsay is what somebody knows who only ever heard Deltas.
type hearsay struct {
	Fields  map[string][]string
	Groups  map[string]bool
	Links   map[string]bool
	Version uint64
}

// listener keeps views in the store, by what it is told alone.
func listener(tx store.Tx, before, after User, d Delta) error {
	key := store.Key("view", d.UserID)
	b, had, err := tx.Get(key)
	if err != nil {
		return err
	}
	v := hearsay{Fields: map[string][]string{}, Groups: map[string]bool{}, Links: map[string]bool{}}
	if had {
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
	}
	switch {
	case d.Created == had || d.Created != (before.ID == ""):
		return fmt.Errorf("told of a creation: %v, known: %v", d.Created, had)
	case d.Deleted:
		return tx.Delete(key)
	case v.Version != before.Version || after.Version != before.Version+1 || d.Empty():
		return fmt.Errorf("told of %d → %d after %d", before.Version, after.Version, v.Version)
	}
	for _, f := range d.Fields {
		if !slices.Equal(v.Fields[f.Name], f.Old) {
			return fmt.Errorf("%s was %q, not %q", f.Name, v.Fields[f.Name], f.Old)
		}
		if v.Fields[f.Name] = f.New; f.New == nil {
			delete(v.Fields, f.Name)
		}
	}
	for _, g := range d.Joined {
		v.Groups[g] = true
	}
	for _, g := range d.Left {
		delete(v.Groups, g)
	}
	for _, r := range d.Linked {
		v.Links[r.Subject] = true
	}
	for _, r := range d.Unlinked {
		delete(v.Links, r.Subject)
	}
	v.Version = after.Version
	if b, err = json.Marshal(v); err != nil {
		return err
	}
	return tx.Put(key, b)
}

func TestDirectoryDoesWhatAModelDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		st, err := boltstore.Open(filepath.Join(dir, fmt.Sprint(run, ".db")), boltstore.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		defer st.Close()
		w := worldOver(t, st, storetest.Twice)
		w.Followers = append(w.Followers[:1], listener)
		m := &model{users: map[string]*person{}, links: map[string]string{}, names: map[string]string{}, inner: map[string][]string{}}
		jits := map[string]JIT{"campus": jit(t, "campus"), "partner": jit(t, "partner")}

		names := rapid.SampledFrom([]string{"kim", "KIM", "Jos\u00e9", "jose\u0301", "dana", " bad", ""})
		stores := rapid.SampledFrom([]string{"primary", "primary", "partners"})
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3)
		some := func(rt *rapid.T, ids []string) string {
			if len(ids) == 0 {
				rt.Skip("nobody")
			}
			return rapid.SampledFrom(ids).Draw(rt, "id")
		}
		userID := func(rt *rapid.T) string { return some(rt, slices.Sorted(maps.Keys(m.users))) }
		groupID := func(rt *rapid.T) string { return some(rt, slices.Sorted(maps.Keys(m.names))) }
		same := func(rt *rapid.T, d Delta, err error, want bool) {
			if err != nil {
				rt.Fatal(err)
			}
			if d.Empty() == want {
				rt.Fatalf("changed: want %v, got %+v", want, d)
			}
		}

		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				name, st := names.Draw(rt, "name"), stores.Draw(rt, "store")
				u, _, err := w.Create(t.Context(), User{Store: st, UserName: name, Active: true}, Admin)
				switch {
				case badName(name) != "":
					wantReason(rt, err, ReasonInvalid)
				case m.taken(st, name):
					wantReason(rt, err, ReasonConflict)
				case err != nil:
					rt.Fatal(err)
				default:
					m.users[u.ID] = &person{name, st, true, map[string]map[Source][]string{}, map[string]bool{}, 1}
				}
			},
			"login": func(rt *rapid.T) {
				provider := rapid.SampledFrom([]string{"campus", "partner"}).Draw(rt, "provider")
				subject := provider + rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "subject")
				name, groups, mail := names.Draw(rt, "name"), values.Draw(rt, "groups"), values.Draw(rt, "mail")
				id := identity(provider, subject, "preferred_username", name)
				id.Attributes["groups"] = groups
				if len(mail) > 0 {
					id.Attributes["mail"] = mail
				}
				j := jits[provider]
				if rapid.Bool().Draw(rt, "off") {
					j.Mode = Off
				}
				u, d, err := w.Login(t.Context(), id, j, "")
				owner, known := m.links[subject]
				p := m.users[owner]
				switch {
				case known && !p.active:
					wantReason(rt, err, ReasonInactive)
					return
				case !known && j.Mode == Off:
					wantReason(rt, err, ReasonOff)
					return
				case !known && name == "":
					wantReason(rt, err, ReasonMissing)
					return
				case !known && badName(name) != "":
					wantReason(rt, err, federation.ReasonClaims)
					return
				case !known && m.taken("primary", name):
					wantReason(rt, err, ReasonTaken)
					return
				case err != nil:
					rt.Fatal(err)
				case !known:
					p = &person{name, "primary", true, map[string]map[Source][]string{}, map[string]bool{}, 0}
					m.users[u.ID], m.links[subject], owner = p, u.ID, u.ID
				}
				// Groups in another order are the same groups.
				by := SourceIDP(provider)
				groups, mail = distinct(groups), distinct(mail)
				if old := p.said["groups"][by]; slices.Equal(slices.Sorted(slices.Values(old)), slices.Sorted(slices.Values(groups))) {
					groups = old
				}
				changed := p.say(by, "groups", groups)
				changed = p.say(by, "mail", mail) || changed || !known
				if changed {
					p.version++
				}
				same(rt, d, err, changed)
				if u.ID != owner || d.Created == known {
					rt.Fatalf("%s is %s: %+v", u.ID, owner, d)
				}
			},
			"say": func(rt *rapid.T) {
				id := userID(rt)
				by := rapid.SampledFrom([]Source{Admin, "scim:hr"}).Draw(rt, "by")
				attr := rapid.SampledFrom([]string{"mail", "groups", "course"}).Draw(rt, "attribute")
				vs := distinct(values.Draw(rt, "values"))
				_, d, err := w.Change(t.Context(), id, by, func(u *User) error { u.Say(by, attr, vs...); return nil })
				changed := m.users[id].say(by, attr, vs)
				if changed {
					m.users[id].version++
				}
				same(rt, d, err, changed)
			},
			"rename": func(rt *rapid.T) {
				id, name := userID(rt), names.Draw(rt, "name")
				p := m.users[id]
				_, d, err := w.Change(t.Context(), id, "scim:hr", func(u *User) error { u.UserName = name; return nil })
				other := Fold(p.name) != Fold(name) && m.taken(p.store, name)
				switch {
				case badName(name) != "":
					wantReason(rt, err, ReasonInvalid)
				case other:
					wantReason(rt, err, ReasonConflict)
				default:
					same(rt, d, err, p.name != name)
					if p.name != name {
						p.name = name
						p.version++
					}
				}
			},
			"activate": func(rt *rapid.T) {
				id, on := userID(rt), rapid.Bool().Draw(rt, "on")
				_, d, err := w.Change(t.Context(), id, Admin, func(u *User) error { u.Active = on; return nil })
				same(rt, d, err, m.users[id].active != on)
				if m.users[id].active != on {
					m.users[id].active = on
					m.users[id].version++
				}
			},
			"delete": func(rt *rapid.T) {
				id := userID(rt)
				if err := w.Delete(t.Context(), id, Admin); err != nil {
					rt.Fatal(err)
				}
				delete(m.users, id)
				maps.DeleteFunc(m.links, func(_, owner string) bool { return owner == id })
				if err := w.Clear(t.Context(), id); err != nil {
					rt.Fatal(err)
				}
			},
			"group": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"staff", "Staff", "it", "finance", "hr"}).Draw(rt, "name")
				g, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: name}, Admin, Move{})
				for _, other := range m.names {
					if Fold(other) == Fold(name) {
						wantReason(rt, err, ReasonConflict)
						return
					}
				}
				if err != nil {
					rt.Fatal(err)
				}
				m.names[g.ID] = name
			},
			"ungroup": func(rt *rapid.T) {
				id := groupID(rt)
				if err := w.DeleteGroup(t.Context(), id, Admin); err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "cleared at once") {
					w.runTasks(t)
				}
				delete(m.names, id)
				delete(m.inner, id)
				for outer, inner := range m.inner {
					m.inner[outer] = slices.DeleteFunc(inner, func(g string) bool { return g == id })
				}
				for _, p := range m.users {
					delete(p.groups, id)
				}
			},
			"join": func(rt *rapid.T) {
				id, g := userID(rt), groupID(rt)
				_, d, err := w.AddMember(t.Context(), g, id, Admin)
				same(rt, d, err, !m.users[id].groups[g])
				m.users[id].groups[g] = true
			},
			"leave": func(rt *rapid.T) {
				id, g := userID(rt), groupID(rt)
				_, d, err := w.RemoveMember(t.Context(), g, id, Admin)
				same(rt, d, err, m.users[id].groups[g])
				delete(m.users[id].groups, g)
			},
			"nest": func(rt *rapid.T) {
				outer, inner := groupID(rt), groupID(rt)
				err := w.Nest(t.Context(), outer, inner, Admin)
				above := map[string]bool{}
				m.above(outer, above)
				if above[inner] {
					if !errors.Is(err, ErrCycle) {
						rt.Fatal(err)
					}
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				if !slices.Contains(m.inner[outer], inner) {
					m.inner[outer] = append(m.inner[outer], inner)
				}
			},
			"": func(rt *rapid.T) {
				got := map[string]bool{}
				for u, err := range w.Users(t.Context(), "", 0) {
					if err != nil {
						rt.Fatal(err)
					}
					got[u.ID] = true
					p := m.users[u.ID]
					if p == nil || p.name != u.UserName || p.store != u.Store || p.active != u.Active {
						rt.Fatalf("%+v is %+v", u, p)
					}
					for _, attr := range []string{"mail", "groups", "course"} {
						if diff := cmp.Diff(p.effective(attr), Effective(u, attr)); diff != "" {
							rt.Fatal(diff)
						}
					}
					if found, err := w.ByName(t.Context(), p.store, p.name); err != nil || found.ID != u.ID {
						rt.Fatal(found, err)
					}
					in := map[string]bool{}
					for g := range p.groups {
						m.above(g, in)
					}
					gs, err := w.GroupsOf(t.Context(), u.ID)
					if err != nil || len(gs) != len(in) {
						rt.Fatalf("in %v, want %v: %v", gs, in, err)
					}
					for _, g := range gs {
						if !in[g.ID] || g.Name != m.names[g.ID] {
							rt.Fatalf("in %v, want %v", gs, in)
						}
					}
				}
				if len(got) != len(m.users) {
					rt.Fatalf("%d users, want %d", len(got), len(m.users))
				}
			},
		})

		// When all is cleared, who only listened knows everything.
		w.runTasks(t)
		heard := map[string]hearsay{}
		w.scan(t, store.Key("view"), func(key, val []byte) {
			var v hearsay
			parts, err := store.Parts(key)
			if err := errors.Join(err, json.Unmarshal(val, &v)); err != nil {
				rt.Fatal(err)
			}
			heard[parts[1]] = v
		})
		truth := map[string]hearsay{}
		for id, p := range m.users {
			u, err := w.User(t.Context(), id)
			if err != nil {
				rt.Fatal(err)
			}
			v := hearsay{Fields: map[string][]string{"user_name": {p.name}, "store": {p.store}, "active": {fmt.Sprint(p.active)}},
				Groups: p.groups, Links: map[string]bool{}, Version: u.Version}
			for _, attr := range []string{"mail", "groups", "course"} {
				if e := p.effective(attr); e != nil {
					v.Fields[attr] = e
				}
			}
			for subject, owner := range m.links {
				if owner == id {
					v.Links[subject] = true
				}
			}
			if u.Version < p.version {
				rt.Fatalf("version %d after %d changes", u.Version, p.version)
			}
			truth[id] = v
		}
		if diff := cmp.Diff(truth, heard); diff != "" {
			rt.Fatal(diff)
		}
		if err := audit.Verify(t.Context(), st); err != nil {
			rt.Fatal(err)
		}
		memberships := 0
		for _, p := range m.users {
			memberships += len(p.groups)
		}
		for table, want := range map[string]int{"user": len(m.users), "link": len(m.links), "member": memberships, "touch": 0, "group": len(m.names)} {
			if n := w.count(t, table); n != want {
				rt.Fatalf("%d rows of %s, want %d", n, table, want)
			}
		}
	})
}
