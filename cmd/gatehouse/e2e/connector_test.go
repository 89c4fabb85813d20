//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
)

// connectScimmy starts scimmy and a connector to it.
func connectScimmy(t *testing.T) (*scim2.Connector, string) {
	t.Helper()
	port := ports(t, 1)
	node(t, "scimmy.mjs", fmt.Sprint("PORT=", port), "TOKEN=e2e")
	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	c, err := scim2.New(scim2.Config{URL: at + "/scim/v2", Auth: scim2.Bearer("e2e"), Update: scim2.Patch})
	if err != nil {
		t.Fatal(err)
	}
	return c, at
}

type scimGroup struct {
	ID, DisplayName, ExternalID string
	Members                     []struct{ Value string }
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
	var in []string
	for _, m := range groups[0].Members {
		in = append(in, m.Value)
	}
	// It lists a member once for each time that they were added.
	if slices.Sort(in); !slices.Equal(slices.Compact(in), slices.Sorted(slices.Values([]string{ids[0], ids[2]}))) {
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
