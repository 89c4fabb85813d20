package scim2_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A call that a stubborn server looks at before a good one sees it.
type call struct {
	*http.Request
	kind string // Users or Groups
	one  bool   // about one, by its id
	body string
	json map[string]any
}

// stubborn puts in front of a server what a kind of target does otherwise: before
// answers itself if it returns a status; after changes the answer.
func stubborn(before func(c *call) (status int, body string), after func(c *call, rec *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(good http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			c := &call{Request: r, body: string(raw)}
			_ = json.Unmarshal(raw, &c.json)
			rest := strings.Split(strings.TrimPrefix(r.URL.Path, "/scim/v2/"), "/")
			c.kind, c.one = rest[0], len(rest) > 1
			if before != nil {
				if status, body := before(c); status != 0 {
					if status == http.StatusNotFound && strings.HasPrefix(body, "<") {
						w.Header().Set("Content-Type", "text/html")
					} else {
						w.Header().Set("Content-Type", scim.MediaType)
					}
					w.WriteHeader(status)
					_, _ = io.WriteString(w, body)
					return
				}
			}
			c.Body = io.NopCloser(strings.NewReader(c.body))
			c.ContentLength = int64(len(c.body))
			rec := httptest.NewRecorder()
			good.ServeHTTP(rec, c.Request)
			if after != nil {
				after(c, rec)
			}
			maps.Copy(w.Header(), rec.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	}
}

func scimError(status int, text string) (int, string) {
	return status, fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"%d","detail":%q}`, status, text)
}

const (
	entraUser  = "urn:ietf:params:scim:schemas:extension:Microsoft:Entra:2.0:User"
	entraGroup = "urn:ietf:params:scim:schemas:extension:Microsoft:Entra:2.0:Group"
)

// without takes what the server behind does not know out of a body.
func (c *call) without(keys ...string) {
	for _, k := range keys {
		delete(c.json, k)
	}
	list, _ := c.json["schemas"].([]any)
	c.json["schemas"] = slices.DeleteFunc(list, func(v any) bool { return slices.Contains(keys, v.(string)) })
	raw, _ := json.Marshal(c.json)
	c.body = string(raw)
}

var password = regexp.MustCompile(`^[A-Z2-7]{26}-a7Z$`)

// entra is Microsoft Entra ID as a SCIM server.
var entra = stubborn(func(c *call) (int, string) {
	switch {
	case c.Method == http.MethodPut:
		return scimError(405, "PUT is not supported")
	case c.Method == http.MethodDelete && c.Header.Get("Accept") != "":
		return scimError(400, "Accept")
	case c.URL.Query().Get("count") == "0":
		return scimError(400, "count")
	case c.Method == http.MethodPost && c.kind == "Users":
		ext, _ := c.json[entraUser].(map[string]any)
		pw, _ := c.json["password"].(string)
		if ext["mailNickname"] == nil || !password.MatchString(pw) || !strings.Contains(fmt.Sprint(c.json["schemas"]), entraUser) {
			return scimError(400, "password and mailNickname are required")
		}
		c.without(entraUser, "password")
	case c.Method == http.MethodPost && c.kind == "Groups":
		ext, _ := c.json[entraGroup].(map[string]any)
		if ext["mailNickname"] == nil || ext["mailEnabled"] != false || ext["securityEnabled"] != true || !strings.Contains(fmt.Sprint(c.json["schemas"]), entraGroup) {
			return scimError(400, "mailNickname is required")
		}
		c.without(entraGroup)
	}
	return 0, ""
}, func(c *call, rec *httptest.ResponseRecorder) {
	if c.one && rec.Code == http.StatusNotFound {
		rec.Code = http.StatusBadRequest
	}
	if c.Method == http.MethodPatch && rec.Code == http.StatusOK {
		rec.Code, rec.Body = http.StatusNoContent, new(bytes.Buffer)
	}
	text := rec.Body.String()
	for old, with := range map[string]string{`"Resources":`: `"resources":`, `"resourceType":"User"`: `"resourceType":"user"`, `"resourceType":"Group"`: `"resourceType":"group"`} {
		text = strings.ReplaceAll(text, old, with)
	}
	rec.Body = bytes.NewBufferString(text)
})

// aws is AWS IAM Identity Center.
var aws = stubborn(func(c *call) (int, string) {
	f := c.URL.Query().Get("filter")
	for _, list := range []string{"emails", "addresses", "phoneNumbers"} {
		if v, _ := c.json[list].([]any); len(v) > 1 {
			return scimError(400, list+" takes one")
		}
	}
	members := 0
	ops, _ := c.json["Operations"].([]any)
	for _, o := range ops {
		op := o.(map[string]any)
		value, _ := op["value"].([]any)
		members += len(value)
		if path, _ := op["path"].(string); c.kind == "Groups" && (strings.Contains(path, "[") || path == "members" && (op["op"] == "replace" || len(value) == 0)) {
			return scimError(400, "unsupported operation")
		}
	}
	switch {
	case c.Method == http.MethodPut && c.kind == "Groups":
		return scimError(501, "PUT of groups")
	case f != "" && !regexp.MustCompile(`^\w+ eq "`).MatchString(f):
		return scimError(400, "filter")
	case members > 100:
		return scimError(400, "too many members")
	}
	if members > 0 { // the server behind wants filters to take members out
		var out []any
		for _, o := range ops {
			op := o.(map[string]any)
			if op["op"] != "remove" || op["path"] != "members" {
				out = append(out, op)
				continue
			}
			for _, v := range op["value"].([]any) {
				out = append(out, map[string]any{"op": "remove", "path": fmt.Sprintf("members[value eq %q]", v.(map[string]any)["value"])})
			}
		}
		c.json["Operations"] = out
		c.without()
	}
	return 0, ""
}, nil)

