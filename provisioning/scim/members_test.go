package scim_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A patch of members taken apart does what the patch does as a whole.
func TestMembersAgreeWithThePatch(t *testing.T) {
	t.Parallel()
	apart := 0
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		element := rapid.Custom(func(t *rapid.T) any { return scim.NewObject("value", id.Draw(t, "id")) })
		eq := func(id string) scim.Filter {
			return scim.Compare{Path: scim.Path{Name: "value"}, Op: scim.Eq, Value: id}
		}
		op := rapid.Custom(func(t *rapid.T) scim.Operation {
			switch rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0:
				return scim.Operation{Op: "add", Path: "members", Value: rapid.SliceOfN(element, 0, 3).Draw(t, "values")}
			case 1:
				return scim.Operation{Op: "add", Path: "Members", Value: element.Draw(t, "value")}
			case 2:
				return scim.Operation{Op: "add", Value: scim.NewObject("members", []any{element.Draw(t, "value")}, "externalId", id.Draw(t, "external"))}
			case 3:
				return scim.Operation{Op: "remove", Path: "members[" + scim.Or{Left: eq(id.Draw(t, "id")), Right: eq(id.Draw(t, "id"))}.String() + "]"}
			case 4:
				return scim.Operation{Op: "replace", Path: "displayName", Value: id.Draw(t, "name")}
			case 5:
				return scim.Operation{Op: "replace", Path: "members", Value: []any{element.Draw(t, "value")}}
			}
			return scim.Operation{Op: "remove", Path: `members[value sw "` + id.Draw(t, "id") + `"]`}
		})
		rt := scim.GroupType()
		seen := map[string]bool{}
		var there []any
		for _, v := range rapid.SliceOfN(element, 0, 4).Draw(t, "there") {
			if id := v.(*scim.Object).String("value"); !seen[id] {
				seen[id] = true
				there = append(there, v)
			}
		}
		cur, err := rt.New(scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", "g", "members", there))
		if err != nil {
			t.Fatal(err)
		}
		p := scim.Patch{Operations: rapid.SliceOfN(op, 1, 5).Draw(t, "operations")}
		m, rest, ok := rt.Members(p)
		if !ok {
			return
		}
		apart++
		want, err := rt.Patch(cur, p)
		if err != nil {
			t.Fatal(err)
		}
		got := cur.Clone()
		if len(rest.Operations) > 0 {
			if got, err = rt.Patch(cur, rest); err != nil {
				t.Fatal(err)
			}
		}
		all := ids(cur)
		for _, id := range m.Remove {
			all = slices.DeleteFunc(all, func(x string) bool { return x == id })
		}
		for _, el := range m.Add {
			if id := el.String("value"); !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
		slices.Sort(all)
		if diff := cmp.Diff(ids(want), all); diff != "" || got.String("displayName") != want.String("displayName") || got.ExternalID() != want.ExternalID() {
			t.Fatalf("%s\n%s\nwant %s, got %s with %v", p.Object().AppendJSON(nil), diff, want.AppendJSON(nil), got.AppendJSON(nil), all)
		}
	})
	if apart == 0 {
		t.Error("no patch was taken apart: this shows nothing")
	}
}

func ids(r *scim.Resource) []string {
	all := []string{}
	for _, v := range r.List("members") {
		all = append(all, v.(*scim.Object).String("value"))
	}
	slices.Sort(all)
	return all
}

// What can not be said as who joins and who leaves is not said so.
func TestMembersLeavesTheRestToThePatch(t *testing.T) {
	t.Parallel()
	el := scim.NewObject("value", "a")
	for _, op := range []scim.Operation{
		{Op: "replace", Path: "members", Value: []any{el}}, {Op: "remove", Path: "members"}, {Op: "remove", Path: `members[type eq "User"]`}, {Op: "remove", Path: `members[not (value eq "a")]`},
		{Op: "remove", Path: `members[value eq "a" and type eq "User"]`}, {Op: "remove", Path: `members[value eq "a"]`, Value: el}, {Op: "remove", Path: `members[value eq "a"].value`},
		{Op: "add", Path: "members", Value: "a"}, {Op: "add", Path: "members", Value: []any{scim.NewObject("type", "User")}}, {Op: "replace", Value: scim.NewObject("members", []any{el})},
		{Op: "add", Path: `members[value eq "a"]`, Value: el}, {Op: "replace", Path: "displayName", Value: "x"}, {Op: "add", Path: "colour", Value: "x"},
	} {
		if m, _, ok := scim.GroupType().Members(scim.Patch{Operations: []scim.Operation{op}}); ok {
			t.Errorf("%s %s is taken for %+v", op.Op, op.Path, m)
		}
	}
	if _, _, ok := scim.UserType().Members(scim.Patch{Operations: []scim.Operation{{Op: "add", Path: "emails", Value: el}}}); ok {
		t.Error("a user has no members")
	}
	// Errors name operations by their number in the message.
	p, err := scim.ParsePatch(scim.NewObject("schemas", []any{scim.PatchURN}, "Operations", []any{
		scim.NewObject("op", "add", "path", "members", "value", []any{el}), scim.NewObject("op", "replace", "path", "displayName", "value", true),
	}))
	if err != nil {
		t.Fatal(err)
	}
	m, rest, ok := scim.GroupType().Members(p)
	if !ok || len(m.Add) != 1 {
		t.Fatal(fmt.Sprint(m, ok))
	}
	g := &scim.Resource{Object: *scim.NewObject("displayName", "g")}
	if _, err := scim.GroupType().Patch(g, rest); err == nil || err.Error()[:len("invalidValue: operation 2")] != "invalidValue: operation 2" {
		t.Error(err)
	}
}
