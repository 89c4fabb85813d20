package scimtest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// results are the status of each operation of a bulk, and its bulkId.
func results(a answer) []string {
	var all []string
	for _, v := range a.obj.List("Operations") {
		op := v.(*scim.Object)
		all = append(all, strings.TrimSpace(op.String("bulkId")+" "+op.String("status")))
	}
	return all
}

// result is the answer of the operation with a bulkId.
func result(a answer, bulkID string) *scim.Object {
	for _, v := range a.obj.List("Operations") {
		if op := v.(*scim.Object); op.String("bulkId") == bulkID {
			return op
		}
	}
	return nil
}

func post(bulkID, path, data string) string {
	return `{"method":"POST","path":"` + path + `","bulkId":"` + bulkID + `","data":` + data + `}`
}

// SC60_BulkReferences: an operation may refer to one that comes later, and two to each other.
func SC60_BulkReferences(t *testing.T, open Open) {
	s := begin(t, open)
	a := s.do("POST", "/Bulk", Bulk("",
		post("g", "/Groups", Group("g", "bulkId:u", "bulkId:h")),
		post("u", "/Users", User(`"userName":"kim","`+scim.EnterpriseUserURN+`":{"department":"IT","manager":{"value":"bulkId:v"}}`)),
		post("v", "/Users", User(`"userName":"lee","`+scim.EnterpriseUserURN+`":{"manager":{"value":"bulkId:u"}}`)),
		post("h", "/Groups", Group("h", "bulkId:v")),
		`{"method":"PATCH","path":"/Groups/bulkId:h","data":`+Patch(`{"op":"remove","path":"members[value eq \"bulkId:v\"]"}`, `{"op":"add","path":"members","value":[{"value":"bulkId:u"}]}`)+`}`,
	)).want(t, 200, "")
	if diff := cmp.Diff([]string{"g 201", "u 201", "v 201", "h 201", "204"}, results(a)); diff != "" {
		t.Fatalf("%s: %s", diff, a.body)
	}
	at := func(bulkID string) string { return strings.TrimPrefix(result(a, bulkID).String("location"), s.Base) }
	manager := func(path string) string {
		return s.get(path).obj.Sub(scim.EnterpriseUserURN).Sub("manager").String("value")
	}
	if manager(at("u")) != id(at("v")) || manager(at("v")) != id(at("u")) || s.get(at("u")).obj.Sub(scim.EnterpriseUserURN).String("department") != "IT" {
		t.Errorf("the managers are %q and %q of %s and %s", manager(at("u")), manager(at("v")), at("u"), at("v"))
	}
	members := strings.Split(strings.Trim(values(s.get(at("g")), "members"), `[]`), ",")
	want := []string{`"` + id(at("u")) + `"`, `"` + id(at("h")) + `"`}
	slices.Sort(members)
	slices.Sort(want)
	if diff := cmp.Diff(want, members); diff != "" {
		t.Error(diff)
	}
	if got := values(s.get(at("h")), "members"); got != `["`+id(at("u"))+`"]` {
		t.Errorf("%s, want %s", got, at("u"))
	}
	for _, bulkID := range []string{"g", "u", "v", "h"} {
		// A later operation changed h, and which groups u and v are in, which may count as a change of theirs.
		if v := result(a, bulkID).String("version"); v == "" || bulkID == "g" && v != s.get(at(bulkID)).Header.Get("ETag") {
			t.Errorf("%s is at %s, not %s", bulkID, s.get(at(bulkID)).Header.Get("ETag"), v)
		}
	}
	// Groups inside each other are a circle that can not be: neither is left half made.
	a = s.do("POST", "/Bulk", Bulk("", post("x", "/Groups", Group("x", "bulkId:y")), post("y", "/Groups", Group("y", "bulkId:x")))).want(t, 200, "")
	if got := results(a); !slices.ContainsFunc(got, func(r string) bool { return strings.HasSuffix(r, "400") || strings.HasSuffix(r, "409") }) {
		t.Errorf("%v: %s", got, a.body)
	}
	for _, v := range a.obj.List("Operations") {
		op := v.(*scim.Object)
		n := s.get(query("/Groups", "filter", `displayName eq "`+op.String("bulkId")+`"`)).total()
		if made := op.String("status") == "201"; made != (n == "1") {
			t.Errorf("%s has status %s, and there are %s", op.String("bulkId"), op.String("status"), n)
		}
	}
}

