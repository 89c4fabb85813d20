package ldap_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn/ldaptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const feed = provisioning.Source("feed:campus")

// world is a directory that is read, and what came of it.
type world struct {
	*ldaptest.Server
	store  store.Store
	dir    *provisioning.Directory
	guard  *guard.Guard
	src    ldap.Source
	reader *ldap.Reader
	left   []string // who was disabled or deleted
	now    time.Time
}

func from(t testing.TB, text string) provisioning.From {
	t.Helper()
	f, err := provisioning.CompileFrom(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newWorld(t testing.TB, o ldaptest.Options, change func(*ldap.Source)) *world {
	t.Helper()
	w := &world{Server: ldaptest.Start(t, o), now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w.store = st
	now := func() time.Time { return w.now }
	if w.dir, err = provisioning.New(provisioning.Config{Store: st, UserStores: []string{"primary", "partners"}, Now: now}); err != nil {
		t.Fatal(err)
	}
	w.guard = guard.New(guard.Config{Store: st, Now: now, Resume: func(tx store.Tx, it guard.Item) error {
		_, err := w.reader.Resume(tx, it)
		return err
	}})
	m, err := provisioning.CompileMapping([]provisioning.MapRule{{Attribute: "mail", From: "mail"}, {Attribute: "display_name", From: "claims.cn[0] + '!'"}})
	if err != nil {
		t.Fatal(err)
	}
	w.src = ldap.Source{
		ID: "campus", Pool: w.Pool(t), Base: ldaptest.People, UserStore: "primary", UserName: from(t, "uid"), Mapping: m,
		Attributes: []string{"uid", "cn", "mail"}, Every: 5 * time.Minute, FullEvery: 24 * time.Hour, Form: "1",
	}
	if o.AD {
		w.src.Dialect, w.src.Filter = ldapconn.ActiveDirectory, "(objectClass=user)"
	}
	if change != nil {
		change(&w.src)
	}
	w.begin()
	return w
}

// begin makes the reader anew, as a changed configuration does.
func (w *world) begin() {
	w.reader = ldap.New(ldap.Config{
		Store: w.store, Directory: w.dir, Guard: w.guard, Sources: []ldap.Source{w.src}, Now: func() time.Time { return w.now },
		Left: func(_ context.Context, id string) error { w.left = append(w.left, id); return nil },
	})
}

func dnOf(name string) string { return ldapconn.RDN("uid", name) + "," + ldaptest.People }

// person puts somebody into the directory.
func (w *world) person(name string, more ...string) string {
	attrs := map[string][]string{"objectClass": {"inetOrgPerson", "user"}, "cn": {strings.ToUpper(name)}, "sn": {"x"}, "mail": {name + "@x.test"}, "userAccountControl": {"512"}}
	for i := 0; i < len(more); i += 2 {
		attrs[more[i]] = []string{more[i+1]}
	}
	return w.Put(dnOf(name), attrs)
}

func (w *world) people(n int) {
	for i := range n {
		w.person(fmt.Sprintf("p%03d", i))
	}
}

// read reads the source once, as its task does.
func (w *world) read(t testing.TB) ldap.Report {
	t.Helper()
	rep, again := w.try(t)
	if again != "the next look at the directory" && rep.Unsound == "" {
		t.Fatalf("the reading says %q", again)
	}
	return rep
}

func (w *world) try(t testing.TB) (ldap.Report, string) {
	t.Helper()
	err := w.reader.Handle(t.Context(), "campus")
	var again *task.Retry
	if !errors.As(err, &again) || again.After != w.src.Every {
		t.Fatalf("the task ends with %v", err)
	}
	st, err := w.reader.StateOf(t.Context(), "campus")
	if err != nil {
		t.Fatal(err)
	}
	if st.State.Last == nil {
		return ldap.Report{}, again.Reason
	}
	return *st.State.Last, again.Reason
}

// full has everything read.
func (w *world) full(t testing.TB) ldap.Report {
	t.Helper()
	w.ask(t)
	return w.read(t)
}

func (w *world) ask(t testing.TB) {
	t.Helper()
	if err := w.store.Update(t.Context(), func(tx store.Tx) error { return w.reader.AskFull(tx, "campus") }); err != nil {
		t.Fatal(err)
	}
}

// counted fails unless the counts are these.
func counted(t *testing.T, rep ldap.Report, want ldap.Counts) {
	t.Helper()
	if diff := cmp.Diff(want, rep.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s%+v", diff, rep.Problems)
	}
}

func (w *world) user(t *testing.T, name string) provisioning.User {
	t.Helper()
	u, err := w.dir.ByName(t.Context(), "primary", name)
	if err != nil && !errors.Is(err, provisioning.ErrNotFound) {
		t.Fatal(err)
	}
	return u
}

// all are the names of users, with a - before those who are disabled.
func (w *world) all(t *testing.T) (names []string) {
	t.Helper()
	for u, err := range w.dir.Users(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if !u.Active {
			u.UserName = "-" + u.UserName
		}
		names = append(names, u.UserName)
	}
	slices.Sort(names)
	return names
}

func (w *world) are(t *testing.T, want ...string) {
	t.Helper()
	if got := w.all(t); !slices.Equal(got, want) {
		t.Errorf("the users are %v, want %v", got, want)
	}
}

func TestUserStoreFollowsTheDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, nil)
	w.person("ana")
	w.person("bob")
	counted(t, w.read(t), ldap.Counts{Read: 2, Created: 2})
	w.are(t, "ana", "bob")
	ana := w.user(t, "ana")
	if got := ana.Says(feed, "mail"); !slices.Equal(got, []string{"ana@x.test"}) {
		t.Errorf("the source says the mail is %q: %+v", got, ana)
	}
	if got := ana.Says(feed, "display_name"); !slices.Equal(got, []string{"ANA!"}) {
		t.Errorf("the source says the name is %q", got)
	}
	// Nothing differs: nothing is written.
	counted(t, w.full(t), ldap.Counts{Read: 2, Unchanged: 2})
	if again := w.user(t, "ana"); again.Version != ana.Version {
		t.Errorf("nothing differed and the user went from version %d to %d", ana.Version, again.Version)
	}
	// What others said stays, what the directory does not say any more goes.
	if _, _, err := w.dir.Change(t.Context(), ana.ID, provisioning.Admin, func(u *provisioning.User) error { u.Say(provisioning.Admin, "title", "Dean"); return nil }); err != nil {
		t.Fatal(err)
	}
	w.Set(dnOf("ana"), "mail")
	w.Set(dnOf("bob"), "cn", "Robert")
	counted(t, w.full(t), ldap.Counts{Read: 2, Changed: 2})
	ana = w.user(t, "ana")
	if ana.Says(feed, "mail") != nil || !slices.Equal(ana.Says(provisioning.Admin, "title"), []string{"Dean"}) {
		t.Errorf("the claims are %+v", ana.Attributes)
	}
	// A rename is the same person.
	id := w.ID(dnOf("bob"))
	bob := w.user(t, "bob")
	w.Drop(dnOf("bob"))
	w.Put(dnOf("rob"), map[string][]string{"objectClass": {"inetOrgPerson"}, "cn": {"Robert"}, "sn": {"x"}, "mail": {"bob@x.test"}})
	w.GiveID(dnOf("rob"), id)
	counted(t, w.full(t), ldap.Counts{Read: 2, Changed: 1, Unchanged: 1})
	if rob := w.user(t, "rob"); rob.ID != bob.ID {
		t.Errorf("the user is %s, was %s", rob.ID, bob.ID)
	}
}

func TestWhoIsGoneIsDisabledComesBackOrIsDeletedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) { s.DeleteAfter = 30 * 24 * time.Hour })
	w.people(5)
	w.read(t)
	id, was := w.ID(dnOf("p000")), w.user(t, "p000")
	w.Drop(dnOf("p000"))
	w.Drop(dnOf("p001"))
	counted(t, w.full(t), ldap.Counts{Read: 3, Unchanged: 3, Disabled: 2, Missing: 2})
	w.are(t, "-p000", "-p001", "p002", "p003", "p004")
	if len(w.left) != 2 {
		t.Errorf("of %v it was told that they left", w.left)
	}
	counted(t, w.full(t), ldap.Counts{Read: 3, Unchanged: 3})
	w.person("p000")
	w.GiveID(dnOf("p000"), id)
	counted(t, w.full(t), ldap.Counts{Read: 4, Unchanged: 3, Changed: 1})
	if back := w.user(t, "p000"); back.ID != was.ID || !back.Active {
		t.Errorf("who is back is %+v", back)
	}
	w.now = w.now.Add(29 * 24 * time.Hour)
	w.full(t)
	w.are(t, "-p001", "p000", "p002", "p003", "p004")
	w.now = w.now.Add(2 * 24 * time.Hour)
	if rep := w.full(t); rep.Deleted != 1 {
		t.Errorf("%+v", rep)
	}
	w.are(t, "p000", "p002", "p003", "p004")
}

