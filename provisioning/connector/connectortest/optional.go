package connectortest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// honest asks for what the connector says that it can not do.
func honest(t T, h Harness) {
	caps := connector.CapsOf(h.Connector)
	want := h.account(1)
	id := h.sync(t, want, "")
	refuses := func(what string, err error) {
		t.Helper()
		if e := failure(t, err); e.Class != connector.Invalid || !errors.Is(err, connector.ErrCanNot) || e.Ambiguous {
			t.Errorf("%s, which it says it can not: %v (ambiguous %v), want invalid and ErrCanNot", what, e, e.Ambiguous)
		}
	}
	if caps.NoDisable {
		off := h.account(1)
		off.Active = false
		_, err := h.Connector.Sync(t.Context(), off, id)
		refuses("disabling", err)
	}
	if caps.NoRename {
		other := h.account(1)
		other.UserName = "renamed@partner.test"
		_, err := h.Connector.Sync(t.Context(), other, id)
		refuses("renaming", err)
	}
	if caps.NoFind {
		_, err := h.Connector.Find(t.Context(), want)
		refuses("finding", err)
	}
	if caps.NoList {
		n := 0
		for _, err := range h.Connector.Accounts(t.Context()) {
			n++
			refuses("listing", err)
		}
		if n != 1 {
			t.Errorf("listing, which it says it can not, yielded %d times", n)
		}
	}
	if caps.NoRemove {
		refuses("removing", h.Connector.Remove(t.Context(), id))
	}
	if g, ok := h.Connector.(connector.Groups); ok && caps.NoGroups {
		_, err := g.SyncGroup(t.Context(), h.group(1), "")
		refuses("making a group", err)
		refuses("changing members", g.ChangeMembers(t.Context(), "1", []string{id}, nil))
	}
	h.holds(t, want)
}

func got(t T, h Harness) {
	g, ok := h.Connector.(connector.Getter)
	if !ok {
		t.Skip("the connector reads no single account")
	}
	want, other := h.account(1), h.account(2)
	id := h.sync(t, want, "")
	h.sync(t, other, "")
	a, err := g.Get(t.Context(), id)
	if err != nil || a.ID != id || a.ExternalID != want.ExternalID || a.UserName != want.UserName || a.Active != want.Active ||
		!slices.Equal(a.Attributes[h.Mail], want.Attributes[h.Mail]) || !slices.Equal(a.Attributes[h.Title], want.Attributes[h.Title]) {
		t.Errorf("got %v, %v, want %v", a, err, want)
	}
	if h.Awkward != nil {
		for name, trick := range map[string]Trick{
			"a page": HTML(404), "a failure": Fail(500, ""), "no answer": DropReply(), "nonsense": Say(200, "application/json", `[]`),
			"somebody else's 404": Say(404, "application/json", `{"message":"no route"}`),
		} {
			h.Awkward.Behave()
			h.Awkward.Next(-1, trick)
			if _, err := g.Get(t.Context(), id); failure(t, err).Class == connector.Gone {
				t.Errorf("%s is taken for an account that is gone: %v", name, err)
			}
		}
		h.Awkward.Behave()
	}
	if connector.CapsOf(h.Connector).NoRemove {
		return
	}
	if err := h.Connector.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Get(t.Context(), id); failure(t, err).Class != connector.Gone {
		t.Errorf("an account that is gone: %v", err)
	}
}

func tested(t T, h Harness) {
	tt, ok := h.Connector.(connector.Tester)
	if !ok {
		t.Skip("the connector has no test")
	}
	want := h.account(1)
	h.sync(t, want, "")
	if err := tt.Test(t.Context()); err != nil {
		t.Errorf("all is well, and it says %v", err)
	}
	h.holds(t, want)
	if h.Awkward == nil {
		return
	}
	for name, c := range map[string]struct {
		trick Trick
		class connector.Class
	}{"401": {Fail(401, ""), connector.Auth}, "a page": {HTML(200), connector.Route}, "503": {Fail(503, ""), connector.Transient}} {
		h.Awkward.Behave()
		h.Awkward.Next(-1, c.trick)
		if err := tt.Test(t.Context()); failure(t, err).Class != c.class {
			t.Errorf("%s: %v, want %v", name, err, c.class)
		}
		if n := len(h.Awkward.Changes()); n > 0 {
			t.Errorf("%s: it sent %d changes", name, n)
		}
	}
}

