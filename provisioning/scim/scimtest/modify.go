package scimtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// SC50_Put replaces: what is left out is cleared, but active stays; nothing is created.
func SC50_Put(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","active":false,"title":"Dr","emails":[{"value":"x"}]`)
	a := s.do("PUT", at, User(`"userName":"b","id":"mine","colour":"red"`)).want(t, 200, "")
	if a.obj.String("userName") != "b" || a.obj.Get("title") != nil || a.obj.Get("emails") != nil || a.obj.Get("active") != false || a.obj.String("id") != id(at) || a.obj.Get("colour") != nil {
		t.Error(a.body)
	}
	s.do("PUT", at, User(`"title":"x"`)).want(t, 400, scim.InvalidValue)
	s.do("PUT", "/Users/made-up", User(`"userName":"c"`)).want(t, 404, "")
	if n := s.get(users("filter", `userName eq "c"`)).total(); n != "0" {
		t.Error("a PUT created a user")
	}
}

// SC51_PatchIsAtomic: one operation that fails undoes all; what changes, changes the version once.
func SC51_PatchIsAtomic(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","title":"Dr"`)
	g := s.group("g", at)
	for _, path := range []string{at, g} {
		before := s.get(path).body
		first := `{"op":"add","path":"externalId","value":"x"}`
		if path == g {
			first = `{"op":"remove","path":"members[value eq \"` + id(at) + `\"]"},{"op":"replace","path":"displayName","value":"h"}`
		}
		for _, bad := range []string{`{"op":"replace","path":"id","value":"x"}`, `{"op":"add","path":"colour","value":1}`, `{"op":"remove"}`, `{"op":"replace","path":"displayName","value":5}`} {
			if a := s.do("PATCH", path, Patch(first, bad)); a.StatusCode != 400 {
				t.Errorf("%s: %d", bad, a.StatusCode)
			}
			if after := s.get(path).body; after != before {
				t.Errorf("%s: %s", bad, cmp.Diff(before, after))
			}
		}
	}
	if a := s.do("PATCH", at, Patch(`{"op":"add","path":"title","value":"x"}`, `{"op":"replace","path":"title","value":"Dr"}`)); a.Header.Get("ETag") != s.get(at).Header.Get("ETag") {
		t.Error("what cancels out changed the version")
	}
}

// SC52_Add: sets what has one value, appends to what has several, each once; makes what it is part of.
func SC52_Add(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","emails":[{"value":"a@x","type":"work"}]`)
	for range 2 {
		s.do("PATCH", at, Patch(`{"op":"add","path":"title","value":"Dr"}`, `{"op":"add","path":"emails","value":[{"value":"b@x","type":"home"}]}`, `{"op":"add","path":"emails","value":{"value":"a@x","type":"work"}}`,
			`{"op":"add","path":"name.givenName","value":"G"}`, `{"op":"add","value":{"nickName":"n","name":{"familyName":"F"},"`+scim.EnterpriseUserURN+`":{"department":"IT"}}}`)).want(t, 200, "")
		a := s.get(at)
		if len(a.obj.List("emails")) != 2 || a.obj.Sub("name").Len() != 2 || a.obj.String("nickName") != "n" || a.obj.Sub(scim.EnterpriseUserURN).String("department") != "IT" || a.obj.String("title") != "Dr" {
			t.Error(a.body)
		}
	}
}

// SC53_Replace: without a path it merges, with a filter that chooses nothing it is refused.
func SC53_Replace(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","name":{"givenName":"G","familyName":"F"},"emails":[{"value":"a@x","type":"work"},{"value":"b@x","type":"home"}]`)
	s.do("PATCH", at, Patch(`{"op":"replace","value":{"name":{"givenName":"H"},"title":"Dr"}}`, `{"op":"replace","path":"emails[type eq \"work\"].value","value":"c@x"}`)).want(t, 200, "")
	a := s.get(at)
	if a.obj.Sub("name").String("givenName") != "H" || a.obj.Sub("name").String("familyName") != "F" || values(a, "emails") != `["c@x","b@x"]` {
		t.Error(a.body)
	}
	s.do("PATCH", at, Patch(`{"op":"replace","path":"emails[type eq \"other\"].value","value":"d@x"}`)).want(t, 400, scim.NoTarget)
	s.do("PATCH", at, Patch(`{"op":"replace","path":"emails","value":[{"value":"e@x"}]}`)).want(t, 200, "")
	if got := values(s.get(at), "emails"); got != `["e@x"]` {
		t.Error(got)
	}
	u := s.user(`"userName":"b"`)
	g := s.group("g", at)
	s.do("PATCH", g, Patch(`{"op":"replace","path":"members","value":[{"value":"`+id(u)+`"}]}`)).want(t, 204, "")
	if got := values(s.get(g), "members"); got != `["`+id(u)+`"]` {
		t.Error(got)
	}
	s.do("PATCH", g, Patch(`{"op":"replace","value":{"members":[]}}`)).want(t, 204, "")
	if got := values(s.get(g), "members"); got != "[]" {
		t.Error(got)
	}
}

