package web

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// used are the texts that templates ask for by name, and those whose names are made.
func used(t *testing.T) map[string]bool {
	t.Helper()
	asked, err := askedFor()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]bool{"time": true, "day": true}
	for _, keys := range asked {
		for _, key := range keys {
			m[key] = true
		}
	}
	return m
}

// kindsOfWords are said by a name that a page has: see catalogue.word.
var kindsOfWords = []string{"attribute", "month", "place", "done", "basis", "request", "mail", "admin", "source", "keeps", "state"}

func TestEveryTextIsUsedAndEveryUsedTextIsThere(t *testing.T) {
	t.Parallel()
	all, err := loadCatalogues(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := used(t)
	if len(want) < 50 {
		t.Fatalf("only %d texts are used", len(want))
	}
	for _, c := range all {
		for key := range want {
			if c.Texts[key].Other == "" {
				t.Errorf("%s: %q is missing", c.tag, key)
			}
		}
		for key := range c.Texts {
			if !want[key] && !slices.ContainsFunc(kindsOfWords, func(k string) bool { return strings.HasPrefix(key, k+".") }) {
				t.Errorf("%s: %q is not used", c.tag, key)
			}
		}
	}
	var tags []string
	for _, c := range all {
		tags = append(tags, c.tag.String())
	}
	if !slices.Equal(tags, []string{"en", "cs", "de", "fr"}) {
		t.Errorf("languages %v", tags)
	}
}

// broken is a translation after a change to the English one.
func broken(t *testing.T, change func(texts, reasons map[string]any)) fs.FS {
	t.Helper()
	data, err := Translation("en")
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	change(c["texts"].(map[string]any), c["reasons"].(map[string]any))
	if data, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"nl.json": {Data: data}}
}

func TestATranslationWithSomethingMissingIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(texts, reasons map[string]any)
		want   string // of the error; empty: none
	}{
		"whole":               {func(_, _ map[string]any) {}, ""},
		"no text":             {func(m, _ map[string]any) { delete(m, "skip") }, `"skip" is missing`},
		"empty text":          {func(m, _ map[string]any) { m["skip"] = "" }, `"skip" is missing`},
		"no placeholder":      {func(m, _ map[string]any) { m["denied.title"] = "Non" }, `"denied.title" has other placeholders`},
		"another placeholder": {func(m, _ map[string]any) { m["skip"] = "{service}" }, `"skip" has other placeholders`},
		"too much":            {func(m, _ map[string]any) { m["zzz"] = "x" }, `"zzz" is not used`},
		"no reason":           {func(_, m map[string]any) { delete(m, "jit.off") }, `"jit.off" needs title, text and do`},
		"half a reason":       {func(_, m map[string]any) { m["jit.off"] = map[string]any{"title": "x", "text": "y"} }, `"jit.off" needs`},
		"a reason too much":   {func(_, m map[string]any) { m["jit.zzz"] = map[string]any{} }, `"jit.zzz" is not used`},
	} {
		_, err := New(Brand{Translations: broken(t, tt.change)})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
	}
}

func TestFilesThatAreNoTranslationAreRefused(t *testing.T) {
	t.Parallel()
	for _, files := range []fstest.MapFS{
		{"not a language.json": {Data: []byte("{}")}},
		{"nl.json": {Data: []byte("{")}},
		{"nl.json": {Data: []byte("{}")}},
	} {
		if _, err := New(Brand{Translations: files}); err == nil {
			t.Errorf("%v is accepted", files)
		}
	}
	if _, err := New(Brand{Languages: []string{"en", "tlh"}}); !reflect.DeepEqual(err, UnknownLanguage{Name: "tlh", There: []string{"en", "cs", "de", "fr"}}) {
		t.Errorf("an unknown language: %#v", err)
	}
}

func TestPluralFormsFollowTheLanguage(t *testing.T) {
	t.Parallel()
	// Polish tells 1, 2–4 and 5 apart; English words are enough to see that.
	forms := map[string]any{"one": "one {n}{query}", "few": "few {n}{query}", "many": "many {n}{query}", "other": "other {n}{query}"}
	polish := fstest.MapFS{"pl.json": broken(t, func(m, _ map[string]any) { m["chooser.found"] = forms }).(fstest.MapFS)["nl.json"]}
	all, err := loadCatalogues(polish)
	if err != nil {
		t.Fatal(err)
	}
	c := all[slices.IndexFunc(all, func(c *catalogue) bool { return c.tag.String() == "pl" })]
	for n, want := range map[int]string{1: "one 1", 2: "few 2", 5: "many 5", 22: "few 22"} {
		if got, err := c.tn("chooser.found", n, "query", ""); err != nil || got != want {
			t.Errorf("%d: %q, %v; want %q", n, got, err, want)
		}
	}
}

func TestAValueThatLooksLikeAPlaceholderStaysAValue(t *testing.T) {
	t.Parallel()
	all, err := loadCatalogues(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := all[0].th("who.through", "name", "{provider}", "provider", "<b>{name}</b>")
	want := "You are signed in as <strong><bdi>{provider}</bdi></strong> through <strong><bdi>&lt;b&gt;{name}&lt;/b&gt;</bdi></strong>."
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}
