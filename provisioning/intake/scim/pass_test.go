package scim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// A shelf is a target in memory that fails when it is told to.
type shelf struct {
	mu       sync.Mutex
	accounts map[string]connector.Account
	next     int
	fail     error        // of the next calls
	lost     bool         // the next Sync happens, and its answer is lost
	fault    func() error // what the next Sync comes to, if not nil
	told     []connector.Account
}

func (s *shelf) Sync(_ context.Context, want connector.Account, have string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return have, s.fail
	}
	if fault := s.fault; fault != nil {
		s.fault = nil
		return have, fault()
	}
	s.told = append(s.told, want)
	if have == "" {
		s.next++
		have = fmt.Sprint("r", s.next)
		want.ID = have
		s.accounts[have] = want
	} else {
		a := s.accounts[have]
		a.UserName, a.Active = want.UserName, want.Active
		a.Attributes = maps.Clone(a.Attributes)
		maps.Copy(a.Attributes, want.Attributes)
		s.accounts[have] = a
	}
	if s.lost {
		s.lost = false
		return "", &connector.Error{Class: connector.Transient, Ambiguous: true, Text: "the answer was lost"}
	}
	return have, nil
}

func (s *shelf) Find(_ context.Context, want connector.Account) (found []connector.Account, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.ExternalID == want.ExternalID || a.UserName == want.UserName {
			found = append(found, a)
		}
	}
	return found, s.fail
}

func (s *shelf) Get(_ context.Context, id string) (connector.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.accounts[id]
	if !ok && s.fail == nil {
		return a, &connector.Error{Class: connector.Gone, Text: "it is not there"}
	}
	return a, s.fail
}

func (s *shelf) Remove(_ context.Context, have string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		delete(s.accounts, have)
	}
	return s.fail
}

func (s *shelf) Accounts(context.Context) iter.Seq2[connector.Account, error] {
	return func(func(connector.Account, error) bool) {}
}

// only is what a shelf has, if that is one account.
func (s *shelf) only(t *testing.T) connector.Account {
	t.Helper()
	if len(s.accounts) != 1 {
		t.Fatalf("there are %d accounts", len(s.accounts))
	}
	for _, a := range s.accounts {
		return a
	}
	return connector.Account{}
}

const push = "push-token"

// passWorld is a world with a push-only client and the targets that it has.
func passWorld(t *testing.T) (w *world, crm, mail *shelf) {
	crm, mail = &shelf{accounts: map[string]connector.Account{}}, &shelf{accounts: map[string]connector.Account{}}
	w = newWorld(t, client.Client{ID: "push", UserStores: []string{"primary", "partners"}, Mode: client.PushOnly, Targets: []string{"crm", "mail"}},
		client.Client{ID: "other", UserStores: []string{"primary", "partners"}, Mode: client.PushOnly, Targets: []string{"crm"}},
		client.Client{ID: "clerk", UserStores: []string{"primary"}, Mode: client.PushOnly, Targets: []string{"crm", "mail"}, Read: []string{"userName", "displayName"}})
	passage := func(id string, c connector.Connector, attrs ...string) intake.Passage {
		names := map[string]string{}
		for _, attr := range attrs {
			names["their_"+attr] = attr
		}
		return intake.Passage{
			ID: id, Connector: c, Timeout: time.Minute,
			Account: func(u provisioning.User) (connector.Account, error) {
				a := connector.Account{UserName: w.dir.FullName(u.Store, u.UserName), Attributes: map[string][]string{}}
				for _, attr := range attrs {
					a.Attributes["their_"+attr] = provisioning.Effective(u, attr)
				}
				return a, nil
			},
			Names: names,
		}
	}
	w.serve(intake.Config{
		Passages: []intake.Passage{passage("crm", crm, "display_name", "mail"), passage("other", &shelf{}), passage("mail", mail, "mail", "title")},
		Store:    w.st, PassKey: bytes.Repeat([]byte{9}, 32), Audit: w.audit.Append,
	})
	return w, crm, mail
}

const secretive = `"userName":"Quetzalcoatl","externalId":"ext-Xylophon-77","displayName":"Rumpelstilzchen Mxyzptlk","title":"Grossinquisitor",` +
	`"emails":[{"value":"popocatepetl@volcano.test","type":"work"}],"nickName":"Zwackelmann","password":"Abrakadabra-9"`