// SC60_BulkOperations: each has its status; a condition is tested on what it is about.
func SC60_BulkOperations(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"kim"`)
	tag := s.get(at).Header.Get("ETag")
	a := s.do("POST", "/Bulk", Bulk("",
		`{"method":"patch","path":"`+at+`","version":"W/\"no\"","data":`+Patch(`{"op":"add","path":"title","value":"x"}`)+`}`,
		`{"method":"PUT","path":"`+at+`","version":`+strconv.Quote(tag)+`,"data":`+User(`"userName":"kim2"`)+`}`,
		post("dup", "/Users", User(`"userName":"KIM2"`)), post("bad", "/Users", `{"userName":"x"}`),
		`{"method":"DELETE","path":"/Users/nobody"}`, `{"method":"DELETE","path":"/Nothing/x"}`, `{"method":"DELETE","path":"/Users"}`, `{"method":"POST","path":"`+at+`","bulkId":"p","data":{}}`,
		post("ref", "/Groups", Group("g", "bulkId:dup")), post("wild", "/Groups", Group("h", "bulkId:nothing")),
		`{"method":"DELETE","path":"`+at+`"}`, `{"method":"DELETE","path":"`+at+`"}`,
	)).want(t, 200, "")
	want := []string{"412", "200", "dup 409", "bad 400", "404", "404", "405", "p 405", "ref 409", "wild 400", "204", "404"}
	if diff := cmp.Diff(want, results(a)); diff != "" {
		t.Errorf("%s: %s", diff, a.body)
	}
	if fmt.Sprint(a.obj.List("schemas")) != "["+scim.BulkResponseURN+"]" {
		t.Error(a.body)
	}
	for _, v := range a.obj.List("Operations") {
		op := v.(*scim.Object)
		if failed := op.String("status")[0] == '4'; failed != (op.Sub("response").String("detail") != "") || failed && op.Sub("response").String("status") != op.String("status") {
			t.Errorf("%s", op.AppendJSON(nil))
		}
	}
	if e := result(a, "dup").Sub("response"); e.String("scimType") != scim.Uniqueness || result(a, "dup").String("location") != "" {
		t.Errorf("%s", e.AppendJSON(nil))
	}
	if n := s.get("/Groups").total(); n != "0" {
		t.Errorf("%s groups were made without their members", n)
	}
}

// SC60_BulkFailOnErrors: so many failures, and the rest is left.
func SC60_BulkFailOnErrors(t *testing.T, open Open) {
	s := begin(t, open)
	bad := func(i int) string { return post(fmt.Sprintf("b%d", i), "/Users", `{}`) }
	good := func(i int) string {
		return post(fmt.Sprintf("g%d", i), "/Users", User(fmt.Sprintf(`"userName":"u%d"`, i)))
	}
	a := s.do("POST", "/Bulk", Bulk(`"failOnErrors":2,`, good(1), bad(1), good(2), bad(2), good(3), bad(3))).want(t, 200, "")
	if diff := cmp.Diff([]string{"g1 201", "b1 400", "g2 201", "b2 400"}, results(a)); diff != "" {
		t.Error(diff)
	}
	if n := s.get("/Users").total(); n != "2" {
		t.Errorf("%s users", n)
	}
	a = s.do("POST", "/Bulk", Bulk("", bad(1), good(4), bad(2), good(5))).want(t, 200, "")
	if diff := cmp.Diff([]string{"b1 400", "g4 201", "b2 400", "g5 201"}, results(a)); diff != "" {
		t.Error(diff)
	}
}

// C16_BulkIsBounded: too many, too large, or no bulk at all is refused, and nothing of it happens.
func C16_BulkIsBounded(t *testing.T, open Open) {
	s := begin(t, open)
	config := s.get("/ServiceProviderConfig").obj.Sub("bulk")
	most, _ := strconv.Atoi(fmt.Sprint(config.Get("maxOperations")))
	size, _ := strconv.Atoi(fmt.Sprint(config.Get("maxPayloadSize")))
	good := post("u", "/Users", User(`"userName":"u"`))
	for _, n := range []int{most + 1, 10_000} {
		ops := append([]string{good}, slices.Repeat([]string{`{"method":"DELETE","path":"/Users/x"}`}, n-1)...)
		s.do("POST", "/Bulk", Bulk("", ops...)).want(t, 413, "")
	}
	s.do("POST", "/Bulk", Bulk("", good, post("v", "/Users", User(`"userName":"`+strings.Repeat("x", size)+`"`)))).want(t, 413, "")
	for body, typ := range map[string]string{
		Bulk(""): scim.InvalidSyntax, Bulk("", good, `1`): scim.InvalidSyntax, Bulk("", good, `{"method":"GET","path":"/Users"}`): scim.InvalidSyntax, Bulk("", good, `{"method":"POST","path":"/Users","data":{}}`): scim.InvalidSyntax,
		Bulk("", good, `{"method":"DELETE"}`): scim.InvalidSyntax, Bulk("", good, `{"method":"PUT","path":"/Users/x"}`): scim.InvalidSyntax, Bulk("", good, good): scim.InvalidValue, Bulk(`"failOnErrors":0,`, good): scim.InvalidValue,
		Bulk(`"failOnErrors":"x",`, good): scim.InvalidValue, `{"schemas":["` + scim.PatchURN + `"],"Operations":[` + good + `]}`: scim.InvalidSyntax,
	} {
		s.do("POST", "/Bulk", body).want(t, 400, typ)
	}
	if n := s.get("/Users").total(); n != "0" {
		t.Errorf("refused bulks made %s users", n)
	}
	ops := []string{good}
	for i := range most - 1 { // a chain of references as long as it can be
		ops = append(ops, post(fmt.Sprintf("g%d", i), "/Groups", Group(fmt.Sprintf("g%d", i), "bulkId:u")))
	}
	if a := s.do("POST", "/Bulk", Bulk("", ops[:min(len(ops), 200)]...)).want(t, 200, ""); strings.Contains(a.body, `"status":"4`) {
		t.Errorf("%.500s", a.body)
	}
}

