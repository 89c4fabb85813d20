//go:build e2e

package e2e

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// The collection that Microsoft publishes for those who write a SCIM server for
// Entra ID (testdata/LICENSE.entra_reference).
//
//go:embed testdata/entra_reference.postman.json
var entraCollection string

// TestPeerEntraCollection runs it, as it is, against an empty directory. What
// is not SCIM in it is its first request, for a token: the server that it was
// written for gives one to whoever asks. Here a proxy before the gateway does.
func TestPeerEntraCollection(t *testing.T) {
	t.Parallel()
	const token = "a-token-for-tests-alone"
	port := porttest.Free(t, 2)
	_, issuer := campusOP(t, func(path string) string { return fmt.Sprintf("http://localhost:%d%s", port, path) })
	g := serveIn(t, t.TempDir(), port, fmt.Sprintf(`identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "%s", client_id: gatehouse, client_secret: { file: "%s" } }
    attributes: { mail: email }
    provisioning: { mode: async, user_name: preferred_username }
%sclients:
  - { id: entra, title: Microsoft Entra ID, credentials: [ { bearer: { file: "%s" } } ], profile: entra, groups: "*" }
`, issuer, write(t, t.TempDir(), "campus", "e2e"), wikiService(t, "localhost"), write(t, t.TempDir(), "entra", token)))
	front := listen(t, func(string) http.Handler {
		to := &url.URL{Scheme: "http", Host: fmt.Sprintf("localhost:%d", g.port)}
		mux := http.NewServeMux()
		mux.HandleFunc("/scim2/Token", func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
		})
		mux.Handle("/", &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }})
		return mux
	})
	u, err := url.Parse(front)
	if err != nil {
		t.Fatal(err)
	}
	got := runNewman(t, entraCollection, map[string]string{"Protocol": "http", "Server": u.Hostname(), "Port": ":" + u.Port(), "Api": "scim2"})
	want := newmanSummary{Requests: 79, Assertions: 108}
	for _, f := range got.Failures {
		t.Error(f)
	}
	if got.Failures = nil; got.Requests != want.Requests || got.Assertions != want.Assertions || got.Failed != 0 || got.Unanswered != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
	// What was put right for it was counted.
	var habits []struct {
		Rule  string
		Count int
	}
	if err := json.Unmarshal([]byte(g.verb(t, "clients", "dialect", "entra", "--json")), &habits); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, h := range habits {
		seen[h.Rule] = h.Count
	}
	for _, rule := range []string{"op.case", "boolean.text", "display.name", "value.text", "member.unknown", "filter.unquoted"} {
		if seen[rule] == 0 {
			t.Errorf("%s is not counted: %v", rule, seen)
		}
	}
}

type newmanSummary struct {
	Requests, Unanswered, Assertions, Failed int
	Failures                                 []string
}

// runNewman runs a Postman collection with npm's newman.
func runNewman(t *testing.T, collection string, variables map[string]string) (v newmanSummary) {
	t.Helper()
	installed, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	script, err := peerFiles.ReadFile("peers/newman.cjs")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(installed, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	vars, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	name := os.Getenv("GATEHOUSE_E2E_NODE")
	if name == "" {
		name = "node"
	}
	cmd := exec.CommandContext(t.Context(), name, write(t, dir, "newman.cjs", string(script)))
	cmd.Env = append(os.Environ(), "COLLECTION="+write(t, dir, "collection.json", collection), "VARIABLES="+string(vars))
	cmd.WaitDelay = 5 * time.Second
	var said, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &wrong
	if err := cmd.Run(); err != nil {
		t.Fatalf("newman: %v\n%s%s", err, said.Bytes(), wrong.Bytes())
	}
	if err := json.Unmarshal(said.Bytes(), &v); err != nil {
		t.Fatalf("newman said %s: %v", said.Bytes(), err)
	}
	return v
}