var secrets = []string{"uetzalcoatl", "ylophon", "umpelstilzchen", "xyzptlk", "rossinquisitor", "opocatepetl", "olcano", "wackelmann", "brakadabra", "artholomaeus"}

func TestUsersOfAPushOnlyClientLeaveNothingPersonal(t *testing.T) {
	t.Parallel()
	w, crm, mail := passWorld(t)
	made := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "")
	id := made.obj.String("id")
	a, b := crm.only(t), mail.only(t)
	if a.ExternalID != id || b.ExternalID != id || !a.Active || a.UserName != "Quetzalcoatl" || a.Attributes["their_display_name"][0] != "Rumpelstilzchen Mxyzptlk" ||
		b.Attributes["their_title"][0] != "Grossinquisitor" || len(b.Attributes) != 2 {
		t.Errorf("the targets have %+v and %+v", a, b)
	}
	// Read from the first target, changed at both by what differs, found by its names.
	got := w.get(push, id)
	if got.String("displayName") != "Rumpelstilzchen Mxyzptlk" || got.String("userName") != "Quetzalcoatl" || got.String("title") != "" {
		t.Errorf("read is %s", got.AppendJSON(nil))
	}
	w.do(push, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"emails","value":[{"value":"bartholomaeus@volcano.test"}]}`)).want(t, 200, "")
	if told := mail.told[len(mail.told)-1].Attributes; len(told) != 1 || told["their_mail"][0] != "bartholomaeus@volcano.test" || mail.only(t).Attributes["their_title"][0] != "Grossinquisitor" {
		t.Errorf("mail was told %v", told)
	}
	w.do(push, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"active","value":false}`)).want(t, 200, "")
	if crm.only(t).Active || mail.only(t).Active {
		t.Error("the accounts are active")
	}
	for _, f := range []string{`userName eq "QUETZALCOATL"`, `externalId eq "ext-Xylophon-77"`, `id eq "` + id + `"`} {
		if found := w.found(push, f); !slices.Equal(found, []string{id}) {
			t.Errorf("%s finds %v", f, found)
		}
	}
	w.do(push, "GET", "/Users?filter=displayName+eq+%22x%22", "").want(t, 400, scim.InvalidFilter)
	if list := w.do(push, "GET", "/Users", "").want(t, 200, ""); !slices.Equal(ids(list.obj), []string{id}) {
		t.Errorf("listed are %s", list.body)
	}
	w.do(push, "POST", "/Users", scimtest.User(`"userName":"quetzalcoatl"`)).want(t, 409, scim.Uniqueness)

	// Nothing in the file, nothing in the directory; the record knows names of attributes.
	if n := w.count(); n != 0 {
		t.Errorf("the directory has %d users", n)
	}
	raw, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	low := bytes.ToLower(raw)
	for _, s := range secrets {
		if bytes.Contains(low, []byte(s)) {
			t.Errorf("the file holds %q", s)
		}
	}
	for _, s := range []string{id, "r1", "displayName", "emails", "user.changed"} {
		if !bytes.Contains(raw, []byte(s)) {
			t.Errorf("the file does not hold %q: it was not looked at", s)
		}
	}
	w.do(push, "DELETE", "/Users/"+id, "").want(t, 204, "")
	w.do(push, "DELETE", "/Users/"+id, "").want(t, 404, "")
	w.do(push, "GET", "/Users/"+id, "").want(t, 404, "")
	if len(crm.accounts)+len(mail.accounts) != 0 {
		t.Error("accounts are left")
	}
	again := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "").obj.String("id")
	if again == id {
		t.Error("an ID was given again")
	}
}