// SC54_Remove: by path only; a value whose last part is taken away is gone.
func SC54_Remove(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a","title":"Dr","name":{"givenName":"G"},"emails":[{"value":"a@x","type":"work"},{"value":"b@x"}]`)
	s.do("PATCH", at, Patch(`{"op":"remove"}`)).want(t, 400, scim.NoTarget)
	s.do("PATCH", at, Patch(`{"op":"remove","path":"userName"}`)).want(t, 400, scim.Mutability)
	s.do("PATCH", at, Patch(`{"op":"remove","path":"id"}`)).want(t, 400, scim.Mutability)
	s.do("PATCH", at, Patch(`{"op":"remove","path":"title"}`, `{"op":"remove","path":"name.givenName"}`, `{"op":"remove","path":"emails[type eq \"work\"]"}`, `{"op":"remove","path":"emails[value eq \"b@x\"].value"}`)).want(t, 200, "")
	a := s.get(at)
	for _, name := range []string{"title", "name", "emails"} {
		if a.obj.Get(name) != nil {
			t.Errorf("%s is left: %s", name, a.body)
		}
	}
	b, c := s.user(`"userName":"b"`), s.user(`"userName":"c"`)
	g := s.group("g", at, b, c)
	s.do("PATCH", g, Patch(`{"op":"remove","path":"members[value eq \"`+id(at)+`\" or value eq \"`+id(b)+`\"]"}`)).want(t, 204, "")
	if got := values(s.get(g), "members"); got != `["`+id(c)+`"]` {
		t.Error(got)
	}
	s.do("PATCH", g, Patch(`{"op":"remove","path":"members"}`)).want(t, 204, "")
	if got := values(s.get(g), "members"); got != "[]" {
		t.Error(got)
	}
}

// SC55_Operations: their names in any case, and none that does not exist.
func SC55_Operations(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	s.do("PATCH", at, `{"schemas":["`+scim.PatchURN+`"],"id":"x","operations":[{"OP":"Add","PATH":"TITLE","Value":"Dr"},{"op":"REPLACE","path":"nickName","value":"n"}]}`).want(t, 200, "")
	if a := s.get(at); a.obj.String("title") != "Dr" || a.obj.String("nickName") != "n" {
		t.Error(a.body)
	}
	for _, body := range []string{Patch(`{"op":"move","path":"title","value":"x"}`), Patch(), `{"schemas":["` + scim.PatchURN + `"]}`, Patch(`1`), Patch(`{"path":"title","value":"x"}`), Patch(`{"op":"add","value":"x"}`)} {
		s.do("PATCH", at, body).want(t, 400, scim.InvalidSyntax)
	}
}

// SC56_AnswerToPatch: 204 or the resource, but the resource if attributes are asked for.
func SC56_AnswerToPatch(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	other := s.user(`"userName":"b"`)
	if a := s.do("PATCH", at, Patch(`{"op":"add","path":"title","value":"x"}`)).want(t, 200, ""); a.obj.String("title") != "x" {
		t.Error(a.body)
	}
	g := s.group("g", at)
	a := s.do("PATCH", g, Patch(`{"op":"add","path":"members","value":[{"value":"`+id(other)+`"}]}`)).want(t, 204, "")
	if a.body != "" || a.Header.Get("ETag") != s.get(g).Header.Get("ETag") {
		t.Errorf("%q %v", a.body, a.Header)
	}
	if a := s.do("PATCH", g+"?attributes=members", Patch(`{"op":"remove","path":"members[value eq \"`+id(other)+`\"]"}`)).want(t, 200, ""); values(a, "members") != `["`+id(at)+`"]` {
		t.Error(a.body)
	}
	if a := s.do("PATCH", g+"?excludedAttributes=members", Patch(`{"op":"add","path":"members","value":[{"value":"`+id(other)+`"}]}`)).want(t, 200, ""); a.obj.Get("members") != nil || a.obj.String("displayName") != "g" {
		t.Error(a.body)
	}
	if a := s.do("PATCH", g+"?attributes=members", Patch(`{"op":"replace","value":{"members":[]}}`)).want(t, 200, ""); a.obj.Get("members") != nil {
		t.Error(a.body)
	}
}

