package scim_test

import (
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

func groupJSON(rest string) string { return `{"schemas":["` + scim.GroupURN + `"],` + rest + `}` }

// group makes one of hr's and returns its ID.
func (w *world) group(rest string) string {
	w.t.Helper()
	return w.do(hr, "POST", "/Groups", groupJSON(rest)).want(w.t, 201, "").obj.String("id")
}

func (w *world) membersOf(who, id string) []string {
	w.t.Helper()
	all := []string{}
	for _, m := range w.do(who, "GET", "/Groups/"+id, "").want(w.t, 200, "").obj.List("members") {
		all = append(all, m.(*scim.Object).String("value"))
	}
	return all
}

// A group can open doors, so a client has only those that it was given by name.
func TestC18_ClientHasOnlyTheGroupsItWasGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.named(hr, "kim")
	g, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "gatehouse-admin"}, provisioning.Admin, provisioning.Move{})
	if err != nil {
		t.Fatal(err)
	}
	add := scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"` + kim + `"}]}`)
	w.do(hr, "PATCH", "/Groups/"+g.ID, add).want(t, 404, "")
	w.do(hr, "GET", "/Groups/"+g.ID, "").want(t, 404, "")
	w.do(hr, "DELETE", "/Groups/"+g.ID, "").want(t, 404, "")
	w.do(hr, "POST", "/Groups", groupJSON(`"displayName":"fin","members":[{"value":"`+kim+`"}]`)).want(t, 403, "")
	own := w.group(`"displayName":"hr-payroll"`)
	w.do(hr, "PATCH", "/Groups/"+own, scimtest.Patch(`{"op":"replace","path":"displayName","value":"Gatehouse-Admin"}`)).want(t, 403, "")
	// Neither by putting its own group into that one, nor that one into its own.
	w.do(hr, "PATCH", "/Groups/"+own, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"`+g.ID+`"}]}`)).want(t, 400, scim.InvalidValue)
	// uni and resident were given none.
	for _, who := range []string{uni, resident} {
		w.do(who, "POST", "/Groups", groupJSON(`"displayName":"hr-x"`)).want(t, 403, "")
		w.do(who, "GET", "/Groups/"+own, "").want(t, 404, "")
		if a := w.do(who, "GET", "/Groups", "").want(t, 200, ""); len(ids(a.obj)) != 0 {
			t.Errorf("%s lists %s", who, a.body)
		}
	}
	if a := w.do(hr, "GET", "/Groups", ""); !slices.Equal(ids(a.obj), []string{own}) {
		t.Errorf("hr lists %s", a.body)
	}
	if s, err := w.dir.Subject(t.Context(), kim); err != nil || len(s.Groups) != 0 {
		t.Errorf("kim is in %v, %v", s.Groups, err)
	}
	w.do(hr, "PATCH", "/Groups/"+own, add).want(t, 204, "")
	if s, _ := w.dir.Subject(t.Context(), kim); !slices.Equal(s.Groups, []string{"hr-payroll"}) {
		t.Errorf("kim is in %v", s.Groups)
	}
}

