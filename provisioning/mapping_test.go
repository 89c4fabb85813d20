package provisioning

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gatehouse-sso/gatehouse/federation"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestMapping applies the rules of each testdata/mapping/*.txt to its user and
// identity; the last section is what differs then, or why not.
func TestMapping(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/mapping/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var rules []MapRule
			u := User{ID: "u", Store: "primary", UserName: "kim", Active: true}
			id := federation.Identity{Provider: "campus"}
			for i, v := range []any{&rules, &u.Attributes, &id.Attributes} {
				if err := json.Unmarshal(ar.Files[i].Data, v); err != nil {
					t.Fatalf("%s: %v", ar.Files[i].Name, err)
				}
			}
			got := describe(rules, u, id)
			last := &ar.Files[3]
			if *update {
				last.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(last.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func describe(rules []MapRule, u User, id federation.Identity) string {
	m, err := CompileMapping(rules)
	if err != nil {
		return err.Error() + "\n"
	}
	before := u.Clone()
	next, err := m.Apply(u, id, noon)
	if diff := cmp.Diff(before, u); diff != "" {
		return "the user given was changed: " + diff
	}
	if err != nil {
		return err.Error() + "\n"
	}
	d := Diff(u, next, SourceIDP(id.Provider))
	if d.Empty() {
		return "nothing\n"
	}
	var b strings.Builder
	for _, f := range d.Fields {
		fmt.Fprintf(&b, "%s: %q → %q\n", f.Name, f.Old, f.New)
		for _, c := range next.Attributes[f.Name] {
			since := ""
			if !c.At.IsZero() {
				since = " since " + c.At.Format(time.Kitchen)
			}
			fmt.Fprintf(&b, "\t%s says %q%s\n", c.Source, c.Values, since)
		}
	}
	// Applied again it is the same.
	again, err := m.Apply(next, id, noon.Add(time.Hour))
	if diff := cmp.Diff(next, again); diff != "" || err != nil {
		fmt.Fprintf(&b, "not the same when applied again: %v %s", err, diff)
	}
	return b.String()
}

func TestReadsAreAllThatASignInLooksAt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		userName string
		from     []string
		want     []string
	}{
		"names":       {"preferred_username", []string{"email", "name", "email"}, []string{"email", "name", "preferred_username"}},
		"expressions": {`claims.upn[0].split("@")[0]`, []string{`has(claims.email_verified) && claims.email_verified == ["true"] ? claims.email : []`}, []string{"email", "email_verified", "upn"}},
		"any":         {"preferred_username", []string{"claims[claims.which[0]]"}, nil},
	} {
		j := JIT{}
		var err error
		if j.UserName, err = CompileFrom(c.userName); err != nil {
			t.Fatal(err)
		}
		var rules []MapRule
		for i, from := range c.from {
			rules = append(rules, MapRule{Attribute: fmt.Sprintf("x%d", i), From: from})
		}
		if j.Mapping, err = CompileMapping(rules); err != nil {
			t.Fatal(err)
		}
		if got := j.Reads(); (got == nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
