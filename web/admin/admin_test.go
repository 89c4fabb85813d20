package admin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/web/webtest"
)

// Every text that a page asks for is there, and every text that is there is asked
// for: by its key, or by the kind of word that it is.
func TestEveryTextOfThePagesIsThere(t *testing.T) {
	t.Parallel()
	said := webtest.Texts(t)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	keys, kinds := map[string]bool{}, map[string]bool{}
	dotted := regexp.MustCompile(`"([a-z_]+(?:\.[a-z_]+)*)"`)
	kind := regexp.MustCompile(`(?:word|marked)\("([a-z_]+)"|say\("([a-z_]+)\."\+`)
	asked := regexp.MustCompile(`\bsays?\("([a-z_]+(?:\.[a-z_]+)*)"|\bbutton\([^,()]*, "([a-z_.]+)"`)
	made := regexp.MustCompile(`done: +"([a-z_]+)"( \+ what)?`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range dotted.FindAllStringSubmatch(string(src), -1) {
			keys[m[1]] = true
		}
		for _, m := range kind.FindAllStringSubmatch(string(src), -1) {
			kinds[m[1]+m[2]] = true
		}
		for _, m := range asked.FindAllStringSubmatch(string(src), -1) {
			if key := m[1] + m[2]; said["admin."+key] == nil && !strings.HasSuffix(key, ".") {
				t.Errorf("%s asks for %q, and there is no such text", name, m[1]+m[2])
			}
		}
		for _, m := range made.FindAllStringSubmatch(string(src), -1) {
			if said["done."+m[1]] == nil && m[2] == "" {
				t.Errorf("%s says that %q was done, and there is no such text", name, m[1])
			}
		}
	}
	for key := range said {
		key, ours := strings.CutPrefix(key, "admin.")
		family, _, _ := strings.Cut(key, ".")
		if ours && !keys[key] && !kinds[family] && family != "audit" && family != "task" && family != "report" {
			t.Errorf("the text %q is not used", key)
		}
	}
	for _, p := range places {
		if said["place."+p.key] == nil {
			t.Errorf("the menu has no text for %q", p.key)
		}
	}
}

// What the audit log calls an event, the pages say in words.
func TestEveryEventHasItsWords(t *testing.T) {
	t.Parallel()
	said := webtest.Texts(t)
	kind := regexp.MustCompile(`audit\.Event\{[^}]*Kind: "([a-z_]+(?:\.[a-z_]+)*)"`)
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		var src []byte
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			src, err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody works in the tree
		}
		if err != nil {
			return err
		}
		for _, m := range kind.FindAllStringSubmatch(string(src), -1) {
			if found++; said["admin.event."+m[1]] == nil {
				t.Errorf("%s records %q, for which there are no words", path, m[1])
			}
		}
		return nil
	})
	if err != nil || found < 20 {
		t.Errorf("%d kinds of events were found, %v", found, err)
	}
}