// A source that shows nobody, too few, or not all, takes nobody away.
func TestB09_SourceThatFailsTakesNobodyAway(t *testing.T) {
	t.Parallel()
	const n = 30
	for name, c := range map[string]struct {
		trouble func(w *world)
		code    string
		o       ldaptest.Options
	}{
		"it is empty": {func(w *world) {
			for i := range n {
				w.Drop(dnOf(fmt.Sprintf("p%03d", i)))
			}
		}, guard.ReasonEmpty, ldaptest.Options{}},
		"most are gone": {func(w *world) {
			for i := range n*2/3 + 1 {
				w.Drop(dnOf(fmt.Sprintf("p%03d", i)))
			}
		}, guard.ReasonShrunk, ldaptest.Options{}},
		"it breaks off": {func(w *world) {
			pages := 0
			w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
				if !slices.Contains(r.Controls, goldap.ControlTypePaging) {
					return nil
				}
				if pages++; pages == 2 {
					return &ldaptest.Rude{Drop: true}
				}
				return nil
			})
			w.Drop(dnOf("p000"))
		}, "connection", ldaptest.Options{MaxPage: 10}},
		"it is busy in the middle": {func(w *world) {
			pages := 0
			w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
				if slices.Contains(r.Controls, goldap.ControlTypePaging) {
					pages++
				}
				if pages == 2 {
					return &ldaptest.Rude{Code: goldap.LDAPResultBusy}
				}
				return nil
			})
			w.Drop(dnOf("p000"))
		}, "Busy", ldaptest.Options{MaxPage: 10}},
		"it forgets who we are": {func(w *world) {
			w.Cut()
			w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
				if r.Op == "bind" {
					return &ldaptest.Rude{Code: goldap.LDAPResultInvalidCredentials}
				}
				return nil
			})
		}, "Invalid Credentials", ldaptest.Options{}},
		"the base is gone": {func(w *world) {
			for i := range n {
				w.Drop(dnOf(fmt.Sprintf("p%03d", i)))
			}
			w.Drop(ldaptest.People)
		}, "No Such Object", ldaptest.Options{}},
		"the search for who is gone fails": {func(w *world) {
			w.Drop(dnOf("p000"))
			w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
				if r.Op == "search" && strings.Contains(string(r.Raw), "entryUUID\x04\x24") {
					return &ldaptest.Rude{Code: goldap.LDAPResultUnavailable}
				}
				return nil
			})
		}, "Unavailable", ldaptest.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.o, nil)
			w.people(n)
			counted(t, w.read(t), ldap.Counts{Read: n, Created: n})
			want := w.all(t)
			c.trouble(w)
			w.ask(t)
			rep, again := w.try(t)
			if !strings.Contains(again+rep.Unsound, c.code) {
				t.Errorf("it says %q, %+v; want something of %s", again, rep, c.code)
			}
			w.are(t, want...)
			if len(w.left) > 0 {
				t.Errorf("of %v it was told that they left", w.left)
			}
			cases, err := w.guard.Cases(t.Context(), "", "", true, 0)
			if err != nil || len(cases) > 0 {
				t.Errorf("a person is asked about %+v, %v", cases, err)
			}
		})
	}
}

