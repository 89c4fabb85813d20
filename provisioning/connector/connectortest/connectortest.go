// Package connectortest is what every connector.Connector must do, as tests.
//
//	func TestConnector(t *testing.T) {
//		connectortest.Test(t, func(t *testing.T) connectortest.Harness { … })
//	}
//
// Each test opens a target of its own. What the target holds is read behind
// the connector's back, so a connector that only says that it did something
// is found out. For targets that are asked over HTTP, an [Awkward] in front of
// them makes them slow, forgetful and hostile.
//
// A connector need not be able to do everything. What it says that it can not do
// (connector.Caps) is not asked for but once: to see that it says so then too,
// instead of claiming a success. What has the methods of connector.Groups,
// Getter, Tester or Prober has to keep what those promise.
package connectortest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// A Harness is a connector with its target.
type Harness struct {
	Connector connector.Connector
	// Mail and Title are names, under the target's own, of two attributes with one value each.
	Mail, Title string
	// Held lists what the target really holds, in any order, with those two attributes.
	Held func() []connector.Account
	// Plant makes an account as somebody else would, and returns its ID.
	Plant func(connector.Account) string
	// Awkward is in front of the target; nil: the target is not asked over HTTP.
	Awkward *Awkward
	// Secret is what authenticates the connector and appears nowhere else.
	Secret string
	// HeldGroups lists the groups that the target really holds, with the IDs of
	// their members; PlantGroup makes one as somebody else would. Both are needed
	// of a connector that has groups.
	HeldGroups func() map[connector.Group][]string
	PlantGroup func(connector.Group) string
}

// can skips a test of what the connector says it can not do.
func (h Harness) can(t T, not func(connector.Caps) bool) {
	t.Helper()
	if not(connector.CapsOf(h.Connector)) {
		t.Skip("the connector says that its target can not do this")
	}
}

// off is whether an account can be disabled, and so may be wanted so.
func (h Harness) off() bool { return !connector.CapsOf(h.Connector).NoDisable }

// sink is whether the target is only told, and an ID is what it was last told.
func (h Harness) sink() bool { return connector.CapsOf(h.Connector).Sink }

// T is what a law needs of a *testing.T, so that a program that ships the suite
// can bring its own. Fatal, Fatalf and Skip do not return.
type T interface {
	Helper()
	Context() context.Context
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// A Law is one thing that every connector must do.
type Law struct {
	Name string
	// OverHTTP: it is about how the target is asked, and needs an Awkward.
	OverHTTP bool
	run      func(T, Harness)
}

// Run tries whether the connector keeps the law, at a target that holds nothing.
func (l Law) Run(t T, h Harness) {
	if l.OverHTTP && h.Awkward == nil {
		t.Skip("this target is not asked over HTTP")
	}
	l.run(t, h)
}

// Laws are all that there are.
func Laws() []Law {
	return []Law{
		{"CreatedAccountIsHeldAsWanted", false, created},
		{"SecondSyncChangesNothing", false, repeated},
		{"SecondCreationIsTheSameAccount", false, createdTwice},
		{"SyncConvergesFromWhateverWasThere", false, converges},
		{"EveryChangeArrives", false, changes},
		{"ClearedAttributeIsGone", false, cleared},
		{"WhatIsNotNamedStays", false, untouched},
		{"DisableAndEnable", false, disable},
		{"RenameKeepsTheAccount", false, rename},
		{"FindSeesByExternalIDThenByName", false, finds},
		{"FindAnswersNothingForAStranger", false, findsNobody},
		{"TakenNameIsAConflict", false, conflict},
		{"SyncOfWhatIsGoneSaysSo", false, gone},
		{"RemoveTwiceIsOnce", false, removed},
		{"SpecialCharactersArriveUnchanged", false, special},
		{"DifferentAccountsAtTheSameTime", false, concurrent},
		{"AccountsYieldsEachOnce", false, walk},
		{"CancelledContextEndsTheCall", false, cancelled},
		{"WhatItCanNotDoIsNeverASuccess", false, honest},
		{"OneAccountIsReadByItsID", false, got},
		{"TestTellsAndChangesNothing", false, tested},
		{"ProbeLeavesNothingBehind", false, probed},
		{"GroupIsHeldAsWanted", false, groupHeld},
		{"SecondGroupIsTheSame", false, groupTwice},
		{"GroupRenameKeepsMembers", false, groupRenamed},
		{"GroupIsFoundByExternalIDThenByName", false, groupFound},
		{"SyncOfAGroupThatIsGoneSaysSo", false, groupGone},
		{"MembersComeAndGoTwiceAsOnce", false, membersRepeated},
		{"MembersOfOthersStay", false, membersUntouched},
		{"ManyMembersInPieces", false, membersMany},
		{"HungTargetIsAmbiguousAndFound", true, hung},
		{"B03_LostReplyMakesOneAccount", true, lostReply},
		{"ReplyCutInTheMiddleMakesOneAccount", true, cutReply},
		{"B07_RetryAfterIsHeardAndBounded", true, retryAfter},
		{"B07_AnswersAreClassified", true, classes},
		{"B07_HugeAnswerIsRefused", true, huge},
		{"B02_RedirectIsNotFollowed", true, redirect},
		{"B08_IdentifierStaysOneSegment", true, injection},
		{"AnotherAccountThanAskedForIsRefused", true, impostor},
		{"ErrorsNameNobody", true, discreet},
	}
}

// Test runs the suite; open is called for each law.
func Test(t *testing.T, open func(t *testing.T) Harness) {
	for _, l := range Laws() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			l.Run(t, open(t))
		})
	}
}

