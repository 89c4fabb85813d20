package scim_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

const whole = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
	"externalId":"701984","userName":"bjensen@example.test","name":{"formatted":"Ms. Barbara J Jensen, III","familyName":"Jensen","givenName":"Barbara","middleName":"Jane","honorificPrefix":"Ms.","honorificSuffix":"III"},
	"displayName":"Babs Jensen","nickName":"Babs","profileUrl":"https://login.example.test/bjensen","emails":[{"value":"babs@jensen.test","type":"home"},{"value":"bjensen@example.test","type":"work","primary":true}],
	"addresses":[{"type":"work","streetAddress":"100 Universal City Plaza","locality":"Hollywood","region":"CA","postalCode":"91608","country":"US","primary":true}],
	"phoneNumbers":[{"value":"555-555-5555 x12","type":"work"},{"value":"+1 (555) 555 4444","type":"mobile"}],"ims":[{"value":"someaimhandle","type":"aim"}],
	"photos":[{"value":"https://photos.example.test/x.jpg","type":"photo"}],"userType":"Employee","title":"Tour Guide","preferredLanguage":"en-US","locale":"en-US","timezone":"America/Los_Angeles","active":true,
	"entitlements":[{"value":"e1"}],"roles":[{"value":"r1","type":"company"}],"x509Certificates":[{"value":"MIIDQzCC"}],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"employeeNumber":"701984","costCenter":"4130","organization":"Universal Studios","division":"Theme Park","department":"Tour Operations","manager":{"value":"26118915","$ref":"../Users/26118915"}}}`

// SC-03, SC-16, SC-17: what comes back is what was sent, and our attributes are
// what we have names for.
func TestSC16_WhatWasSentComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(hr, "POST", "/Users", whole).want(t, 201, "")
	id := a.obj.String("id")
	if loc := a.Header.Get("Location"); loc != base+"/Users/"+id || a.obj.Sub("meta").String("location") != loc || a.obj.Sub("meta").String("resourceType") != "User" {
		t.Errorf("it is at %s: %s", loc, a.body)
	}
	sent, err := scim.Decode([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	got := w.get(hr, id)
	for _, name := range []string{"id", "meta"} {
		got.Delete(name)
	}
	if !got.Equal(sent) {
		t.Errorf("got  %s\nwant %s", got.AppendJSON(nil), sent.AppendJSON(nil))
	}
	u := w.stored(id)
	ours := map[string]string{}
	for attr := range u.Attributes {
		ours[attr] = strings.Join(provisioning.Effective(u, attr), "|")
	}
	delete(ours, "scim:kept")
	if d := cmp.Diff(map[string]string{
		"display_name": "Babs Jensen", "given_name": "Barbara", "family_name": "Jensen", "mail": "bjensen@example.test", "phone": "555-555-5555 x12", "title": "Tour Guide",
		"preferred_language": "en-US", "department": "Tour Operations", "employee_number": "701984", "organization": "Universal Studios",
	}, ours); d != "" {
		t.Error(d)
	}
	// The same again is no change, in whatever order it comes.
	again := w.do(hr, "PUT", "/Users/"+id, whole).want(t, 200, "")
	if again.Header.Get("ETag") != `W/"1"` || w.stored(id).Version != 1 {
		t.Errorf("the same again made %s", again.Header.Get("ETag"))
	}
	shuffled := scim.NewObject()
	var names []string
	for name := range sent.All() {
		names = append(names, name)
	}
	slices.Reverse(names)
	for _, name := range names {
		shuffled.Set(name, sent.Get(name))
	}
	if w.do(hr, "PUT", "/Users/"+id, string(shuffled.AppendJSON(nil))).want(t, 200, ""); w.stored(id).Version != 1 {
		t.Error("another order made a change")
	}
	// And what a PUT leaves out is gone.
	w.do(hr, "PUT", "/Users/"+id, scimtest.User(`"userName":"bjensen@example.test"`)).want(t, 200, "")
	if u := w.stored(id); len(u.Attributes) != 1 || u.ExternalID != "701984" || !u.Active {
		t.Errorf("left are %+v", u)
	}
}

// A client replaces and takes away what it said itself, and reads what is effective.
func TestClaimsOfOthersStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim := w.mustLogin("s1", "kim", "kim@campus.test")
	r := w.get(hr, kim.ID)
	if r.String("title") != "as campus says" || fmt.Sprint(string(r.List("emails")[0].(*scim.Object).AppendJSON(nil))) != `{"value":"kim@campus.test","type":"work","primary":true}` {
		t.Errorf("read: %s", r.AppendJSON(nil))
	}
	// Sent back as read, nothing is said.
	r.Delete("meta")
	w.do(hr, "PUT", "/Users/"+kim.ID, string(r.AppendJSON(nil))).want(t, 200, "")
	if d := cmp.Diff(kim, w.stored(kim.ID)); d != "" {
		t.Error(d)
	}
	// What is changed is said, and only that; it counts before what campus says.
	w.do(hr, "PATCH", "/Users/"+kim.ID, scimtest.Patch(`{"op":"replace","path":"title","value":"as hr says"}`, `{"op":"add","path":"emails","value":[{"value":"kim@home.test","type":"home"}]}`)).want(t, 200, "")
	u := w.stored(kim.ID)
	if fmt.Sprint(u.Says("scim:hr", "title"), u.Says("idp:campus", "title"), provisioning.Effective(u, "title"), u.Says("scim:hr", "mail"), u.Says("idp:campus", "mail")) !=
		"[as hr says] [as campus says] [as hr says] [kim@home.test] [kim@campus.test]" {
		t.Errorf("%+v", u.Attributes)
	}
	// A sign-in takes nothing of it away, and taking it away leaves the other's.
	w.mustLogin("s1", "kim", "kim@campus.test")
	if got := w.get(hr, kim.ID).String("title"); got != "as hr says" {
		t.Errorf("after the sign-in the title is %q", got)
	}
	w.do(hr, "PATCH", "/Users/"+kim.ID, scimtest.Patch(`{"op":"remove","path":"title"}`, `{"op":"remove","path":"emails"}`)).want(t, 200, "")
	u = w.stored(kim.ID)
	if fmt.Sprint(u.Says("scim:hr", "title"), provisioning.Effective(u, "title"), provisioning.Effective(u, "mail")) != "[] [as campus says] [kim@campus.test]" {
		t.Errorf("%+v", u.Attributes)
	}
	if d := w.deltas[len(w.deltas)-1]; d.By != "scim:hr" {
		t.Errorf("the change is by %s", d.By)
	}
}

func TestOneClientsExternalIDIsNotAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.user(hr, `"userName":"kim","externalId":"e1","nickName":"hr's"`)
	if r := w.get(resident, id); r.Get("externalId") != nil || r.Get("nickName") != nil {
		t.Errorf("resident reads %s", r.AppendJSON(nil))
	}
	if got := w.found(resident, `externalId eq "e1"`); len(got) != 0 {
		t.Errorf("resident finds %v", got)
	}
	w.do(resident, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"add","path":"externalId","value":"e2"}`)).want(t, 409, scim.Uniqueness)
	w.do(resident, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"add","path":"nickName","value":"resident's"}`)).want(t, 200, "")
	if r := w.get(hr, id); r.String("externalId") != "e1" || r.String("nickName") != "hr's" {
		t.Errorf("hr reads %s", r.AppendJSON(nil))
	}
	if got := w.found(hr, `externalId eq "e1" and active eq true`); !slices.Equal(got, []string{id}) {
		t.Errorf("hr finds %v", got)
	}
	// What an administrator gave is everybody's to read, and the first client's to replace.
	u, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "lee", ExternalID: "a1", Active: true}, provisioning.Admin)
	if err != nil {
		t.Fatal(err)
	}
	w.do(resident, "PATCH", "/Users/"+u.ID, scimtest.Patch(`{"op":"add","path":"title","value":"x"}`)).want(t, 200, "")
	for _, who := range []string{hr, resident} {
		if got := w.found(who, `externalId eq "a1"`); !slices.Equal(got, []string{u.ID}) {
			t.Errorf("%s finds %v", who, got)
		}
	}
}

// SC-51, SC-57: a version is one change; a condition is tested on what is replaced.
func TestC14_SC57_OldVersionsAreNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.named(hr, "kim")
	at, add := "/Users/"+id, scimtest.Patch(`{"op":"add","path":"title","value":"x"}`)
	if tag := w.do(hr, "PATCH", at, add, "If-Match", `W/"1"`).want(t, 200, "").Header.Get("ETag"); tag != `W/"2"` {
		t.Errorf("the tag is %s", tag)
	}
	w.do(hr, "PATCH", at, add).want(t, 200, "")
	for _, r := range [][2]string{{"PATCH", add}, {"PUT", scimtest.User(`"userName":"x"`)}, {"DELETE", ""}} {
		w.do(hr, r[0], at, r[1], "If-Match", `W/"1"`).want(t, 412, scim.InvalidVers)
	}
	if a := w.do(hr, "GET", at, "", "If-None-Match", `W/"2"`); a.StatusCode != 304 {
		t.Errorf("nothing changed, and the answer is %d", a.StatusCode)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if a := w.do(hr, "PATCH", at, scimtest.Patch(fmt.Sprintf(`{"op":"add","path":"emails","value":[{"value":"m%d@x.test"}]}`, i))); a.StatusCode != 200 {
				t.Errorf("%d: %s", a.StatusCode, a.body)
			}
		})
	}
	wg.Wait()
	if n := len(w.get(hr, id).List("emails")); n != 50 {
		t.Errorf("%d of 50 additions are there", n)
	}
	w.do(hr, "DELETE", at, "", "If-Match", `W/"52"`).want(t, 204, "")
}

func TestFiltersByIndexFindAmongAnyNumberOthersAmongAThousand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 1000 {
		u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("u%d", i), Active: true, ExternalID: fmt.Sprintf("x%d", i)}
		u.Say(provisioning.Admin, "title", fmt.Sprintf("t%d", i%500))
		if _, _, err := w.dir.Create(t.Context(), u, provisioning.Admin); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.found(hr, `title eq "T7"`); len(got) != 2 || !slices.IsSorted(got) {
		t.Errorf("by title: %v", got)
	}
	// One more in another store is none of hr's business; one more in its own is one too many.
	w.named(uni, "elsewhere")
	w.found(hr, `title eq "t7"`)
	last := w.named(hr, "last")
	w.do(hr, "GET", "/Users?"+url.Values{"filter": {`title eq "t7"`}}.Encode(), "").want(t, 400, scim.TooMany)
	for _, filter := range []string{`userName eq "LAST"`, `id eq "` + last + `"`, `userName eq "last" and not (title pr)`} {
		if got := w.found(hr, filter); !slices.Equal(got, []string{last}) {
			t.Errorf("%s: %v", filter, got)
		}
	}
	for _, filter := range []string{`userName eq "nobody"`, `externalId eq "none"`, `userName eq "last" and title pr`, `externalId eq "x7" and title eq "t8"`, `id eq "x"`} {
		if got := w.found(hr, filter); len(got) != 0 {
			t.Errorf("%s: %v", filter, got)
		}
	}
	if got := w.found(hr, `externalId eq "x7" and title eq "t7"`); len(got) != 1 {
		t.Errorf("by externalId: %v", got)
	}
	a := w.do(hr, "GET", "/Users?startIndex=999&count=5", "").want(t, 200, "")
	if n := len(ids(a.obj)); n != 3 || fmt.Sprint(a.obj.Get("totalResults")) != "1001" {
		t.Errorf("the last page has %d of %v", n, a.obj.Get("totalResults"))
	}
}

func TestNamesHaveTheirUserStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(resident, "POST", "/Users", scimtest.User(`"userName":"MySQL/kim"`)).want(t, 201, "")
	id := a.obj.String("id")
	if u := w.stored(id); u.Store != "mysql" || u.UserName != "kim" || a.obj.String("userName") != "mysql/kim" {
		t.Errorf("%+v: %s", u, a.body)
	}
	w.named(resident, "kim") // is somebody else, in primary
	if got := w.found(resident, `userName eq "mysql/KIM"`); !slices.Equal(got, []string{id}) {
		t.Errorf("found %v", got)
	}
	w.do(resident, "POST", "/Users", scimtest.User(`"userName":"oracle/kim"`)).want(t, 400, scim.InvalidValue)
	w.do(resident, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"userName","value":"partners/kim"}`)).want(t, 400, scim.Mutability)
	w.do(resident, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"userName","value":"mysql/kim2"}`)).want(t, 200, "")
	if got := w.stored(id).UserName; got != "kim2" {
		t.Errorf("renamed to %s", got)
	}
	// A name that came by a sign-in may have a slash in it.
	u := w.mustLogin("s1", "a/b", "")
	if got := w.found(hr, `userName eq "a/b"`); !slices.Equal(got, []string{u.ID}) {
		t.Errorf("found %v", got)
	}
	w.do(hr, "PUT", "/Users/"+u.ID, scimtest.User(`"userName":"a/b","title":"x"`)).want(t, 200, "")
}

func TestSC63_BasicIsAdvertisedWhereItIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(hr, "GET", "/ServiceProviderConfig", "").want(t, 200, "")
	var kinds []string
	for _, s := range a.obj.List("authenticationSchemes") {
		kinds = append(kinds, s.(*scim.Object).String("type"))
	}
	if !slices.Equal(kinds, []string{"oauthbearertoken", "httpbasic"}) || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v, %v", kinds, a.Header)
	}
}