func TestWhomAWalkPassesByIsLookedForAndStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) { s.Method = ldap.None })
	w.people(30)
	w.read(t)
	w.Hide(dnOf("p003"))
	counted(t, w.full(t), ldap.Counts{Read: 29, Unchanged: 30})
	if !w.user(t, "p003").Active {
		t.Error("somebody was disabled who is there")
	}
}

func TestB09_MassRemovalOfADirectoryWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, nil)
	w.people(60)
	w.read(t)
	w.now = w.now.Add(2 * time.Hour)
	for i := range 15 { // of 60; 10 are allowed
		w.Drop(dnOf(fmt.Sprintf("p%03d", i)))
	}
	rep := w.full(t)
	counted(t, rep, ldap.Counts{Read: 45, Unchanged: 45, Missing: 15, Held: 15})
	if len(w.left) > 0 || rep.Problems[0].Code != guard.ReasonHeld {
		t.Errorf("%v left, %+v", w.left, rep.Problems[0])
	}
	cases, err := w.guard.Cases(t.Context(), guard.Source(string(feed)), "", true, 0)
	if err != nil || len(cases) != 1 || cases[0].Held != 15 {
		t.Fatalf("%+v, %v", cases, err)
	}
	// Somebody is back before anybody decides, and one is approved alone.
	some := w.user(t, "p001")
	if err := w.guard.Approve(t.Context(), cases[0].ID, "carol", some.ID); err != nil {
		t.Fatal(err)
	}
	counted(t, w.read(t), ldap.Counts{Read: 45, Unchanged: 45, Missing: 15, Held: 14, Disabled: 1})
	if err := w.guard.Approve(t.Context(), cases[0].ID, "carol"); err != nil {
		t.Fatal(err)
	}
	if err := w.guard.HandleCase(t.Context(), cases[0].ID); err != nil {
		t.Fatal(err)
	}
	counted(t, w.read(t), ldap.Counts{Read: 45, Unchanged: 45, Missing: 14, Disabled: 14})
	if len(w.left) != 15 {
		t.Errorf("%d left", len(w.left))
	}
}