func (h Harness) account(n int) connector.Account {
	return connector.Account{
		ExternalID: fmt.Sprintf("0199a7c1-%04d-7000-8000-0123456789ab", n),
		UserName:   fmt.Sprintf("person%d@partner.test", n),
		Active:     true,
		Attributes: map[string][]string{
			h.Mail:  {fmt.Sprintf("person%d@mail.test", n)},
			h.Title: {fmt.Sprintf("Engineer %d", n)},
		},
	}
}

func (h Harness) sync(t T, want connector.Account, have string) string {
	t.Helper()
	id, err := h.Connector.Sync(t.Context(), want, have)
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	if id == "" || have != "" && id != have && !h.sink() {
		t.Fatalf("sync returned the id %q for the account %q", id, have)
	}
	return id
}

// holds fails unless the target holds exactly these accounts.
func (h Harness) holds(t T, want ...connector.Account) {
	t.Helper()
	got := h.Held()
	byName := func(a, b connector.Account) int { return cmp.Compare(a.UserName, b.UserName) }
	slices.SortFunc(got, byName)
	slices.SortFunc(want, byName)
	if len(got) != len(want) {
		t.Fatalf("the target holds %d accounts, want %d: %v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.UserName != w.UserName || g.ExternalID != w.ExternalID || g.Active != w.Active {
			t.Errorf("the target holds %q (%q, active %v), want %q (%q, active %v)", g.UserName, g.ExternalID, g.Active, w.UserName, w.ExternalID, w.Active)
		}
		for _, name := range []string{h.Mail, h.Title} {
			if !slices.Equal(g.Attributes[name], w.Attributes[name]) {
				t.Errorf("the target holds %s %q of %s, want %q", name, g.Attributes[name], w.UserName, w.Attributes[name])
			}
		}
	}
}

// failure is the error of a call that must fail.
func failure(t T, err error) *connector.Error {
	t.Helper()
	var e *connector.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *connector.Error", err)
	}
	return e
}

func created(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	h.holds(t, want)
	if got := h.Held()[0].ID; got != id && !h.sink() {
		t.Errorf("sync returned the id %q of an account with the id %q", id, got)
	}
	off := h.account(2)
	off.Active = !h.off()
	h.sync(t, off, "")
	h.holds(t, want, off)
}

func repeated(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	if h.Awkward != nil {
		h.Awkward.Behave()
	}
	id = h.sync(t, want, id)
	id = h.sync(t, want, id)
	h.holds(t, want)
	if h.Awkward != nil {
		if c := h.Awkward.Changes(); len(c) > 0 {
			t.Errorf("nothing differed, but this was sent: %s %s %s", c[0].Method, c[0].URI, c[0].Body)
		}
		want.Attributes[h.Title] = []string{"Director"}
		h.sync(t, want, id)
		if c := h.Awkward.Changes(); len(c) != 1 {
			t.Errorf("a difference was sent in %d requests, want 1", len(c))
		}
	}
}

func createdTwice(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	want.Attributes[h.Title] = []string{"Director"}
	if again := h.sync(t, want, ""); again != id && !h.sink() {
		t.Errorf("the second creation returned %q, the first %q", again, id)
	}
	h.holds(t, want)
}

