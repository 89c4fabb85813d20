package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// apiDocument is what a client of ours would read of docs/reference/openapi.json.
type apiDocument struct {
	Paths map[string]map[string]struct {
		Summary    string
		Parameters []struct {
			Name, In, Description string
			Required              bool
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema map[string]any }
		}
		Duties []string `json:"x-duties"`
	}
	Components struct{ Schemas map[string]map[string]any }
}

// The document in docs/reference is the one that the gateway serves, and says
// something of each route and each of its parameters.
func TestDocsOpenAPIIsCurrent(t *testing.T) {
	t.Parallel()
	a := routesOf(nil, nil, true)
	path := filepath.Join(repository, "docs/reference/openapi.json")
	have, _ := os.ReadFile(path)
	if want := a.document(); string(have) != string(want) {
		if !*update {
			t.Error("docs/reference/openapi.json is not what the code says; run make docs")
		} else if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, rt := range a.routes {
		if rt.text == "" || rt.answer == nil && rt.media == "" {
			t.Errorf("%s does not say what it is for, or what it answers", rt.pattern)
		}
		seen := map[string]bool{}
		for _, p := range rt.takes {
			if p.text == "" || seen[p.name] {
				t.Errorf("%s: %q is not explained, or twice", rt.pattern, p.name)
			}
			seen[p.name] = true
		}
		for _, part := range strings.Split(rt.path(), "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok && !seen[strings.TrimSuffix(name, "}")] {
				t.Errorf("%s: %s is not explained", rt.pattern, part)
			}
		}
	}
}

// Whoever follows the document meets what it says: each safe route answers an
// administrator, in the form that its schema has.
func TestEachSafeRouteAnswersAsItsDocumentSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK)
	bob := w.person()
	if bob.open(w.at("payroll", "/")).signIn("campus", "bob").status != http.StatusForbidden {
		t.Fatal("bob may use payroll")
	}
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	carol.open(w.at("", "/.gatehouse/api/v1/openapi.json")).wants(http.StatusOK)
	var doc apiDocument
	if err := json.Unmarshal([]byte(carol.body), &doc); err != nil {
		t.Fatal(err)
	}
	w.admin(http.MethodPost, "reconciliation", url.Values{"target": {"directory"}, "mode": {"preview"}}, nil)
	eventually(t, "the target is compared", func() bool {
		return strings.Contains(carol.open(w.at("", "/.gatehouse/api/v1/reconciliation?target=directory&mode=preview")).body, `"ended"`)
	})
	code := supportCode.FindString(bob.body)
	eventually(t, "the denial is recorded", func() bool {
		return carol.open(w.at("", "/.gatehouse/api/v1/audit?flow="+code)).body != "{\"events\":[]}\n"
	})
	w.admin(http.MethodPost, "groups", url.Values{"name": {"crew"}}, nil)
	values := map[string]string{"to": "service:wiki", "code": code, "format": "jsonl", "group": "crew", "key": "none", "name": "bob", "service": "wiki", "target": "directory", "mode": "preview", "client": "hr", "provider": "campus", "attribute": "phone"}
	elsewhere := map[string]string{ // that which the demo has none of
		"/source/test": "directory", "/source/preview": "directory", "/source/held": "source", "/import": "import", "/import/result": "import", "/task": "task", "/provider/trial": "trial", "/me/owned/service": "service",
	}
	ids := map[string]string{"/target/held": "directory", "/client/held": "hr", "/target/preview": "directory", "/provider": "campus", "/service": "wiki"}
	called := 0
	for path, ops := range doc.Paths {
		op, ok := ops["get"]
		if !ok {
			continue
		}
		q := url.Values{}
		for _, p := range op.Parameters {
			switch {
			case !p.Required:
			case p.Name == "id":
				q.Set("id", ids[path])
			default:
				q.Set(p.Name, values[p.Name])
			}
		}
		for _, p := range op.Parameters {
			if v := ids[path]; p.Name == "id" && p.Required && v == "" {
				v = "none"
				q.Set("id", v)
			}
		}
		if path == "/release/preview" { // of somebody, known or made up
			q.Set("name", "bob")
		}
		if path == "/task" {
			q = url.Values{"kind": {"none"}, "key": {"none"}}
		}
		carol.open(w.at("", "/.gatehouse/api/v1"+path+"?"+q.Encode()))
		if what, none := elsewhere[path]; none {
			if carol.status != http.StatusNotFound || !strings.Contains(carol.body, "api.not_found") {
				t.Errorf("%s: %d %s, although there is no such %s", path, carol.status, carol.body, what)
			}
			continue
		}
		if carol.status != http.StatusOK {
			t.Errorf("%s?%s: %d %s", path, q.Encode(), carol.status, carol.body)
			continue
		}
		called++
		media, _, _ := strings.Cut(carol.header.Get("Content-Type"), ";")
		content, ok := op.Responses["200"].Content[media]
		if !ok {
			t.Errorf("%s answers with %s, and says %v", path, media, op.Responses["200"])
			continue
		}
		if media == "application/json" && content.Schema != nil {
			var v any
			if err := json.Unmarshal([]byte(carol.body), &v); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range doc.fits(content.Schema, v, path) {
				t.Error(wrong)
			}
		}
		carol.open(w.at("", "/.gatehouse/api/v1"+path+"?"+q.Encode()+"&nobody_takes_this=1")).wants(http.StatusBadRequest, "api.parameter", "nobody_takes_this")
	}
	if called < 20 {
		t.Errorf("%d routes were called", called)
	}
	carol.open(w.at("", "/.gatehouse/api/v1/user")).wants(http.StatusBadRequest, "api.parameter", "name is missing")
	carol.open(w.at("", "/.gatehouse/api/v1/users?limit=many")).wants(http.StatusBadRequest, "api.parameter", "limit is a number")
	carol.open(w.at("", "/.gatehouse/api/v1/users?q=a&q=b")).wants(http.StatusBadRequest, "api.parameter", "given 2 times")
	carol.open(w.at("", "/.gatehouse/api/v1/nothing")).wants(http.StatusNotFound, "api.not_found")
	carol.open(w.at("", "/.gatehouse/api/v1/user?name=nobody")).wants(http.StatusNotFound, "api.not_found", "there is no user")
}