func TestDisabledInActiveDirectoryIsDisabledHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{AD: true}, nil)
	w.person("ana")
	w.person("bob", "userAccountControl", "514")
	counted(t, w.read(t), ldap.Counts{Read: 2, Created: 1, Unchanged: 1})
	w.are(t, "ana")
	w.Set(dnOf("ana"), "userAccountControl", "66050")
	w.Set(dnOf("bob"), "userAccountControl", "512")
	counted(t, w.full(t), ldap.Counts{Read: 2, Created: 1, Disabled: 1})
	w.are(t, "-ana", "bob")
	w.Set(dnOf("ana"), "userAccountControl", "512")
	w.full(t)
	w.are(t, "ana", "bob")
	// What an administrator decided stays until the directory says something else.
	u := w.user(t, "ana")
	if _, _, err := w.dir.Change(t.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error { u.Active = false; return nil }); err != nil {
		t.Fatal(err)
	}
	w.Set(dnOf("ana"), "mail", "other@x.test")
	w.full(t)
	w.are(t, "-ana", "bob")
	// What can not be read lets nobody in.
	w.Set(dnOf("bob"), "userAccountControl")
	w.full(t)
	w.are(t, "-ana", "-bob")
}

func TestWhoMayUseAnythingIsAsConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) {
		f := from(t, `claims.employeeType[0] == "staff" ? "true" : "false"`)
		s.Active, s.Attributes = &f, append(s.Attributes, "employeeType")
	})
	w.person("ana", "employeeType", "staff")
	w.person("bob", "employeeType", "guest")
	w.person("cem")
	counted(t, w.read(t), ldap.Counts{Read: 3, Created: 1, Unchanged: 2})
	w.are(t, "ana")
}

