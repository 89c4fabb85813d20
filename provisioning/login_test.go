package provisioning

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func mapping(t testing.TB, rules ...MapRule) Mapping {
	t.Helper()
	m, err := CompileMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func from(t testing.TB, src string) From {
	t.Helper()
	f, err := CompileFrom(src)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// D13: what a message calls itself is data. IDs that pose as paths, queries, keys of
// ours or of other tables work once like any other, and touch nothing else.
func TestD13_IDsOfMessagesAreDataAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := worldOver(t, open(t, filepath.Join(dir, "gate.db")))
	j := jit(t, "campus")
	honest := campus("honest", "preferred_username", "kim")
	w.mustLogin(t, honest)
	before, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hostile := []string{
		"' or 1=1 --", `"; DROP TABLE user; --`, "../../x", "/etc/passwd", `..\..\x`, "user", "user\x00\x01", "\x00", "\xff\xfe", "a\r\nX-Admin: 1", "%2e%2e%2f", "${jndi:ldap://x}",
		"{{.}}", "*", "_id:1", strings.Repeat("i", 1000), honest.Once[0].Key + "\x00", honest.Once[0].Key[:len(honest.Once[0].Key)-1], " " + honest.Once[0].Key, strings.ToUpper(honest.Once[0].Key),
	}
	for i, key := range hostile {
		id := campus(fmt.Sprint("s", i), "preferred_username", fmt.Sprint("user", i))
		id.Once[0].Key = key
		u, _, err := w.Login(t.Context(), id, j, key)
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		if u.UserName != fmt.Sprint("user", i) {
			t.Errorf("%q made %q", key, u.UserName)
		}
		w.refused(t, id, j, federation.ReasonReplayed)
	}
	for i, key := range hostile { // and each still, after all the others
		id := campus(fmt.Sprint("s", i), "preferred_username", fmt.Sprint("user", i))
		id.Once[0].Key = key
		w.refused(t, id, j, federation.ReasonReplayed)
	}
	w.refused(t, honest, j, federation.ReasonReplayed)
	if after, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(after) != len(before) {
		t.Errorf("files: %v, before %v, %v", after, before, err)
	}
	var n int
	w.scan(t, store.Key("user", "r"), func([]byte, []byte) { n++ })
	if n != 1+len(hostile) {
		t.Errorf("%d users of %d people", n, 1+len(hostile))
	}
}

// jit is how a provider of the tests is configured.
func jit(t testing.TB, provider string) JIT {
	return JIT{Provider: provider, Mode: Async, UserStore: "primary", UserName: from(t, "claims.preferred_username"), Mapping: mapping(t,
		MapRule{Attribute: "mail", From: "mail"},
		MapRule{Attribute: "groups", From: "groups"},
		MapRule{Attribute: "display_name", From: "name", Keep: true},
	)}
}

var uses atomic.Int64

// campus is a sign-in at Campus; pairs are names and values of attributes.
func campus(subject string, pairs ...string) federation.Identity {
	return identity("campus", subject, pairs...)
}

func identity(provider, subject string, pairs ...string) federation.Identity {
	issuer := "https://" + provider + ".example"
	id := federation.Identity{
		Ref:        federation.Ref{Issuer: issuer, Subject: subject},
		Provider:   provider,
		Attributes: map[string][]string{},
		Once:       []federation.Once{{Key: fmt.Sprint(issuer, " ", uses.Add(1)), Until: noon.Add(10 * time.Minute)}},
	}
	for i := 0; i < len(pairs); i += 2 {
		id.Attributes[pairs[i]] = append(id.Attributes[pairs[i]], pairs[i+1])
	}
	return id
}

func (w *world) mustLogin(t testing.TB, id federation.Identity) (User, Delta) {
	t.Helper()
	u, d, err := w.Login(t.Context(), id, jit(t, id.Provider), "FLOW")
	if err != nil {
		t.Fatal(err)
	}
	return u, d
}

// refused checks that a sign-in is refused for a reason and changes nothing.
func (w *world) refused(t testing.TB, id federation.Identity, j JIT, code string) error {
	t.Helper()
	before := w.dump(t)
	u, d, err := w.Login(t.Context(), id, j, "FLOW")
	wantReason(t, err, code)
	if !errors.Is(err, federation.ErrRefused) || u.ID != "" || !d.Empty() {
		t.Errorf("%v %v %v", u, d, err)
	}
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Errorf("a refused sign-in changed something: %s", diff)
	}
	return err
}