func TestC02_MembersOfOtherStoresAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dana, kim := w.named(uni, "dana"), w.named(hr, "kim")
	g := w.group(`"displayName":"hr-all","members":[{"value":"` + kim + `"}]`)
	a := w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"`+dana+`"}]}`)).want(t, 400, scim.InvalidValue)
	b := w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"nobody"}]}`)).want(t, 400, scim.InvalidValue)
	if len(a.body)-len(dana) != len(b.body)-len("nobody") {
		t.Errorf("%s and %s", a.body, b.body)
	}
	// Whom an administrator put in is neither shown, nor taken out by a replacement.
	if _, _, err := w.dir.AddMember(t.Context(), g, dana, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	if got := w.membersOf(hr, g); !slices.Equal(got, []string{kim}) {
		t.Errorf("hr reads %v", got)
	}
	w.do(hr, "PUT", "/Groups/"+g, groupJSON(`"displayName":"hr-all"`)).want(t, 200, "")
	if s, _ := w.dir.Subject(t.Context(), dana); !slices.Equal(s.Groups, []string{"hr-all"}) {
		t.Errorf("dana is in %v", s.Groups)
	}
	if s, _ := w.dir.Subject(t.Context(), kim); len(s.Groups) != 0 {
		t.Errorf("kim is in %v", s.Groups)
	}
	// The same of a group inside it that is not hr's.
	other, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "fin"}, provisioning.Admin, provisioning.Move{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.dir.Nest(t.Context(), g, other.ID, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	if got := w.membersOf(hr, g); len(got) != 0 {
		t.Errorf("hr reads %v", got)
	}
	w.do(hr, "PUT", "/Groups/"+g, groupJSON(`"displayName":"hr-all"`)).want(t, 200, "")
	if inside, err := w.dir.Inside(t.Context(), g); err != nil || len(inside) != 1 {
		t.Errorf("inside are %v, %v", inside, err)
	}
}

func TestSC18SC19_GroupsOfAUserAreComputed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.named(hr, "kim")
	inner := w.group(`"displayName":"hr-inner","externalId":"g1","members":[{"value":"` + kim + `"}]`)
	outer := w.group(`"displayName":"hr-outer","members":[{"value":"` + inner + `","type":"Group"}]`)
	got := ""
	for _, g := range w.get(hr, kim).List("groups") {
		o := g.(*scim.Object)
		got += fmt.Sprint(o.String("display"), " ", o.String("type"), " ", o.String("$ref") == base+"/Groups/"+o.String("value"), "; ")
	}
	if got != "hr-inner direct true; hr-outer indirect true; " {
		t.Errorf("kim is in %s", got)
	}
	m := w.do(hr, "GET", "/Groups/"+outer, "").obj.List("members")[0].(*scim.Object)
	if m.String("type") != "Group" || m.String("display") != "hr-inner" || m.String("$ref") != base+"/Groups/"+inner {
		t.Errorf("the member is %s", m.AppendJSON(nil))
	}
	w.do(hr, "PATCH", "/Groups/"+inner, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"`+outer+`"}]}`)).want(t, 400, scim.InvalidValue)
	for filter, want := range map[string][]string{
		`displayName eq "HR-inner"`: {inner}, `externalId eq "g1"`: {inner}, `id eq "` + outer + `"`: {outer}, `members.value eq "` + kim + `"`: {inner},
		`members[value eq "` + inner + `"]`: {outer}, `id eq "` + inner + `" and members.value eq "x"`: {}, `displayName sw "hr-"`: {inner, outer},
	} {
		if got := ids(w.do(hr, "GET", "/Groups?"+url.Values{"filter": {filter}}.Encode(), "").want(t, 200, "").obj); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	if a := w.do(hr, "GET", "/Groups?excludedAttributes=members", ""); a.obj.List("Resources")[0].(*scim.Object).Get("members") != nil {
		t.Errorf("members were not left out: %s", a.body)
	}
	// A deletion removes the edges.
	w.do(hr, "DELETE", "/Users/"+kim, "").want(t, 204, "")
	if got := w.membersOf(hr, inner); len(got) != 0 {
		t.Errorf("a deleted user is a member: %v", got)
	}
	w.do(hr, "DELETE", "/Groups/"+outer, "").want(t, 204, "")
	w.do(hr, "DELETE", "/Groups/"+outer, "").want(t, 404, "")
}

func TestC14_SC58_MembersAddedAtTheSameTimeAllStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.group(`"displayName":"hr-all"`)
	var want []string
	for i := range 50 {
		want = append(want, w.named(hr, fmt.Sprintf("u%d", i)))
	}
	var wg sync.WaitGroup
	for _, id := range want {
		wg.Go(func() {
			if a := w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"`+id+`"}]}`)); a.StatusCode != 204 {
				t.Errorf("%d: %s", a.StatusCode, a.body)
			}
		})
	}
	wg.Wait()
	if got := w.membersOf(hr, g); !slices.Equal(got, want) {
		t.Errorf("%d of %d are members", len(got), len(want))
	}
	a := w.do(hr, "GET", "/Groups/"+g, "")
	tag := a.Header.Get("ETag")
	w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"remove","path":"members[value eq \"`+want[0]+`\"]"}`), "If-Match", tag).want(t, 204, "")
	w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"remove","path":"members"}`), "If-Match", tag).want(t, 412, scim.InvalidVers)
	w.do(hr, "DELETE", "/Groups/"+g, "", "If-Match", tag).want(t, 412, scim.InvalidVers)
	if got := w.membersOf(hr, g); len(got) != 49 {
		t.Errorf("there are %d members", len(got))
	}
	w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"remove","path":"members"}`)).want(t, 204, "")
	if got := w.membersOf(hr, g); len(got) != 0 {
		t.Errorf("there are %d members", len(got))
	}
}

func TestC19_RightsFollowTheGroupNotItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.named(hr, "kim")
	g := w.group(`"displayName":"hr-a","members":[{"value":"` + kim + `"}]`)
	w.do(hr, "PATCH", "/Groups/"+g, scimtest.Patch(`{"op":"replace","value":{"displayName":"hr-b"}}`)).want(t, 204, "")
	again := w.group(`"displayName":"hr-a"`)
	if s, _ := w.dir.Subject(t.Context(), kim); !slices.Equal(s.Groups, []string{"hr-b"}) {
		t.Errorf("kim is in %v", s.Groups)
	}
	w.do(hr, "POST", "/Groups", groupJSON(`"displayName":"HR-B"`)).want(t, 409, scim.Uniqueness)
	w.do(hr, "DELETE", "/Groups/"+g, "").want(t, 204, "")
	w.group(`"displayName":"hr-b"`)
	if s, _ := w.dir.Subject(t.Context(), kim); len(s.Groups) != 0 || again == g {
		t.Errorf("kim is in %v", s.Groups)
	}
}