func TestNobodyIsTakenOverUnlessTheSourceMay(t *testing.T) {
	t.Parallel()
	for _, adopt := range []bool{false, true} {
		w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) { s.AdoptNames = adopt })
		own, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "Ana", Active: true}, provisioning.Admin)
		if err != nil {
			t.Fatal(err)
		}
		w.person("ana")
		w.person("bob")
		rep := w.read(t)
		got, err := w.dir.User(t.Context(), own.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !adopt {
			counted(t, rep, ldap.Counts{Read: 2, Created: 1, Skipped: 1})
			if got.Version != own.Version || len(rep.Problems) != 1 || rep.Problems[0].Code != ldap.ReasonForeign || rep.Problems[0].Name != "ana" {
				t.Errorf("%+v, %+v", got, rep.Problems)
			}
			w.Drop(dnOf("ana"))
			w.full(t)
			if got, _ := w.dir.User(t.Context(), own.ID); !got.Active {
				t.Error("somebody else's user was disabled")
			}
			continue
		}
		counted(t, rep, ldap.Counts{Read: 2, Created: 1, Changed: 1})
		if got.UserName != "ana" || got.Says(feed, "mail") == nil {
			t.Errorf("%+v", got)
		}
	}
}

func TestEntryThatCanNotBeUsedIsLeftOutAndSaidSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) {
		s.UserName = from(t, "mail")
		s.AdoptNames = true
	})
	w.person("ana")
	w.Put("cn=nameless,"+ldaptest.People, map[string][]string{"objectClass": {"inetOrgPerson"}, "sn": {"x"}})
	w.person("ana2", "mail", "ANA@x.test") // the same name, to us
	w.person("odd", "mail", "a\x01b")
	rep := w.read(t)
	counted(t, rep, ldap.Counts{Read: 4, Created: 1, Skipped: 3})
	var codes []string
	for _, p := range rep.Problems {
		codes = append(codes, p.Code)
	}
	slices.Sort(codes)
	if want := []string{ldap.ReasonNameless, ldap.ReasonTwice, provisioning.ReasonInvalid}; !slices.Equal(codes, want) {
		t.Errorf("problems %v, want %v", codes, want)
	}
}

// Each method tells what changed, with little asked.
func TestWhatChangedIsReadWithoutReadingEverything(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o      ldaptest.Options
		method ldap.Method
		prep   func(*ldaptest.Server)
		gone   bool // it tells who is gone
	}{
		"syncrepl":                       {ldaptest.Options{}, ldap.Auto, nil, true},
		"syncrepl that says who is left": {ldaptest.Options{}, ldap.Syncrepl, (*ldaptest.Server).SayPresent, true},
		"DirSync":                        {ldaptest.Options{AD: true}, ldap.Auto, nil, true},
		"timestamps":                     {ldaptest.Options{}, ldap.Timestamp, nil, false},
		"timestamps of Active Directory": {ldaptest.Options{AD: true}, ldap.Timestamp, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.o, func(s *ldap.Source) {
				s.Method = c.method
				if c.o.AD {
					s.Base = ldaptest.Suffix
				}
			})
			if c.prep != nil {
				c.prep(w.Server)
			}
			w.people(40)
			if rep := w.read(t); !rep.Whole || rep.Created != 40 {
				t.Fatalf("%+v", rep)
			}
			if rep := w.read(t); rep.Whole || rep.Created+rep.Changed+rep.Disabled > 0 {
				t.Errorf("nothing changed and it says %+v", rep)
			}
			w.person("new")
			w.Set(dnOf("p001"), "mail", "other@x.test")
			w.Drop(dnOf("p002"))
			w.Set(dnOf("p003"), "objectClass", "device") // the filter does not find it any more
			w.Forget()
			rep := w.read(t)
			if rep.Whole || rep.Created != 1 || rep.Changed != 1 || rep.Disabled != map[bool]int{true: 2, false: 1}[c.gone] {
				t.Errorf("%+v", rep)
			}
			if n := len(w.Requests()); c.gone && n > 15 {
				t.Errorf("%d requests were sent for four changes", n)
			}
			if mail := w.user(t, "p001").Says(feed, "mail"); !slices.Equal(mail, []string{"other@x.test"}) {
				t.Errorf("the mail is %q", mail)
			}
			if !c.gone {
				if rep := w.full(t); rep.Disabled != 1 {
					t.Errorf("reading everything: %+v", rep)
				}
			}
			if w.user(t, "p002").Active || w.user(t, "p003").Active || !w.user(t, "p004").Active {
				t.Errorf("the users are %v", w.all(t))
			}
			// After a day everything is read, whatever was told.
			w.now = w.now.Add(25 * time.Hour)
			if rep := w.read(t); !rep.Whole {
				t.Errorf("after a day: %+v", rep)
			}
			// So it is when the configuration makes other users of the entries.
			w.src.Form = "2"
			w.begin()
			if rep := w.read(t); !rep.Whole {
				t.Errorf("with another form: %+v", rep)
			}
		})
	}
}

func TestCookieThatIsForgottenMeansReadingEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, nil)
	w.people(5)
	w.read(t)
	refused := false
	w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if slices.Contains(r.Controls, goldap.ControlTypeSyncRequest) && !refused {
			refused = true
			return &ldaptest.Rude{Code: goldap.LDAPResultSyncRefreshRequired}
		}
		return nil
	})
	w.Drop(dnOf("p001"))
	if rep := w.read(t); !rep.Whole || rep.Disabled != 1 {
		t.Errorf("%+v", rep)
	}
}

func groupWorld(t *testing.T, o ldaptest.Options) *world {
	return newWorld(t, o, func(s *ldap.Source) {
		s.Groups = &ldap.Groups{Base: ldaptest.Groups, Filter: "(objectClass=groupOfNames)", Name: "cn", Member: "member"}
	})
}

func (w *world) group(name string, members ...string) {
	w.Put("cn="+name+","+ldaptest.Groups, map[string][]string{"objectClass": {"groupOfNames"}, "member": append(members, ldaptest.Groups)})
}

func (w *world) in(t *testing.T, group string) (names []string) {
	t.Helper()
	g, err := w.dir.GroupByName(t.Context(), "primary", group)
	if errors.Is(err, provisioning.ErrNotFound) {
		return []string{"no group"}
	}
	if err != nil {
		t.Fatal(err)
	}
	for id, err := range w.dir.Members(t.Context(), g.ID, "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		u, err := w.dir.User(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, u.UserName)
	}
	slices.Sort(names)
	return names
}