func TestJ01_TheLinkIsIssuerAndSubjectAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim, d := w.mustLogin(t, campus("s1", "preferred_username", "kim", "mail", "kim@x"))
	if diff := cmp.Diff([]federation.Ref{{Issuer: "https://campus.example", Subject: "s1"}}, d.Linked); diff != "" || !d.Created || d.Flow != "FLOW" {
		t.Errorf("%+v %s", d, diff)
	}
	for i, id := range []federation.Identity{
		identity("partner", "s1", "preferred_username", "kim2", "mail", "kim@x"),
		campus("s2", "preferred_username", "kim3", "mail", "kim@x"),
		campus("S1", "preferred_username", "kim4", "mail", "kim@x"),
		campus("s1 ", "preferred_username", "kim5", "mail", "kim@x"),
		campus("kim@x", "preferred_username", "kim6", "mail", "kim@x"),
	} {
		if u, d := w.mustLogin(t, id); u.ID == kim.ID || !d.Created {
			t.Errorf("%d: %+v", i, u)
		}
	}
	// Two parts that join to the same are two.
	a := federation.Identity{Provider: "campus", Attributes: map[string][]string{"preferred_username": {"a"}}, Ref: federation.Ref{Issuer: "ab", Subject: "c"}}
	b := federation.Identity{Provider: "campus", Attributes: map[string][]string{"preferred_username": {"b"}}, Ref: federation.Ref{Issuer: "a", Subject: "bc"}}
	ua, _ := w.mustLogin(t, a)
	if ub, _ := w.mustLogin(t, b); ua.ID == ub.ID {
		t.Error("joined")
	}
	if again, d := w.mustLogin(t, campus("s1", "preferred_username", "renamed", "mail", "kim@x")); again.ID != kim.ID || !d.Empty() || again.UserName != "kim" {
		t.Errorf("%+v %+v", again, d)
	}
	if ls, err := w.Links(t.Context(), kim.ID); err != nil || len(ls) != 1 || ls[0].Provider != "campus" || !ls[0].Seen.Equal(noon) {
		t.Errorf("%+v %v", ls, err)
	}
}

func TestJ02_AnEMailAddressMadeFirstElsewhereLinksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	attacker, _ := w.mustLogin(t, identity("partner", "evil", "preferred_username", "evil", "mail", "victim@uni.example"))
	victim, d := w.mustLogin(t, campus("victim", "preferred_username", "victim", "mail", "victim@uni.example"))
	if victim.ID == attacker.ID || !d.Created {
		t.Error("linked by e-mail")
	}
	// An administrator's word links.
	ref := federation.Ref{Issuer: "https://partner.example", Subject: "victims-own"}
	if _, d, err := w.Link(t.Context(), victim.ID, ref, "partner", Admin); err != nil || len(d.Linked) != 1 {
		t.Fatal(d, err)
	}
	if u, _ := w.mustLogin(t, identity("partner", "victims-own", "mail", "x@y")); u.ID != victim.ID {
		t.Error("not linked")
	}
	_, _, err := w.Link(t.Context(), attacker.ID, ref, "partner", Admin)
	wantReason(t, err, ReasonConflict)
	if _, d, err := w.Link(t.Context(), victim.ID, ref, "partner", Admin); err != nil || !d.Empty() {
		t.Error(d, err)
	}
	if _, d, err := w.Unlink(t.Context(), victim.ID, ref, Admin); err != nil || len(d.Unlinked) != 1 {
		t.Error(d, err)
	}
	if _, d, err := w.Unlink(t.Context(), victim.ID, ref, Admin); err != nil || !d.Empty() {
		t.Error(d, err)
	}
}

func TestJ03_ALeaversAddressAndNameGiveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	leaver, _ := w.mustLogin(t, campus("old", "preferred_username", "kim", "mail", "kim@x", "groups", "finance", "name", "Kim"))
	if err := w.Delete(t.Context(), leaver.ID, Admin); err != nil {
		t.Fatal(err)
	}
	next, d := w.mustLogin(t, campus("new", "preferred_username", "kim", "mail", "kim@x"))
	if next.ID == leaver.ID || !d.Created || Effective(next, "groups") != nil || Effective(next, "display_name") != nil {
		t.Errorf("%+v", next)
	}
	back, d := w.mustLogin(t, campus("old", "preferred_username", "kim-again"))
	if back.ID == leaver.ID || back.ID == next.ID || !d.Created || Effective(back, "groups") != nil {
		t.Errorf("%+v", back)
	}
}

