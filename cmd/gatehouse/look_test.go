package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/configs"
)

func TestTheSiteLooksAndSpeaksAsItsFileSays(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for name, content := range map[string]string{
		"logo.svg":      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1"/></svg>`,
		"texts/en.json": `{"texts": {"portal.title": "Your applications"}}`,
	} {
		file := filepath.Join(filepath.Dir(l.config), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.reload(func(s string) string {
		s = strings.Replace(s, "roles:\n", "branding: { name: Uni Example, logo: logo.svg, colors: { light: \"#003366\" }, texts: texts }\nroles:\n", 1)
		s = strings.Replace(s, "    title: Wiki\n", "    title: Wiki\n    logo: logo.svg\n", 1)
		return strings.Replace(s, "    title: Campus\n", "    title: Campus\n    icon: logo.svg\n", 1)
	})
	bob := l.person()
	bob.open(l.at("", "/")).wants(http.StatusOK, "Uni Example", "/.gatehouse/assets/image-", "/.gatehouse/assets/brand-")
	bob.signIn("campus", "bob").wants(http.StatusOK, "Your applications", `<img class="logo" src="/.gatehouse/assets/image-`)
}

func TestPicturesColoursAndTextsThatWillNotDoAreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	raw, err := os.ReadFile(l.config)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(l.config)
	if err := os.WriteFile(filepath.Join(dir, "page.html"), []byte("<html></html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"branding: { logo: page.html }":                "is no SVG, PNG, JPEG or WebP image",
		"branding: { logo: none.svg }":                 "can not be used",
		"branding: { colors: { light: \"#ffcc00\" } }": "contrast",
		"branding: { colors: { dark: teal } }":         "is no colour",
		"branding: { texts: nowhere }":                 "can not be read",
		"languages: [en, xx]":                          `there are no texts in the language "xx" — choose among en, cs, de, fr, or bring all its texts with branding.texts`,
	} {
		file := filepath.Join(dir, "broken.yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(string(raw), "roles:\n", line+"\nroles:\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, mistakes := loadAll(file, configs.AllowInlineSecrets)
		if len(mistakes) != 1 || !strings.Contains(mistakes[0].String(), want) || mistakes[0].Line < 2 {
			t.Errorf("%s: %v", line, mistakes)
		}
	}
}
