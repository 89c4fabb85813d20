package scim2_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

func ana(attrs map[string][]string) connector.Account {
	return connector.Account{ExternalID: "0199-ana", UserName: "ana@x.test", Active: true, Attributes: attrs}
}

func isPatch(r *http.Request) bool { return r.Method == http.MethodPatch }

func sync(t *testing.T, c *scim2.Connector, want connector.Account, have string) string {
	t.Helper()
	id, err := c.Sync(t.Context(), want, have)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sent lists method and body of what was sent to change something.
func (g target) sent() (out []string) {
	for _, s := range g.awkward.Changes() {
		out = append(out, s.Method+" "+s.Body)
	}
	return out
}

// ops are the operations of the only PATCH that was sent.
func (g target) ops(t *testing.T) []string {
	t.Helper()
	c := g.awkward.Changes()
	if len(c) != 1 || c[0].Method != http.MethodPatch {
		t.Fatalf("sent %v, want one PATCH", g.sent())
	}
	var m struct{ Operations []json.RawMessage }
	if err := json.Unmarshal([]byte(c[0].Body), &m); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range m.Operations {
		out = append(out, string(o))
	}
	return out
}

func TestCreationSendsWhatIsWanted(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.connect(t, scim2.Config{})
	sync(t, c, ana(map[string][]string{
		mail: {"ana@x.test"}, "name.givenName": {"Ana"}, scimuser.DefaultPath("department"): {"IT"}, "roles.value": {"a", "b"},
		scimuser.DefaultPath("locality"): {"Graz"}, scimuser.DefaultPath("country"): {"AT"},
	}), "")
	want := `POST {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],` +
		`"externalId":"0199-ana","userName":"ana@x.test","active":true,"addresses":[{"type":"work","country":"AT","locality":"Graz"}],` +
		`"emails":[{"type":"work","value":"ana@x.test","primary":true}],"name":{"givenName":"Ana"},"roles":[{"value":"a"},{"value":"b"}],` +
		`"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT"}}`
	if diff := cmp.Diff([]string{want}, g.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyWhatDiffersIsPatched(t *testing.T) {
	t.Parallel()
	const dep = scim.EnterpriseUserURN + ":department"
	for _, c := range []struct {
		name, has string // what the target holds besides the names
		want      map[string][]string
		ops       []string
	}{
		{"nothing", `"title":"Dr"`, map[string][]string{"title": {"Dr"}}, nil},
		{"an absent attribute that is to be absent", `"title":"Dr"`, map[string][]string{"nickName": nil, mail: {}}, nil},
		{"empty text is no value", `"title":"Dr"`, map[string][]string{"nickName": {""}}, nil},
		{"one of two", `"title":"Dr","nickName":"A"`, map[string][]string{"title": {"Prof"}, "nickName": {"A"}}, []string{`{"op":"replace","path":"title","value":"Prof"}`}},
		{"one that is not there", `"title":"Dr"`, map[string][]string{"name.givenName": {"Ana"}}, []string{`{"op":"add","path":"name.givenName","value":"Ana"}`}},
		{"one to clear", `"title":"Dr"`, map[string][]string{"title": nil}, []string{`{"op":"remove","path":"title"}`}},
		{"an extension", `"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT","division":"D"}`, map[string][]string{dep: {"HR"}}, []string{`{"op":"replace","path":"` + dep + `","value":"HR"}`}},
		{"a work mail in place", `"emails":[{"value":"a@x","type":"work","primary":true},{"value":"h@x","type":"home"}]`, map[string][]string{mail: {"b@x"}}, []string{`{"op":"replace","path":"emails[type eq \"work\"].value","value":"b@x"}`}},
		{"a work mail where there is a private one", `"emails":[{"value":"h@x","type":"home"}]`, map[string][]string{mail: {"b@x"}}, []string{`{"op":"add","path":"emails","value":[{"type":"work","value":"b@x"}]}`}},
		{"a work mail where there is none", `"title":"Dr"`, map[string][]string{mail: {"b@x"}}, []string{`{"op":"add","path":"emails","value":[{"type":"work","value":"b@x"}]}`}},
		{"no work mail", `"emails":[{"value":"a@x","type":"work"},{"value":"h@x","type":"home"}]`, map[string][]string{mail: nil}, []string{`{"op":"remove","path":"emails[type eq \"work\"]"}`}},
		{"several for one", `"roles":[{"value":"a"},{"value":"b"}]`, map[string][]string{"roles.value": {"b", "c"}}, []string{`{"op":"replace","path":"roles","value":[{"value":"b"},{"value":"c"}]}`}},
		{"one more", `"roles":[{"value":"a","display":"A"}]`, map[string][]string{"roles": {"c", "a"}}, []string{`{"op":"add","path":"roles","value":[{"value":"c"}]}`}},
		{"another order", `"roles":[{"value":"a"},{"value":"b"}]`, map[string][]string{"roles": {"b", "a"}}, nil},
		{"none left", `"roles":[{"value":"a"},{"value":"b"}]`, map[string][]string{"roles": nil}, []string{`{"op":"remove","path":"roles"}`}},
		{"a part of an address", `"addresses":[{"type":"work","locality":"Graz","country":"AT"}]`, map[string][]string{`addresses[type eq "work"].locality`: {"Wien"}}, []string{`{"op":"replace","path":"addresses[type eq \"work\"].locality","value":"Wien"}`}},
		{"a part of an address to clear", `"addresses":[{"type":"work","locality":"Graz","country":"AT"}]`, map[string][]string{`addresses[type eq "work"].locality`: nil}, []string{`{"op":"remove","path":"addresses[type eq \"work\"].locality"}`}},
		{"the manager", `"title":"Dr"`, map[string][]string{scim.EnterpriseUserURN + ":manager.value": {"26"}}, []string{`{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value","value":"26"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, how := range []scim2.Update{scim2.Patch, scim2.Put} {
				g := open(t)
				con := g.connect(t, scim2.Config{Update: how})
				id := g.plant(t, `{"userName":"ana@x.test","externalId":"0199-ana","active":true,`+c.has+`}`)
				sync(t, con, ana(c.want), id)
				if how == scim2.Patch && c.ops != nil {
					if diff := cmp.Diff(c.ops, g.ops(t)); diff != "" {
						t.Error(diff)
					}
				}
				if n := len(g.sent()); n != min(len(c.ops), 1) {
					t.Errorf("%s: %d requests were sent: %v", how, n, g.sent())
				}
				for path, want := range c.want {
					if path == "roles" {
						path = "roles.value"
					}
					want = slices.DeleteFunc(slices.Sorted(slices.Values(want)), func(s string) bool { return s == "" })
					got := slices.Sorted(slices.Values(values(t, g.held(t)[0], path)))
					if !slices.Equal(got, want) {
						t.Errorf("%s: the target holds %s %q, want %q", how, path, got, want)
					}
				}
				g.awkward.Behave()
				sync(t, con, ana(c.want), id)
				if len(g.sent()) > 0 {
					t.Errorf("%s: the second sync sent %v", how, g.sent())
				}
			}
		})
	}
}

func TestPathThatCanNotBeKeptInStepIsRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "no such", "userName", "ACTIVE", "externalId", "id", "schemas", "meta.version", "groups", "password", "name", "emails[", "colour",
		"addresses", scim.EnterpriseUserURN, scim.EnterpriseUserURN + ":colour", scim.EnterpriseUserURN + ":manager", scim.EnterpriseUserURN + ":manager.displayName",
		`emails[type co "work"].value`, `emails[type eq "work" or type eq "home"].value`, `name[givenName eq "x"].familyName`,
	} {
		if err := scimuser.CheckPath(path); err == nil {
			t.Errorf("the path %q was taken", path)
		}
		g := open(t)
		_, err := g.connect(t, scim2.Config{}).Sync(t.Context(), ana(map[string][]string{path: {"x"}}), "")
		if connector.ClassOf(err) != connector.Invalid || len(g.sent()) > 0 {
			t.Errorf("sync with the path %q: %v, sent %v", path, err, g.sent())
		}
	}
	for _, path := range []string{"title", "TITLE", mail, "emails", "emails.value", `emails[type eq "work" and primary eq true].value`, "urn:acme:user:1.0:badge", scimuser.DefaultPath("department")} {
		if err := scimuser.CheckPath(path); err != nil {
			t.Errorf("the path %q was refused: %v", path, err)
		}
	}
	g := open(t)
	for name, want := range map[string][]string{"title": {"a", "b"}, `emails[type eq "work"].primary`: {"maybe"}} {
		_, err := g.connect(t, scim2.Config{}).Sync(t.Context(), ana(map[string][]string{name: want}), "")
		if connector.ClassOf(err) != connector.Invalid || len(g.sent()) > 0 {
			t.Errorf("%s %q: got %v", name, want, err)
		}
	}
}

func TestDefaultPathsAreGood(t *testing.T) {
	t.Parallel()
	for _, ours := range []string{"mail", "display_name", "given_name", "family_name", "title", "department", "phone", "mobile", "employee_number", "locality", "roles"} {
		path := scimuser.DefaultPath(ours)
		if err := scimuser.CheckPath(path); path == "" || err != nil {
			t.Errorf("%s: %q, %v", ours, path, err)
		}
	}
	if p := scimuser.DefaultPath("shoe_size"); p != "" {
		t.Errorf("an unknown attribute has the path %q", p)
	}
}

func TestTypedExtensionIsSentAsItsType(t *testing.T) {
	t.Parallel()
	badge, err := scim.ParseSchema([]byte(`{"id":"urn:acme:user:1.0","name":"Acme","attributes":[{"name":"vip","type":"boolean"},{"name":"floor","type":"integer"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	g := open(t)
	c := g.connect(t, scim2.Config{Extensions: []*scim.Schema{badge}})
	sync(t, c, ana(map[string][]string{"urn:acme:user:1.0:vip": {"true"}, "urn:acme:user:1.0:floor": {"3"}, "urn:other:1.0:x": {"3"}}), "")
	if s := g.sent()[0]; !strings.Contains(s, `"urn:acme:user:1.0":{"floor":3,"vip":true},"urn:other:1.0":{"x":"3"}`) {
		t.Error(s)
	}
}

// The target knows an attribute that this program does not.
func TestPutKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	var put string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", scim.MediaType)
		if r.Method == http.MethodPut {
			put = r.Header.Get("If-Match") + " " + readAll(r)
		}
		_, _ = w.Write([]byte(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:x"],"id":"7","UserName":"old","externalId":"0199-ana","active":true,
			"shoe":{"size":42},"urn:x":{"y":[1,{"z":null}]},"groups":[{"value":"g"}],"meta":{"version":"W/\"3\"","location":"/Users/7"}}`))
	}))
	defer s.Close()
	c, err := scim2.New(scim2.Config{URL: s.URL, Client: s.Client(), Update: scim2.Put})
	if err != nil {
		t.Fatal(err)
	}
	sync(t, c, ana(nil), "7")
	want := `W/"3" {"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:x"],"id":"7","userName":"ana@x.test","externalId":"0199-ana","active":true,"shoe":{"size":42},"urn:x":{"y":[1,{"z":null}]}}`
	if diff := cmp.Diff(want, put); diff != "" {
		t.Error(diff)
	}
}

func TestTargetWithoutPatchIsPut(t *testing.T) {
	t.Parallel()
	config := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/ServiceProviderConfig") }
	for name, play := range map[string]func(*connectortest.Awkward){
		"it says so": func(a *connectortest.Awkward) {
			a.When(-1, config, connectortest.Say(200, scim.MediaType, `{"patch":{"supported":false}}`))
			a.When(-1, isPatch, connectortest.Fail(500, ""))
		},
		"405":        func(a *connectortest.Awkward) { a.When(-1, isPatch, connectortest.Fail(405, "")) },
		"501":        func(a *connectortest.Awkward) { a.When(-1, isPatch, connectortest.Fail(501, "")) },
		"a 405 page": func(a *connectortest.Awkward) { a.When(-1, isPatch, connectortest.HTML(405)) },
		"405 and no configuration": func(a *connectortest.Awkward) {
			a.When(-1, config, connectortest.HTML(404))
			a.When(-1, isPatch, connectortest.Fail(405, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			c := g.connect(t, scim2.Config{})
			id := sync(t, c, ana(nil), "")
			play(g.awkward)
			for _, title := range []string{"A", "B"} {
				sync(t, c, ana(map[string][]string{"title": {title}}), id)
				if got := g.held(t)[0].String("title"); got != title {
					t.Errorf("the target holds the title %q, want %q", got, title)
				}
			}
			asked, patched := 0, 0
			for _, s := range g.awkward.Seen() {
				if strings.HasSuffix(s.URI, "/ServiceProviderConfig") {
					asked++
				}
				if s.Method == http.MethodPatch {
					patched++
				}
			}
			if asked != 1 || patched > 1 {
				t.Errorf("the target was asked what it can %d times and sent %d PATCHes, want at most one of each", asked, patched)
			}
		})
	}
	t.Run("but not if PATCH is configured", func(t *testing.T) {
		t.Parallel()
		g := open(t)
		c := g.connect(t, scim2.Config{Update: scim2.Patch})
		id := sync(t, c, ana(nil), "")
		g.awkward.When(-1, isPatch, connectortest.Fail(405, ""))
		if _, err := c.Sync(t.Context(), ana(map[string][]string{"title": {"A"}}), id); connector.ClassOf(err) != connector.Route {
			t.Errorf("got %v, want route", err)
		}
	})
}

func TestChangedMeanwhileIsReadOnceMore(t *testing.T) {
	t.Parallel()
	for _, how := range []scim2.Update{scim2.Patch, scim2.Put} {
		g := open(t)
		c := g.connect(t, scim2.Config{Update: how})
		id := sync(t, c, ana(nil), "")
		// Somebody else changes the account between our reading and our writing.
		meddle := func(w http.ResponseWriter, r *http.Request, target http.Handler) {
			_, err := g.store.Change(t.Context(), id, func(cur *scim.Resource) (*scim.Resource, error) {
				next := cur.Clone()
				next.Set("nickName", cur.String("nickName")+"x")
				return next, nil
			})
			if err != nil {
				t.Error(err)
			}
			target.ServeHTTP(w, r)
		}
		want := ana(map[string][]string{"title": {"Dr"}})
		g.awkward.Behave()
		g.awkward.Writes(1, meddle)
		sync(t, c, want, id)
		if r := g.held(t)[0]; r.String("nickName") != "x" || r.String("title") != "Dr" {
			t.Errorf("%s: the target holds %s", how, r.AppendJSON(nil))
		}
		for _, s := range g.awkward.Changes() {
			if s.Header.Get("If-Match") == "" {
				t.Errorf("%s: sent without If-Match", how)
			}
		}
		want.Attributes["title"] = []string{"Prof"}
		g.awkward.Behave()
		g.awkward.Writes(-1, meddle)
		if _, err := c.Sync(t.Context(), want, id); connector.ClassOf(err) != connector.Conflict {
			t.Errorf("%s: got %v, want a conflict", how, err)
		}
		if n := len(g.awkward.Changes()); n != 2 {
			t.Errorf("%s: it was tried %d times, want 2", how, n)
		}
	}
}

func TestVersionThatIsNoEntityTagIsNotSent(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.connect(t, scim2.Config{})
	id := sync(t, c, ana(nil), "")
	g.awkward.Behave()
	g.awkward.Next(1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", scim.MediaType)
		_, _ = w.Write([]byte(`{"id":"` + id + `","userName":"x","meta":{"version":"17"}}`))
	})
	sync(t, c, ana(nil), id)
	if h := g.awkward.Changes()[0].Header; len(h["If-Match"]) > 0 {
		t.Errorf("If-Match %q was sent", h["If-Match"])
	}
}

func filters(attr string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Query().Get("filter"), attr) }
}

func TestTargetThatDoesNotSearchStillGetsOneAccount(t *testing.T) {
	t.Parallel()
	no := func(status int) connectortest.Trick {
		return connectortest.Say(status, scim.MediaType, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":"invalidFilter"}`)
	}
	everybody := func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		q := r.URL.Query()
		q.Del("filter")
		r.URL.RawQuery = q.Encode()
		target.ServeHTTP(w, r)
	}
	for name, play := range map[string]func(*connectortest.Awkward){
		"not by externalId": func(a *connectortest.Awkward) { a.When(-1, filters("externalId"), no(400)) },
		"not at all": func(a *connectortest.Awkward) {
			a.When(-1, filters("externalId"), no(501))
			a.When(-1, filters("userName"), no(400))
		},
		"answers with everybody": func(a *connectortest.Awkward) { a.When(-1, filters(""), everybody) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := open(t)
			c := g.connect(t, scim2.Config{})
			for i := range 12 {
				other := ana(nil)
				other.ExternalID += string(rune('a' + i))
				other.UserName += string(rune('a' + i))
				sync(t, c, other, "")
			}
			play(g.awkward)
			if got, err := c.Find(t.Context(), ana(nil)); err != nil || len(got) != 0 {
				t.Errorf("before: found %v, %v", got, err)
			}
			id := sync(t, c, ana(nil), "")
			if again := sync(t, c, ana(nil), ""); again != id || len(g.held(t)) != 13 {
				t.Errorf("the second creation gave %q, the first %q; the target holds %d accounts", again, id, len(g.held(t)))
			}
			if got, err := c.Find(t.Context(), ana(nil)); err != nil || len(got) != 1 || got[0].ID != id {
				t.Errorf("after: found %v, %v", got, err)
			}
		})
	}
}

func TestTwoAccountsWithOurIDAreAConflict(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.plant(t, `{"userName":"a","externalId":"0199-ana"}`)
	g.plant(t, `{"userName":"b","externalId":"0199-ana"}`)
	c := g.connect(t, scim2.Config{})
	if _, err := c.Sync(t.Context(), ana(nil), ""); connector.ClassOf(err) != connector.Conflict || len(g.sent()) > 0 {
		t.Errorf("got %v, sent %v", err, g.sent())
	}
	if got, err := c.Find(t.Context(), ana(nil)); err != nil || len(got) != 2 {
		t.Errorf("found %v, %v", got, err)
	}
}

func TestDisabledCreationIsDisabledAlsoWhereCreationIgnoresIt(t *testing.T) {
	t.Parallel()
	g := open(t)
	c := g.connect(t, scim2.Config{})
	g.awkward.Writes(1, func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		r.Body = http.NoBody
		body := strings.NewReader(strings.Replace(g.awkward.Seen()[1].Body, `"active":false`, `"active":true`, 1))
		r2, _ := http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), body)
		r2.Header = r.Header
		target.ServeHTTP(w, r2)
	})
	want := ana(nil)
	want.Active = false
	sync(t, c, want, "")
	if g.held(t)[0].Get("active") != false {
		t.Error("the account is active")
	}
}

func TestCreationWithoutAnIDIsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, trick := range []connectortest.Trick{connectortest.Say(201, scim.MediaType, `{"userName":"ana@x.test"}`), connectortest.Fail(201, "")} {
		g := open(t)
		g.awkward.Writes(1, trick)
		_, err := g.connect(t, scim2.Config{}).Sync(t.Context(), ana(nil), "")
		var e *connector.Error
		if !asError(err, &e) || !e.Ambiguous || e.Class != connector.Route {
			t.Errorf("got %v, want route and ambiguous", err)
		}
	}
}