// What failed at some targets is named, kept by what was done, and gone on with by
// the same request again; nobody gets a second account.
func TestPushThatFailsInPartIsGoneOnWith(t *testing.T) {
	t.Parallel()
	w, crm, mail := passWorld(t)
	down := &connector.Error{Class: connector.Transient, Text: "Quetzalcoatl is refused"}
	mail.fail = down
	a := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 502, "")
	if !strings.Contains(a.body, "mail (transient)") || strings.Contains(a.body, "crm") || strings.Contains(a.body, "Quetzalcoatl") {
		t.Errorf("the answer is %s", a.body)
	}
	mail.fail, mail.lost = nil, true
	w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 502, "") // happened there, and was not heard of
	made := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "")
	id := made.obj.String("id")
	if crm.only(t).ExternalID != id || mail.only(t).ExternalID != id {
		t.Error("the accounts are not of the same user")
	}
	w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 409, scim.Uniqueness)
	// The same of a change.
	mail.fail = down
	change := scimtest.Patch(`{"op":"replace","path":"emails","value":[{"value":"bartholomaeus@volcano.test"}]}`)
	w.do(push, "PATCH", "/Users/"+id, change).want(t, 502, "")
	mail.fail = nil
	w.do(push, "PATCH", "/Users/"+id, change).want(t, 200, "")
	if crm.only(t).Attributes["their_mail"][0] != "bartholomaeus@volcano.test" || mail.only(t).Attributes["their_mail"][0] != "bartholomaeus@volcano.test" {
		t.Error("a target was left out")
	}
	// And of a deletion.
	crm.fail = down
	w.do(push, "DELETE", "/Users/"+id, "").want(t, 502, "")
	if len(mail.accounts) != 0 || len(crm.accounts) != 1 {
		t.Error("the other target kept its account")
	}
	crm.fail = nil
	w.do(push, "DELETE", "/Users/"+id, "").want(t, 204, "")
	if len(crm.accounts) != 0 {
		t.Error("an account is left")
	}
	// What no target has heard of is nothing.
	crm.fail, mail.fail = down, down
	w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 502, "")
	crm.fail, mail.fail = nil, nil
	if list := w.do(push, "GET", "/Users", "").want(t, 200, ""); fmt.Sprint(list.obj.Get("totalResults")) != "0" {
		t.Errorf("listed are %s", list.body)
	}
	raw, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if bytes.Contains(bytes.ToLower(raw), []byte(s)) {
			t.Errorf("the file holds %q", s)
		}
	}
}

// A change of which one target has heard and another has not is gone on with by the same
// request again, also if nothing could be noted any more when the first one ended.
func TestR04_APushOfWhichNothingCouldBeNotedIsGoneOnWith(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(w *world, hangUp func()) error{
		"the client goes away": func(_ *world, hangUp func()) error {
			hangUp()
			return context.Canceled
		},
		"the store refuses": func(w *world, _ func()) error {
			full := errors.New("the disk is full")
			w.st.fails.Store(&full)
			return &connector.Error{Class: connector.Transient, Text: "it is down too"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, crm, mail := passWorld(t)
			id := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "").obj.String("id")
			change := scimtest.Patch(`{"op":"replace","path":"emails","value":[{"value":"bartholomaeus@volcano.test"}]}`)
			ctx, hangUp := context.WithCancel(t.Context())
			mail.fault = func() error { return fault(w, hangUp) }
			if a := w.doFor(ctx, push, "PATCH", "/Users/"+id, change); a.StatusCode < 500 {
				t.Fatalf("%d: %s", a.StatusCode, a.body)
			}
			w.st.fails.Store(nil)
			w.do(push, "PATCH", "/Users/"+id, change).want(t, 200, "")
			for _, s := range []*shelf{crm, mail} {
				if a := s.only(t); a.Attributes["their_mail"][0] != "bartholomaeus@volcano.test" {
					t.Errorf("a target was left out: it has %v", a.Attributes)
				}
			}
		})
	}
}

// What a target has besides what the first one can tell stays when a change is gone on
// with that it did not hear of, and what the first lost by that change goes there too.
func TestAChangeThatIsGoneOnWithTakesNothingElseAway(t *testing.T) {
	t.Parallel()
	w, crm, mail := passWorld(t)
	id := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "").obj.String("id")
	mail.fault = func() error { return &connector.Error{Class: connector.Transient, Text: "it is down"} }
	change := scimtest.Patch(`{"op":"remove","path":"emails"}`)
	w.do(push, "PATCH", "/Users/"+id, change).want(t, 502, "")
	w.do(push, "PATCH", "/Users/"+id, change).want(t, 200, "")
	a, b := crm.only(t), mail.only(t)
	if len(a.Attributes["their_mail"])+len(b.Attributes["their_mail"]) > 0 || !slices.Equal(b.Attributes["their_title"], []string{"Grossinquisitor"}) {
		t.Errorf("the targets have %v and %v", a.Attributes, b.Attributes)
	}
	// The same where the account itself was not heard of.
	mail.lost = true
	const other = `"userName":"Huitzilopochtli","displayName":"H","title":"Hummingbird"`
	w.do(push, "POST", "/Users", scimtest.User(other)).want(t, 502, "")
	found := w.found(push, `userName eq "Huitzilopochtli"`)
	if len(found) != 1 {
		t.Fatalf("found are %v", found)
	}
	w.do(push, "PATCH", "/Users/"+found[0], scimtest.Patch(`{"op":"replace","path":"displayName","value":"Huitzi"}`)).want(t, 200, "")
	for _, a := range mail.accounts {
		if a.UserName == "Huitzilopochtli" && !slices.Equal(a.Attributes["their_title"], []string{"Hummingbird"}) {
			t.Errorf("the target has %v", a.Attributes)
		}
	}
}

