package outbox_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
)

// What a source is not pushed for stays here, and comes along with the next
// change that is; but nobody keeps an account by it, or goes without the one
// that was given back.
func TestSkippedChangesStayHereButAccessEndsEverywhere(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "crm")
	w := newWorld(t, open(t), p.target())
	quiet := provisioning.SourceClient("quiet")
	w.box = outbox.New(outbox.Config{
		Store: w.st, Directory: w.dir, Roles: func(s authz.Subject) authz.Subject { return s }, Targets: []outbox.Target{p.target()},
		Skip: func(by provisioning.Source, target string) bool { return by == quiet && target == "crm" },
	})
	by := func(source provisioning.Source, id string, fn func(*provisioning.User)) {
		t.Helper()
		if _, _, err := w.dir.Change(context.Background(), id, source, func(u *provisioning.User) error { fn(u); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	step := func(what string, tasks int, want ...string) {
		t.Helper()
		waiting := w.tasks()
		if len(waiting) != tasks {
			t.Errorf("%s: there are %d tasks, want %d", what, len(waiting), tasks)
		}
		for _, tk := range waiting {
			if err := w.runner.Now(context.Background(), tk.Kind, tk.Key); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, p.holds(t)); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	ana := w.person("ana", "Dr", "")
	step("a creation that is pushed", 1, `ana active "Dr" ""`)
	ben := provisioning.User{Store: "primary", UserName: "ben", Active: true}
	ben.Say(quiet, "department", "IT")
	if _, _, err := w.dir.Create(context.Background(), ben, quiet); err != nil {
		t.Fatal(err)
	}
	step("a creation that is not", 0, `ana active "Dr" ""`)
	by(quiet, ana.ID, func(u *provisioning.User) { u.Say(quiet, "mail", "a@x.test") })
	step("a change that is not", 0, `ana active "Dr" ""`)
	by(provisioning.Admin, ana.ID, func(u *provisioning.User) { u.Say(provisioning.Admin, "title", "Prof") })
	step("another's change brings it along", 1, `ana active "Prof" "a@x.test"`)
	by(quiet, ana.ID, func(u *provisioning.User) { u.Active = false })
	step("the end of access", 1, `ana disabled "Prof" "a@x.test"`)
	by(quiet, ana.ID, func(u *provisioning.User) { u.Active = true })
	step("access given back", 1, `ana active "Prof" "a@x.test"`)
	if err := w.dir.Delete(context.Background(), ana.ID, quiet); err != nil {
		t.Fatal(err)
	}
	step("a deletion", 1, `ana disabled "Prof" "a@x.test"`)
}