func TestJ04_ATakenNameIsNeverTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kim, _ := w.mustLogin(t, campus("s1", "preferred_username", "Kim"))
	byHand := w.mustCreate(t, "carol")
	for _, name := range []string{"kim", "KIM", "carol"} {
		err := w.refused(t, identity("partner", "s9", "preferred_username", name), jit(t, "partner"), ReasonTaken)
		var c *Conflict
		if !errors.As(err, &c) || c.Value != name {
			t.Error(err)
		}
	}
	if u, _ := w.mustLogin(t, identity("partner", "s9", "preferred_username", "other")); u.ID == kim.ID || u.ID == byHand.ID {
		t.Error("taken over")
	}
	j := jit(t, "partner")
	j.UserStore = "partners"
	u, _, err := w.Login(t.Context(), identity("partner", "s10", "preferred_username", "kim"), j, "")
	if err != nil || u.Store != "partners" {
		t.Error(u, err)
	}
}

func TestJ05_FiftyFirstLoginsMakeOneUser(t *testing.T) {
	t.Parallel()
	for name, wrap := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wrap...)
			j := jit(t, "campus")
			var mu sync.Mutex
			ids := map[string]int{}
			created, uncertain := 0, 0
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for again := true; again; {
						u, d, err := w.Login(t.Context(), campus("s1", "preferred_username", "kim", "groups", "a", "groups", "b"), j, "F")
						mu.Lock()
						again = errors.Is(err, storetest.ErrUncertain) // and the person signs in again
						switch {
						case again:
							uncertain++
						case err != nil:
							t.Error(err)
						default:
							ids[u.ID]++
						}
						if d.Created {
							created++
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if len(ids) != 1 || created > 1 || created == 0 && uncertain == 0 {
				t.Errorf("%v users, created %d times, %d uncertain", ids, created, uncertain)
			}
			for table, want := range map[string]int{"user": 1, "link": 1, "once": 50 + uncertain} {
				if n := w.count(t, table); n != want {
					t.Errorf("%d rows of %s, want %d", n, table, want)
				}
			}
			for kind, want := range map[string]int{"user.created": 1, "user.changed": 0, "login": 50 + uncertain} {
				if n := w.events(t, audit.Query{Kind: kind}); n != want {
					t.Errorf("%d × %s, want %d", n, kind, want)
				}
			}
		})
	}
}

func TestJ06_WhoIsDeactivatedStaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.mustLogin(t, campus("s1", "preferred_username", "kim"))
	ref := federation.Ref{Issuer: "https://partner.example", Subject: "s1"}
	if _, _, err := w.Link(t.Context(), u.ID, ref, "partner", Admin); err != nil {
		t.Fatal(err)
	}
	w.mustChange(t, u.ID, "scim:hr", func(u *User) { u.Active = false })
	for _, id := range []federation.Identity{campus("s1", "preferred_username", "kim", "mail", "new@x"), identity("partner", "s1")} {
		err := w.refused(t, id, jit(t, id.Provider), ReasonInactive)
		var r *Refusal
		if !errors.As(err, &r) || r.UserID != u.ID {
			t.Error(err)
		}
	}
	w.mustChange(t, u.ID, "scim:hr", func(u *User) { u.Active = true })
	w.mustLogin(t, campus("s1", "preferred_username", "kim"))
}

func TestJ08_ProvisioningThatIsOffMakesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, mode := range []Mode{Off, "off", "on", "Blocking"} {
		j := jit(t, "campus")
		j.Mode = mode
		w.refused(t, campus("s1", "preferred_username", "kim"), j, ReasonOff)
	}
	if n := w.count(t, "user"); n != 0 {
		t.Errorf("%d users", n)
	}
	kim := w.mustCreate(t, "kim")
	if _, _, err := w.Link(t.Context(), kim.ID, campus("s1").Ref, "campus", Admin); err != nil {
		t.Fatal(err)
	}
	j := jit(t, "campus")
	j.Mode = Off
	u, d, err := w.Login(t.Context(), campus("s1", "mail", "kim@x"), j, "")
	if err != nil || u.ID != kim.ID || len(d.Fields) != 1 || !slices.Equal(Effective(u, "mail"), []string{"kim@x"}) {
		t.Errorf("%+v %+v %v", u, d, err)
	}
	for _, mode := range []Mode{Blocking, Async} {
		j.Mode = mode
		if _, d, err := w.Login(t.Context(), campus(string(mode), "preferred_username", string(mode)), j, ""); err != nil || !d.Created {
			t.Error(mode, err)
		}
	}
}

