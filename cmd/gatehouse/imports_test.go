package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gatehouse-sso/gatehouse"

// floors say who may import whom: a package imports only from lower floors,
// never sideways, unless a row of allowed says why.
var floors = map[string]int{
	"authz": 0, "authz/expr": 0, "federation": 0, "provisioning/store": 0, "provisioning/connector": 0, "provisioning/scim": 0, "configs": 0, "web": 0,
	"gateway/metrics": 0, "gateway/tracing": 0, "provisioning/folder": 0, "provisioning/sheet": 0,
	"provisioning/scim/v1":              0,
	"provisioning/scim/examples/server": 2, "provisioning/scim/examples/client": 2,

	"federation/oidc": 1, "federation/saml": 1, "provisioning/store/boltstore": 1, "provisioning/task": 1, "provisioning/audit": 1,
	"provisioning/scim/server": 1, "provisioning/scim/client": 1, "provisioning/scim/memstore": 1, "provisioning/scim/dialect": 1, "gateway/session": 1, "authz/versions": 1, "gateway/upstream": 2, "gateway/bearer": 1,
	"configs/migrate":                 0,
	"provisioning/store/lentstore":    1,
	"provisioning/connector/scimuser": 1, "provisioning/connector/post": 1, "provisioning/ldapconn": 1,

	"provisioning": 2, "provisioning/client": 2, "provisioning/guard": 2, "provisioning/connector/scim2": 2,
	"provisioning/connector/external": 2, "provisioning/connector/webhook": 2, "provisioning/connector/oauth": 2, "provisioning/connector/ldap": 2, "provisioning/connector/csv": 2,
	"provisioning/outbox": 3, "provisioning/intake/scim": 3, "provisioning/intake/ldap": 3, "provisioning/intake/files": 3,
	"gateway/field": 0, "gateway/extauthz": 0, "gateway/socket": 0, "gateway/lean": 1, "gateway/loop": 1, "gateway/authzen": 2, "gateway": 4, "web/portal": 4, "web/api": 4, "web/admin": 4, "web/desk": 4,
	"provisioning/lifecycle": 3, "provisioning/access": 3, "provisioning/reconcile": 4, "provisioning/notice": 4,
	"cmd/gatehouse": 5, "cmd/gatehouse/bench": 5, "cmd/gatehouse/e2e": 5,
}

// helpers hold suites and peers for tests; the demo runs the identity providers.
var helpers = map[string][]string{
	"federation/idptest":                   {"federation", "federation/oidc", "federation/saml"},
	"federation/federationtest":            {"federation"},
	"provisioning/store/storetest":         {"provisioning/store"},
	"provisioning/connector/connectortest": {"provisioning/connector"},
	"provisioning/folder/foldertest":       {"provisioning/folder"},
	"provisioning/scim/scimtest":           {"provisioning/scim"},
	"provisioning/ldapconn/ldaptest":       {"provisioning/ldapconn"},
	"provisioning/notice/noticetest":       {},
	"provisioning/memorytest":              {},
	"cmd/gatehouse/porttest":               {},
	"web/webtest":                          {"web"},
}

// allowed are the imports on one floor that the tree wants, and why.
var allowed = []struct{ from, to, why string }{
	{"authz", "authz/expr", "authz compiles the conditions of its rules"},
	{"provisioning/scim/v1", "provisioning/scim", "SCIM 1.1 is told in the words of 2.0, to the server and to the client"},
	{"web/admin", "web/api", "its pages show what the API answers"},
	{"web/admin", "web/desk", "its pages stand in a desk as those of the portal do"},
	{"web/admin", "provisioning/reconcile", "reports are shown as they are kept"},
	{"web/portal", "web/api", "its pages show what the API answers"},
	{"web/portal", "web/desk", "what pages at which somebody works have in common"},
	{"web/desk", "web/api", "it says what the API refused"},
	{"provisioning/client", "provisioning", "a client is a source, and its names are those of the directory"},
}