// google is Google Cloud Identity.
var google = stubborn(func(c *call) (int, string) {
	if c.Method == http.MethodPut {
		return 404, "<!doctype html><title>404</title>"
	}
	return 0, ""
}, nil)

// deactivating is a target whose DELETE of an account disables it, and which says
// what it can do under the plural: Salesforce and Slack.
func deactivating(good http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/scim/v2/ServiceProviderConfig" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.URL.Path == "/scim/v2/ServiceProviderConfigs" {
			r.URL.Path = "/scim/v2/ServiceProviderConfig"
		}
		if r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, "/scim/v2/Users/") {
			r = r.Clone(r.Context())
			r.Method = http.MethodPatch
			body := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"active","value":false}]}`
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Type", scim.MediaType)
		}
		good.ServeHTTP(w, r)
	})
}

// keycloak gives no more than 100 a page.
var keycloak = stubborn(func(c *call) (int, string) {
	if len(c.URL.Query().Get("count")) > 3 {
		return scimError(400, "a page is too large")
	}
	return 0, ""
}, nil)

// unmapped is Keycloak where nobody has mapped externalId: a filter for it finds
// nobody, instead of being refused.
var unmapped = stubborn(func(c *call) (int, string) {
	if strings.HasPrefix(c.URL.Query().Get("filter"), "externalId ") {
		return 200, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"Resources":[]}`
	}
	return 0, ""
}, nil)

// wso2 wants a password, and has a user store before names.
var wso2 = stubborn(func(c *call) (int, string) {
	if c.Method == http.MethodPost && c.kind == "Users" {
		if pw, _ := c.json["password"].(string); !password.MatchString(pw) {
			return scimError(400, "a password is required")
		}
		if name, _ := c.json["userName"].(string); !strings.HasPrefix(name, "AD/") {
			return scimError(400, "not a name of this store")
		}
		c.without("password")
	}
	return 0, ""
}, nil)

// Every profile keeps the laws in front of a server that has its limits.
func TestConnectorOfEveryProfile(t *testing.T) {
	servers := map[string]func(http.Handler) http.Handler{
		"generic": func(h http.Handler) http.Handler { return h }, "entra": entra, "aws": aws, "google": google,
		"salesforce": deactivating, "slack": deactivating, "keycloak": keycloak, "wso2": wso2,
	}
	for name, p := range scim2.Profiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if servers[name] == nil {
				t.Fatal("nothing here has the limits of this profile")
			}
			connectortest.Test(t, func(t *testing.T) connectortest.Harness {
				c := scim2.Config{Profile: p}
				if name != "wso2" {
					return harness(t, c, servers[name])
				}
				c.Domain = "AD"
				h := harness(t, c, wso2)
				held, plant := h.Held, h.Plant
				h.Held = func() []connector.Account {
					list := held()
					for i := range list {
						list[i].UserName = strings.TrimPrefix(list[i].UserName, "AD/")
					}
					return list
				}
				h.Plant = func(a connector.Account) string { a.UserName = "AD/" + a.UserName; return plant(a) }
				return h
			})
		})
	}
}