func TestJ09_TheFirstUserIsPlain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.mustLogin(t, campus("s1", "preferred_username", "admin"))
	s, err := w.Subject(t.Context(), u.ID)
	if err != nil || len(s.Groups)+len(s.Roles)+len(s.Attributes) != 0 || !s.Active || s.UserName != "admin" || s.Version != 1 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestJ10_AnAssertedGroupIsOnlyAClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: "gateway-admins"}, Admin, Move{}); err != nil {
		t.Fatal(err)
	}
	u, _ := w.mustLogin(t, campus("s1", "preferred_username", "kim", "groups", "gateway-admins", "groups", "admin"))
	s, err := w.Subject(t.Context(), u.ID)
	if err != nil || len(s.Groups) != 0 || len(s.Roles) != 0 {
		t.Errorf("%+v %v", s, err)
	}
	if diff := cmp.Diff(map[string]map[string][]string{"idp:campus": {"groups": {"gateway-admins", "admin"}}}, s.Asserted); diff != "" {
		t.Error(diff)
	}
}

func TestJ11_WhatIsNotSaidAnyMoreIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.mustLogin(t, campus("s1", "preferred_username", "kim", "groups", "a", "groups", "b", "mail", "kim@x", "name", "Kim"))
	w.mustChange(t, u.ID, Admin, func(u *User) { u.Say(Admin, "groups", "z") })
	said := func(id federation.Identity, groups, mail, name []string) Delta {
		t.Helper()
		u, d := w.mustLogin(t, id)
		for attr, want := range map[string][]string{"groups": groups, "mail": mail, "display_name": name} {
			if diff := cmp.Diff(want, Effective(u, attr)); diff != "" {
				t.Errorf("%s: %s", attr, diff)
			}
		}
		return d
	}
	all, z := []string{"z", "a", "b"}, []string{"z"}
	if d := said(campus("s1", "groups", "b", "groups", "a", "mail", "kim@x"), all, []string{"kim@x"}, []string{"Kim"}); !d.Empty() {
		t.Errorf("the same groups in another order: %+v", d)
	}
	if d := said(campus("s1", "groups", "a"), []string{"z", "a"}, nil, []string{"Kim"}); len(d.Fields) != 2 {
		t.Errorf("%+v", d)
	}
	empty := campus("s1")
	empty.Attributes["groups"] = []string{}
	empty.Attributes["name"] = []string{}
	said(empty, z, nil, nil) // no values is a statement, against Keep too
	said(campus("s1", "groups", "a", "name", "Kim"), []string{"z", "a"}, nil, []string{"Kim"})
	said(campus("s1"), z, nil, []string{"Kim"})

	// An attribute that is not mapped any more is not said any more.
	j := jit(t, "campus")
	j.Mapping = mapping(t, MapRule{Attribute: "mail", From: "mail"})
	u, d, err := w.Login(t.Context(), campus("s1"), j, "")
	if err != nil || Effective(u, "display_name") != nil || len(d.Fields) != 1 {
		t.Errorf("%+v %+v %v", u, d, err)
	}
}

func TestJ12_TooMuchIsRefusedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Followers = nil // theirs would be too large first
	groups := func(n int, size int) federation.Identity {
		id := campus("s1", "preferred_username", "kim")
		for i := range n {
			id.Attributes["groups"] = append(id.Attributes["groups"], fmt.Sprintf("%0*d", size, i))
		}
		return id
	}
	for _, id := range []federation.Identity{groups(10_000, 8), groups(MaxValues+1, 8), groups(100, 700), campus("s1", "preferred_username", "kim", "mail", strings.Repeat("x", 500_000))} {
		w.refused(t, id, jit(t, "campus"), ReasonTooLarge)
	}
	many := campus("s1", "preferred_username", "kim")
	many.Once = make([]federation.Once, 1000)
	w.refused(t, many, jit(t, "campus"), federation.ReasonTooLarge)
	// Together with what others said; and what grows when it is written down.
	full := w.mustCreate(t, "full", func(u *User) { u.Say(Admin, "note", strings.Repeat("n", MaxUser-400)) })
	if _, _, err := w.Link(t.Context(), full.ID, campus("s0").Ref, "campus", Admin); err != nil {
		t.Fatal(err)
	}
	w.refused(t, campus("s0", "mail", strings.Repeat("x", 400)), jit(t, "campus"), ReasonTooLarge)
	w.mustChange(t, full.ID, Admin, func(u *User) { u.Say(Admin, "note", strings.Repeat("\x00", 40_000)) })
	w.refused(t, campus("s0", "mail", strings.Repeat("\x00", 10_000)), jit(t, "campus"), ReasonTooLarge)
	w.mustLogin(t, campus("s0", "mail", "x"))
	u, _ := w.mustLogin(t, groups(MaxValues, 60))
	if n := len(Effective(u, "groups")); n != MaxValues {
		t.Errorf("%d groups", n)
	}
	w.refused(t, groups(MaxValues+1, 8), jit(t, "campus"), ReasonTooLarge)
}