func probed(t T, h Harness) {
	p, ok := h.Connector.(connector.Prober)
	if !ok {
		t.Skip("the connector does not probe")
	}
	want := h.account(1)
	h.sync(t, want, "")
	r, err := p.Probe(t.Context())
	if err != nil || len(r.Findings) == 0 {
		t.Fatalf("it found %v, %v", r, err)
	}
	for _, f := range r.Findings {
		if f.What == "" || h.Secret != "" && strings.Contains(f.Text, h.Secret) || strings.Contains(f.Text, want.UserName) {
			t.Errorf("a finding says %+v", f)
		}
	}
	if connector.CapsOf(h.Connector).NoRemove { // then what it made is left there, disabled
		held := h.Held
		h.Held = func() []connector.Account {
			return slices.DeleteFunc(held(), func(a connector.Account) bool {
				return strings.HasPrefix(a.UserName, connector.ProbePrefix) && !a.Active
			})
		}
	}
	h.holds(t, want)
	if h.HeldGroups != nil && len(h.HeldGroups()) > 0 {
		t.Errorf("it left the groups %v", h.HeldGroups())
	}
}

func (h Harness) group(n int) connector.Group {
	return connector.Group{ExternalID: fmt.Sprintf("0199a7c2-%04d-7000-8000-0123456789ab", n), Name: fmt.Sprintf("Department %d", n)}
}

// groups is the part of the connector that keeps groups, if it has one.
func (h Harness) groups(t T) connector.Groups {
	t.Helper()
	g, ok := h.Connector.(connector.Groups)
	if !ok || connector.CapsOf(h.Connector).NoGroups {
		t.Skip("the connector keeps no groups")
	}
	return g
}

func (h Harness) syncGroup(t T, want connector.Group, have string) string {
	t.Helper()
	id, err := h.groups(t).SyncGroup(t.Context(), want, have)
	if err != nil {
		t.Fatalf("sync group: %v", err)
	}
	if id == "" || have != "" && id != have {
		t.Fatalf("sync returned the id %q for the group %q", id, have)
	}
	return id
}

func (h Harness) members(t T, group string, add, remove []string) {
	t.Helper()
	if err := h.groups(t).ChangeMembers(t.Context(), group, add, remove); err != nil {
		t.Fatalf("change members: %v", err)
	}
}

// holdsGroups fails unless the target holds exactly these groups; wanted are
// their members by the group's ID there.
func (h Harness) holdsGroups(t T, want map[string]connector.Group, wanted map[string][]string) {
	t.Helper()
	held := h.HeldGroups()
	if len(held) != len(want) {
		t.Fatalf("the target holds the groups %v, want %v", slices.Collect(maps.Keys(held)), want)
	}
	for g, members := range held {
		w, ok := want[g.ID]
		if !ok || g.Name != w.Name || g.ExternalID != w.ExternalID {
			t.Errorf("the target holds the group %+v, want %+v", g, w)
		}
		m := slices.Clone(wanted[g.ID])
		slices.Sort(m)
		slices.Sort(members)
		if !slices.Equal(members, m) {
			t.Errorf("in %s are %q, want %q", g.Name, members, m)
		}
		var said []string
		for id, err := range h.groups(t).Members(t.Context(), g.ID) {
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, id)
		}
		if slices.Sort(said); !slices.Equal(said, m) {
			t.Errorf("the connector says that in %s are %q, want %q", g.Name, said, m)
		}
	}
}

func groupHeld(t T, h Harness) {
	g := h.groups(t)
	want := map[string]connector.Group{}
	for i := range 3 {
		one := h.group(i)
		want[h.syncGroup(t, one, "")] = one
	}
	h.holdsGroups(t, want, nil)
	seen := map[string]bool{}
	for one, err := range g.AllGroups(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if w, ok := want[one.ID]; !ok || one.Name != w.Name || one.ExternalID != w.ExternalID || seen[one.ID] {
			t.Errorf("yielded %+v", one)
		}
		seen[one.ID] = true
	}
	if len(seen) != len(want) {
		t.Errorf("%d groups were yielded, want %d", len(seen), len(want))
	}
	for id := range want {
		for range 2 {
			if err := g.RemoveGroup(t.Context(), id); err != nil {
				t.Errorf("remove group: %v", err)
			}
		}
	}
	h.holdsGroups(t, nil, nil)
}