func TestGroupsFollowTheDirectory(t *testing.T) {
	t.Parallel()
	w := groupWorld(t, ldaptest.Options{})
	for _, n := range []string{"ana", "bob", "cem"} {
		w.person(n)
	}
	w.group("staff", dnOf("ana"), dnOf("bob"), "uid=nobody,"+ldaptest.People)
	w.group("all", "cn=staff,"+ldaptest.Groups, dnOf("cem"))
	if _, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "doors"}, provisioning.Admin, provisioning.Move{}); err != nil {
		t.Fatal(err)
	}
	w.group("doors", dnOf("ana"))
	rep := w.read(t)
	if got := w.in(t, "staff"); !slices.Equal(got, []string{"ana", "bob"}) {
		t.Errorf("in staff are %v: %+v", got, rep)
	}
	if got := w.in(t, "doors"); len(got) > 0 || !slices.ContainsFunc(rep.Problems, func(p ldap.Problem) bool { return p.Code == ldap.ReasonGroup }) {
		t.Errorf("somebody else's group was taken over: %v, %+v", got, rep.Problems)
	}
	of, err := w.dir.GroupsOf(t.Context(), w.user(t, "ana").ID)
	if err != nil || len(of) != 2 {
		t.Errorf("ana is in %v, %v", of, err)
	}
	// Somebody whom the source did not put there stays.
	guest, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "guest", Active: true}, provisioning.Admin)
	if err != nil {
		t.Fatal(err)
	}
	staff, err := w.dir.GroupByName(t.Context(), "primary", "staff")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.dir.AddMember(t.Context(), staff.ID, guest.ID, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	w.group("staff", dnOf("bob"), dnOf("cem"))
	w.group("all", dnOf("cem"))
	rep = w.read(t)
	if got := w.in(t, "staff"); rep.Whole || !slices.Equal(got, []string{"bob", "cem", "guest"}) {
		t.Errorf("in staff are %v: %+v", got, rep)
	}
	if inside, err := w.dir.Inside(t.Context(), must(w.dir.GroupByName(t.Context(), "primary", "all")).ID); err != nil || len(inside) > 0 {
		t.Errorf("inside all are %v, %v", inside, err)
	}
	if rep := w.full(t); rep.Joined+rep.Left > 0 {
		t.Errorf("nothing differs: %+v", rep)
	}
	w.Drop("cn=all," + ldaptest.Groups)
	w.full(t)
	if got := w.in(t, "all"); !slices.Equal(got, []string{"no group"}) {
		t.Errorf("a group that is gone has %v", got)
	}
	// Who leaves the directory is in none of its groups any more.
	w.Drop(dnOf("bob"))
	w.group("staff", dnOf("cem"))
	w.full(t)
	if got := w.in(t, "staff"); !slices.Equal(got, []string{"cem", "guest"}) {
		t.Errorf("in staff are %v", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestB09_GroupThatIsEmptiedWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := groupWorld(t, ldaptest.Options{})
	w.people(70)
	var dns []string
	for i := range 70 {
		dns = append(dns, dnOf(fmt.Sprintf("p%03d", i)))
	}
	w.group("staff", dns...)
	w.read(t)
	if n := len(w.in(t, "staff")); n != 70 {
		t.Fatalf("%d are in it", n)
	}
	w.group("staff")
	rep := w.full(t)
	if n := len(w.in(t, "staff")); n != 20 || rep.Held != 20 { // 50 are allowed
		t.Errorf("%d are in it; %+v", n, rep.Counts)
	}
}

func TestPreviewSaysWhatTheReadingDoesAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, nil)
	w.people(20)
	w.read(t)
	w.person("new")
	w.Set(dnOf("p001"), "mail", "other@x.test")
	w.Drop(dnOf("p002"))
	before, users := w.dump(t), w.all(t)
	pre, err := w.reader.Preview(t.Context(), "campus")
	if err != nil {
		t.Fatal(err)
	}
	if after := w.dump(t); after != before {
		t.Error("the store is not as it was")
	}
	w.are(t, users...)
	counted(t, pre, ldap.Counts{Read: 20, Created: 1, Changed: 1, Disabled: 1, Unchanged: 18, Missing: 1})
	slices.SortFunc(pre.Changes, func(a, b ldap.Change) int { return strings.Compare(a.Name, b.Name) })
	if want := []ldap.Change{{"new", "created", []string{"active", "display_name", "mail", "store", "user_name"}}, {"p001", "changed", []string{"mail"}}, {"p002", "disabled", nil}}; cmp.Diff(want, pre.Changes) != "" {
		t.Error(cmp.Diff(want, pre.Changes))
	}
	counted(t, w.full(t), pre.Counts)
}

// dump is all that the store holds.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := w.store.View(t.Context(), func(tx store.Tx) error {
		b.Reset()
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q %q\n", p.Key, p.Val)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReadingThatWasStoppedGoesOnUnderItsName(t *testing.T) {
	t.Parallel()
	const n = 200
	w := newWorld(t, ldaptest.Options{MaxPage: 30}, nil)
	w.people(n)
	ctx, stop := context.WithCancelCause(t.Context())
	pages := 0
	w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if slices.Contains(r.Controls, goldap.ControlTypePaging) {
			if pages++; pages == 4 {
				return &ldaptest.Rude{Hang: true}
			}
		}
		return nil
	})
	said := make(chan error)
	go func() { said <- w.reader.Handle(ctx, "campus") }()
	for len(w.all(t)) < 10 {
		time.Sleep(time.Millisecond)
	}
	stop(task.ErrPaused)
	if err := <-said; !errors.Is(err, task.ErrPaused) {
		t.Fatalf("it says %v", err)
	}
	var p task.Progress
	if err := w.store.View(t.Context(), func(tx store.Tx) (err error) {
		p, _, err = task.Load(tx, ldap.Kind, "campus")
		return err
	}); err != nil || len(p.Cursor) == 0 {
		t.Fatalf("the progress is %+v, %v", p, err)
	}
	some := len(w.all(t))
	if some == 0 || some == n {
		t.Fatalf("%d were taken when it was stopped", some)
	}
	w.Answer(nil)
	w.begin()
	rep := w.read(t)
	if rep.Cycle != string(p.Cursor) || rep.Created != n-some || rep.Unchanged != some {
		t.Errorf("%d were taken, and then %+v under %s", some, rep, p.Cursor)
	}
}