func converges(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	var all []connector.Account
	for i, was := range []connector.Account{
		{UserName: "old"},
		{UserName: "old", Active: true},
		{UserName: h.account(2).UserName, ExternalID: "somebody else's", Active: true},
		{UserName: "old", ExternalID: h.account(3).ExternalID, Attributes: map[string][]string{h.Mail: {"old@mail.test"}}},
		{UserName: "old", Active: true, Attributes: map[string][]string{h.Title: {"Intern"}, h.Mail: {"old@mail.test"}}},
	} {
		want := h.account(i)
		h.sync(t, want, h.Plant(was))
		all = append(all, want)
		h.holds(t, all...)
	}
}

func changes(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	for i := range 5 {
		want.Attributes[h.Mail] = []string{fmt.Sprintf("moved%d@mail.test", i)}
		want.Attributes[h.Title] = []string{fmt.Sprintf("Grade %d", i)}
		want.Active = i%2 == 0 || !h.off()
		id = h.sync(t, want, id)
		h.holds(t, want)
	}
}

func cleared(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	want.Attributes = map[string][]string{h.Mail: nil, h.Title: {}}
	id = h.sync(t, want, id)
	h.holds(t, want)
	id = h.sync(t, want, id)
	back := h.account(1)
	h.sync(t, back, id)
	h.holds(t, back)
}

func untouched(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	want := h.account(1)
	id := h.sync(t, want, "")
	less := h.account(1)
	less.Attributes = map[string][]string{h.Mail: {"moved@mail.test"}}
	h.sync(t, less, id)
	want.Attributes[h.Mail] = less.Attributes[h.Mail]
	h.holds(t, want)
}

func disable(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoDisable })
	want := h.account(1)
	id := h.sync(t, want, "")
	for _, active := range []bool{false, false, true, true, false} {
		want.Active = active
		id = h.sync(t, want, id)
		h.holds(t, want)
	}
}

func rename(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoRename })
	want := h.account(1)
	id := h.sync(t, want, "")
	want.UserName = "renamed@partner.test"
	h.sync(t, want, id)
	h.holds(t, want)
}

func finds(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoFind })
	find := func(want connector.Account) []connector.Account {
		t.Helper()
		got, err := h.Connector.Find(t.Context(), want)
		if err != nil {
			t.Fatalf("find: %v", err)
		}
		return got
	}
	want := h.account(1)
	id := h.sync(t, want, "")
	moved := h.account(1)
	moved.UserName = "other name"
	if got := find(moved); len(got) != 1 || got[0].ID != id || got[0].ExternalID != want.ExternalID {
		t.Errorf("by external ID it found %v", got)
	}
	foreign := h.account(2)
	foreign.ExternalID = ""
	id = h.Plant(foreign)
	if got := find(h.account(2)); len(got) != 1 || got[0].ID != id || got[0].UserName != foreign.UserName {
		t.Errorf("by user name it found %v", got)
	}
}

func findsNobody(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoFind })
	h.sync(t, h.account(1), "")
	got, err := h.Connector.Find(t.Context(), h.account(2))
	if err != nil || len(got) != 0 {
		t.Errorf("found %v, %v", got, err)
	}
}

func conflict(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	other := h.account(1)
	other.ExternalID = "somebody else's"
	h.Plant(other)
	_, err := h.Connector.Sync(t.Context(), h.account(1), "")
	if e := failure(t, err); e.Class != connector.Conflict || e.Ambiguous {
		t.Errorf("got %v (ambiguous %v), want a conflict", e, e.Ambiguous)
	}
	h.holds(t, other)
	second := h.account(2)
	id := h.sync(t, second, "")
	taken := h.account(2)
	taken.UserName = other.UserName
	if _, err := h.Connector.Sync(t.Context(), taken, id); connector.ClassOf(err) != connector.Conflict {
		t.Errorf("renaming to a taken name: got %v, want a conflict", err)
	}
	h.holds(t, other, second)
}

func gone(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	h.can(t, func(c connector.Caps) bool { return c.NoRemove })
	want := h.account(1)
	id := h.sync(t, want, "")
	if err := h.Connector.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Connector.Sync(t.Context(), want, id); failure(t, err).Class != connector.Gone {
		t.Errorf("got %v, want gone", err)
	}
	h.holds(t)
	h.sync(t, want, "")
	h.holds(t, want)
}

func removed(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoRemove })
	stays := h.account(2)
	h.sync(t, stays, "")
	id := h.sync(t, h.account(1), "")
	for range 2 {
		if err := h.Connector.Remove(t.Context(), id); err != nil {
			t.Fatalf("remove: %v", err)
		}
		h.holds(t, stays)
	}
}

