package scim_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// Every way not to be known gets one and the same answer, at every address.
func TestC01_WithoutAValidCredentialEveryRouteAnswersTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "kim")
	before := w.stored(id)
	routes := [][2]string{
		{"GET", "/Users"}, {"POST", "/Users"}, {"GET", "/Users/" + id}, {"PUT", "/Users/" + id}, {"PATCH", "/Users/" + id}, {"DELETE", "/Users/" + id},
		{"GET", "/Users/nobody"}, {"GET", "/Groups"}, {"POST", "/Bulk"}, {"GET", "/Me"}, {"POST", "/.search"},
		{"GET", "/Schemas"}, {"GET", "/ServiceProviderConfig"}, {"GET", "/ResourceTypes"}, {"GET", "/nothing"}, {"BREW", "/Users"},
	}
	credentials := []struct {
		name, who, query string
		headers          []string
	}{
		{name: "none"}, {name: "wrong", who: "wrong-token"}, {name: "one letter more", who: "hr-token1"}, {name: "one letter less", who: "hr-toke"}, {name: "another case", who: "HR-TOKEN"},
		{name: "in the address", query: "?access_token=hr-token"}, {name: "in a cookie", headers: []string{"Cookie", "token=hr-token; Authorization=hr-token"}},
		{name: "a wrong password", who: "admin:nimda"}, {name: "a token as Basic", who: "hr:hr-token"}, {name: "Basic's password as a token", who: "admin"},
		{name: "no password", who: "admin:"}, {name: "nothing of Basic", who: ":"},
		{name: "twice", who: hr, headers: []string{"Authorization", "Bearer hr-token"}}, {name: "two", who: hr, headers: []string{"Authorization", "Bearer other"}},
		{name: "another scheme", headers: []string{"Authorization", "Digest hr-token"}}, {name: "no scheme", headers: []string{"Authorization", "hr-token"}},
		{name: "a list", headers: []string{"Authorization", "Bearer x, Bearer hr-token"}}, {name: "as a proxy", headers: []string{"Proxy-Authorization", "Bearer hr-token"}},
	}
	want := ""
	for _, c := range credentials {
		for i, r := range routes {
			w.from = fmt.Sprintf("192.0.2.%d", i) // who guesses from one place is slowed down
			a := w.do(c.who, r[0], r[1]+c.query, "", c.headers...).want(t, 401, "")
			got := fmt.Sprint(a.Header, a.body)
			if want == "" {
				want = got
			}
			if got != want || len(a.Header["Www-Authenticate"]) != 2 {
				t.Errorf("%s, %s %s: %s, want %s", c.name, r[0], r[1], got, want)
			}
		}
	}
	if n := len(credentials) * len(routes); len(w.refused) != n || w.refused[7] != "client.unauthorized 192.0.2.7" {
		t.Errorf("%d refusals of %d were told of: %q", len(w.refused), n, w.refused[:1])
	}
	if d := cmp.Diff(before, w.stored(id)); d != "" {
		t.Error(d)
	}
	for _, who := range []string{hr, "old-hr-token", resident} { // both tokens hold while one is exchanged for the other
		w.get(who, id)
	}
	w.do("", "GET", "/Users/"+id, "", "Authorization", "bEARER hr-token").want(t, 200, "")
}

func TestC02_AnotherClientsUsersDoNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.user(hr, `"userName":"kim","externalId":"s1"`)
	own := w.named(uni, "dana")
	before := w.stored(id)
	put, patch := scimtest.User(`"userName":"x"`), scimtest.Patch(`{"op":"replace","path":"active","value":false}`)
	for _, r := range [][3]string{{"GET", "", ""}, {"PUT", "", put}, {"PATCH", "", patch}, {"DELETE", "", ""}} {
		there := w.do(uni, r[0], "/Users/"+id, r[2], "If-Match", `W/"77"`).want(t, 404, "")
		absent := w.do(uni, r[0], "/Users/"+strings.Repeat("0", len(id)), r[2], "If-Match", `W/"77"`).want(t, 404, "")
		if strings.ReplaceAll(there.body, id, strings.Repeat("0", len(id))) != absent.body {
			t.Errorf("%s: %s and %s", r[0], there.body, absent.body)
		}
	}
	for _, filter := range []string{`userName eq "kim"`, `userName eq "primary/kim"`, `id eq "` + id + `"`, `externalId eq "s1"`, `userName sw "k"`} {
		if got := w.found(uni, filter); len(got) != 0 {
			t.Errorf("%s finds %v", filter, got)
		}
	}
	if got := ids(w.do(uni, "GET", "/Users", "").obj); !slices.Equal(got, []string{own}) {
		t.Errorf("uni lists %v", got)
	}
	w.do(uni, "POST", "/Users", scimtest.User(`"userName":"primary/eve"`)).want(t, 400, scim.InvalidValue)
	w.do(uni, "PUT", "/Users/"+own, scimtest.User(`"userName":"primary/dana"`)).want(t, 400, scim.InvalidValue)
	// The same name in its own store is somebody else.
	if other := w.named(uni, "kim"); other == id {
		t.Error("it is the same user")
	}
	if d := cmp.Diff(before, w.stored(id)); d != "" {
		t.Error(d)
	}
	if w.endings() != 0 {
		t.Error("sessions were ended")
	}
	w.do(hr, "PATCH", "/Users/"+id, patch).want(t, 200, "")
}

func TestC03_ExternalIDIsNoID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "kim")
	eve := w.user(hr, `"userName":"eve","externalId":"`+id+`"`)
	if got := w.get(hr, id).String("userName"); got != "kim" {
		t.Errorf("%s is %s", id, got)
	}
	if got := w.found(hr, `id eq "`+id+`"`); !slices.Equal(got, []string{id}) {
		t.Errorf("by id: %v", got)
	}
	if got := w.found(hr, `externalId eq "`+id+`"`); !slices.Equal(got, []string{eve}) {
		t.Errorf("by externalId: %v", got)
	}
	w.do(hr, "DELETE", "/Users/"+eve, "").want(t, 204, "")
	w.get(hr, id)
}

// Nothing that a client writes makes somebody who is there its own, or lets
// anybody sign in as them.
func TestC04_ClientTakesNobodyOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.mustLogin("s1", "kim", "kim@campus.test")
	w.do(hr, "POST", "/Users", scimtest.User(`"userName":"KIM","externalId":"s2"`)).want(t, 409, scim.Uniqueness)
	if _, err := w.login("s2", "kim", "kim@campus.test"); reason(err) != "jit.conflict" {
		t.Errorf("whom the client named was let in: %v", err)
	}
	// Somebody else's subject can not be claimed.
	w.do(hr, "POST", "/Users", scimtest.User(`"userName":"eve","externalId":"s1"`)).want(t, 409, scim.Uniqueness)
	if n := w.count(); n != 1 {
		t.Errorf("there are %d users: what was refused left something", n)
	}
	// Nor can it be given to, or moved between, users who are there.
	w.do(hr, "PATCH", "/Users/"+kim.ID, scimtest.Patch(`{"op":"add","path":"externalId","value":"s3"}`)).want(t, 200, "")
	w.do(hr, "PATCH", "/Users/"+kim.ID, scimtest.Patch(`{"op":"replace","path":"externalId","value":"s4"}`)).want(t, 400, scim.Mutability)
	for _, s := range []string{"s3", "s4"} {
		if u, err := w.login(s, "other-"+s, ""); err != nil || u.ID == kim.ID {
			t.Errorf("%s signs in as %s, %v", s, u.UserName, err)
		}
	}
	// The same mail address is no claim on anything.
	same := w.user(hr, `"userName":"eve","externalId":"s5","emails":[{"value":"kim@campus.test"}]`)
	if u := w.mustLogin("s5", "whoever", ""); u.ID != same {
		t.Errorf("whom hr named signs in as %s", u.UserName)
	}
	if u := w.mustLogin("s1", "kim", "kim@campus.test"); u.ID != kim.ID {
		t.Errorf("kim signs in as %s", u.UserName)
	}
}

func TestC05_ChangedMailOrNameMovesNoSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.mustLogin("s1", "kim", "kim@campus.test")
	eve := w.user(hr, `"userName":"eve","externalId":"e1"`)
	w.do(hr, "PATCH", "/Users/"+eve, scimtest.Patch(`{"op":"add","path":"emails","value":[{"value":"kim@campus.test","type":"work","primary":true}]}`)).want(t, 200, "")
	w.do(hr, "PATCH", "/Users/"+eve, scimtest.Patch(`{"op":"replace","path":"userName","value":"Kim"}`)).want(t, 409, scim.Uniqueness)
	w.do(hr, "PATCH", "/Users/"+kim.ID, scimtest.Patch(`{"op":"replace","path":"userName","value":"kim2"}`)).want(t, 200, "")
	w.do(hr, "PATCH", "/Users/"+eve, scimtest.Patch(`{"op":"replace","path":"userName","value":"kim"}`)).want(t, 200, "")
	if u := w.mustLogin("s1", "kim", "kim@campus.test"); u.ID != kim.ID || u.UserName != "kim2" {
		t.Errorf("kim signs in as %s (%s)", u.ID, u.UserName)
	}
	if _, err := w.login("s9", "kim", "kim@campus.test"); reason(err) != "jit.conflict" {
		t.Errorf("a stranger with name and mail: %v", err)
	}
	if u := w.mustLogin("e1", "x", ""); u.ID != eve {
		t.Errorf("eve signs in as %s", u.UserName)
	}
}

func TestC06_WhatIsNoClientsToSayIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "admins"}, provisioning.Admin, provisioning.Move{})
	if err != nil {
		t.Fatal(err)
	}
	id := w.user(hr, `"userName":"eve","id":"1","meta":{"version":"W/\"99\"","created":"1999-01-01T00:00:00Z"},"password":"`+password+`",
		"roles":[{"value":"gatehouse-admin"}],"entitlements":[{"value":"all"}],"groups":[{"value":"`+g.ID+`"}],"admin":true,"sessions":[1],"version":9,
		"store":"partners","Attributes":{"groups":["fin"]},"urn:gatehouse:internal":{"groups":["fin"]},"scim:kept":"{}","__proto__":{"admin":true}`)
	u := w.stored(id)
	if id == "1" || u.Version != 1 || u.Store != "primary" || u.Created.Year() < 2020 {
		t.Errorf("taken: %+v", u)
	}
	s, err := w.dir.Subject(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range s.Attributes {
		if name != "scim:kept" {
			t.Errorf("eve has %s = %v", name, values)
		}
	}
	if len(s.Groups)+len(s.Roles) != 0 {
		t.Errorf("eve is in %v with %v", s.Groups, s.Roles)
	}
	for _, op := range []string{
		`{"op":"replace","path":"id","value":"1"}`, `{"op":"replace","path":"meta.version","value":"W/\"1\""}`,
		`{"op":"add","path":"groups","value":[{"value":"` + g.ID + `"}]}`, `{"op":"replace","value":{"groups":[{"value":"x"}]}}`,
	} {
		w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(op)).want(t, 400, scim.Mutability)
	}
	w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"eve","id":"1","groups":[{"value":"`+g.ID+`"}],"admin":true`)).want(t, 200, "")
	if s, _ := w.dir.Subject(t.Context(), id); len(s.Groups) != 0 {
		t.Errorf("eve is in %v", s.Groups)
	}
}

func TestC07C10_PasswordIsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(hr, "POST", "/Users?attributes=password,userName", scimtest.User(`"userName":"kim","password":"`+password+`","nickName":"stays"`)).want(t, 201, "")
	id := a.obj.String("id")
	answers := []answer{
		a,
		w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim","password":"`+password+`","nickName":"stays"`)),
		w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"password","value":"`+password+`"}`)),
		w.do(hr, "GET", "/Users/"+id+"?attributes=password", ""), w.do(hr, "GET", "/Users?attributes=password", ""),
	}
	for _, a := range answers {
		if a.StatusCode >= 300 || strings.Contains(a.body, "password") || strings.Contains(a.body, password) {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	for _, filter := range []string{`password sw "h"`, `password pr`, `userName pr and not (password eq "x")`, `meta.secret pr`} {
		w.do(hr, "GET", "/Users?"+url.Values{"filter": {filter}}.Encode(), "").want(t, 400, scim.InvalidFilter)
	}
	w.do(hr, "GET", "/Users?sortBy=password", "").want(t, 400, scim.InvalidPath)
	raw, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), password) || !strings.Contains(string(raw), "stays") {
		t.Error("the password is in the file, or the file is not the one")
	}
	if v := w.stored(id).Version; v != 1 {
		t.Errorf("a password alone is no change, and the version is %d", v)
	}
}

func TestC08_PatchHappensWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.user(hr, `"userName":"kim","displayName":"Kim","emails":[{"value":"k@home.test","type":"home"}]`)
	before := w.stored(id)
	good := `{"op":"replace","path":"displayName","value":"Changed"}`
	many := make([]string, scim.MaxOperations+1)
	for i := range many {
		many[i] = good
	}
	for name, c := range map[string]struct {
		ops  []string
		want string
	}{
		"a failing one in the middle": {[]string{good, `{"op":"replace","path":"emails[type eq \"work\"].value","value":"x"}`, good}, scim.NoTarget},
		"an unknown operation":        {[]string{good, `{"op":"move","path":"displayName","value":"x"}`}, scim.InvalidSyntax},
		"an unknown path":             {[]string{good, `{"op":"add","path":"__proto__","value":{"admin":true}}`}, scim.InvalidPath},
		"an unknown member":           {[]string{good, `{"op":"add","value":{"constructor":{"x":1}}}`}, scim.InvalidPath},
		"our own word":                {[]string{good, `{"op":"add","path":"scim:kept","value":"x"}`}, scim.InvalidPath},
		"the id":                      {[]string{good, `{"op":"replace","path":"id","value":"x"}`}, scim.Mutability},
		"the name":                    {[]string{good, `{"op":"remove","path":"userName"}`}, scim.Mutability},
		"a name that is none":         {[]string{good, `{"op":"replace","path":"userName","value":" "}`}, scim.InvalidValue},
		"a name in another store":     {[]string{good, `{"op":"replace","path":"userName","value":"mysql/kim"}`}, scim.InvalidValue},
		"a wrong type":                {[]string{good, `{"op":"replace","path":"active","value":"False"}`}, scim.InvalidValue},
		"too many":                    {many, ""},
	} {
		status := 400
		if c.want == "" {
			status = 413
		}
		w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(c.ops...)).want(t, status, c.want)
		if d := cmp.Diff(before, w.stored(id)); d != "" {
			t.Fatalf("%s: %s", name, d)
		}
	}
	a := w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(
		`{"op":"REPLACE","path":"urn:ietf:params:scim:schemas:core:2.0:User:displayName","value":"K"}`, `{"op":"Add","value":{"nickName":"kk","name":{"givenName":"Kim"}}}`,
		`{"op":"replace","path":"emails[type eq \"home\"].value","value":"kim@home.test"}`, `{"op":"add","path":"`+scim.EnterpriseUserURN+`:department","value":"IT"}`)).want(t, 200, "")
	u := w.stored(id)
	got := fmt.Sprint(u.Version, provisioning.Effective(u, "display_name"), provisioning.Effective(u, "given_name"), provisioning.Effective(u, "mail"), provisioning.Effective(u, "department"))
	if got != "2 [K] [Kim] [kim@home.test] [IT]" || a.Header.Get("ETag") != `W/"2"` {
		t.Errorf("it is %s (%s)", got, a.Header.Get("ETag"))
	}
}

func TestC11_InactiveHasNoSessionWhateverWayItIsSaid(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]struct{ method, body string }{
		"a path":    {"PATCH", scimtest.Patch(`{"op":"replace","path":"active","value":false}`)},
		"no path":   {"PATCH", scimtest.Patch(`{"op":"Replace","value":{"Active":false}}`)},
		"the whole": {"PUT", scimtest.User(`"userName":"kim","active":false`)},
		"DELETE":    {"DELETE", ""},
	} {
		w := newWorld(t)
		id := w.user(hr, `"userName":"kim","externalId":"s1"`)
		w.mustLogin("s1", "kim", "")
		if w.endings() != 0 {
			t.Fatal("sessions were ended before")
		}
		if a := w.do(hr, off.method, "/Users/"+id, off.body); a.StatusCode/100 != 2 {
			t.Fatalf("%s: %s", name, a.body)
		}
		if w.endings() != 1 || w.ended[0] != id {
			t.Errorf("%s: the sessions ended are %v", name, w.ended)
		}
		if _, err := w.login("s1", "kim", ""); err == nil && off.method != "DELETE" || err != nil && off.method != "DELETE" && reason(err) != "user.inactive" {
			t.Errorf("%s: a sign-in says %v", name, err)
		}
	}

	w := newWorld(t)
	id := w.named(hr, "kim")
	off := scimtest.Patch(`{"op":"replace","path":"active","value":false}`)
	w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"active","value":"False"}`)).want(t, 400, scim.InvalidValue)
	if !w.stored(id).Active || w.endings() != 0 {
		t.Error("a refused request did something")
	}
	// If sessions could not be ended the client is told, and its next try ends them.
	w.fail = os.ErrDeadlineExceeded
	w.do(hr, "PATCH", "/Users/"+id, off).want(t, 500, "")
	w.fail = nil
	if w.do(hr, "PATCH", "/Users/"+id, off).want(t, 200, ""); w.endings() != 2 {
		t.Errorf("sessions were ended %d times", w.endings())
	}
	// Forgetting to say active neither lets in nor locks out.
	if w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim"`)).want(t, 200, ""); w.stored(id).Active {
		t.Error("a PUT without active let somebody in")
	}
}