func TestWhoIsLinkedIsKnownAtTheFirstSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) {
		s.Links = &ldap.Links{Provider: "idp", Issuer: "https://idp.test", Subject: from(t, "employeeNumber")}
		s.Attributes = append(s.Attributes, "employeeNumber")
	})
	w.person("ana", "employeeNumber", "4711")
	w.person("bob")
	w.read(t)
	got, _, err := w.dir.Login(t.Context(), federation.Identity{Ref: federation.Ref{Issuer: "https://idp.test", Subject: "4711"}, Provider: "idp"}, provisioning.JIT{Provider: "idp", UserStore: "primary"}, "")
	if err != nil || got.UserName != "ana" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEveryStepCanBeDiagnosed(t *testing.T) {
	t.Parallel()
	w := groupWorld(t, ldaptest.Options{})
	w.person("ana")
	w.person("bob")
	w.group("staff", dnOf("ana"))
	before := w.dump(t)
	for _, whom := range []string{"", "ana", dnOf("ana"), w.ID(dnOf("ana"))} {
		d, err := w.reader.Test(t.Context(), "campus", whom)
		if err != nil || !d.OK || d.Sample == nil || d.Sample.UserName != "ana" || len(d.Steps) != 6 {
			t.Fatalf("%q: %+v, %v", whom, d, err)
		}
		if want := (ldap.Origin{Attribute: "mail", From: []string{"mail"}, Values: []string{"ana@x.test"}}); !slices.ContainsFunc(d.Sample.Fields, func(o ldap.Origin) bool { return cmp.Equal(o, want) }) {
			t.Errorf("%+v", d.Sample)
		}
	}
	if w.dump(t) != before {
		t.Error("the store is not as it was")
	}
	if _, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "bob", Active: true}, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	if d, err := w.reader.Test(t.Context(), "campus", "bob"); err != nil || d.OK || !strings.Contains(d.Sample.Problem, "not from this source") {
		t.Errorf("%+v, %v", d, err)
	}
	w.Cut()
	w.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if r.Op == "bind" {
			return &ldaptest.Rude{Code: goldap.LDAPResultInvalidCredentials}
		}
		return nil
	})
	if d, err := w.reader.Test(t.Context(), "campus", ""); err != nil || d.OK || len(d.Steps) != 1 || !strings.Contains(d.Steps[0].Text, "Invalid Credentials") || strings.Contains(fmt.Sprint(d), ldaptest.Password) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := w.reader.Test(t.Context(), "other", ""); !errors.Is(err, ldap.ErrNotFound) {
		t.Errorf("of no source: %v", err)
	}
}

// BenchmarkReading reads a directory of 5,000 people: at first, and again when
// nothing has changed.
func BenchmarkReading(b *testing.B) {
	const n = 5000
	w := newWorld(b, ldaptest.Options{}, nil)
	w.people(n)
	began := time.Now()
	if rep := w.read(b); rep.Created != n {
		b.Fatalf("%+v", rep)
	}
	first := time.Since(began)
	began = time.Now()
	for b.Loop() {
		if rep := w.full(b); rep.Unchanged != n {
			b.Fatalf("%+v", rep)
		}
	}
	b.ReportMetric(float64(b.N)*n/time.Since(began).Seconds(), "unchanged/s")
	b.ReportMetric(n/first.Seconds(), "created/s")
}

// C11: taking somebody over is no word about whether they are active: who was
// disabled here stays so until the directory says something else than before.
func TestC11_WhoIsTakenOverIsNotMadeActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ldaptest.Options{}, func(s *ldap.Source) { s.AdoptNames = true })
	off, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "ana"}, provisioning.Admin)
	if err != nil {
		t.Fatal(err)
	}
	w.person("ana")
	counted(t, w.read(t), ldap.Counts{Read: 1, Changed: 1})
	got, err := w.dir.User(t.Context(), off.ID)
	if err != nil || got.Active || got.Says(feed, "mail") == nil {
		t.Errorf("after it was taken over: %+v, %v", got, err)
	}
}
