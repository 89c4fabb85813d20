package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/configs/migrate"
)

// A draft is a configuration, and decides as what it was made of does, or lets in
// fewer.
func TestDraftsDecideAsWhatTheyWereMadeOf(t *testing.T) {
	t.Parallel()
	who := map[string]authz.Subject{
		"nobody": {},
		"admin":  {Active: true, ID: "1", UserName: "admin", Store: "primary", Attributes: map[string][]string{"groups": {"admins", "staff"}, "mail": {"admin@example.org"}}},
		"strong": {Active: true, ID: "2", UserName: "strong", Store: "primary", Attributes: map[string][]string{"groups": {"admins"}}, ACR: "https://refeds.org/profile/mfa"},
		"dev":    {Active: true, ID: "3", UserName: "dev", Store: "primary", Attributes: map[string][]string{"groups": {"developers"}, "mail": {"dev@example.org"}}},
		"evil":   {Active: true, ID: "4", UserName: "evil", Store: "primary", Attributes: map[string][]string{"groups": {"developers"}, "mail": {"dev@example.org.evil"}}},
		"berlin": {Active: true, ID: "5", UserName: "berlin", Store: "primary", Attributes: map[string][]string{"groups": {"staff", "berlin"}}},
		"kim":    {Active: true, ID: "6", UserName: "kim", Store: "primary"},
	}
	for file, c := range map[string]struct {
		format string
		asks   []string // service, who, method, path, from: outcome
	}{
		"oauth2-proxy.cfg": {"oauth2-proxy", []string{
			"ci dev GET / 203.0.113.9: allow", "ci evil GET / 203.0.113.9: deny", "ci admin GET / 203.0.113.9: deny", "ci nobody GET / 203.0.113.9: login",
			"ci nobody GET /healthz 203.0.113.9: allow", "ci nobody POST /healthz 203.0.113.9: login", "ci nobody GET /healthzz 203.0.113.9: login",
			"ci nobody PUT /api/public/x 203.0.113.9: allow", "ci nobody POST /api/public/x 203.0.113.9: login",
			"ci nobody GET /favicon.ico 203.0.113.9: allow", "ci nobody GET /faviconxico 203.0.113.9: login",
			"ci nobody GET / 10.1.2.3: allow", "ci nobody GET / 10.2.3.4: allow", "ci nobody GET / 10.2.3.5: login",
		}},
		"oauth2-proxy-narrowed.env": {"oauth2-proxy", []string{"wiki dev GET / 203.0.113.9: deny", "wiki nobody GET /public/x 203.0.113.9: allow"}},
		"oauth2-proxy-alpha.yaml":   {"oauth2-proxy", []string{"service dev GET / 203.0.113.9: deny"}},
		"authelia.yml": {"authelia", []string{
			"public nobody GET / 203.0.113.9: allow",
			"wiki strong GET /admin/x 203.0.113.9: allow", "wiki admin GET /admin 203.0.113.9: step_up", "wiki berlin GET /admin/x 203.0.113.9: deny", "wiki nobody GET /admin 10.0.0.1: login",
			"wiki nobody GET /page 10.0.0.1: allow", "wiki nobody POST /page 10.0.0.1: login", "wiki nobody GET /page 203.0.113.9: login", "wiki nobody GET /page 192.168.1.7: allow",
			"wiki berlin GET /page 203.0.113.9: allow", "wiki admin GET /page 203.0.113.9: deny", "wiki kim GET /page 203.0.113.9: allow",
			"shop kim GET / 203.0.113.9: allow", "shop dev GET / 203.0.113.9: deny",
		}},
		"mod_auth_openidc.conf": {"mod_auth_openidc", []string{
			"www-app dev GET /app/x 203.0.113.9: allow", "www-app nobody GET /app/x 203.0.113.9: login", "www-app dev GET /app/reports/export 203.0.113.9: deny",
			"www-app-admin dev GET /app/admin 203.0.113.9: deny", "www-app-admin admin GET /app/admin 203.0.113.9: allow",
			"www-app-closed admin GET /app/closed 203.0.113.9: deny", "www-app-limited dev POST /app/limited 203.0.113.9: deny",
			"www-public nobody GET /public/x 203.0.113.9: allow",
		}},
		"oauth2-proxy-asked.cfg":           {"oauth2-proxy", []string{"service dev GET / 203.0.113.9: allow", "service evil GET / 203.0.113.9: deny", "service nobody GET / 203.0.113.9: login"}},
		"oauth2-proxy-alpha-narrowed.yaml": {"oauth2-proxy", []string{"service dev GET / 203.0.113.9: deny"}},
		"authelia-narrowed.yml": {"authelia", []string{
			"status nobody GET / 203.0.113.9: allow", "wiki nobody GET / 203.0.113.9: allow", "wiki kim POST / 203.0.113.9: deny",
			"dev admin GET / 203.0.113.9: deny", "shop kim GET / 203.0.113.9: allow",
		}},
		"mod_auth_openidc-narrowed.conf": {"mod_auth_openidc", []string{
			"www-wiki dev GET /wiki/x 203.0.113.9: allow", "www-wiki dev GET /wiki/a/export 203.0.113.9: deny",
			"www-wiki-admin dev GET /wiki/admin 203.0.113.9: deny", "www-wiki-admin admin GET /wiki/admin 203.0.113.9: allow",
			"www-wiki-old dev GET /wiki/old 203.0.113.9: deny", "www-wiki-inside dev GET /wiki/inside 203.0.113.9: deny", "www-wiki-smart dev GET /wiki/smart 203.0.113.9: deny",
			"www-shop dev GET /shop/x 203.0.113.9: allow", "www-shop dev GET /shop/internal/x 203.0.113.9: deny",
		}},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../../configs/migrate/testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			draft, err := migrate.Formats[c.format](migrate.Source{Name: file, Text: string(text)})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			name := filepath.Join(dir, "gatehouse.yaml")
			yaml := draft.YAML
			for _, f := range []string{"client.secret", "www.pem", "www.key"} { // what Fill asks for
				if err := os.WriteFile(filepath.Join(dir, f), []byte("filled in, as the notes say"), 0o600); err != nil {
					t.Fatal(err)
				}
				yaml = strings.ReplaceAll(yaml, "/etc/ssl/"+f, filepath.Join(dir, f))
			}
			if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, mistakes := loadAll(name)
			if len(mistakes) > 0 {
				t.Fatalf("%v\n%s", mistakes, yaml)
			}
			r, mistakes := compile(cfg, nil)
			if len(mistakes) > 0 {
				t.Fatal(mistakes)
			}
			for _, ask := range c.asks {
				q, want, _ := strings.Cut(ask, ": ")
				f := strings.Fields(q)
				if !slices.ContainsFunc(cfg.Services, func(s configs.Service) bool { return s.ID == f[0] }) {
					t.Fatalf("there is no service %s", f[0])
				}
				d := r.policy.Decide(authz.Request{Subject: who[f[1]], Service: f[0], Method: f[2], Path: f[3], From: netip.MustParseAddr(f[4]), Now: time.Now()})
				if got := d.Outcome.String(); got != want {
					t.Errorf("%s: %s, want %s", q, got, want)
				}
			}
		})
	}
}
