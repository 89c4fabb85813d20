//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// connectScimmy starts scimmy and a connector to it.
func connectScimmy(t *testing.T) (*scim2.Connector, string) {
	t.Helper()
	port := porttest.Free(t, 1)
	node(t, "scimmy.mjs", fmt.Sprint("PORT=", port), "TOKEN=e2e")
	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	c, err := scim2.New(scim2.Config{URL: at + "/scim/v2", Auth: scim2.Bearer("e2e"), Update: scim2.Patch})
	if err != nil {
		t.Fatal(err)
	}
	return c, at
}

// laws is a harness over a scimmy of its own, with something awkward in between.
func laws(t *testing.T, update scim2.Update) connectortest.Harness {
	_, at := connectScimmy(t)
	to, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	a := &connectortest.Awkward{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}}
	front := httptest.NewServer(a)
	t.Cleanup(front.Close)
	c, err := scim2.New(scim2.Config{URL: front.URL + "/scim/v2", Client: front.Client(), Auth: scim2.Bearer("e2e"), Update: update, PageSize: 7})
	if err != nil {
		t.Fatal(err)
	}
	const mail = `emails[type eq "work"].value`
	// plant makes a resource as somebody else would.
	plant := func(kind, text string) string {
		req, err := http.NewRequest(http.MethodPost, at+"/scim/v2/"+kind, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer e2e")
		req.Header.Set("Content-Type", scim.MediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw := body(t, resp)
		var made struct{ ID string }
		if err := json.Unmarshal(raw, &made); err != nil || made.ID == "" {
			t.Fatalf("plant %s: %s %s", text, resp.Status, raw)
		}
		return made.ID
	}
	return connectortest.Harness{
		Connector: c, Mail: mail, Title: "title", Awkward: a, Secret: "e2e",
		Held: func() (all []connector.Account) {
			for _, u := range get[[]scimUser](t, at+"/_users") {
				attrs := map[string][]string{}
				if u.Title != "" {
					attrs["title"] = []string{u.Title}
				}
				for _, e := range u.Emails {
					attrs[mail] = append(attrs[mail], e.Value)
				}
				all = append(all, connector.Account{ID: u.ID, ExternalID: u.ExternalID, UserName: u.UserName, Active: u.Active != nil && *u.Active, Attributes: attrs})
			}
			return all
		},
		Plant: func(want connector.Account) string {
			o := scim.NewObject("schemas", []any{scim.UserURN}, "userName", want.UserName, "active", want.Active)
			if want.ExternalID != "" {
				o.Set("externalId", want.ExternalID)
			}
			for _, v := range want.Attributes["title"] {
				o.Set("title", v)
			}
			for _, v := range want.Attributes[mail] {
				o.Set("emails", []any{scim.NewObject("value", v, "type", "work")})
			}
			return plant("Users", string(o.AppendJSON(nil)))
		},
		HeldGroups: func() map[connector.Group][]string {
			out := map[connector.Group][]string{}
			for _, g := range get[[]scimGroup](t, at+"/_groups") {
				out[connector.Group{ID: g.ID, ExternalID: g.ExternalID, Name: g.DisplayName}] = g.in()
			}
			return out
		},
		PlantGroup: func(want connector.Group) string {
			return plant("Groups", string(scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", want.Name).AppendJSON(nil)))
		},
	}
}

func TestPeerScimmyKeepsTheLawsOfConnectors(t *testing.T) {
	t.Parallel()
	connectortest.Test(t, func(t *testing.T) connectortest.Harness { return laws(t, scim2.Patch) })
}

// What is different where an account is replaced whole.
func TestPeerScimmyKeepsTheLawsOfConnectorsByPUT(t *testing.T) {
	t.Parallel()
	some := []string{"SecondSyncChangesNothing", "SyncConvergesFromWhateverWasThere", "EveryChangeArrives", "ClearedAttributeIsGone", "DisableAndEnable", "RenameKeepsTheAccount", "SyncOfWhatIsGoneSaysSo"}
	for _, l := range connectortest.Laws() {
		if i := slices.Index(some, l.Name); i >= 0 {
			some = slices.Delete(some, i, i+1)
			t.Run(l.Name, func(t *testing.T) { l.Run(t, laws(t, scim2.Put)) })
		}
	}
	if len(some) > 0 {
		t.Errorf("there are no laws %q", some)
	}
}

type scimGroup struct {
	ID, DisplayName, ExternalID string
	Members                     []struct{ Value string }
}

// in is who is in the group: scimmy lists a member once for each time that they
// were added.
func (g scimGroup) in() []string {
	ids := []string{}
	for _, m := range g.Members {
		ids = append(ids, m.Value)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func TestPeerScimmyKeepsGroupsAndTheirMembers(t *testing.T) {
	t.Parallel()
	c, at := connectScimmy(t)
	var ids []string
	for i := range 3 {
		id, err := c.Sync(t.Context(), connector.Account{ExternalID: fmt.Sprint("0199-", i), UserName: fmt.Sprint("user", i), Active: true}, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	want := connector.Group{ExternalID: "0199-staff", Name: "Staff"}
	id, err := c.SyncGroup(t.Context(), want, "")
	if err != nil {
		t.Fatal(err)
	}
	// The first attempt to change members meets a failure; the second makes up for it.
	resp, err := http.Post(at+"/_fail/1/503", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	body(t, resp)
	if err := c.ChangeMembers(t.Context(), id, ids, nil); connector.ClassOf(err) != connector.Transient || err == nil {
		t.Errorf("got %v, want transient", err)
	}
	for range 2 { // and once more changes nothing
		if err := c.ChangeMembers(t.Context(), id, ids, nil); err != nil {
			t.Fatal(err)
		}
	}
	want.Name = "Everybody"
	if _, err := c.SyncGroup(t.Context(), want, id); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.ChangeMembers(t.Context(), id, nil, ids[1:2]); err != nil {
			t.Fatal(err)
		}
	}
	groups := get[[]scimGroup](t, at+"/_groups")
	if len(groups) != 1 || groups[0].ID != id || groups[0].DisplayName != "Everybody" {
		t.Fatalf("scimmy has %+v", groups)
	}
	if in := groups[0].in(); !slices.Equal(in, slices.Sorted(slices.Values([]string{ids[0], ids[2]}))) {
		t.Errorf("in the group are %v", in)
	}
	if err := c.RemoveGroup(t.Context(), id); err != nil || len(get[[]scimGroup](t, at+"/_groups")) > 0 || len(get[[]scimUser](t, at+"/_users")) != 3 {
		t.Errorf("after its end: %v", err)
	}
}

func TestPeerScimmyIsProbed(t *testing.T) {
	t.Parallel()
	c, at := connectScimmy(t)
	r, err := c.Probe(t.Context())
	if err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	for _, f := range r.Findings {
		if expected := f.What == "refuse a change to another version"; f.OK == expected {
			t.Errorf("%s: %v", f.What, f.OK)
		}
	}
	if r.Caps != (connector.Caps{}) || len(get[[]scimUser](t, at+"/_users")) > 0 || len(get[[]scimGroup](t, at+"/_groups")) > 0 {
		t.Errorf("it can not %+v; left are %v", r.Caps, get[[]scimUser](t, at+"/_users"))
	}
}

// The examples of the documentation; all laws take a process for each call, and
// minutes.
func TestExamplesKeepTheLaws(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{"connector.py": "/accounts.db", "connector.sh": ""} {
		for _, law := range []string{"SyncConverges", "EveryChange", "TakenName", "RemoveTwice"} {
			cmd := exec.Command(program, "targets", "conformance", "--exec", "../../../docs/examples/"+name, "--arg", t.TempDir()+state, "--law", law)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "1 law is kept, 0 broken") {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	}
}