// SC57_Conditions: 304, 412 and the entity tag on every answer with a resource.
func SC57_Conditions(t *testing.T, open Open) {
	s := begin(t, open)
	u := s.user(`"userName":"m"`)
	for _, c := range []struct{ at, patch, put string }{
		{s.user(`"userName":"a"`), `{"op":"add","path":"title","value":"x"}`, User(`"userName":"b"`)},
		{s.group("g"), `{"op":"add","path":"members","value":[{"value":"` + id(u) + `"}]}`, Group("h", u)},
	} {
		tag := s.get(c.at).Header.Get("ETag")
		if !strings.HasPrefix(tag, `W/"`) || tag != s.get(c.at).obj.Sub("meta").String("version") {
			t.Errorf("the entity tag is %s", tag)
		}
		for _, same := range []string{tag, strings.TrimPrefix(tag, "W/"), `*`, `W/"no", ` + tag} {
			if a := s.do("GET", c.at, "", "If-None-Match", same).want(t, 304, ""); a.body != "" || a.Header.Get("ETag") != tag {
				t.Errorf("%s: %q %v", same, a.body, a.Header)
			}
		}
		s.do("GET", c.at, "", "If-None-Match", `W/"no"`).want(t, 200, "")
		for _, other := range []string{`W/"no"`, strings.Trim(tag, `W/"`), `""`, `x`} {
			s.do("PATCH", c.at, Patch(c.patch), "If-Match", other).want(t, 412, scim.InvalidVers)
			s.do("PUT", c.at, c.put, "If-Match", other).want(t, 412, scim.InvalidVers)
			s.do("DELETE", c.at, "", "If-Match", other).want(t, 412, scim.InvalidVers)
		}
		if now := s.get(c.at).Header.Get("ETag"); now != tag {
			t.Errorf("a refused change made %s of %s", now, tag)
		}
		second := s.do("PATCH", c.at, Patch(c.patch), "If-Match", tag).Header.Get("ETag")
		third := s.do("PUT", c.at, c.put, "If-Match", second).want(t, 200, "").Header.Get("ETag")
		if second == tag || third == second || third != s.get(c.at).Header.Get("ETag") {
			t.Errorf("the entity tags are %s, %s, %s", tag, second, third)
		}
		s.do("PATCH", c.at, Patch(c.patch), "If-Match", tag).want(t, 412, scim.InvalidVers)
		s.do("DELETE", c.at, "", "If-Match", third).want(t, 204, "")
	}
}

// SC58_AdditionsAtTheSameTime all survive.
func SC58_AdditionsAtTheSameTime(t *testing.T, open Open) {
	s := begin(t, open)
	const n = 30
	var at []string
	for i := range n {
		at = append(at, s.user(fmt.Sprintf(`"userName":"m%d"`, i)))
	}
	g := s.group("g", at[0])
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() {
			if a := s.do("PATCH", g, Patch(fmt.Sprintf(`{"op":"add","path":"members","value":[{"value":"%s"}]}`, id(at[i])))); a.StatusCode != 204 {
				t.Errorf("%d: %s", a.StatusCode, a.body)
			}
		})
	}
	wg.Go(func() {
		s.do("PATCH", g, Patch(`{"op":"remove","path":"members[value eq \"`+id(at[0])+`\"]"}`))
	})
	wg.Wait()
	if got := len(s.get(g).obj.List("members")); got != n-1 {
		t.Errorf("%d members survived, want %d", got, n-1)
	}
}

// C04_CreationsAtTheSameTime of one name make one user.
func C04_CreationsAtTheSameTime(t *testing.T, open Open) {
	s := begin(t, open)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 20 {
		wg.Go(func() {
			a := s.do("POST", "/Users", User(`"userName":"same"`))
			mu.Lock()
			defer mu.Unlock()
			codes[a.StatusCode]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{201: 1, 409: 19}, codes); diff != "" {
		t.Error(diff)
	}
}
