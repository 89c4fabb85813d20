package scim_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

const site = "urn:test:scim:schemas:extension:uni:1.0:User"

func declared(name, ours string, typ scim.Type, multi bool, edit func(*scim.Attribute)) intake.Attribute {
	a := intake.Attribute{Schema: site, Ours: ours, Attribute: scim.Attribute{
		Name: name, Type: typ, MultiValued: multi, Mutability: scim.ReadWrite, Returned: scim.ByDefault, Uniqueness: scim.NotUnique,
	}}
	if edit != nil {
		edit(&a.Attribute)
	}
	return a
}

func declaredWorld(t *testing.T) *world {
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	w.dir.Unique = []string{"number"}
	w.serve(intake.Config{Attributes: []intake.Attribute{
		declared("matriculation", "number", scim.String, false, func(a *scim.Attribute) { a.Mutability, a.Uniqueness = scim.Immutable, scim.ServerUnique }),
		declared("semesters", "semesters", scim.Integer, false, nil),
		declared("guest", "guest", scim.Boolean, false, nil),
		declared("courses", "course", scim.String, true, nil),
		declared("standing", "standing", scim.String, false, func(a *scim.Attribute) { a.Mutability = scim.ReadOnly }),
		declared("note", "note", scim.String, false, func(a *scim.Attribute) { a.Returned = scim.OnRequest }),
		declared("since", "since", scim.DateTime, false, nil),
	}})
	return w
}

func TestDeclaredAttributesAreInTheSchemasAndInTheDirectory(t *testing.T) {
	t.Parallel()
	w := declaredWorld(t)
	sch := w.do(all, "GET", "/Schemas/"+site, "").want(t, 200, "").obj
	found := ""
	for _, v := range sch.List("attributes") {
		a := v.(*scim.Object)
		found += fmt.Sprint(a.String("name"), " ", a.String("type"), " ", a.Get("multiValued"), " ", a.String("mutability"), " ", a.String("returned"), " ", a.String("uniqueness"), "; ")
	}
	if want := "matriculation string false immutable default server; semesters integer false readWrite default none; guest boolean false readWrite default none; " +
		"courses string true readWrite default none; standing string false readOnly default none; note string false readWrite request none; since dateTime false readWrite default none; "; found != want {
		t.Errorf("the schema has %s", found)
	}
	if rt := w.do(all, "GET", "/ResourceTypes/User", "").want(t, 200, ""); !strings.Contains(rt.body, site) {
		t.Errorf("the type is %s", rt.body)
	}
	id := w.user(all, `"userName":"kim","`+site+`":{"matriculation":"M-1","semesters":3,"guest":false,"courses":["math","art"],"standing":"good","note":"quiet","since":"2026-10-01T00:00:00Z"}`)
	u := w.stored(id)
	for attr, want := range map[string]string{"number": "[M-1]", "semesters": "[3]", "guest": "[false]", "course": "[math art]", "standing": "[]", "note": "[quiet]", "since": "[2026-10-01T00:00:00Z]"} {
		if got := fmt.Sprint(provisioning.Effective(u, attr)); got != want {
			t.Errorf("%s is %s, want %s", attr, got, want)
		}
	}
	if k := u.Says("scim:all", provisioning.Kept); len(k) != 0 {
		t.Errorf("kept beside is %v", k)
	}
	read := func(query string) string {
		o := w.do(all, "GET", "/Users/"+id+query, "").want(t, 200, "").obj
		if o.Sub(site) == nil {
			return ""
		}
		return string(o.Sub(site).AppendJSON(nil))
	}
	if got := read(""); got != `{"matriculation":"M-1","semesters":3,"guest":false,"courses":["math","art"],"since":"2026-10-01T00:00:00Z"}` {
		t.Errorf("read is %s", got)
	}
	if got := read("?attributes=" + url.QueryEscape(site+":note")); got != `{"note":"quiet"}` {
		t.Errorf("asked for is %s", got)
	}
	// Somebody else's word is shown, as what it is declared to be; what is not that is not shown.
	for attr, v := range map[string]string{"standing": "excellent", "semesters": "many"} {
		if _, _, err := w.dir.Change(t.Context(), id, provisioning.Admin, func(u *provisioning.User) error { u.Say(provisioning.Admin, attr, v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(""); !strings.Contains(got, `"standing":"excellent"`) || strings.Contains(got, "semesters") {
		t.Errorf("read is %s", got)
	}
	w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"add","path":"`+site+`:courses","value":["law"]}`)).want(t, 200, "")
	w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"remove","path":"`+site+`:guest"}`)).want(t, 200, "")
	u = w.stored(id)
	if got := fmt.Sprint(provisioning.Effective(u, "course"), provisioning.Effective(u, "guest")); got != "[math art law] []" {
		t.Errorf("after PATCH: %s", got)
	}
	if found := w.found(all, site+`:matriculation eq "m-1"`); len(found) != 1 {
		t.Errorf("found are %v", found)
	}
}

func TestDeclaredAttributesAreValidated(t *testing.T) {
	t.Parallel()
	w := declaredWorld(t)
	id := w.user(all, `"userName":"kim","`+site+`":{"matriculation":"M-1"}`)
	before := w.stored(id)
	for _, bad := range []string{`"semesters":"three"`, `"semesters":3.5`, `"guest":"maybe"`, `"since":"yesterday"`, `"courses":"math"`, `"matriculation":["x"]`} {
		w.do(all, "POST", "/Users", scimtest.User(`"userName":"x","`+site+`":{`+bad+`}`)).want(t, 400, scim.InvalidValue)
	}
	w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"`+site+`:matriculation","value":"M-2"}`)).want(t, 400, scim.Mutability)
	w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"`+site+`:standing","value":"x"}`)).want(t, 400, scim.Mutability)
	w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"`+site+`:nothing","value":"x"}`)).want(t, 400, scim.InvalidPath)
	// Only one user has a number, whatever its case, and whoever says so.
	a := w.do(all, "POST", "/Users", scimtest.User(`"userName":"lee","`+site+`":{"matriculation":"m-1"}`)).want(t, 409, scim.Uniqueness)
	if strings.Contains(a.body, "kim") || strings.Contains(a.body, id) {
		t.Errorf("whose it is, is told: %s", a.body)
	}
	lee := w.user(all, `"userName":"lee"`)
	w.do(all, "PATCH", "/Users/"+lee, scimtest.Patch(`{"op":"add","path":"`+site+`:matriculation","value":"M-1"}`)).want(t, 409, scim.Uniqueness)
	if after := w.stored(id); after.Version != before.Version {
		t.Errorf("%+v", after)
	}
	w.do(all, "DELETE", "/Users/"+id, "").want(t, 204, "")
	w.do(all, "PATCH", "/Users/"+lee, scimtest.Patch(`{"op":"add","path":"`+site+`:matriculation","value":"M-1"}`)).want(t, 200, "")
	// Values that were there before the attribute was declared unique are known after BuildUnique.
	old := w.user(all, `"userName":"old"`)
	w.dir.Unique = nil
	if _, _, err := w.dir.Change(t.Context(), old, "scim:all", func(u *provisioning.User) error { u.Say("scim:all", "number", "M-7"); return nil }); err != nil {
		t.Fatal(err)
	}
	w.dir.Unique = []string{"number"}
	if err := w.dir.BuildUnique(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.do(all, "POST", "/Users", scimtest.User(`"userName":"new","`+site+`":{"matriculation":"M-7"}`)).want(t, 409, scim.Uniqueness)
}