// Without its profile a target's limit is met, so the tests above show something.
func TestLimitsAreRealWithoutTheProfile(t *testing.T) {
	t.Parallel()
	ana := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true, Attributes: map[string][]string{mail: {"a@x.test"}}}
	for name, c := range map[string]struct {
		server func(http.Handler) http.Handler
		config scim2.Config
		try    func(t *testing.T, h connectortest.Harness) error
	}{
		"entra wants more of a creation": {entra, scim2.Config{}, func(t *testing.T, h connectortest.Harness) error {
			_, err := h.Connector.Sync(t.Context(), ana, "")
			return err
		}},
		"entra has no PUT": {entra, scim2.Config{Profile: scim2.Profiles["entra"], Update: scim2.Put}, func(t *testing.T, h connectortest.Harness) error {
			_, err := h.Connector.Sync(t.Context(), ana, h.Plant(connector.Account{UserName: "x"}))
			return err
		}},
		"entra minds Accept": {entra, scim2.Config{}, func(t *testing.T, h connectortest.Harness) error {
			return h.Connector.Remove(t.Context(), h.Plant(connector.Account{UserName: "x"}))
		}},
		"google has no PUT": {google, scim2.Config{Update: scim2.Put}, func(t *testing.T, h connectortest.Harness) error {
			_, err := h.Connector.Sync(t.Context(), ana, h.Plant(connector.Account{UserName: "x"}))
			return err
		}},
		"aws takes members out by value": {aws, scim2.Config{Update: scim2.Patch}, func(t *testing.T, h connectortest.Harness) error {
			return h.Connector.(connector.Groups).ChangeMembers(t.Context(), h.PlantGroup(connector.Group{Name: "g"}), nil, []string{"1"})
		}},
		"keycloak has small pages": {keycloak, scim2.Config{PageSize: 1000}, func(t *testing.T, h connectortest.Harness) (err error) {
			for _, err = range h.Connector.Accounts(t.Context()) {
			}
			return err
		}},
		"wso2 wants a password": {wso2, scim2.Config{Domain: "AD"}, func(t *testing.T, h connectortest.Harness) error {
			_, err := h.Connector.Sync(t.Context(), ana, "")
			return err
		}},
	} {
		if err := c.try(t, harness(t, c.config, c.server)); err == nil {
			t.Errorf("%s: it does not matter here", name)
		}
	}
}

func TestAttributeThatTakesOneValueGetsNoSecond(t *testing.T) {
	t.Parallel()
	h := harness(t, scim2.Config{Profile: scim2.Profiles["aws"]}, aws)
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true, Attributes: map[string][]string{mail: {"a@x.test"}}}
	id, err := h.Connector.Sync(t.Context(), want, "")
	if err != nil {
		t.Fatal(err)
	}
	want.Attributes[`emails[type eq "home"].value`] = []string{"h@x.test"}
	for _, have := range []string{id, ""} {
		if have == "" {
			want.ExternalID, want.UserName = "0199-eve", "eve"
		}
		h.Awkward.Behave()
		_, err := h.Connector.Sync(t.Context(), want, have)
		var e *connector.Error
		if !asError(err, &e) || e.Class != connector.Invalid || e.Text != "emails: this target takes one value, and there are 2" || len(h.Awkward.Changes()) > 0 {
			t.Errorf("%v; %d changes were sent", err, len(h.Awkward.Changes()))
		}
	}
}

func TestWhatASearchDoesNotFindIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	h := harness(t, scim2.Config{Profile: scim2.Profiles["keycloak"]}, unmapped)
	want := connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true}
	id := sync(t, h.Connector.(*scim2.Connector), want, "")
	want.Active = false
	if again := sync(t, h.Connector.(*scim2.Connector), want, ""); again != id || h.Held()[0].Active {
		t.Errorf("the second creation returned %s, want %s; held %v", again, id, h.Held())
	}
	g := h.Connector.(connector.Groups)
	group := connector.Group{ExternalID: "0199-staff", Name: "Staff"}
	first, err := g.SyncGroup(t.Context(), group, "")
	again, err2 := g.SyncGroup(t.Context(), group, "")
	if err != nil || err2 != nil || first != again {
		t.Errorf("%s %v, again %s %v", first, err, again, err2)
	}
}