func special(t T, h Harness) {
	noFind := connector.CapsOf(h.Connector).NoFind
	var all []connector.Account
	for i, s := range []string{
		`O'Brien "Bob" \ <b>&amp;`, "Zoë Åström", "Cafe\u0301", "山田 太郎", "👩‍💻 dev", "a,b;c=d+e#f", "x eq \"y\" or userName pr", "100% /../?a=1&b", "  two  spaces", "*)(uid=*", "שלום",
	} {
		want := h.account(i)
		want.UserName = s + fmt.Sprint(i)
		want.Attributes[h.Title] = []string{s}
		id := h.sync(t, want, "")
		if again, err := h.Connector.Sync(t.Context(), want, ""); err != nil || again != id {
			t.Errorf("a second creation of %q: %q, %v", s, again, err)
		}
		id = h.sync(t, want, id)
		look := want
		look.ExternalID = "unknown"
		if got, err := h.Connector.Find(t.Context(), look); !noFind && (err != nil || len(got) != 1 || got[0].ID != id) {
			t.Errorf("find by the name %q: %v, %v", want.UserName, got, err)
		}
		all = append(all, want)
	}
	h.holds(t, all...)
}

func concurrent(t T, h Harness) {
	const n = 20
	var all []connector.Account
	var wg sync.WaitGroup
	for i := range n {
		want := h.account(i)
		final := h.account(i)
		final.Active = i%3 != 0 || !h.off()
		final.Attributes[h.Title] = []string{"Final"}
		all = append(all, final)
		wg.Go(func() {
			id, err := h.Connector.Sync(t.Context(), want, "")
			if err == nil {
				_, err = h.Connector.Sync(t.Context(), final, id)
			}
			if err != nil {
				t.Errorf("account %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	h.holds(t, all...)
}

func walk(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.NoList })
	want := map[string]connector.Account{}
	for i := range 25 {
		a := h.account(i)
		want[h.sync(t, a, "")] = a
	}
	for a, err := range h.Connector.Accounts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		w, ok := want[a.ID]
		if !ok || a.UserName != w.UserName || a.ExternalID != w.ExternalID || a.Active != w.Active || !slices.Equal(a.Attributes[h.Mail], w.Attributes[h.Mail]) {
			t.Errorf("yielded %v, want %v", a, w)
		}
		delete(want, a.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d accounts were not yielded", len(want))
	}
	n := 0
	for range h.Connector.Accounts(t.Context()) {
		if n++; n == 3 {
			break
		}
	}
}

func cancelled(t T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Connector.Sync(ctx, h.account(1), ""); failure(t, err).Class != connector.Transient {
		t.Errorf("got %v, want transient", err)
	}
	h.holds(t)
}

// unanswered plays a trick on the creation, expects an ambiguous error, and
// that the account is found and made no second time.
func unanswered(ctx context.Context, t T, h Harness, trick Trick) {
	t.Helper()
	want := h.account(1)
	h.Awkward.Writes(1, trick)
	_, err := h.Connector.Sync(ctx, want, "")
	if e := failure(t, err); e.Class != connector.Transient || !e.Ambiguous {
		t.Fatalf("got %v (ambiguous %v), want transient and ambiguous", e, e.Ambiguous)
	}
	h.holds(t, want)
	var there string
	if !connector.CapsOf(h.Connector).NoFind {
		got, err := h.Connector.Find(t.Context(), want)
		if err != nil || len(got) != 1 {
			t.Fatalf("find after the lost answer: %v, %v", got, err)
		}
		there = got[0].ID
	}
	if id := h.sync(t, want, ""); there != "" && id != there {
		t.Errorf("sync returned %q, find %q", id, there)
	}
	h.holds(t, want)
}

func hung(t T, h Harness) {
	// The connection is there and the request is on its way before time is up.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	unanswered(ctx, t, h, func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		target.ServeHTTP(httptest.NewRecorder(), r)
		cancel()
		Hang()(w, r, target)
	})
}

func lostReply(t T, h Harness) { unanswered(t.Context(), t, h, DropReply()) }
func cutReply(t T, h Harness)  { unanswered(t.Context(), t, h, Cut()) }

func retryAfter(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	want.Attributes[h.Title] = []string{"Director"}
	day := 24 * time.Hour
	for _, c := range []struct {
		header   string
		min, max time.Duration
	}{
		{"", 0, 0}, {"7", 7 * time.Second, 7 * time.Second}, {"-1", 0, 0}, {"1000000000", day, day},
		{"99999999999999999999999", day, day}, {"-99999999999999999999999", 0, 0}, {"soon", 0, 0}, {"1e9", 0, 0},
		{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, time.Hour},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0, 0}, {"Fri, 31 Dec 9999 23:59:59 GMT", day, day},
	} {
		for _, status := range []int{429, 503} {
			h.Awkward.Next(1, Fail(status, c.header))
			_, err := h.Connector.Sync(t.Context(), want, id)
			e := failure(t, err)
			if e.Throttled != (status == 429) {
				t.Errorf("%d: throttled is %v", status, e.Throttled)
			}
			if e.Class != connector.Transient || e.After < c.min || e.After > c.max {
				t.Errorf("%d with Retry-After %q: %v after %v, want transient after %v to %v", status, c.header, e, e.After, c.min, c.max)
			}
		}
	}
	h.sync(t, want, id)
	h.holds(t, want)
}