// fits says where a value is not of a schema, as far as our document goes.
func (d apiDocument) fits(schema map[string]any, v any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		return d.fits(d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")], v, at)
	}
	among := map[string]bool{}
	switch kind := schema["type"].(type) {
	case nil:
		return nil
	case string:
		among[kind] = true
	case []any:
		for _, k := range kind {
			among[k.(string)] = true
		}
	}
	kind := map[reflect.Kind]string{reflect.Bool: "boolean", reflect.String: "string", reflect.Float64: "number", reflect.Slice: "array", reflect.Map: "object", reflect.Invalid: "null"}[reflect.ValueOf(v).Kind()]
	if f, ok := v.(float64); ok && f == float64(int64(f)) && among["integer"] {
		kind = "integer"
	}
	if !among[kind] {
		return []string{fmt.Sprintf("%s is a %s, and not of %v", at, kind, schema)}
	}
	switch v := v.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, e := range v {
			wrong = append(wrong, d.fits(items, e, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		rest, _ := schema["additionalProperties"].(map[string]any)
		for name, e := range v {
			s, ok := properties[name].(map[string]any)
			if !ok && rest == nil {
				wrong = append(wrong, fmt.Sprintf("%s has %q, and its document does not", at, name))
				continue
			} else if !ok {
				s = rest
			}
			wrong = append(wrong, d.fits(s, e, at+"."+name)...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s lacks %q", at, name))
			}
		}
	}
	return wrong
}

// An administrator can not lock themselves out, and what they ask for about others
// is done to the end.
func TestA08_NobodyTakesTheirOwnWayInAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	own := map[string]string{"Sec-Fetch-Site": "same-origin"}
	for _, change := range []string{"POST user/active?name=carol&active=false", "DELETE user?name=carol"} {
		method, path, _ := strings.Cut(change, " ")
		carol.asks(method, w.at("", "/.gatehouse/api/v1/"+path), own).wants(http.StatusConflict, reasonOwn)
	}
	var links []struct {
		Provider string
		Ref      struct{ Issuer, Subject string }
	}
	var user struct{ Links json.RawMessage }
	carol.open(w.at("", "/.gatehouse/api/v1/user?name=carol")).wants(http.StatusOK, `"active":true`)
	if err := json.Unmarshal([]byte(carol.body), &user); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(user.Links, &links); err != nil || len(links) != 1 {
		t.Fatal(err, string(user.Links))
	}
	q := url.Values{"name": {"carol"}, "provider": {"campus"}, "issuer": {links[0].Ref.Issuer}, "subject": {links[0].Ref.Subject}}
	carol.asks(http.MethodDelete, w.at("", "/.gatehouse/api/v1/user/link?"+q.Encode()), own).wants(http.StatusConflict, reasonOwn)
	// Somebody else's is done, and on the machine everything is.
	carol.asks(http.MethodPost, w.at("", "/.gatehouse/api/v1/user/active?name=bob&active=false"), own).wants(http.StatusOK, `"active":false`)
	w.admin(http.MethodPost, "user/active", url.Values{"name": {"carol"}, "active": {"false"}}, nil)
	w.admin(http.MethodPost, "user/active", url.Values{"name": {"carol"}, "active": {"true"}}, nil)
}
