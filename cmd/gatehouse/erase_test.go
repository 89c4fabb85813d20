package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// D11: of somebody who is deleted, and whose account a target deletes too, a copy of
// the store has neither names nor addresses nor what an identity provider calls them.
// What the record says that happened stays, under an ID that nobody has any more.
func TestD11_OfSomebodyWhoIsDeletedNothingIsLeft(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		return strings.Replace(s, "    users: { all: true }\n", "    users: { all: true }\n    leave: delete\n    delete_after: 1s\n", 1)
	})
	p := l.in("campus", "alice")
	p.open(l.at("wiki", "/page")).wants(http.StatusOK)
	p.open(l.at("payroll", "/")) // a denial, or a way to a second factor
	l.in("campus", "bob")
	eventually(t, "alice has an account at the target", func() bool { return l.hasAccount("alice") })
	alice, err := l.p.site.Load().directory.ByName(t.Context(), "primary", "alice")
	if err != nil {
		t.Fatal(err)
	}
	l.admin(http.MethodPost, "grant", url.Values{"name": {"alice"}, "role": {"gatehouse-admin"}, "until": {"1h"}}, nil)
	personal := []string{"alice", "liddell", strings.ToLower(idptest.Campus()[0].ID)}
	if found := l.rowsWith(personal); len(found) == 0 {
		t.Fatal("nothing of alice is stored: this test finds nothing")
	}
	l.admin(http.MethodDelete, "user", url.Values{"name": {"alice"}}, nil)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && len(l.rowsWith(personal)) > 0; time.Sleep(50 * time.Millisecond) {
	}
	for _, row := range l.rowsWith(personal) {
		t.Errorf("left is %s", row)
	}
	if found := l.rowsWith([]string{"bob"}); len(found) == 0 {
		t.Error("bob is gone too")
	}
	kinds := map[string]bool{}
	for _, e := range l.recorded() {
		if e.UserID == alice.ID {
			kinds[e.Kind] = true
		}
	}
	if !kinds["login"] || !kinds["user.deleted"] {
		t.Errorf("the record of what happened has %v", kinds)
	}

	l.stop()
	to := filepath.Join(l.dir, "copy.db")
	cmd := command()
	cmd.SetArgs([]string{"store", "copy", "bolt:" + filepath.Join(l.dir, "gatehouse.db"), "bolt:" + to})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range personal {
		if at := bytes.Index(bytes.ToLower(raw), []byte(word)); at >= 0 {
			t.Errorf("the copy has %q: %q", word, raw[max(0, at-80):min(len(raw), at+80)])
		}
	}
}

// rowsWith are the rows of the store in which one of some words is.
func (l *lab) rowsWith(words []string) (found []string) {
	l.t.Helper()
	if err := l.p.store.View(l.t.Context(), func(tx store.Tx) error {
		found = nil
		for e, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			row := bytes.ToLower(append(append([]byte{}, e.Key...), e.Val...))
			for _, word := range words {
				if bytes.Contains(row, []byte(word)) {
					found = append(found, fmt.Sprintf("%q = %q", e.Key, e.Val))
					break
				}
			}
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return found
}