func classes(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	want := h.account(1)
	id := h.sync(t, want, "")
	moved := h.account(1)
	moved.Attributes[h.Title] = []string{"Director"}
	for _, c := range []struct {
		name      string
		trick     Trick
		class     connector.Class
		ambiguous bool // if the trick was played on a change
	}{
		{"401", Fail(401, ""), connector.Auth, false},
		{"403", Fail(403, ""), connector.Auth, false},
		{"403 page", HTML(403), connector.Auth, false},
		{"404 page", HTML(404), connector.Route, false},
		{"404 of something else", Say(404, "application/json", `{"message":"no route"}`), connector.Route, false},
		{"408", Fail(408, ""), connector.Transient, true},
		{"409", Fail(409, ""), connector.Conflict, false},
		{"422", Fail(422, ""), connector.Invalid, false},
		{"425", Fail(425, ""), connector.Transient, false},
		{"429", Fail(429, ""), connector.Transient, false},
		{"500", Fail(500, ""), connector.Transient, true},
		{"502 page", HTML(502), connector.Transient, true},
		{"503", Fail(503, ""), connector.Transient, true},
		{"200 page", HTML(200), connector.Route, true},
		{"200 nonsense", Say(200, "application/json", `[1,2`), connector.Route, true},
		{"302", Redirect(302, "/elsewhere"), connector.Route, false},
	} {
		for _, when := range []struct {
			name  string
			which func(*Awkward, int, Trick)
			write bool
		}{{"reading", (*Awkward).Next, false}, {"changing", (*Awkward).Writes, true}} {
			h.Awkward.Behave()
			when.which(h.Awkward, -1, c.trick)
			_, err := h.Connector.Sync(t.Context(), moved, id)
			if e := failure(t, err); e.Class != c.class || e.Ambiguous != (c.ambiguous && when.write) {
				t.Errorf("%s when %s: %v (ambiguous %v), want %v (ambiguous %v)", c.name, when.name, e, e.Ambiguous, c.class, c.ambiguous && when.write)
			}
		}
		// Removing is honest too: only an account that is gone is success.
		h.Awkward.Behave()
		h.Awkward.Next(-1, c.trick)
		if !connector.CapsOf(h.Connector).NoRemove {
			if e := failure(t, h.Connector.Remove(t.Context(), id)); e.Class != c.class {
				t.Errorf("%s when removing: %v, want %v", c.name, e, c.class)
			}
		}
		for _, err := range h.Connector.Accounts(t.Context()) {
			if e := failure(t, err); e.Class != c.class {
				t.Errorf("%s when listing: %v, want %v", c.name, e, c.class)
			}
		}
	}
	h.Awkward.Behave()
	h.holds(t, want)
	h.sync(t, moved, id)
	h.holds(t, moved)
}

func huge(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	want := h.account(1)
	h.Awkward.Writes(1, Huge(10<<20))
	_, err := h.Connector.Sync(t.Context(), want, "")
	if e := failure(t, err); !e.Ambiguous || e.Class != connector.Route {
		t.Errorf("got %v (ambiguous %v), want route and ambiguous", e, e.Ambiguous)
	}
	h.sync(t, want, "")
	h.holds(t, want)
	h.Awkward.Next(1, Huge(10<<20))
	if _, err := h.Connector.Find(t.Context(), want); failure(t, err).Class != connector.Route {
		t.Errorf("find: got %v, want route", err)
	}
}