func TestWalkThatCouldMissAccountsEndsWithAnError(t *testing.T) {
	t.Parallel()
	list := func(total string, ids ...string) connectortest.Trick {
		var rs []string
		for _, id := range ids {
			rs = append(rs, `{"id":"`+id+`","userName":"`+id+`"}`)
		}
		return connectortest.Say(200, scim.MediaType, `{"totalResults":`+total+`,"Resources":[`+strings.Join(rs, ",")+`]}`)
	}
	for name, tricks := range map[string][]connectortest.Trick{
		"an empty page":         {list("3", "a", "b"), list("3")},
		"an empty first page":   {list("3")},
		"another total":         {list("3", "a", "b"), list("2", "b")},
		"the same page again":   {list("4", "a", "b"), list("4", "a", "b")},
		"an account without id": {list("1", "")},
		"no total":              {connectortest.Say(200, scim.MediaType, `{"Resources":[]}`)},
		"a total that is text":  {connectortest.Say(200, scim.MediaType, `{"totalResults":"0"}`)},
		"something else":        {connectortest.Say(200, scim.MediaType, `{"totalResults":1,"Resources":[1]}`)},
	} {
		g := open(t)
		for _, trick := range tricks {
			g.awkward.Next(1, trick)
		}
		var last error
		for _, err := range g.connect(t, scim2.Config{}).Accounts(t.Context()) {
			last = err
		}
		if last == nil {
			t.Errorf("%s: the walk ended well", name)
		}
	}
	g := open(t)
	g.awkward.Next(1, list("2", "a", "b"))
	n := 0
	for _, err := range g.connect(t, scim2.Config{}).Accounts(t.Context()) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 2 {
		t.Errorf("a whole walk yielded %d accounts, want 2", n)
	}
}

func TestBasicAuthenticates(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.awkward.Next(-1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if u, p, ok := r.BasicAuth(); !ok || u != "gate" || p != "pass:word" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		connectortest.Say(200, scim.MediaType, `{"totalResults":0}`)(w, r, nil)
	})
	for auth, want := range map[*func(*http.Request)]bool{ptr(scim2.Basic("gate", "pass:word")): true, ptr(scim2.Basic("gate", "x")): false, ptr(scim2.Bearer("x")): false} {
		_, err := g.connect(t, scim2.Config{Auth: *auth}).Find(t.Context(), ana(nil))
		if (err == nil) != want || err != nil && connector.ClassOf(err) != connector.Auth {
			t.Errorf("got %v, want success: %v", err, want)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []scim2.Config{{}, {URL: "crm.example"}, {URL: "ftp://crm.example"}, {URL: "https://u:p@crm.example"}, {URL: "https://crm.example?x=1"}, {URL: "https://crm.example", Update: "post"}} {
		if _, err := scim2.New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