// outside says which of our packages may import a package from outside, and
// why it is kept so narrow.
var outside = []struct {
	prefix string
	by     []string
	why    string
}{
	{"github.com/gorilla/sessions", []string{"gateway/session"}, "its defaults are unsafe; they are overridden in one place"},
	{"github.com/crewjam/saml", []string{"federation/saml", "federation/idptest"}, "it accepts what must be refused; nothing else may be tempted"},
	{"github.com/russellhaering/goxmldsig", []string{"federation/saml", "federation/idptest"}, "signatures of XML are checked in one place"},
	{"github.com/beevik/etree", []string{"federation/saml", "federation/idptest"}, "trees of XML are read in one place"},
	{"github.com/mattermost/xml-roundtrip-validator", []string{"federation/saml"}, "it runs before anything else sees XML"},
	{"github.com/coreos/go-oidc", []string{"federation/oidc"}, "it knows OpenID Connect"},
	{"golang.org/x/oauth2", []string{"federation/oidc"}, "it knows OAuth 2.0"},
	{"github.com/go-ldap/ldap", []string{"provisioning/ldapconn", "provisioning/ldapconn/ldaptest", "provisioning/connector/ldap", "provisioning/intake/ldap"}, "who speaks LDAP escapes what it says and bounds what it hears"},
	{"github.com/go-asn1-ber/asn1-ber", []string{"provisioning/ldapconn", "provisioning/ldapconn/ldaptest"}, "the bytes of LDAP are made and bounded in one place"},
	{"github.com/go-jose/go-jose", []string{"federation/oidc", "gateway", "federation/idptest", "provisioning/connector/oauth", "provisioning/client", "gateway/bearer"}, "tokens are signed and checked by who makes or receives them"},
	{"go.etcd.io/bbolt", []string{"provisioning/store/boltstore"}, "an engine is behind the contract of store"},
	{"cel.dev/cel-go", []string{"authz/expr"}, "there is one expression language"},
	{"github.com/wneessen/go-mail", []string{"provisioning/notice"}, "messages to people are made and sent in one place"},
	{"github.com/goccy/go-yaml", []string{"configs", "configs/migrate"}, "configuration becomes values once, and a draft of another gateway's"},
	{"github.com/spf13/cobra", []string{"cmd/gatehouse"}, "only the program has verbs"},
	{"github.com/maypok86/otter", []string{"gateway"}, "only the request path remembers within bounds"},
	{"golang.org/x/time", []string{"provisioning/connector", "gateway", "gateway/bearer", "cmd/gatehouse"}, "calls to targets, strangers and records of refusals are paced, nothing else"},
	{"github.com/pkg/sftp", []string{"provisioning/folder", "provisioning/folder/foldertest"}, "it speaks SFTP, behind the contract of folder"},
	{"golang.org/x/crypto", []string{"provisioning/folder", "provisioning/folder/foldertest", "cmd/gatehouse"}, "it speaks SSH, which SFTP is carried by, and ACME"},
	{"google.golang.org/protobuf", []string{"gateway/extauthz"}, "messages of Envoy are read and written in one place"},
	{"golang.org/x/net", []string{"gateway", "gateway/extauthz", "gateway/field", "gateway/lean", "gateway/loop"}, "tokens in headers are parsed as net/http does"},
	{"github.com/pires/go-proxyproto", []string{"cmd/gatehouse"}, "only the front's listener is told who comes"},
	{"github.com/prometheus", []string{"gateway/metrics"}, "names of metrics have one owner"},
	{"go.opentelemetry.io", []string{"gateway/tracing"}, "what a trace may say about a request is decided in one place"},
	{"expvar", nil, "prometheus brings it in, and it serves only on a mux that no listener of ours has"},
	{"golang.org/x/sys", []string{"gateway/socket"}, "sockets are looked at in one place"},
	{"testing", []string{"federation/federationtest", "provisioning/scim/scimtest", "provisioning/store/storetest", "provisioning/connector/connectortest", "provisioning/ldapconn/ldaptest", "provisioning/folder/foldertest", "provisioning/notice/noticetest", "provisioning/memorytest", "cmd/gatehouse/porttest", "web/webtest"}, "test suites that are packages"},
}