func TestC12_WhoComesAfterADeletionInheritsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.mustLogin("s1", "kim", "kim@campus.test")
	g, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "fin"}, provisioning.Admin, provisioning.Move{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.dir.AddMember(t.Context(), g.ID, old.ID, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	w.do(hr, "DELETE", "/Users/"+old.ID, "").want(t, 204, "")
	w.do(hr, "DELETE", "/Users/"+old.ID, "").want(t, 404, "")
	next := w.named(hr, "kim")
	if next == old.ID {
		t.Fatal("the ID was given again")
	}
	s, err := w.dir.Subject(t.Context(), next)
	if err != nil || len(s.Groups) != 0 || len(s.Attributes["mail"]) != 0 {
		t.Errorf("inherited: %+v, %v", s, err)
	}
	if _, err := w.login("s1", "kim", ""); reason(err) != "jit.conflict" {
		t.Errorf("the one before signs in: %v", err)
	}
	// Whoever HR names now is who signs in, also before the edges of the deleted
	// user were cleared.
	w.do(hr, "DELETE", "/Users/"+next, "").want(t, 204, "")
	third := w.user(hr, `"userName":"kim","externalId":"s1"`)
	if u := w.mustLogin("s1", "kim", ""); u.ID != third {
		t.Errorf("signs in as %s", u.ID)
	}
	for _, id := range []string{old.ID, next} {
		for more := true; more; {
			more = w.dir.Clear(t.Context(), id) != nil
		}
	}
	if u := w.mustLogin("s1", "kim", ""); u.ID != third {
		t.Errorf("after clearing, signs in as %s", u.ID)
	}
}

func TestC13_OneNameInEverySpelling(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "Bj\u00f6rn")
	for _, same := range []string{"bj\u00f6rn", "BJ\u00d6RN", "Bjo\u0308rn"} {
		w.do(hr, "POST", "/Users", scimtest.User(`"userName":"`+same+`"`)).want(t, 409, scim.Uniqueness)
		if got := w.found(hr, `userName eq "`+same+`"`); !slices.Equal(got, []string{id}) {
			t.Errorf("%q finds %v", same, got)
		}
	}
	if got := w.get(hr, id).String("userName"); got != "Bj\u00f6rn" {
		t.Errorf("it is shown as %q", got)
	}
	var wg sync.WaitGroup
	codes := make(chan int, 20)
	for i := range 20 {
		wg.Go(func() {
			codes <- w.do(hr, "POST", "/Users", scimtest.User(`"userName":"`+[]string{"Bob", "bob"}[i%2]+`"`)).StatusCode
		})
	}
	wg.Wait()
	close(codes)
	made := 0
	for c := range codes {
		if c == 201 {
			made++
		} else if c != 409 {
			t.Errorf("answered %d", c)
		}
	}
	if made != 1 {
		t.Errorf("%d were made", made)
	}
	for _, bad := range []string{" bob", "b\u200bob", "", strings.Repeat("x", 300), "a\\nb"} {
		w.do(hr, "POST", "/Users", scimtest.User(`"userName":"`+bad+`"`)).want(t, 400, scim.InvalidValue)
	}
}

