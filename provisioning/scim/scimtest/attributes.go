package scimtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// SC10_NullEmptyAndAbsent are the same, and none of them is answered.
func SC10_NullEmptyAndAbsent(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","title":null,"emails":[],"name":{"givenName":null},"nickName":"n"`)
	for _, name := range []string{"title", "emails", "name"} {
		if v := s.get(at).obj.Get(name); v != nil {
			t.Errorf("%s is %v", name, v)
		}
		if n := s.get(users("filter", name+" pr")).total(); n != "0" {
			t.Errorf("%s is present", name)
		}
	}
	for _, clear := range []string{`"nickName":null`, `"nickName":[]`, `"title":"x"`} {
		s.do("PUT", at, User(`"userName":"a","nickName":"n"`)).want(t, 200, "")
		if clear == `"nickName":[]` { // for an attribute that has one value
			s.do("PATCH", at, Patch(`{"op":"replace","value":{`+clear+`}}`))
		} else {
			s.do("PUT", at, User(`"userName":"a",`+clear)).want(t, 200, "")
		}
		if v := s.get(at).obj.Get("nickName"); v != nil {
			t.Errorf("%s leaves %v", clear, v)
		}
	}
}

// SC11_ReadOnly: ignored in POST and PUT, refused in PATCH; what can be set once may be repeated.
func SC11_ReadOnly(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","id":"mine","groups":[{"value":"g"}],"meta":{"version":"9","resourceType":"Robot"}`)
	a := s.do("PUT", at, User(`"userName":"a","id":"other","meta":{"created":"1999-01-01T00:00:00Z"},"groups":[{"value":"g"}]`)).want(t, 200, "")
	if a.obj.String("id") != id(at) || a.obj.String("id") == "mine" || a.obj.Get("groups") != nil || a.obj.Sub("meta").String("resourceType") != "User" {
		t.Error(a.body)
	}
	for _, op := range []string{
		`{"op":"replace","path":"id","value":"x"}`, `{"op":"replace","path":"meta.created","value":"1999-01-01T00:00:00Z"}`, `{"op":"add","path":"groups","value":[{"value":"g"}]}`,
		`{"op":"replace","value":{"id":"x"}}`, `{"op":"remove","path":"meta"}`,
	} {
		s.do("PATCH", at, Patch(op)).want(t, 400, scim.Mutability)
	}
	u := s.user(`"userName":"b"`)
	g := s.group("g", at)
	s.do("PATCH", g, Patch(`{"op":"replace","path":"members[value eq \"`+id(at)+`\"].value","value":"`+id(at)+`"}`)).want(t, 204, "")
	s.do("PATCH", g, Patch(`{"op":"replace","path":"members[value eq \"`+id(at)+`\"].value","value":"`+id(u)+`"}`)).want(t, 400, scim.Mutability)
}