func TestC02_PassingUsersOfAnotherClientAreNotThere(t *testing.T) {
	t.Parallel()
	w, crm, _ := passWorld(t)
	id := w.do(push, "POST", "/Users", scimtest.User(secretive)).want(t, 201, "").obj.String("id")
	before := crm.only(t)
	for _, who := range []string{"other-token", hr, resident} {
		a := w.do(who, "GET", "/Users/"+id, "").want(t, 404, "")
		b := w.do(who, "GET", "/Users/nobody", "").want(t, 404, "")
		if strings.Replace(a.body, id, "nobody", 1) != b.body {
			t.Errorf("%s is told %s", who, a.body)
		}
		w.do(who, "PUT", "/Users/"+id, scimtest.User(`"userName":"x"`)).want(t, 404, "")
		w.do(who, "DELETE", "/Users/"+id, "").want(t, 404, "")
		for _, f := range []string{`id eq "` + id + `"`, `userName eq "Quetzalcoatl"`, `externalId eq "ext-Xylophon-77"`} {
			if found := w.found(who, f); len(found) != 0 {
				t.Errorf("%s finds %v", who, found)
			}
		}
	}
	if after := crm.only(t); after.UserName != before.UserName {
		t.Error("the account was changed")
	}
	// An account that is somebody else's is not taken over.
	a := w.do("other-token", "POST", "/Users", scimtest.User(secretive)).want(t, 409, scim.Uniqueness)
	if strings.Contains(a.body, "Quetzalcoatl") || len(crm.accounts) != 1 {
		t.Errorf("%s", a.body)
	}
	w.do(push, "POST", "/Groups", groupJSON(`"displayName":"g"`)).want(t, 403, "")
	w.do(push, "POST", "/Users", scimtest.User(`"userName":"nowhere/kim"`)).want(t, 400, scim.InvalidValue)
	w.do(push, "POST", "/Users", scimtest.User(`"userName":"partners/kim"`)).want(t, 201, "")
}

// C06, C11: what a client may not see it neither takes away nor turns round by
// changing something else.
func TestC06C11_WhatAPushOnlyClientDoesNotSeeStaysAtTheTargets(t *testing.T) {
	t.Parallel()
	w, crm, mail := passWorld(t)
	const clerk = "clerk-token"
	id := w.do(clerk, "POST", "/Users", scimtest.User(`"userName":"kim","displayName":"Kim","title":"Dean","emails":[{"value":"kim@x.test"}]`)).want(t, 201, "").obj.String("id")
	w.do(clerk, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"active","value":false}`)).want(t, 200, "")
	if crm.only(t).Active {
		t.Fatal("the account is active: nothing is tried")
	}
	w.do(clerk, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"displayName","value":"Kim K."}`)).want(t, 200, "")
	a := crm.only(t)
	if got := a.Attributes["their_display_name"]; !slices.Equal(got, []string{"Kim K."}) {
		t.Errorf("the name that was changed is %v", got)
	}
	if a.Active || mail.only(t).Active {
		t.Error("a change of a name made the account active again")
	}
	if got := a.Attributes["their_mail"]; !slices.Equal(got, []string{"kim@x.test"}) {
		t.Errorf("the mail that the client does not see is %v", got)
	}
	if r := w.get(clerk, id); r.Get("active") != nil || r.Get("emails") != nil || r.String("displayName") != "Kim K." {
		t.Errorf("the client reads %s", r.AppendJSON(nil))
	}
	if a := w.do(clerk, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"displayName","value":"Kim"}`)).want(t, 200, ""); strings.Contains(a.body, "kim@x.test") || strings.Contains(a.body, `"active"`) {
		t.Errorf("the answer tells what the client does not see: %s", a.body)
	}
}