func TestC15_PagesHaveLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []string
	for i := range 7 {
		all = append(all, w.named(hr, fmt.Sprintf("u%d", 6-i)))
	}
	w.named(uni, "elsewhere")
	for query, want := range map[string][]string{
		"": all, "?count=3": all[:3], "?startIndex=3&count=2": all[2:4], "?startIndex=0&count=1": all[:1], "?startIndex=-5&count=1": all[:1],
		"?startIndex=1000000000000": {}, "?startIndex=99999999999999999999": {}, "?count=-1": {}, "?count=0": {}, "?count=1000000000": all, "?startIndex=7": all[6:],
		"?startIndex=2&count=2&filter=" + url.QueryEscape(`userName sw "u"`): all[1:3], "?startIndex=9223372036854775807&filter=" + url.QueryEscape(`userName sw "u"`): {},
	} {
		a := w.do(hr, "GET", "/Users"+query, "").want(t, 200, "")
		if got := ids(a.obj); !slices.Equal(got, want) || fmt.Sprint(a.obj.Get("totalResults")) != "7" || fmt.Sprint(a.obj.Get("itemsPerPage")) != fmt.Sprint(len(want)) {
			t.Errorf("%s: %s, want %v", query, a.body, want)
		}
	}
	for _, query := range []string{"?count=x", "?startIndex=1.5"} {
		w.do(hr, "GET", "/Users"+query, "").want(t, 400, scim.InvalidValue)
	}
	w.do(hr, "GET", "/Users?cursor=Zm9yZ2Vk", "").want(t, 400, scim.InvalidCursor)
}