func TestJ13_ValuesThatLookLikeTemplatesAreLiteral(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := jit(t, "campus")
	j.Mapping = mapping(t,
		MapRule{Attribute: "title", From: "title"},
		MapRule{Attribute: "note", From: `claims.title[0] + "/" + claims.title[0]`},
		MapRule{Attribute: "room", From: `claims.title.filter(v, v.matches("^(a+)+$"))`},
	)
	for i, v := range []string{
		"{{.ID}}", "${jndi:ldap://x}", "%s%n", "claims.title", `" + claims.secret + "`, "$(id)", "`id`", "<%= 1 %>",
		strings.Repeat("a", 30_000) + "!", "'; drop table user; --", "../../etc/passwd", "\x1b[31m", "a\x00b",
	} {
		u, _, err := w.Login(t.Context(), campus(fmt.Sprint(i), "preferred_username", fmt.Sprint("u", i), "title", v), j, "")
		if err != nil {
			if len(v) > 20_000 {
				wantReason(t, err, ReasonTooLarge) // three copies are more than 64 KiB
				continue
			}
			t.Fatal(err)
		}
		u, err = w.User(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]string{{v}, {v + "/" + v}, nil}, [][]string{Effective(u, "title"), Effective(u, "note"), Effective(u, "room")}); diff != "" {
			t.Errorf("%q: %s", v, diff)
		}
	}
}

func TestAMissingAttributeIsNamedAsTheProviderCallsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := jit(t, "campus")
	check := func(err error, attr string, theirs ...string) {
		t.Helper()
		var r *Refusal
		if !errors.As(err, &r) || r.Attribute != attr || !slices.Equal(r.Theirs, theirs) {
			t.Errorf("%+v", r)
		}
	}
	check(w.refused(t, campus("s1", "mail", "x@y"), j, ReasonMissing), "user_name", "preferred_username")
	check(w.refused(t, campus("s1", "preferred_username", ""), j, ReasonMissing), "user_name", "preferred_username")
	w.refused(t, campus("s1", "preferred_username", "a", "preferred_username", "b"), j, federation.ReasonClaims)
	for _, bad := range []string{" a", "a\n", "a\u202eb", strings.Repeat("x", 300), "partners/a"} {
		w.refused(t, campus("s1", "preferred_username", bad), j, federation.ReasonClaims)
	}
	j.Mapping = mapping(t, MapRule{Attribute: "mail", From: `claims["urn:oid:0.9.2342.19200300.100.1.3"]`, Required: true})
	check(w.refused(t, campus("s1", "preferred_username", "kim"), j, ReasonMissing), "mail", "urn:oid:0.9.2342.19200300.100.1.3")
	if _, _, err := w.Login(t.Context(), campus("s1", "preferred_username", "kim", "urn:oid:0.9.2342.19200300.100.1.3", "k@x"), j, ""); err != nil {
		t.Fatal(err)
	}
	// It is required at each sign-in, not at the first alone.
	check(w.refused(t, campus("s1", "preferred_username", "kim"), j, ReasonMissing), "mail", "urn:oid:0.9.2342.19200300.100.1.3")

	j.Mapping = mapping(t, MapRule{Attribute: "title", From: `claims.title[5]`})
	check(w.refused(t, campus("s1", "preferred_username", "kim", "title", "Dr"), j, ReasonMapping), "title", "title")
	j.UserName = From{}
	w.refused(t, campus("s3", "preferred_username", "kim"), j, ReasonMissing)
}

func TestS33_SubjectsAreComparedByteForByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]string{}
	for i, subject := range []string{
		"Alice@x", "alice@x", "ALICE@X", "al\u0131ce@x", "\uff21lice@x", "A\u0301", "\u00c1", "\u202eecila", "Alice@x ", " Alice@x", "alice@x\u200b",
		strings.Repeat("x", MaxSubject), "' or 1=1", "../../x", "a/b", "%00", "{}",
	} {
		u, d := w.mustLogin(t, campus(subject, "preferred_username", fmt.Sprint("u", i)))
		if other, ok := seen[u.ID]; ok || !d.Created {
			t.Errorf("%q is %q", subject, other)
		}
		seen[u.ID] = subject
	}
	for _, subject := range []string{"", " ", "alice\x00@x", "alice\n", "\x01", "a\u0085", "a\xff", strings.Repeat("x", 10_000)} {
		w.refused(t, campus(subject, "preferred_username", "new"), jit(t, "campus"), federation.ReasonClaims)
		id := campus("ok", "preferred_username", "new")
		id.Ref.Issuer = subject
		w.refused(t, id, jit(t, "campus"), federation.ReasonClaims)
		if _, _, err := w.Link(t.Context(), "x", federation.Ref{Issuer: "x", Subject: subject}, "x", Admin); reason(err) != ReasonInvalid {
			t.Error(err)
		}
	}
	w.mustLogin(t, campus("ok", "preferred_username", "new"))
}