func redirect(t T, h Harness) {
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		w.WriteHeader(http.StatusOK)
	}))
	defer elsewhere.Close()
	want := h.account(1)
	id := h.sync(t, want, "")
	want.Active = false
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{elsewhere.URL + "/take", "/scim/v2/elsewhere", "//" + strings.TrimPrefix(elsewhere.URL, "http://")} {
			h.Awkward.Behave()
			h.Awkward.Next(1, Redirect(status, to))
			if _, err := h.Connector.Sync(t.Context(), want, id); failure(t, err).Class != connector.Route {
				t.Errorf("%d to %s: got %v, want route", status, to, err)
			}
			if n := len(h.Awkward.Seen()); n != 1 {
				t.Errorf("%d to %s: the target was asked %d times, want once", status, to, n)
			}
		}
	}
	if visits.Load() > 0 {
		t.Errorf("a redirect was followed %d times", visits.Load())
	}
	h.Awkward.Behave()
	h.sync(t, want, id) // the credentials are good where they belong
	h.holds(t, want)
	if h.Secret != "" && !strings.Contains(strings.Join(h.Awkward.Seen()[0].Header["Authorization"], ""), h.Secret) {
		t.Error("the request to the target carried no credentials: the test shows nothing")
	}
}

func injection(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	victim := h.account(9)
	victimID := h.sync(t, victim, "")
	for _, id := range []string{
		"../../Users/1?x=", "../Groups/1", "a/b", "a?filter=x", "a#b", "a%2Fb", "a b", "..", ".", "a\r\nX-Evil: 1", "//evil.test/", "\x00", "a;b", "ü", victimID + "?", "./" + victimID,
	} {
		h.Awkward.Behave()
		_, err := h.Connector.Sync(t.Context(), h.account(1), id)
		failure(t, err)
		if err := h.Connector.Remove(t.Context(), id); err != nil && connector.ClassOf(err) != connector.Invalid {
			t.Errorf("remove %q: %v", id, err)
		}
		for _, s := range h.Awkward.Seen() {
			path, query, _ := strings.Cut(s.URI, "?")
			if query != "" || s.Header.Get("X-Evil") != "" || strings.Count(path, "/") != strings.Count(h.oneURI(t, victim, victimID), "/") || strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/.") {
				t.Errorf("the id %q became %s %s", id, s.Method, s.URI)
			}
		}
	}
	h.Awkward.Behave()
	h.holds(t, victim)
}

// oneURI is how the target is asked for one account.
func (h Harness) oneURI(t T, want connector.Account, id string) string {
	t.Helper()
	noted := h.Awkward.Seen()
	h.sync(t, want, id)
	return h.Awkward.Seen()[len(noted)].URI
}

func impostor(t T, h Harness) {
	h.can(t, func(c connector.Caps) bool { return c.Sink })
	want, other := h.account(1), h.account(2)
	id := h.sync(t, want, "")
	otherID := h.sync(t, other, "")
	want.Active = false
	h.Awkward.Behave()
	h.Awkward.Next(-1, Rewrite(id, otherID))
	if _, err := h.Connector.Sync(t.Context(), want, id); failure(t, err).Class != connector.Route {
		t.Errorf("got %v, want route", err)
	}
	if n := len(h.Awkward.Changes()); n > 0 {
		t.Errorf("%d changes were sent", n)
	}
}

func discreet(t T, h Harness) {
	want := h.account(1)
	id := h.sync(t, want, "")
	want.Attributes[h.Title] = []string{"Director of Secrets"}
	mention := want.UserName + " " + want.Attributes[h.Mail][0] + " Director of Secrets " + h.Secret
	quoted := fmt.Sprintf("%q", mention)
	for _, trick := range []Trick{
		Say(400, "application/scim+json", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","scimType":`+quoted+`,"detail":`+quoted+`}`),
		Say(500, "text/plain", mention), Say(200, "text/html", mention), DropReply(), Redirect(302, "http://"+h.Secret+".test/"),
	} {
		for _, call := range []func() error{
			func() error { _, err := h.Connector.Sync(t.Context(), want, id); return err },
			func() error { _, err := h.Connector.Sync(t.Context(), want, ""); return err },
			func() error { _, err := h.Connector.Find(t.Context(), want); return err },
		} {
			h.Awkward.Behave()
			h.Awkward.Next(-1, trick)
			err := call()
			if err == nil && h.sink() {
				continue // it minds nothing but the status
			}
			text := failure(t, err).Error()
			for _, private := range []string{want.UserName, "mail.test", "Director", h.Secret, want.ExternalID} {
				if private != "" && strings.Contains(text, private) {
					t.Errorf("the error tells %q: %s", private, text)
				}
			}
		}
	}
}