func TestProfileKnowsWhatItNeeds(t *testing.T) {
	t.Parallel()
	aws := scim2.Profiles["aws"]
	if diff := cmp.Diff([]string{"name.givenName", "name.familyName"}, aws.Lacks([]string{"displayName", "title"})); diff != "" {
		t.Error(diff)
	}
	if got := aws.Lacks([]string{"displayname", "name.givenName", "name.familyName"}); len(got) > 0 {
		t.Errorf("it lacks %v", got)
	}
	if got := scim2.Profiles["salesforce"].Lacks([]string{"name.familyName", `emails[type eq "home"].value`, `entitlements[primary eq true].value`}); len(got) > 0 {
		t.Errorf("it lacks %v", got)
	}
}

// findings are what a probe found not to be as it should.
func findings(t *testing.T, h connectortest.Harness) (not []string, caps connector.Caps) {
	t.Helper()
	r, err := h.Connector.(connector.Prober).Probe(t.Context())
	if err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	for _, f := range r.Findings {
		if !f.OK {
			not = append(not, f.What)
		}
	}
	return not, r.Caps
}

func TestProbeFindsWhatATargetCanNot(t *testing.T) {
	t.Parallel()
	refuse := func(method string, status int) func(http.Handler) http.Handler {
		return stubborn(func(c *call) (int, string) {
			if c.Method == method {
				return scimError(status, "no")
			}
			return 0, ""
		}, nil)
	}
	noGroups := stubborn(func(c *call) (int, string) {
		if c.kind == "Groups" {
			return scimError(404, "no groups")
		}
		return 0, ""
	}, nil)
	ignoresFilters := stubborn(func(c *call) (int, string) {
		q := c.URL.Query()
		q.Del("filter")
		c.URL.RawQuery = q.Encode()
		return 0, ""
	}, nil)
	staysActive := stubborn(func(c *call) (int, string) {
		if strings.Contains(c.body, `"active"`) {
			return scimError(400, "active")
		}
		return 0, ""
	}, nil)
	for name, c := range map[string]struct {
		server  func(http.Handler) http.Handler
		profile string
		not     []string
		caps    connector.Caps
	}{
		"our own server":        {func(h http.Handler) http.Handler { return h }, "generic", nil, connector.Caps{}},
		"no PATCH":              {refuse(http.MethodPatch, 405), "generic", []string{"PATCH", "versions (ETag)", "add a member", "take a member out"}, connector.Caps{}},
		"no PUT":                {refuse(http.MethodPut, 405), "generic", []string{"PUT"}, connector.Caps{}},
		"no groups":             {noGroups, "generic", []string{"create a group"}, connector.Caps{NoGroups: true}},
		"filters are ignored":   {ignoresFilters, "generic", []string{"find nobody where externalId is nobody's", "find nobody where userName is nobody's"}, connector.Caps{}},
		"Entra with profile":    {entra, "entra", []string{"404 for an account that is not there", "PUT"}, connector.Caps{}},
		"Keycloak with profile": {unmapped, "keycloak", []string{"find by externalId"}, connector.Caps{}},
		"DELETE disables":       {deactivating, "generic", []string{"ServiceProviderConfig", "delete an account"}, connector.Caps{NoRemove: true}},
		"nobody is disabled":    {staysActive, "generic", []string{"create an account"}, connector.Caps{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := harness(t, scim2.Config{Profile: scim2.Profiles[c.profile]}, c.server)
			if name == "nobody is disabled" {
				r, err := h.Connector.(connector.Prober).Probe(t.Context())
				if err == nil || r.Findings[len(r.Findings)-1].OK {
					t.Errorf("%v, %+v", err, r)
				}
				return
			}
			not, caps := findings(t, h)
			if diff := cmp.Diff(c.not, not); diff != "" {
				t.Error(diff)
			}
			if caps != c.caps {
				t.Errorf("it can not %+v, want %+v", caps, c.caps)
			}
			if left := len(h.Held()); left > 0 && !caps.NoRemove || len(h.HeldGroups()) > 0 {
				t.Errorf("it left %v and %v", h.Held(), h.HeldGroups())
			}
		})
	}
}