func TestS46_ASignInWorksOnce(t *testing.T) {
	t.Parallel()
	for name, wrap := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "gate.db")
			st := open(t, path)
			w := worldOver(t, st, wrap...)
			j := jit(t, "campus")
			for _, id := range []federation.Identity{
				campus("s1", "preferred_username", "kim"), // a first sign-in
				campus("s1", "preferred_username", "kim"), // and one that changes nothing
			} {
				id.Once = append(id.Once, federation.Once{Key: "state " + id.Once[0].Key, Until: noon.Add(time.Hour)}, id.Once[0])
				var ok, uncertain, replayed atomic.Int64
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						_, _, err := w.Login(t.Context(), id, j, "same flow")
						switch {
						case err == nil:
							ok.Add(1)
						case errors.Is(err, storetest.ErrUncertain):
							uncertain.Add(1)
						case reason(err) == federation.ReasonReplayed:
							replayed.Add(1)
						default:
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if ok.Load()+uncertain.Load() != 1 || replayed.Load() != 49 {
					t.Errorf("accepted %d times, uncertain %d, refused %d times", ok.Load(), uncertain.Load(), replayed.Load())
				}
				// Either part alone, under another flow, and beside something fresh.
				for i := range id.Once {
					again := id
					again.Once = append([]federation.Once{{Key: fmt.Sprint("fresh ", i), Until: noon.Add(time.Hour)}}, id.Once[i])
					w.refused(t, again, j, federation.ReasonReplayed)
				}
				if err := w.st.Close(); err != nil {
					t.Fatal(err)
				}
				w = worldOver(t, open(t, path), wrap...)
				w.refused(t, id, j, federation.ReasonReplayed)
			}
		})
	}
}

func TestR17_AClockThatJumpsDoesNotMakeAUsedSignInWorkAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := jit(t, "campus")
	id := campus("s1", "preferred_username", "kim") // good for ten minutes
	forever, later := campus("s1"), campus("s1")
	forever.Once[0].Until = time.Time{}
	later.Once[0].Until = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, x := range []federation.Identity{id, forever, later} {
		if _, _, err := w.Login(t.Context(), x, j, ""); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func() {
		t.Helper()
		for {
			more, err := w.Sweep(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				return
			}
		}
	}
	sweep()
	w.clock.move(time.Hour)
	sweep()
	if n := w.count(t, "once"); n != 3 {
		t.Errorf("swept within the grace: %d rows", n)
	}
	w.clock.move(-3 * time.Hour)
	sweep()
	if n := w.count(t, "once"); n != 3 {
		t.Errorf("swept by a clock that went back: %d rows", n)
	}
	w.refused(t, id, j, federation.ReasonReplayed)

	w.clock.move(10 * 365 * 24 * time.Hour)
	sweep()
	if n := w.count(t, "once"); n != 2 {
		t.Errorf("not swept: %d rows", n)
	}
	w.clock.move(-10*365*24*time.Hour + 2*time.Hour) // back to noon
	w.refused(t, id, j, federation.ReasonReplayed)
	w.refused(t, forever, j, federation.ReasonReplayed)
	w.refused(t, later, j, federation.ReasonReplayed)

	// What can be told from the forgotten ones is accepted at once.
	fresh := campus("s1")
	fresh.Once[0].Until = noon.Add(11 * time.Minute)
	if _, _, err := w.Login(t.Context(), fresh, j, ""); err != nil {
		t.Error(err)
	}
}