// SC62_Discovery: what describes the server is read only, and each part is where it says.
func SC62_Discovery(t *testing.T, open Open) {
	s := begin(t, open)
	for _, path := range []string{"/ResourceTypes", "/Schemas"} {
		a := s.get(path)
		if n := len(a.obj.List("Resources")); a.total() != fmt.Sprint(n) || n < 2 || fmt.Sprint(a.obj.List("schemas")) != "["+scim.ListURN+"]" {
			t.Errorf("%s: %s", path, a.body)
		}
		for _, r := range a.obj.List("Resources") {
			loc := r.(*scim.Object).Sub("meta").String("location")
			if one := s.get(strings.TrimPrefix(loc, s.Base)); !one.obj.Equal(r.(*scim.Object)) {
				t.Errorf("%s is listed otherwise than it is", loc)
			}
		}
	}
	if a := s.get("/Schemas"); !strings.Contains(a.body, "User Account") || !strings.Contains(a.body, `"multiValued":false`) {
		t.Error("the schemas do not describe a user account")
	}
	s.get("/Schemas/" + strings.ToUpper(scim.UserURN))
	for _, path := range []string{"/Schemas/urn:x", "/ResourceTypes/Robot"} {
		s.do("GET", path, "").want(t, 404, "")
	}
	for _, path := range []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig"} {
		s.do("GET", path+"?filter=id+pr", "").want(t, 403, "")
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			s.do(method, path, "{}").want(t, 405, "")
		}
	}
	n := 0
	var check func(list []any)
	check = func(list []any) {
		for _, v := range list {
			at := v.(*scim.Object)
			for _, name := range []string{"name", "type", "multiValued", "description", "required", "caseExact", "mutability", "returned", "uniqueness"} {
				if v := at.Get(name); v == nil || v == "" {
					t.Errorf("%s has no %s", at.String("name"), name)
				}
			}
			n++
			check(at.List("subAttributes"))
		}
	}
	if check(s.get("/Schemas/" + scim.UserURN).obj.List("attributes")); n < 60 {
		t.Errorf("only %d attributes are described", n)
	}
}