// SC12_Projection: attributes and excludedAttributes on every method, and what is always there.
func SC12_Projection(t *testing.T, open Open) {
	s := begin(t, open)
	const full = `"userName":"a","title":"Dr","emails":[{"value":"x","type":"work"}],"name":{"givenName":"A","familyName":"B"},"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT","costCenter":"7"}`
	a := s.do("POST", "/Users?attributes=title", User(full)).want(t, 201, "")
	at := s.made(a)
	search := func(rest string) answer {
		l := s.do("POST", "/Users/.search", `{"schemas":["`+scim.SearchURN+`"],`+rest+`}`).want(t, 200, "")
		return answer{l.Response, l.body, l.obj.List("Resources")[0].(*scim.Object)}
	}
	list := s.get(users("attributes", "title"))
	for _, a := range []answer{
		a, s.get(at + "?attributes=title"), s.do("PUT", at+"?attributes=urn:ietf:params:scim:schemas:core:2.0:User:title", User(full)),
		s.do("PATCH", at+"?attributes=TITLE", Patch(`{"op":"add","path":"nickName","value":"n"}`)),
		s.get(at + "?excludedAttributes=userName,emails,nickName,meta,name,active,URN:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
		{list.Response, list.body, list.obj.List("Resources")[0].(*scim.Object)}, search(`"attributes":["title"]`),
	} {
		if a.obj.String("title") != "Dr" || a.obj.String("id") != id(at) || a.obj.List("schemas") == nil || a.obj.Len() != 3 {
			t.Errorf("%s %s", a.Status, a.obj.AppendJSON(nil))
		}
	}
	a = s.get(at + "?attributes=name.familyName,URN:ietf:params:scim:schemas:extension:enterprise:2.0:user:costCenter,emails%5Btype+eq+%22work%22%5D")
	if n := a.obj.Sub("name"); n.Len() != 1 || n.String("familyName") != "B" || a.obj.Sub(scim.EnterpriseUserURN).Len() != 1 || len(a.obj.List("emails")) != 1 || a.obj.Get("userName") != nil {
		t.Error(a.body)
	}
	if a = s.get(at + "?excludedAttributes=id,schemas,name.givenName"); a.obj.String("id") == "" || a.obj.List("schemas") == nil || a.obj.Sub("name").Len() != 1 || a.obj.String("title") != "Dr" {
		t.Error(a.body)
	}
}

// SC13_CaseExact: it drives what is unique and what a filter finds.
func SC13_CaseExact(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"Café","externalId":"E"`)
	for _, name := range []string{"Café", "CAFÉ", "cafe\u0301"} {
		s.do("POST", "/Users", User(`"userName":"`+name+`"`)).want(t, 409, scim.Uniqueness)
	}
	other := s.user(`"userName":"other","externalId":"F"`)
	s.do("PUT", other, User(`"userName":"CAFÉ"`)).want(t, 409, scim.Uniqueness)
	s.do("PATCH", other, Patch(`{"op":"replace","path":"userName","value":"cafÉ"}`)).want(t, 409, scim.Uniqueness)
	s.do("PATCH", at, Patch(`{"op":"replace","path":"userName","value":"CAFÉ"}`)).want(t, 200, "") // its own
	for filter, want := range map[string]string{
		`userName eq "café"`: "1", `externalId eq "E"`: "1", `externalId eq "e"`: "0", `userName eq "café" and externalId eq "x"`: "0", `id eq "x"`: "0", `id eq "` + id(at) + `"`: "1",
	} {
		if n := s.get(users("filter", filter)).total(); n != want {
			t.Errorf("%s finds %s, want %s", filter, n, want)
		}
	}
}

// SC14_OnePrimary: a PATCH that makes another value primary takes it from the one that was; two at once are refused.
func SC14_OnePrimary(t *testing.T, open Open) {
	s := begin(t, open)
	s.do("POST", "/Users", User(`"userName":"a","emails":[{"value":"a","primary":true},{"value":"b","primary":true}]`)).want(t, 400, scim.InvalidValue)
	at := s.user(`"userName":"a","emails":[{"value":"a","type":"work","primary":true}]`)
	s.do("PATCH", at, Patch(`{"op":"add","path":"emails","value":[{"value":"b","type":"home","primary":true}]}`)).want(t, 200, "")
	for _, v := range s.get(at).obj.List("emails") {
		if el := v.(*scim.Object); (el.Get("primary") == true) != (el.String("value") == "b") {
			t.Errorf("primary: %s", el.AppendJSON(nil))
		}
	}
	s.do("PATCH", at, Patch(`{"op":"add","path":"emails","value":[{"value":"c","primary":true},{"value":"d","primary":true}]}`)).want(t, 400, scim.InvalidValue)
}

// SC15_CanonicalValues are suggestions: another type is taken.
func SC15_CanonicalValues(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","emails":[{"value":"a@x","type":"holiday"}],"phoneNumbers":[{"value":"1","type":"satellite"}]`)
	if got := s.get(at).obj.List("emails")[0].(*scim.Object).String("type"); got != "holiday" {
		t.Error(got)
	}
}