func TestC17_JSONThatCanBeReadTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "kim")
	before := w.stored(id)
	for name, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"a name twice":     {scimtest.User(`"userName":"kim","active":true,"active":false`), "", 400},
		"twins":            {scimtest.User(`"userName":"kim","active":true,"Active":false`), "", 400},
		"inside":           {scimtest.User(`"userName":"kim","name":{"givenName":"a","GivenName":"b"}`), "", 400},
		"text after":       {scimtest.User(`"userName":"kim"`) + `{"active":false}`, "", 400},
		"deep":             {scimtest.User(`"userName":"kim","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), "", 400},
		"long":             {scimtest.User(`"userName":"kim","nickName":"` + strings.Repeat("x", 10<<20) + `"`), "", 413},
		"no UTF-8":         {scimtest.User("\"userName\":\"kim\",\"nickName\":\"\xff\""), "", 400},
		"XML":              {`<User/>`, "application/xml", 415},
		"a form":           {`userName=kim`, "application/x-www-form-urlencoded", 415},
		"another encoding": {scimtest.User(`"userName":"kim"`), "application/json; charset=utf-16", 415},
		"an array":         {`[` + scimtest.User(`"userName":"kim"`) + `]`, "", 400},
		"half":             {`{"schemas":`, "", 400},
	} {
		for _, r := range [][2]string{{"POST", "/Users"}, {"PUT", "/Users/" + id}, {"PATCH", "/Users/" + id}} {
			var h []string
			body := c.body
			if c.kind != "" {
				h = []string{"Content-Type", c.kind}
			}
			a := w.sent(hr, r[0], r[1], body, h...)
			if a.StatusCode != c.status {
				t.Errorf("%s, %s: %d, want %d: %s", name, r[0], a.StatusCode, c.status, a.body)
			}
		}
	}
	if d := cmp.Diff(before, w.stored(id)); d != "" || w.count() != 1 {
		t.Errorf("something was taken: %s", d)
	}
	// What fits on the wire and not into a row is refused too.
	w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim","nickName":"`+strings.Repeat("x", 900_000)+`"`)).want(t, 413, "")
	w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"kim","NICKNAME":"k"`)).want(t, 200, "")
}

// What went wrong inside is in the log, not in the answer.
func TestC23_ErrorsTellNothingOfTheInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "kim")
	w.fail = errors.New("dial tcp 10.9.8.7:6379: /var/lib/inside/secret.db of partners")
	a := w.do(hr, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"active","value":false}`)).want(t, 500, "")
	if err := w.st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, got := range []answer{
		a, w.do(hr, "GET", "/Users/"+id, "").want(t, 500, ""), w.do(hr, "GET", "/Users", "").want(t, 500, ""),
		w.do(hr, "POST", "/Users", scimtest.User(`"userName":"lee"`)).want(t, 500, ""), w.do("gh_token_abc_def", "GET", "/Users", "").want(t, 401, ""),
	} {
		for _, inside := range []string{"10.9.8.7", "secret.db", "partners", filepath.Dir(w.file), "store", "bolt", "goroutine", ".go"} {
			if strings.Contains(got.body, inside) {
				t.Errorf("%s tells %q", got.body, inside)
			}
		}
	}
}

// C11: a client that may not read who is active, and says that somebody is not,
// is heard; one that speaks of something else changes nothing of that.
func TestC11_InactiveIsHeardFromAClientThatMayNotReadIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "clerk", UserStores: []string{"primary"}, Read: []string{"userName", "displayName"}},
		client.Client{ID: "namer", UserStores: []string{"primary"}, Read: []string{"userName", "displayName"}, Write: []string{"displayName"}})
	id := w.do(hr, "POST", "/Users", scimtest.User(`"userName":"kim","title":"Dean"`)).want(t, 201, "").obj.String("id")
	off := scimtest.Patch(`{"op":"replace","path":"active","value":false}`)
	if a := w.do("namer-token", "PATCH", "/Users/"+id, off).want(t, 403, ""); !strings.Contains(a.body, "may not write active") || w.get(hr, id).Get("active") != true {
		t.Errorf("a client that may not write it: %s", a.body)
	}
	w.do("clerk-token", "PATCH", "/Users/"+id, off).want(t, 200, "")
	if w.get(hr, id).Get("active") != false {
		t.Error("the user is active still")
	}
	for _, who := range []string{"clerk-token", "namer-token"} {
		w.do(who, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"displayName","value":"`+who+`"}`)).want(t, 200, "")
		if r := w.get(hr, id); r.Get("active") != false || r.String("title") != "Dean" {
			t.Errorf("after %s changed a name: %s", who, r.AppendJSON(nil))
		}
	}
}