func TestD06_ALinkUnderAnothersKeyIsDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := campus("a", "preferred_username", "a"), campus("b", "preferred_username", "b")
	w.mustLogin(t, a)
	w.mustLogin(t, b)
	if err := w.st.Update(t.Context(), func(tx store.Tx) error {
		ka, kb := store.Key("link", "r", refKey(a.Ref)), store.Key("link", "r", refKey(b.Ref))
		va, _, err1 := tx.Get(ka)
		vb, _, err2 := tx.Get(kb)
		return errors.Join(err1, err2, tx.Put(ka, vb), tx.Put(kb, va))
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []federation.Identity{campus("a"), campus("b")} {
		if u, _, err := w.Login(t.Context(), id, jit(t, "campus"), ""); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%q is %q: %v", id.Ref.Subject, u.UserName, err)
		}
	}
}

func TestSweepIsBoundedAndForgetsOnlyTheOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := jit(t, "campus")
	for i := range 2*sweepBatch + 5 {
		id := campus("s1", "preferred_username", "kim")
		if i%2 == 0 {
			id.Once[0].Until = noon.Add(48 * time.Hour)
		}
		if _, _, err := w.Login(t.Context(), id, j, ""); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.move(24 * time.Hour)
	before := w.count(t, "once")
	steps := 0
	for more := true; more; steps++ {
		n := w.count(t, "once")
		var err error
		if more, err = w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if gone := n - w.count(t, "once"); gone > sweepBatch {
			t.Errorf("%d at once", gone)
		}
	}
	if n := w.count(t, "once"); before != 65 || n != 33 || steps != 2 {
		t.Errorf("%d of %d left after %d steps", n, before, steps)
	}
}

func TestS73_ARefusedSignInCanBeMadeGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := jit(t, "campus")
	id := campus("s1", "preferred_username", "kim")
	off := j
	off.Mode = Off
	w.refused(t, id, off, ReasonOff)
	taken := w.mustCreate(t, "kim")
	w.refused(t, id, j, ReasonTaken)
	w.SignedIn = append(w.SignedIn, w.SignedIn[0])
	w.mustChange(t, taken.ID, Admin, func(u *User) { u.UserName = "other" })
	if _, d, err := w.Login(t.Context(), id, j, ""); err != nil || !d.Created {
		t.Error(err)
	}
}

func TestAnIdentityOfAnotherProviderIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.dump(t)
	for _, id := range []federation.Identity{identity("partner", "s1", "preferred_username", "kim"), {Ref: federation.Ref{Issuer: "a", Subject: "b"}}} {
		if _, _, err := w.Login(t.Context(), id, jit(t, "campus"), ""); err == nil {
			t.Error("accepted")
		}
	}
	if _, _, err := w.Login(t.Context(), federation.Identity{Ref: federation.Ref{Issuer: "a", Subject: "b"}}, JIT{Mode: Async}, ""); err == nil {
		t.Error("accepted")
	}
	nameless := campus("s1", "preferred_username", "kim")
	nameless.Once[0].Key = ""
	w.refused(t, nameless, jit(t, "campus"), federation.ReasonMalformed)
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
}

func TestAKnownUnchangedUserIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SignedIn = nil
	id := campus("s1", "preferred_username", "kim", "groups", "a", "mail", "kim@x")
	u, _ := w.mustLogin(t, id)
	w.clock.move(time.Minute)
	before := w.dump(t)
	next := campus("s1", "preferred_username", "kim", "groups", "a", "mail", "kim@x")
	same, d := w.mustLogin(t, next)
	if diff := cmp.Diff(u, same); diff != "" || !d.Empty() {
		t.Errorf("%+v %s", d, diff)
	}
	var rest []string
	for line := range strings.Lines(w.dump(t)) {
		if !strings.Contains(before, line) {
			rest = append(rest, line)
		}
	}
	if len(rest) != 2 || !strings.HasPrefix(rest[0], `"once\x00\x01i`) || !strings.HasPrefix(rest[1], `"once\x00\x01r`) {
		t.Errorf("written: %q", rest)
	}
	none := campus("s1", "preferred_username", "kim", "groups", "a", "mail", "kim@x")
	none.Once = nil
	before = w.dump(t)
	w.mustLogin(t, none)
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
}

func TestR42_TheSameTwiceIsConflictOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(t, "kim")
	g, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: "staff"}, Admin, Move{})
	if err != nil {
		t.Fatal(err)
	}
	change := func() (Delta, error) {
		_, d, err := w.Change(t.Context(), u.ID, "scim:hr", func(u *User) error { u.Say("scim:hr", "mail", "k@x"); u.Active = false; return nil })
		return d, err
	}
	join := func() (Delta, error) { _, d, err := w.AddMember(t.Context(), g.ID, u.ID, "scim:hr"); return d, err }
	leave := func() (Delta, error) { _, d, err := w.RemoveMember(t.Context(), g.ID, u.ID, "scim:hr"); return d, err }
	for i, call := range []func() (Delta, error){change, join, leave} {
		if d, err := call(); err != nil || d.Empty() {
			t.Errorf("%d: %+v %v", i, d, err)
		}
		before := w.dump(t)
		if d, err := call(); err != nil || !d.Empty() {
			t.Errorf("%d again: %+v %v", i, d, err)
		}
		if diff := cmp.Diff(before, w.dump(t)); diff != "" {
			t.Errorf("%d again: %s", i, diff)
		}
	}
	_, _, err = w.Create(t.Context(), User{Store: "primary", UserName: "kim"}, "scim:hr")
	wantReason(t, err, ReasonConflict)
	_, err = w.CreateGroup(t.Context(), Group{Store: "primary", Name: "STAFF"}, "scim:hr", Move{})
	wantReason(t, err, ReasonConflict)
}

func TestR32_ThreeSourcesAtOnceAreSerialisable(t *testing.T) {
	t.Parallel()
	rounds := 40
	if big {
		rounds = 1000
	}
	w := newWorld(t)
	j := jit(t, "campus")
	u, _ := w.mustLogin(t, campus("s1", "preferred_username", "kim"))
	var changes atomic.Int64
	var wg sync.WaitGroup
	each := func(fn func(i int) (Delta, error)) {
		wg.Go(func() {
			for i := range rounds {
				d, err := fn(i)
				if err != nil {
					t.Error(err)
				}
				if !d.Empty() {
					changes.Add(1)
				}
			}
		})
	}
	each(func(i int) (Delta, error) {
		_, d, err := w.Login(t.Context(), campus("s1", "preferred_username", "kim", "mail", fmt.Sprint(i/2), "groups", fmt.Sprint("g", i)), j, "")
		return d, err
	})
	each(func(i int) (Delta, error) {
		_, d, err := w.Change(t.Context(), u.ID, "scim:hr", func(u *User) error { u.Say("scim:hr", "mail", fmt.Sprint("hr", i%3)); return nil })
		return d, err
	})
	each(func(i int) (Delta, error) {
		_, d, err := w.Change(t.Context(), u.ID, Admin, func(u *User) error {
			// A counter: an update that is lost shows.
			n, _ := strconv.Atoi(u.ExternalID)
			u.ExternalID = strconv.Itoa(n + 1)
			return nil
		})
		return d, err
	})
	wg.Wait()
	got, err := w.User(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.ExternalID != strconv.Itoa(rounds) {
		t.Errorf("updates were lost: %s of %d", got.ExternalID, rounds)
	}
	if want := uint64(changes.Load()) + 1; got.Version != want {
		t.Errorf("version %d after %d changes", got.Version, want-1)
	}
	// What Followers were told is one history: each change begins where the one before ended.
	ts := w.tolds(t, u.ID)
	if len(ts) != int(got.Version) {
		t.Fatalf("told %d times of %d changes", len(ts), got.Version)
	}
	var last User
	for i, x := range ts {
		if diff := cmp.Diff(last, x.Before); diff != "" || x.After.Version != uint64(i+1) {
			t.Fatalf("change %d: %s", i+1, diff)
		}
		last = x.After
	}
	if diff := cmp.Diff(got, last); diff != "" {
		t.Error(diff)
	}
	if n := w.events(t, audit.Query{UserID: u.ID, Kind: "user.changed"}) + 1; n != int(got.Version) {
		t.Errorf("%d audit lines of %d changes", n, got.Version)
	}
	if err := audit.Verify(t.Context(), w.st); err != nil {
		t.Error(err)
	}
}

func BenchmarkLoginKnownUnchanged(b *testing.B) {
	w := newWorld(b)
	w.Followers, w.SignedIn = nil, nil
	j := jit(b, "campus")
	attributes := []string{"preferred_username", "kim", "mail", "kim@x", "name", "Kim", "groups", "a", "groups", "b"}
	w.mustLogin(b, campus("s1", attributes...))
	for b.Loop() {
		if _, _, err := w.Login(b.Context(), campus("s1", attributes...), j, "F"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoginNewUser(b *testing.B) {
	w := newWorld(b)
	w.Followers, w.SignedIn = nil, nil
	j := jit(b, "campus")
	i := 0
	for b.Loop() {
		i++
		if _, _, err := w.Login(b.Context(), campus(fmt.Sprint(i), "preferred_username", fmt.Sprint("u", i), "mail", "kim@x", "name", "Kim", "groups", "a"), j, "F"); err != nil {
			b.Fatal(err)
		}
	}
}
