package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	intakeldap "github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/web"
)

// reasonTables are all reason codes that people meet at the gateway, by who
// says them.
var reasonTables = []struct {
	who   string
	codes map[string]string
}{
	{"gateway", gateway.Reasons},
	{"policy", authz.Reasons},
	{"identity providers", federation.Reasons},
	{"OpenID Connect", oidc.Reasons},
	{"SAML", saml.Reasons},
	{"directory", provisioning.Reasons},
	{"roles", access.Reasons},
	{"credentials of programs", bearer.Reasons},
	{"release editor", versions.Reasons},
}

// atDesks are those besides that people meet at a desk.
var atDesks = []map[string]string{apiReasons, guard.Reasons}

// TestEveryReasonHasAStatusAndAText: a refusal must neither be a 500 because
// nobody thought of its status, nor leave its person with a general text.
func TestEveryReasonHasAStatusAndAText(t *testing.T) {
	pages, err := web.New(web.Brand{})
	if err != nil {
		t.Fatal(err)
	}
	if st, known := gateway.Status("nobody.thought.of.this"); known || st != http.StatusInternalServerError {
		t.Errorf("an unknown code is known, as %d", st)
	}
	for _, lang := range []string{"en", "cs", "de", "fr"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", lang)
		general := pages.Text(r, "nobody.thought.of.this")
		for _, codes := range atDesks {
			for code := range codes {
				if text := pages.Text(r, code); text == general || text == "" {
					t.Errorf("%s: a desk in %s says only %q", code, lang, text)
				}
			}
		}
		for _, table := range reasonTables {
			for code, sentence := range table.codes {
				if st, known := gateway.Status(code); !known || st < 400 {
					t.Errorf("%s: no status (%d)", code, st)
				}
				if text := pages.Text(r, code); text == general || text == "" || pages.Title(r, code) == "" {
					t.Errorf("%s: the page in %s says only %q", code, lang, text)
				}
				if !strings.HasSuffix(sentence, ".") || strings.Contains(code, " ") || code != strings.ToLower(code) {
					t.Errorf("%s: %q is no sentence, or the code none", code, sentence)
				}
			}
		}
	}
}

// TestReasonsPage keeps docs/reference/reasons.md true.
func TestReasonsPage(t *testing.T) {
	var b strings.Builder
	said := map[string]bool{}
	for _, table := range reasonTables {
		fmt.Fprintf(&b, "## Said by the %s\n\n| code | status | what it means |\n|---|---|---|\n", table.who)
		for _, code := range slices.Sorted(maps.Keys(table.codes)) {
			st, _ := gateway.Status(code)
			fmt.Fprintf(&b, "| `%s` | %d | %s |\n", code, st, table.codes[code])
			said[code] = true
		}
		b.WriteString("\n")
	}
	b.WriteString("## Said to clients that provision\n\nThe status is the one that SCIM gives the error (RFC 7644 section 3.12).\n\n| code | what it means |\n|---|---|\n")
	programs := maps.Clone(scim.Reasons)
	maps.Copy(programs, client.Reasons)
	for _, code := range slices.Sorted(maps.Keys(programs)) {
		if said[code] {
			t.Errorf("%s has two meanings", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, programs[code])
	}
	b.WriteString("\n## Said when people or accounts would be taken away\n\n| code | what it means |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(guard.Reasons)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, guard.Reasons[code])
	}
	b.WriteString("\n## Said of files that people are taken in from\n\n| code | what it means |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(files.Reasons)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, files.Reasons[code])
	}
	b.WriteString("\n## Said of directories that people are read from\n\n| code | what it means |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(intakeldap.Reasons)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, intakeldap.Reasons[code])
	}
	b.WriteString("\n## Said of sessions that end\n\nIn the audit log, with the kind `session.ended`.\n\n| code | what it means |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(session.Reasons)) {
		if said[code] {
			t.Errorf("%s has two meanings", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, session.Reasons[code])
	}
	b.WriteString("\n## Said by the API\n\nBeside those above, to whom administers.\n\n| code | status | what it means |\n|---|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(apiReasons)) {
		if said[code] || apiStatus[code] < 400 {
			t.Errorf("%s has two meanings, or no status", code)
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", code, apiStatus[code], apiReasons[code])
	}
	made(t, "docs/reference/reasons.md", strings.ReplaceAll(b.String(), "the identity providers", "identity providers"))
}