// banned must not be linked into the program.
var banned = []struct{ path, why string }{
	{"github.com/crewjam/saml/samlsp", "it checks no metadata signature and redirects to the raw RelayState"},
	{"github.com/golang-jwt/jwt/v4", "one JOSE library is enough"},
	{"net/http/pprof", "no debug surface on any listener"},
}

type pkg struct {
	ImportPath           string
	Imports, Deps        []string
	GoFiles, TestGoFiles []string
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,GoFiles,TestGoFiles", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestFloorsAreKept(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	for _, p := range listPackages(t) {
		short := strings.TrimPrefix(p.ImportPath, module+"/")
		there[short] = true
		if len(p.GoFiles) == 0 {
			continue
		}
		floor, isFloor := floors[short]
		help, isHelper := helpers[short]
		if !isFloor && !isHelper {
			t.Errorf("%s stands on no floor: give it a row in imports_test.go", short)
			continue
		}
		for _, to := range p.Imports {
			if inner, ours := strings.CutPrefix(to, module+"/"); ours {
				switch {
				case isHelper:
					if !slices.Contains(help, inner) {
						t.Errorf("%s imports %s: a test helper knows only what it tests", short, inner)
					}
				case helpers[inner] != nil:
					if floor < 5 {
						t.Errorf("%s imports the test helper %s", short, inner)
					}
				case floors[inner] >= floor && !mayImport(short, inner):
					t.Errorf("%s (floor %d) imports %s (floor %d): only downwards", short, floor, inner, floors[inner])
				}
				if strings.HasPrefix(short, "provisioning/scim/") && inner != "provisioning/scim" && !strings.HasPrefix(inner, "provisioning/scim/") {
					t.Errorf("%s imports %s: the SCIM library stands alone", short, inner)
				}
				continue
			}
			for _, o := range outside {
				if (to == o.prefix || strings.HasPrefix(to, o.prefix+"/")) && !slices.Contains(o.by, short) {
					t.Errorf("%s imports %s: only %v may, because %s", short, to, o.by, o.why)
				}
			}
		}
	}
	for name := range floors {
		if !there[name] {
			t.Errorf("there is no package %s any more: take its row away", name)
		}
	}
	for name := range helpers {
		if !there[name] {
			t.Errorf("there is no helper %s any more: take its row away", name)
		}
	}
}

func mayImport(from, to string) bool {
	for _, a := range allowed {
		if a.from == from && a.to == to {
			return true
		}
	}
	return false
}

func TestDependenciesThatMustNotBeLinked(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if p.ImportPath != module+"/cmd/gatehouse" {
			continue
		}
		for _, b := range banned {
			if slices.Contains(p.Deps, b.path) {
				t.Errorf("%s is linked into the program: %s", b.path, b.why)
			}
		}
	}
	// A ban on what does not exist any more protects from nothing.
	for _, b := range banned {
		if err := exec.Command("go", "list", b.path).Run(); err != nil && !strings.Contains(b.path, "golang-jwt") {
			t.Errorf("%s does not exist: take the ban away", b.path)
		}
	}
}

// atLeast are versions below which a known fault is open.
var atLeast = map[string]string{
	"github.com/russellhaering/goxmldsig": "v1.6.1", // CVE-2026-33487
	"github.com/beevik/etree":             "v1.8.1",
}

func TestDependenciesAreNotOlderThanTheirFaults(t *testing.T) {
	t.Parallel()
	for path, floor := range atLeast {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); !notOlder(got, floor) {
			t.Errorf("%s is %s, must be at least %s", path, got, floor)
		}
	}
}

// notOlder compares versions of three numbers.
func notOlder(got, floor string) bool {
	parse := func(v string) (n [3]int) {
		for i, part := range strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3) {
			for _, c := range part {
				if c < '0' || c > '9' {
					break
				}
				n[i] = n[i]*10 + int(c-'0')
			}
		}
		return n
	}
	g, f := parse(got), parse(floor)
	return slices.Compare(g[:], f[:]) >= 0
}