// SC61_Me: the resource of who asks, or 404 or 501 for a client that is nobody.
func SC61_Me(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"me","title":"Dr"`)
	a := s.do("GET", "/Me", "")
	if a.StatusCode != 200 {
		if a.StatusCode != 501 {
			a.want(t, 404, "")
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			if b := s.do(method, "/Me", User(`"userName":"x"`)); b.StatusCode != a.StatusCode {
				t.Errorf("%s: %d, but GET %d", method, b.StatusCode, a.StatusCode)
			}
		}
		return
	}
	if a.obj.String("userName") != "me" || a.Header.Get("Location") != s.Base+at || a.obj.Sub("meta").String("location") != s.Base+at || a.Header.Get("ETag") == "" {
		t.Error(a.body, a.Header)
	}
	if a = s.get("/me?attributes=title"); a.obj.Len() != 3 {
		t.Error(a.body)
	}
	s.do("GET", "/Me", "", "If-None-Match", a.Header.Get("ETag")).want(t, 304, "")
	s.do("PATCH", "/Me", Patch(`{"op":"replace","path":"title","value":"Mr"}`)).want(t, 200, "")
	if a = s.do("PUT", "/Me", User(`"userName":"me","nickName":"n"`), "If-Match", s.get(at).Header.Get("ETag")).want(t, 200, ""); a.Header.Get("Location") != s.Base+at || s.get(at).obj.String("nickName") != "n" {
		t.Error(a.body)
	}
	s.do("POST", "/Me", User(`"userName":"me2"`)).want(t, 405, "")
	s.do("DELETE", "/Me", "").want(t, 204, "")
	s.do("GET", at, "").want(t, 404, "")
	s.do("GET", "/Me", "").want(t, 404, "")
}

// SC63_AdvertisedIsTrue: what ServiceProviderConfig claims is tried, and so is what it denies.
func SC63_AdvertisedIsTrue(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	s.user(`"userName":"b"`)
	c := s.get("/ServiceProviderConfig")
	if c.obj.Sub("meta").String("location") != s.Base+"/ServiceProviderConfig" || fmt.Sprint(c.obj.List("schemas")) != "["+scim.ConfigURN+"]" {
		t.Error(c.body)
	}
	tried := map[string]answer{
		"patch": s.do("PATCH", at, Patch(`{"op":"add","path":"title","value":"x"}`)), "filter": s.do("GET", users("filter", "title pr"), ""),
		"sort": s.do("GET", users("sortBy", "title"), ""), "bulk": s.do("POST", "/Bulk", Bulk("", `{"method":"DELETE","path":"/Users/x"}`)),
	}
	for name, v := range c.obj.All() {
		o, isObject := v.(*scim.Object)
		claim, isBool := o.Get("supported").(bool)
		if !isObject || !isBool {
			continue
		}
		switch name {
		case "etag":
			if tag := s.get(at).Header.Get("ETag"); claim != (tag != "") {
				t.Errorf("etag is advertised as %t, and is %q", claim, tag)
			}
		case "changePassword":
			if claim {
				t.Error("changing passwords is advertised: say here how that can be tried")
			}
		default:
			a, ok := tried[name]
			if !ok {
				t.Fatalf("nobody tries %s", name)
			}
			if done := a.StatusCode/100 == 2; done != claim || !done && a.StatusCode != 501 && a.StatusCode != 400 {
				t.Errorf("%s is advertised as %t and answered with %d", name, claim, a.StatusCode)
			}
		}
	}
	p := c.obj.Sub("pagination")
	for name, params := range map[string][]string{"cursor": {"cursor", "", "count", "1"}, "index": {"startIndex", "2", "count", "1"}} {
		a := s.do("GET", users(params...), "")
		if claim := p.Get(name) == true; claim != (a.StatusCode == 200) || claim && len(a.each("id")) != 1 {
			t.Errorf("%s is advertised as %t and answered with %d", name, claim, a.StatusCode)
		}
	}
	for _, v := range c.obj.List("authenticationSchemes") {
		if o := v.(*scim.Object); o.String("type") == "" || o.String("name") == "" || o.String("description") == "" {
			t.Errorf("%s", o.AppendJSON(nil))
		}
	}
	if len(c.obj.List("authenticationSchemes")) == 0 {
		t.Error("nothing says how to authenticate")
	}
	a := s.do("PATCH", at, Patch(`{"op":"add","path":"nickName","value":"x"}`), "Prefer", "respond-async")
	if claim := c.obj.Sub("securityEvents").String("asyncRequest") == "request"; claim != (a.Header.Get("Set-Txn") != "") {
		t.Errorf("asynchronous requests are advertised as %t and answered with %d", claim, a.StatusCode)
	}
}

// SC64_Asynchronous: with respond-async the answer comes before the change, and the event tells how it ended.
func SC64_Asynchronous(t *testing.T, open Open) {
	s := begin(t, open)
	if s.get("/ServiceProviderConfig").obj.Sub("securityEvents").String("asyncRequest") != "request" {
		s.do("POST", "/Users", User(`"userName":"a"`), "Prefer", "respond-async").want(t, 201, "") // a preference that is not kept
		return
	}
	claims := func(token string) *scim.Object {
		t.Helper()
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			t.Fatalf("%q is no JWT", token)
		}
		data, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		o, err := scim.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	event := func(o *scim.Object) *scim.Object {
		return o.Sub("events").Sub("urn:ietf:params:scim:event:misc:asyncresp")
	}
	accepted := func(a answer) (string, string) {
		t.Helper()
		txn, loc := a.Header.Get("Set-Txn"), a.Header.Get("Location")
		if a.StatusCode != 202 || a.body != "" || txn == "" || a.Header.Get("Preference-Applied") != "respond-async" || !strings.HasPrefix(loc, s.Base) {
			t.Fatalf("%d %q %v", a.StatusCode, a.body, a.Header)
		}
		return txn, strings.TrimPrefix(loc, s.Base)
	}
	fetch := func(path string) (kind, body string) {
		t.Helper()
		for {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.Base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode == 202 {
				resp.Body.Close()
				continue
			}
			if body = readAll(t, resp); resp.StatusCode != 200 {
				t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
			}
			return resp.Header.Get("Content-Type"), body
		}
	}

	txn, loc := accepted(s.do("POST", "/Users", User(`"userName":"a"`), "Prefer", "respond-async"))
	kind, token := fetch(loc)
	if kind != "application/secevent+jwt" {
		t.Errorf("the event is sent as %q", kind)
	}
	c := claims(token)
	e := event(c)
	if c.String("txn") != txn || e.String("status") != "201" || e.String("method") != "POST" || c.Sub("sub_id").String("format") != "scim" || c.String("jti") == "" || c.Get("iat") == nil {
		t.Errorf("%s", c.AppendJSON(nil))
	}
	if u := s.get(c.Sub("sub_id").String("uri")); u.obj.String("userName") != "a" || e.String("version") != u.Header.Get("ETag") {
		t.Error(u.body)
	}
	_, loc = accepted(s.do("POST", "/Users", User(`"userName":"A"`), "Prefer", "respond-async"))
	_, token = fetch(loc)
	if e = event(claims(token)); e.String("status") != "409" || e.Sub("response").String("scimType") != scim.Uniqueness {
		t.Errorf("%s", e.AppendJSON(nil))
	}
	// Who is willing to wait has the answer itself, if it is ready in time.
	s.do("POST", "/Users", User(`"userName":"b"`), "Prefer", "respond-async, wait=20").want(t, 201, "")

	txn, loc = accepted(s.do("POST", "/Bulk", Bulk("", post("x", "/Users", User(`"userName":"c"`)), `{"method":"DELETE","path":"/Users/nobody"}`), "Prefer", "respond-async"))
	_, body := fetch(loc)
	o, err := scim.Decode([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for jti, v := range o.Sub("sets").All() {
		c := claims(v.(string))
		if c.String("jti") != jti {
			t.Errorf("%s is called %s", c.String("jti"), jti)
		}
		got[strings.TrimPrefix(c.String("txn"), txn)] = event(c).String("status")
	}
	if diff := cmp.Diff(map[string]string{":0": "201", ":1": "404"}, got); diff != "" {
		t.Error(diff)
	}
	s.do("GET", "/Events/made-up", "").want(t, 404, "")
	s.do("GET", loc, "", "Authorization", "").want(t, 401, "")
}
