package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector/external"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	scimserver "github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	v1 "github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// One sign-in, and every kind of target has what is to be there: over OAuth 2.0,
// a client certificate, a key in a header, a signature, and by a program.
func TestEveryConnectorIsMadeAsConfigured(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	var mu sync.Mutex
	got := map[string]string{}
	heard := func(what, text string) {
		mu.Lock()
		defer mu.Unlock()
		got[what] = text
	}
	as := y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "gatehouse" || password != yardClientSecret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"of-the-moment","token_type":"Bearer","expires_in":60}`)
	}))
	own := y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q external.Call
		if r.Header.Get("Authorization") != "Bearer of-the-moment" || json.NewDecoder(r.Body).Decode(&q) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if q.Op == "create" {
			heard("own", fmt.Sprintf("%s %v %v", q.Account.UserName, q.Account.Active, q.Account.Attributes))
			_, _ = io.WriteString(w, `{"account":{"id":"7"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"accounts":[]}`)
	}))
	hook := y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e struct{ Source, Type string }
		_ = json.Unmarshal(body, &e)
		heard("hook", strings.Split(r.Header.Get("webhook-signature"), ",")[0]+" "+e.Type+" "+strings.TrimPrefix(e.Source, fmt.Sprintf("http://localhost:%d", y.port)))
	}))
	// A SCIM 1.1 server that knows its clients by their certificates and a key.
	writePair(t, y.dir)
	store := memstore.New(scim.UserType(), nil)
	old := httptest.NewUnstartedServer(nil)
	old.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	old.StartTLS()
	t.Cleanup(old.Close)
	good, err := scimserver.New(scimserver.Config{Base: old.URL + "/v1", Resources: []scimserver.Resource{{Type: scim.UserType(), Store: store}}, Authenticate: scimserver.Bearer("x")})
	if err != nil {
		t.Fatal(err)
	}
	words := &v1.Handler{Base: old.URL + "/v1", Server: good, At: old.URL + "/v1"}
	old.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != yardTargetSecret || r.TLS.PeerCertificates[0].Subject.CommonName != "localhost" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer x")
		words.ServeHTTP(w, r)
	})
	more := fmt.Sprintf(`  - id: own
    http: { url: %q, auth: { oauth2: { token_url: "%s/token", client_id: gatehouse, client_secret: { file: client.secret } } } }
    users: { all: true }
    release: [ mail, { attribute: display_name, as: name } ]
    wait: true
  - id: hook
    webhook: { url: %q, secrets: [ { file: hook.secret } ] }
    users: { all: true }
    release: [ mail ]
    wait: true
  - id: old
    scim11: { url: "%s/v1", ca: ca.crt, auth: { mtls: { cert: tls.crt, key: { file: tls.key } }, header: { name: X-Api-Key, value: { file: target.secret } } } }
    users: { all: true }
    release: [ mail ]
    wait: true
`, own, as, hook, old.URL)
	_, noPython := exec.LookPath("python3")
	if noPython == nil {
		more += fmt.Sprintf(`  - id: program
    exec: { program: %q, args: [ %q ] }
    users: { all: true }
    release: [ mail ]
    wait: true
`, example(t, "connector.py"), filepath.Join(y.dir, "accounts.db"))
	}
	text, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"gatehouse.yaml": strings.Replace(string(text), "help:", more+"help:", 1),
		"hook.secret":    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"ca.crt":         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Certificate().Raw})),
	} {
		if err := os.WriteFile(filepath.Join(y.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := y.run(&clock{})
	y.arrive(w.person(), "p000")
	eventually(t, "all accounts", func() bool {
		page, err := store.List(t.Context(), scim.Query{Start: 1, Count: 10})
		mu.Lock()
		defer mu.Unlock()
		return err == nil && len(page.Resources) == 1 && page.Resources[0].String("userName") == "p000" && len(got) == 2
	})
	mu.Lock()
	if want := "p000 true map[mail:[p000@campus.example] name:[Person p000]]"; got["own"] != want {
		t.Errorf("own got %q, want %q", got["own"], want)
	}
	if want := "v1 gatehouse.user.created.v1 /.gatehouse/targets/hook"; got["hook"] != want {
		t.Errorf("hook got %q, want %q", got["hook"], want)
	}
	mu.Unlock()
	if noPython == nil {
		carrier, err := external.NewExec(external.Exec{Program: example(t, "connector.py"), Args: []string{filepath.Join(y.dir, "accounts.db")}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the program's account", func() bool {
			list, err := accountsOf(t.Context(), external.New(carrier))
			return err == nil && len(list) == 1 && list[0].UserName == "p000" && list[0].Attributes["mail"][0] == "p000@campus.example"
		})
	}
	for _, s := range []string{yardClientSecret, yardTargetSecret, "of-the-moment", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		if strings.Contains(w.log.String(), s) {
			t.Errorf("the log tells %s", s)
		}
	}
}