// SC16_ValuesAsSent: nothing is put into another form.
func SC16_ValuesAsSent(t *testing.T, open Open) {
	s := begin(t, open)
	const number = "(+49) 89/123-45 x6 "
	at := s.user(`"userName":"a","phoneNumbers":[{"value":"` + number + `","type":"work"}],"title":" Dr.  h.c. "`)
	a := s.get(at)
	if got := a.obj.List("phoneNumbers")[0].(*scim.Object).String("value"); got != number || a.obj.String("title") != " Dr.  h.c. " {
		t.Error(a.body)
	}
}

// SC17_Meta: whose kind, when, where and which version; it moves only when something changes.
func SC17_Meta(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","title":"Dr"`)
	meta := func() string { return string(s.get(at).obj.Sub("meta").AppendJSON(nil)) }
	first := s.get(at).obj.Sub("meta")
	if first.String("resourceType") != "User" || first.String("location") != s.Base+at || !strings.HasPrefix(first.String("version"), `W/"`) {
		t.Error(meta())
	}
	for _, name := range []string{"created", "lastModified"} {
		if _, err := scim.ParseTime(first.String(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := meta()
	for _, a := range []answer{
		s.do("PUT", at, User(`"userName":"a","title":"Dr"`)), s.do("PATCH", at, Patch(`{"op":"replace","path":"title","value":"Dr"}`)),
		s.do("PATCH", at, Patch(`{"op":"remove","path":"nickName"}`)), s.do("PATCH", at, Patch(`{"op":"add","path":"nickName","value":"x"}`, `{"op":"remove","path":"userName"}`)),
	} {
		if got := meta(); got != before {
			t.Errorf("%s: nothing changed, but %s", a.Status, cmp.Diff(before, got))
		}
	}
	s.do("PATCH", at, Patch(`{"op":"replace","path":"title","value":"Mr"}`, `{"op":"add","path":"nickName","value":"x"}`)).want(t, 200, "")
	last := s.get(at).obj.Sub("meta")
	if last.String("version") == first.String("version") || last.String("created") != first.String("created") || last.String("lastModified") < first.String("lastModified") {
		t.Errorf("%s after %s", meta(), before)
	}
	if a := s.get(s.group("g")).obj.Sub("meta").String("resourceType"); a != "Group" {
		t.Error(a)
	}
}

// SC18_Members: the server says what a member is, and which groups a user is in; who does not exist is no member.
func SC18_Members(t *testing.T, open Open) {
	s := begin(t, open)
	u := s.user(`"userName":"kim"`)
	inner := s.group("inner", u)
	outer := s.group("outer", inner)
	m := s.get(outer).obj.List("members")[0].(*scim.Object)
	if m.String("value") != id(inner) || m.String("type") != "Group" || m.String("$ref") != s.Base+inner || m.String("display") != "inner" {
		t.Errorf("%s", m.AppendJSON(nil))
	}
	m = s.get(inner).obj.List("members")[0].(*scim.Object)
	if m.String("value") != id(u) || m.String("type") != "User" || m.String("$ref") != s.Base+u || m.String("display") == "" {
		t.Errorf("%s", m.AppendJSON(nil))
	}
	how := map[string]string{}
	for _, v := range s.get(u).obj.List("groups") {
		el := v.(*scim.Object)
		if how[el.String("display")] = el.String("type"); el.String("$ref") != s.Base+"/Groups/"+el.String("value") {
			t.Errorf("%s", el.AppendJSON(nil))
		}
	}
	if diff := cmp.Diff(map[string]string{"inner": "direct", "outer": "indirect"}, how); diff != "" {
		t.Error(diff)
	}
	s.do("POST", "/Groups", Group("x", "nobody")).want(t, 400, scim.InvalidValue)
	s.do("PUT", inner, Group("inner", u, "nobody")).want(t, 400, scim.InvalidValue)
	s.do("PATCH", inner, Patch(`{"op":"add","path":"members","value":[{"value":"nobody"}]}`)).want(t, 400, scim.InvalidValue)
	if n := len(s.get(inner).obj.List("members")); n != 1 {
		t.Errorf("%d members", n)
	}
	s.do("PATCH", inner, Patch(`{"op":"remove","path":"members[value eq \"`+id(u)+`\"]"}`)).want(t, 204, "")
	if g := s.get(u).obj.List("groups"); g != nil {
		t.Errorf("who left is in %v", g)
	}
}

// SC19_Nesting: no group is inside itself, and who is deleted is in none.
func SC19_Nesting(t *testing.T, open Open) {
	s := begin(t, open)
	u := s.user(`"userName":"kim"`)
	a := s.group("a", u)
	b := s.group("b", a)
	c := s.group("c", b)
	for _, g := range []string{a, b, c} {
		s.do("PATCH", a, Patch(`{"op":"add","path":"members","value":[{"value":"`+id(g)+`"}]}`)).want(t, 400, scim.InvalidValue)
		s.do("PUT", a, Group("a", g)).want(t, 400, scim.InvalidValue)
	}
	if diff := cmp.Diff(`["`+id(u)+`"]`, values(s.get(a), "members")); diff != "" {
		t.Error(diff)
	}
	s.do("DELETE", u, "").want(t, 204, "")
	if got := values(s.get(a), "members"); got != "[]" {
		t.Errorf("a deleted user is a member: %s", got)
	}
	s.do("DELETE", b, "").want(t, 204, "")
	if got := values(s.get(c), "members"); got != "[]" {
		t.Errorf("a deleted group is a member: %s", got)
	}
	s.get(a)
}

// values are what the elements of an attribute have as value.
func values(a answer, name string) string {
	var all []string
	for _, v := range a.obj.List(name) {
		all = append(all, `"`+v.(*scim.Object).String("value")+`"`)
	}
	return "[" + strings.Join(all, ",") + "]"
}

// SC20_Manager: the enterprise extension's manager by its id; its name is the server's.
func SC20_Manager(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","` + scim.EnterpriseUserURN + `":{"manager":{"value":"26118915","displayName":"x"}}`)
	m := s.get(at).obj.Sub(scim.EnterpriseUserURN).Sub("manager")
	if m.String("value") != "26118915" || m.String("displayName") == "x" {
		t.Errorf("%s", m.AppendJSON(nil))
	}
	s.do("PATCH", at, Patch(`{"op":"replace","path":"`+scim.EnterpriseUserURN+`:manager","value":{"value":"7"}}`)).want(t, 200, "")
	s.do("PATCH", at, Patch(`{"op":"replace","path":"`+scim.EnterpriseUserURN+`:manager.displayName","value":"x"}`)).want(t, 400, scim.Mutability)
	if got := s.get(at).obj.Sub(scim.EnterpriseUserURN).Sub("manager").String("value"); got != "7" {
		t.Error(got)
	}
}

// SC21_Password: taken, and never seen again.
func SC21_Password(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","password":"hunter2"`)
	for _, a := range []answer{
		s.get(at + "?attributes=password"), s.get(at), s.do("PUT", at, User(`"userName":"a","password":"hunter3"`)),
		s.do("PATCH", at+"?attributes=password,title", Patch(`{"op":"replace","path":"password","value":"hunter4"}`)), s.get(users("attributes", "password")),
		s.do("POST", "/Users/.search", `{"schemas":["`+scim.SearchURN+`"],"attributes":["password"]}`),
	} {
		if strings.Contains(a.body, "hunter") || strings.Contains(a.body, "password") || a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	for _, filter := range []string{`password sw "h"`, `password pr`, `userName pr and not (password eq "hunter2")`} {
		s.do("GET", users("filter", filter), "").want(t, 400, scim.InvalidFilter)
	}
	s.do("GET", users("sortBy", "password"), "").want(t, 400, scim.InvalidPath)
}

// C03_ExternalIDIsNoID: who names a resource as another's id does not get it.
func C03_ExternalIDIsNoID(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"victim"`)
	s.user(`"userName":"attacker","externalId":"` + id(at) + `"`)
	if a := s.get(at); a.obj.String("userName") != "victim" {
		t.Error(a.body)
	}
	if n := fmt.Sprint(s.get(users("filter", `id eq "`+id(at)+`"`)).each("userName")); n != "[victim]" {
		t.Error(n)
	}
}
