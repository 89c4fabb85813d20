package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// scimRows is docs/reference/scim.json: what each row of SCIM's rules is about, and
// why it has no test, if it has none.
type scimRows struct {
	Sections []struct {
		Title string
		Rows  []struct{ ID, RFC, What, Open string }
	}
}

var scimTest = regexp.MustCompile(`^(?:Test|Fuzz)((?:[A-Z]{1,2}[0-9]{2}_?)+)_`)

func TestDocsSCIMRowsAreCurrent(t *testing.T) {
	t.Parallel()
	var v scimRows
	d := json.NewDecoder(strings.NewReader(readDoc(t, "docs/reference/scim.json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("docs/reference/scim.json: %v", err)
	}
	tests := testsOf(t, scimTest, regexp.MustCompile(`SC[0-9]{2}`))
	var b strings.Builder
	last, known := "", map[string]bool{}
	for _, s := range v.Sections {
		fmt.Fprintf(&b, "## %s\n\n| row | RFC | what | tests |\n|---|---|---|---|\n", s.Title)
		for _, r := range s.Rows {
			if r.ID <= last || r.RFC == "" || r.What == "" {
				t.Errorf("row %s is out of order, or says nothing", r.ID)
			}
			last, known[r.ID] = r.ID, true
			cell := strings.Join(tests[r.ID], "<br>")
			if cell == "" {
				cell = "*open:* " + firstOf(r.Open, "there is no test yet")
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, r.RFC, r.What, cell)
		}
		b.WriteString("\n")
	}
	for id := range tests {
		if !known[id] {
			t.Errorf("there are tests of row %s, which scim.json does not have", id)
		}
	}
	made(t, "docs/reference/scim-conformance.md", b.String())
}