func groupTwice(t T, h Harness) {
	want := h.group(1)
	id := h.syncGroup(t, want, "")
	if again := h.syncGroup(t, want, ""); again != id {
		t.Errorf("the second creation returned %q, the first %q", again, id)
	}
	if h.Awkward != nil {
		h.Awkward.Behave()
		h.syncGroup(t, want, id)
		if c := h.Awkward.Changes(); len(c) > 0 {
			t.Errorf("nothing differed, but this was sent: %s %s %s", c[0].Method, c[0].URI, c[0].Body)
		}
	}
	h.holdsGroups(t, map[string]connector.Group{id: want}, nil)
}

func groupRenamed(t T, h Harness) {
	want := h.group(1)
	id := h.syncGroup(t, want, "")
	member := h.sync(t, h.account(1), "")
	h.members(t, id, []string{member}, nil)
	want.Name = `Zoë "Ops" \ 部`
	h.syncGroup(t, want, id)
	h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: {member}})
}

func groupFound(t T, h Harness) {
	g := h.groups(t)
	want := h.group(1)
	id := h.syncGroup(t, want, "")
	moved := want
	moved.Name = "Another name"
	if got, err := g.FindGroup(t.Context(), moved); err != nil || len(got) != 1 || got[0].ID != id {
		t.Errorf("by external ID it found %v, %v", got, err)
	}
	foreign := connector.Group{Name: `A "foreign" \ group`}
	id = h.PlantGroup(foreign)
	if got, err := g.FindGroup(t.Context(), connector.Group{ExternalID: "unknown", Name: foreign.Name}); err != nil || len(got) != 1 || got[0].ID != id || got[0].ExternalID != "" {
		t.Errorf("by name it found %v, %v", got, err)
	}
	if got, err := g.FindGroup(t.Context(), h.group(2)); err != nil || len(got) != 0 {
		t.Errorf("for a stranger it found %v, %v", got, err)
	}
}

func groupGone(t T, h Harness) {
	g := h.groups(t)
	id := h.syncGroup(t, h.group(1), "")
	member := h.sync(t, h.account(1), "")
	if err := g.RemoveGroup(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	_, err := g.SyncGroup(t.Context(), h.group(1), id)
	for what, err := range map[string]error{"syncing": err, "adding to": g.ChangeMembers(t.Context(), id, []string{member}, nil)} {
		if failure(t, err).Class != connector.Gone {
			t.Errorf("%s a group that is gone: %v", what, err)
		}
	}
	for _, err := range g.Members(t.Context(), id) {
		if failure(t, err).Class != connector.Gone {
			t.Errorf("the members of a group that is gone: %v", err)
		}
	}
	h.holds(t, h.account(1))
}

func membersRepeated(t T, h Harness) {
	want := h.group(1)
	id := h.syncGroup(t, want, "")
	a, b := h.sync(t, h.account(1), ""), h.sync(t, h.account(2), "")
	for range 2 {
		h.members(t, id, []string{a, b}, nil)
		h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: {a, b}})
	}
	for range 2 {
		h.members(t, id, nil, []string{a})
		h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: {b}})
	}
	h.members(t, id, []string{a}, []string{b})
	h.members(t, id, []string{a}, []string{b})
	h.members(t, id, nil, nil)
	h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: {a}})
	h.members(t, id, nil, []string{a})
	h.holdsGroups(t, map[string]connector.Group{id: want}, nil)
	h.holds(t, h.account(1), h.account(2))
}

// membersUntouched: who was put into the group by somebody else stays, and other
// groups do not change.
func membersUntouched(t T, h Harness) {
	g1, g2 := h.group(1), h.group(2)
	first, second := h.syncGroup(t, g1, ""), h.syncGroup(t, g2, "")
	a, b := h.sync(t, h.account(1), ""), h.sync(t, h.account(2), "")
	h.members(t, first, []string{a}, nil)
	h.members(t, second, []string{a}, nil)
	h.members(t, first, []string{b}, nil)
	h.members(t, second, nil, []string{b})
	h.holdsGroups(t, map[string]connector.Group{first: g1, second: g2}, map[string][]string{first: {a, b}, second: {a}})
}

func membersMany(t T, h Harness) {
	want := h.group(1)
	id := h.syncGroup(t, want, "")
	var ids []string
	for i := range connector.MaxMembers + 20 {
		ids = append(ids, h.sync(t, h.account(i), ""))
	}
	for piece := range slices.Chunk(ids, connector.MaxMembers) {
		h.members(t, id, piece, nil)
	}
	h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: ids})
	h.members(t, id, nil, ids[:connector.MaxMembers])
	h.holdsGroups(t, map[string]connector.Group{id: want}, map[string][]string{id: ids[connector.MaxMembers:]})
}
