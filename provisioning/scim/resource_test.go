package scim_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

func text(r *scim.Resource) string { return string(r.AppendJSON(nil)) }

func TestSC06_NamesInAnyCaseComeOutCanonical(t *testing.T) {
	t.Parallel()
	o := decode(t, `{"SCHEMAS":["URN:ietf:params:scim:schemas:core:2.0:user"],"USERNAME":"a","Name":{"GIVENNAME":"A"},"eMails":[{"VALUE":"x","Type":"work"}],
		"URN:IETF:params:scim:schemas:extension:enterprise:2.0:user":{"Department":"IT","MANAGER":{"VALUE":"1"}},"unknown":1}`)
	r, err := scim.UserType().New(o)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"a","name":{"givenName":"A"},"emails":[{"value":"x","type":"work"}],` +
		`"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT","manager":{"value":"1"}}}`
	if diff := cmp.Diff(want, text(r)); diff != "" {
		t.Error(diff)
	}
}

func TestC17_AmbiguousJSONIsRefused(t *testing.T) {
	t.Parallel()
	nest := func(n int, open, shut string) string {
		return `{"a":` + strings.Repeat(open, n) + strings.Repeat(shut, n) + `}`
	}
	for name, c := range map[string]struct {
		json string
		typ  string
	}{
		"duplicate":            {`{"active":true,"active":false}`, scim.InvalidSyntax},
		"case twins":           {`{"active":true,"Active":false}`, scim.InvalidSyntax},
		"escaped twins":        {`{"active":true,"\u0061ctive":false}`, scim.InvalidSyntax},
		"twins with null":      {`{"active":null,"ACTIVE":false}`, scim.InvalidSyntax},
		"twins inside":         {`{"emails":[{"value":"a","VALUE":"b"}]}`, scim.InvalidSyntax},
		"trailing object":      {`{"a":1}{"b":2}`, scim.InvalidSyntax},
		"trailing text":        {`{"a":1}x`, scim.InvalidSyntax},
		"trailing bracket":     {`{"a":1}]`, scim.InvalidSyntax},
		"array":                {`[{"a":1}]`, scim.InvalidSyntax},
		"string":               {`"a"`, scim.InvalidSyntax},
		"null":                 {`null`, scim.InvalidSyntax},
		"nothing":              {``, scim.InvalidSyntax},
		"cut":                  {`{"a":1`, scim.InvalidSyntax},
		"single quotes":        {`{'a':1}`, scim.InvalidSyntax},
		"comment":              {`{"a":1 /* */}`, scim.InvalidSyntax},
		"trailing comma":       {`{"a":1,}`, scim.InvalidSyntax},
		"NaN":                  {`{"a":NaN}`, scim.InvalidSyntax},
		"leading zero":         {`{"a":01}`, scim.InvalidSyntax},
		"invalid UTF-8":        {"{\"a\":\"\xff\"}", scim.InvalidSyntax},
		"a byte order mark":    {"\ufeff{}", scim.InvalidSyntax},
		"XML":                  {`<User/>`, scim.InvalidSyntax},
		"33 levels of arrays":  {nest(32, "[", "]"), scim.InvalidSyntax},
		"100,000 levels":       {nest(100_000, "[", "]"), scim.InvalidSyntax},
		"33 levels of objects": {strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), scim.InvalidSyntax},
		"10 MB":                {`{"a":"` + strings.Repeat("x", 10<<20) + `"}`, ""},
		"too many values":      {`{"a":[` + strings.Repeat("1,", scim.MaxValues) + `1]}`, ""},
	} {
		_, err := scim.Decode([]byte(c.json))
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		refused(t, err, c.typ)
		if e := scim.AsError(err); c.typ == "" && e.Reason() != "scim.tooLarge" {
			t.Errorf("%s: the reason is %s", name, e.Reason())
		}
	}
	for _, good := range []string{` {"a" : 1 } ` + "\n", nest(31, "[", "]"), strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32), `{"K":1,"\u212a":2}`, `{"":1}`} {
		if _, err := scim.Decode([]byte(good)); err != nil {
			t.Errorf("%.60s: %v", good, err)
		}
	}
}

func TestSC10_NullEmptyAndAbsentAreTheSame(t *testing.T) {
	t.Parallel()
	plain := user(t, `{"userName":"a"}`)
	same := user(t, `{"userName":"a","title":null,"emails":[],"roles":[null],"name":{"givenName":null},"ims":[{}],"active":null,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":null}}`)
	if !plain.Equal(same) || text(plain) != text(same) {
		t.Errorf("%s and %s differ", text(plain), text(same))
	}
	if strings.Contains(text(same), "null") || strings.Contains(text(same), "[]") {
		t.Error(text(same))
	}
}

func TestSC11_ReadOnlyIsIgnoredInPOSTAndPUT(t *testing.T) {
	t.Parallel()
	in := `{"userName":"a","id":"mine","meta":{"version":"9"},"groups":[{"value":"admins"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":{"value":"1","displayName":"Boss"}}}`
	r := user(t, in)
	for _, name := range []string{"id", "meta", "groups"} {
		if r.Get(name) != nil {
			t.Errorf("a client has set %s", name)
		}
	}
	if strings.Contains(text(r), "Boss") || !strings.Contains(text(r), `"manager":{"value":"1"}`) {
		t.Errorf("a read-only sub-attribute is set: %s", text(r))
	}
	cur := bjensen(t)
	o := decode(t, in)
	o.Set("schemas", []any{scim.UserURN})
	next, err := scim.UserType().Replace(cur, o)
	if err != nil {
		t.Fatal(err)
	}
	if next.ID() != "Id-1" || next.Sub("meta").String("version") != "" || next.Get("groups") != nil {
		t.Errorf("a client has set what is read-only: %s", text(next))
	}
}

// badged is a type with an immutable attribute and required ones.
func badged(t testing.TB) *scim.ResourceType {
	t.Helper()
	s, err := scim.ParseSchema([]byte(`{"id":"urn:acme:2.0:User","name":"Acme","attributes":[
		{"name":"badge","mutability":"immutable"},{"name":"floor","type":"integer"},{"name":"share","type":"decimal"},{"name":"since","type":"dateTime"},{"name":"key","type":"binary"},
		{"name":"secret","returned":"never"},{"name":"notes","returned":"request"},{"name":"rank","returned":"always"},{"name":"tags","multiValued":true},
		{"name":"desks","type":"complex","multiValued":true,"subAttributes":[{"name":"value","required":true},{"name":"code","mutability":"immutable"},{"name":"pin","returned":"never"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return scim.UserType().With(scim.Extension{Schema: s})
}

func make1(t testing.TB, rt *scim.ResourceType, json string) (*scim.Resource, error) {
	t.Helper()
	o := decode(t, json)
	if o.Get("schemas") == nil {
		o.Set("schemas", []any{rt.Schema.ID})
	}
	return rt.New(o)
}

func TestSC11_ImmutableIsSetOnce(t *testing.T) {
	t.Parallel()
	rt := badged(t)
	cur, err := make1(t, rt, `{"userName":"a","urn:acme:2.0:User":{"badge":"7"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for json, ok := range map[string]bool{`{"badge":"7"}`: true, `{"badge":"8"}`: false, `{"floor":1}`: false, `{"badge":"7","floor":1}`: true} {
		_, err := rt.Replace(cur, decode(t, `{"schemas":["`+scim.UserURN+`"],"userName":"a","urn:acme:2.0:User":`+json+`}`))
		if ok && err != nil {
			t.Errorf("PUT %s: %v", json, err)
		} else if !ok {
			refused(t, err, scim.Mutability)
		}
	}
	for op, ok := range map[string]bool{
		`{"op":"replace","path":"urn:acme:2.0:User:badge","value":"7"}`: true, `{"op":"add","path":"urn:acme:2.0:User:badge","value":"8"}`: false,
		`{"op":"remove","path":"urn:acme:2.0:User:badge"}`: false, `{"op":"remove","path":"urn:acme:2.0:User"}`: false, `{"op":"replace","value":{"urn:acme:2.0:User":{"badge":"9"}}}`: false,
	} {
		_, err := patch(t, rt, cur, op)
		if ok && err != nil {
			t.Errorf("PATCH %s: %v", op, err)
		} else if !ok {
			refused(t, err, scim.Mutability)
		}
	}
}

func TestValuesMustBeOfTheirType(t *testing.T) {
	t.Parallel()
	rt := badged(t)
	for _, json := range []string{
		`{}`, `{"userName":""}`, `{"userName":null}`, `{"userName":1}`, `{"userName":["a"]}`, `{"userName":{"a":"b"}}`, `{"userName":"a","active":"true"}`, `{"userName":"a","active":1}`, `{"userName":"a","name":"x"}`, `{"userName":"a","name":[{"givenName":"x"}]}`,
		`{"userName":"a","emails":{"value":"x"}}`, `{"userName":"a","emails":["x"]}`, `{"userName":"a","emails":[{"value":1}]}`, `{"userName":"a","emails":[[{"value":"x"}]]}`, `{"userName":"a","x509Certificates":[{"value":"not base64!"}]}`,
		`{"userName":"a","urn:acme:2.0:User":"x"}`, `{"userName":"a","urn:acme:2.0:User":{"floor":1.5}}`, `{"userName":"a","urn:acme:2.0:User":{"floor":"1"}}`, `{"userName":"a","urn:acme:2.0:User":{"floor":99999999999999999999}}`,
		`{"userName":"a","urn:acme:2.0:User":{"share":1e999}}`, `{"userName":"a","urn:acme:2.0:User":{"since":"yesterday"}}`, `{"userName":"a","urn:acme:2.0:User":{"since":"2020-01-01"}}`, `{"userName":"a","urn:acme:2.0:User":{"key":"*"}}`,
		`{"userName":"a","urn:acme:2.0:User":{"tags":"x"}}`, `{"userName":"a","urn:acme:2.0:User":{"tags":[1]}}`, `{"userName":"a","urn:acme:2.0:User":{"desks":[{"code":"1"}]}}`,
	} {
		_, err := make1(t, rt, json)
		refused(t, err, scim.InvalidValue)
	}
	for _, json := range []string{
		`{"userName":"a","urn:acme:2.0:User":{"floor":-3,"share":0.25,"since":"2020-01-01T00:00:00","key":"AA==","tags":["a","b"],"desks":[{"value":"1"}]}}`,
		`{"userName":"a","urn:acme:2.0:User":{"since":"2020-01-01T00:00:00.1234567+02:00","key":"_-8"}}`,
	} {
		if _, err := make1(t, rt, json); err != nil {
			t.Errorf("%s: %v", json, err)
		}
	}
	for _, json := range []string{`{"schemas":["urn:x"],"userName":"a"}`, `{"schemas":"` + scim.UserURN + `","userName":"a"}`, `{"schemas":[1],"userName":"a"}`} {
		_, err := make1(t, rt, json)
		refused(t, err, scim.InvalidSyntax)
	}
	if _, err := scim.UserType().New(decode(t, `{"userName":"a"}`)); err == nil {
		t.Error("a message without schemas was taken")
	}
}

func TestSC12_Projection(t *testing.T) {
	t.Parallel()
	rt := badged(t)
	r, err := make1(t, rt, strings.TrimSuffix(barbara, "}")+`,"password":"pw","urn:acme:2.0:User":{"secret":"s","notes":"n","rank":"r","badge":"b","desks":[{"value":"1","code":"c","pin":"p"}]}}`)
	if err != nil {
		t.Fatal(err)
	}
	r.Set("id", "1")
	const schemas = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User","urn:acme:2.0:User"],`
	const rank = `,"urn:acme:2.0:User":{"rank":"r"},"id":"1"}`
	for _, c := range []struct{ only, except, want string }{
		{"userName", "", schemas + `"userName":"bjensen@Example.com"` + rank},
		{"USERNAME, Title", "", schemas + `"userName":"bjensen@Example.com","title":"Tour Guide"` + rank},
		{"name.givenName", "", schemas + `"name":{"givenName":"Barbara"}` + rank},
		{"emails.value", "", schemas + `"emails":[{"value":"bjensen@example.com"},{"value":"babs@jensen.org"}]` + rank},
		{`emails[type eq "work"]`, "", schemas + `"emails":[{"value":"bjensen@example.com","type":"work","primary":true},{"value":"babs@jensen.org","type":"home"}]` + rank},
		{"emails", "emails.primary,emails.type", schemas + `"emails":[{"value":"bjensen@example.com"},{"value":"babs@jensen.org"}]` + rank},
		{"urn:ietf:params:scim:schemas:core:2.0:User:title", "", schemas + `"title":"Tour Guide"` + rank},
		{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:department", "", schemas + `"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Tours"}` + rank},
		{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", "", schemas + `"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Tours","manager":{"value":"26118915"}}` + rank},
		{"colour,password,urn:acme:2.0:User:secret", "", schemas[:len(schemas)-1] + rank},
		{"urn:acme:2.0:User:notes", "", schemas[:len(schemas)-1] + `,"urn:acme:2.0:User":{"notes":"n","rank":"r"},"id":"1"}`},
		{"", "emails,name,userName,x509Certificates,active,userType,externalId,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User,id,schemas,urn:acme:2.0:User:rank,urn:acme:2.0:User:desks", schemas + `"title":"Tour Guide","urn:acme:2.0:User":{"rank":"r","badge":"b"},"id":"1"}`},
	} {
		got := string(rt.AppendJSON(nil, r, rt.Projection(c.only, c.except), ""))
		// What goes where in the object is not promised, except that schemas are first.
		if want := decode(t, c.want); !decode(t, got).Equal(want) || !strings.HasPrefix(got, `{"schemas":`) {
			t.Errorf("attributes=%s excludedAttributes=%s: %s", c.only, c.except, cmp.Diff(c.want, got))
		}
	}
	whole := string(rt.AppendJSON(nil, r, rt.Projection("", ""), ""))
	for part, want := range map[string]bool{`"pw"`: false, `"secret"`: false, `"notes"`: false, `"pin"`: false, `"badge":"b"`: true, `"code":"c"`: true, `"Tours"`: true} {
		if strings.Contains(whole, part) != want {
			t.Errorf("by default %s is returned: %v, want %v: %s", part, !want, want, whole)
		}
	}
}

func TestC07_PasswordIsNeverReturned(t *testing.T) {
	t.Parallel()
	r := user(t, `{"userName":"a","password":"hunter2"}`)
	for _, p := range []scim.Projection{{}, scim.UserType().Projection("password", ""), scim.UserType().Projection("PASSWORD,userName", "title"), scim.UserType().Projection("urn:ietf:params:scim:schemas:core:2.0:User:password", "")} {
		if got := string(scim.UserType().AppendJSON(nil, r, p, "")); strings.Contains(got, "hunter2") || !strings.Contains(got, "schemas") {
			t.Error(got)
		}
	}
}

func TestSC14_OnePrimary(t *testing.T) {
	t.Parallel()
	_, err := make1(t, scim.UserType(), `{"userName":"a","emails":[{"value":"a","primary":true},{"value":"b","primary":true}]}`)
	refused(t, err, scim.InvalidValue)
	cur := user(t, `{"userName":"a","emails":[{"value":"a","type":"work","primary":true},{"value":"b","type":"home"},{"value":"c","type":"other"}]}`)
	for op, want := range map[string]string{
		`{"op":"add","path":"emails","value":[{"value":"d","primary":true}]}`:                        "d",
		`{"op":"add","path":"emails[value eq \"b\"].primary","value":true}`:                          "b",
		`{"op":"replace","path":"emails[value eq \"b\"]","value":{"value":"bb","primary":true}}`:     "bb",
		`{"op":"add","path":"emails[value eq \"c\"]","value":{"primary":true}}`:                      "c",
		`{"op":"replace","path":"emails","value":[{"value":"x","primary":true},{"value":"y"}]}`:      "x",
		`{"op":"replace","path":"emails[value eq \"a\"].value","value":"aa"}`:                        "aa",
		`{"op":"replace","path":"emails[primary eq true].primary","value":false}`:                    "",
		`{"op":"add","value":{"emails":[{"value":"n"},{"value":"m","primary":true}]}}`:               "m",
		`{"op":"replace","path":"emails[type eq \"work\" or type eq \"home\"].display","value":"d"}`: "a",
	} {
		next, err := patch(t, scim.UserType(), cur, op)
		if err != nil {
			t.Errorf("%s: %v", op, err)
			continue
		}
		got := ""
		for _, v := range next.List("emails") {
			if el := v.(*scim.Object); el.Get("primary") == true {
				got += el.String("value")
			}
		}
		if got != want {
			t.Errorf("%s: primary is %q, want %q", op, got, want)
		}
	}
	for _, op := range []string{
		`{"op":"add","path":"emails","value":[{"value":"d","primary":true},{"value":"e","primary":true}]}`,
		`{"op":"replace","path":"emails[value sw \"\"].primary","value":true}`, `{"op":"add","path":"emails.primary","value":true}`,
	} {
		_, err := patch(t, scim.UserType(), cur, op)
		refused(t, err, scim.InvalidValue)
	}
}

func TestSC15_CanonicalValuesAreSuggestions(t *testing.T) {
	t.Parallel()
	if got := text(user(t, `{"userName":"a","emails":[{"value":"x","type":"Dienst"}]}`)); !strings.Contains(got, `"type":"Dienst"`) {
		t.Error(got)
	}
}

func TestSC16_ValuesAreKeptAsSent(t *testing.T) {
	t.Parallel()
	in := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":" A.B ","phoneNumbers":[{"value":"0043 (1) 5-5"}],"title":"<ü> & \"x\" \\ \u2028 / 日本"}`
	if got := text(user(t, in)); got != in {
		t.Error(cmp.Diff(in, got))
	}
}

func TestSC50_PutReplaces(t *testing.T) {
	t.Parallel()
	cur := bjensen(t)
	put := func(json string) *scim.Resource {
		o := decode(t, json)
		o.Set("schemas", []any{scim.UserURN})
		next, err := scim.UserType().Replace(cur, o)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	next := put(`{"userName":"new","name":{"givenName":"B"}}`)
	for _, gone := range []string{"title", "emails", "userType", "externalId", scim.EnterpriseUserURN} {
		if next.Get(gone) != nil {
			t.Errorf("%s was left out and stays", gone)
		}
	}
	if next.Sub("name").Get("familyName") != nil {
		t.Error("a sub-attribute was left out and stays")
	}
	if next.Get("active") != true || next.ID() != "Id-1" || len(next.List("schemas")) != 1 {
		t.Errorf("active, id or schemas are wrong: %s", text(next))
	}
	if put(`{"userName":"new","active":false}`).Get("active") != false {
		t.Error("active was given and not taken")
	}
	if cur.String("title") != "Tour Guide" || len(cur.List("schemas")) != 2 {
		t.Error("the resource that was given has changed")
	}
	if next := put(`{"userName":"new","adreses":[1],"urn:x":{"a":1}}`); strings.Contains(text(next), "adreses") || next.Get("urn:x") != nil {
		t.Error("what is not known was kept")
	}
}

func TestSchemasAreTheRFCs(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("schemas")
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile("schemas/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := scim.ParseSchema(data); err != nil {
			t.Error(err)
		}
	}
	// Some characteristics that matter (RFC 7643 section 8.7).
	u := scim.UserType()
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"userName", u.Attribute("USERNAME").Required && u.Attribute("userName").Uniqueness == scim.ServerUnique && !u.Attribute("userName").CaseExact},
		{"password", u.Attribute("password").Mutability == scim.WriteOnly && u.Attribute("password").Returned == scim.Never},
		{"groups", u.Attribute("groups").Mutability == scim.ReadOnly && u.Attribute("groups").MultiValued},
		{"id", u.Attribute("id").Returned == scim.Always && u.Attribute("id").CaseExact && u.Attribute("id").Mutability == scim.ReadOnly},
		{"members", scim.GroupType().Attribute("members").MultiValued && scim.GroupType().Attribute("displayName").Required},
		{"enterprise", u.Extension(strings.ToUpper(scim.EnterpriseUserURN)) != nil},
	} {
		if !c.ok {
			t.Errorf("%s is not as the RFC has it", c.name)
		}
	}
	for _, bad := range []string{
		``, `{}`, `{"id":"x"}`, `{"id":"urn:x","attributes":[{"name":"a b"}]}`, `{"id":"urn:x","attributes":[{"name":"a"},{"name":"A"}]}`, `{"id":"urn:x","attributes":[{"name":"a","type":"text"}]}`,
		`{"id":"urn:x","attributes":[{"name":"a","type":"complex"}]}`, `{"id":"urn:x","attributes":[{"name":"a","subAttributes":[{"name":"b"}]}]}`, `{"id":"urn:x","attributes":[{"name":"a","mutability":"x"}]}`,
		`{"id":"urn:x","attributes":[{"name":"a","returned":"x"}]}`, `{"id":"urn:x","attributes":[{"name":"a","uniqueness":"x"}]}`, `{"id":"urn:x","attributes":[{"name":"a","type":"complex","subAttributes":[{"name":"b","type":"complex","subAttributes":[{"name":"c"}]}]}]}`,
	} {
		if _, err := scim.ParseSchema([]byte(bad)); err == nil {
			t.Errorf("the schema %s was taken", bad)
		}
	}
}

func TestEveryReasonHasASentence(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 405, 413, 415, 428, 429, 500, 501, 503} {
		e := &scim.Error{Status: status}
		if scim.Reasons[e.Reason()] == "" {
			t.Errorf("%d has the reason %q, which is not listed", status, e.Reason())
		}
	}
	if e := scim.AsError(fmt.Errorf("disk on fire")); e.Status != 500 || strings.Contains(e.Detail, "fire") {
		t.Errorf("an inner error is told: %v", e)
	}
	if got := string((&scim.Error{Status: 409, Type: scim.Uniqueness, Detail: "d"}).Object().AppendJSON(nil)); got != `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"409","scimType":"uniqueness","detail":"d"}` {
		t.Error(got)
	}
}
