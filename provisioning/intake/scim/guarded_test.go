package scim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// guarded makes a world ask a guard that lets three acts of each kind through, two
// hours after everything in the world was made.
func (w *world) guarded() *guard.Guard {
	w.t.Helper()
	three := guard.Limit{Count: 3}
	g := guard.New(guard.Config{
		Store: w.st, Now: func() time.Time { return time.Now().Add(2 * time.Hour) },
		Limits:     func(string) guard.Limits { return guard.Limits{Removal: three, Membership: three, Sensitive: three} },
		Population: func(store.Tx, string) (int, error) { return 0, nil },
	})
	w.config.Guard = g
	w.serve(w.config)
	return g
}

// held are the subjects of what waits in the open case; none if there is no case.
func held(t *testing.T, g *guard.Guard) (caseID string, subjects []string) {
	t.Helper()
	list, err := g.Cases(t.Context(), "", "", true, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return "", nil
	}
	items, err := g.Items(t.Context(), list[0].ID, guard.ItemHeld, "", 0)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	for _, it := range items {
		subjects = append(subjects, it.Act.Subject)
	}
	return list[0].ID, subjects
}

func TestB09_WhatEmptiesAGroupWaitsForAPerson(t *testing.T) {
	t.Parallel()
	everything := client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}}
	for name, way := range map[string]struct{ method, body string }{
		"members one by one": {"PATCH", ""}, // made below
		"no members":         {"PATCH", scimtest.Patch(`{"op":"remove","path":"members"}`)},
		"another list":       {"PUT", `"displayName":"staff"`},
		"the group inside":   {"PATCH", scimtest.Patch(`{"op":"remove","path":"members[type eq \"Group\"]"}`)},
		"the group":          {"DELETE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, everything)
			var members, ops []string
			for i := range 5 {
				id := w.named(all, fmt.Sprint("u", i))
				members = append(members, `{"value":"`+id+`"}`)
				ops = append(ops, `{"op":"remove","path":"members[value eq \"`+id+`\"]"}`)
			}
			group := func(name string, members ...string) string {
				return w.do(all, "POST", "/Groups", groupJSON(`"displayName":"`+name+`","members":[`+strings.Join(members, ",")+`]`)).want(t, 201, "").obj.String("id")
			}
			g := ""
			if name == "the group inside" {
				g = group("staff", `{"value":"`+group("inner", members...)+`"}`)
			} else {
				g = group("staff", members...)
			}
			body := way.body
			switch {
			case name == "members one by one":
				body = scimtest.Patch(ops...)
			case way.method == "PUT":
				body = groupJSON(body)
			}
			count := func() int { return len(w.do(all, "GET", "/Groups/"+g, "").want(t, 200, "").obj.List("members")) }
			before := count()
			gd := w.guarded()

			// Whose condition does not hold asks nobody, and changes nothing.
			w.do(all, way.method, "/Groups/"+g, body, "If-Match", `W/"99"`).want(t, 412, "invalidVers")
			if id, _ := held(t, gd); id != "" {
				t.Error("the guard was asked for a change whose condition does not hold")
			}
			for range 2 { // asked twice is the same
				w.do(all, way.method, "/Groups/"+g, body).want(t, 429, "")
				id, subjects := held(t, gd)
				if id == "" || len(subjects) != 5 || count() != before {
					t.Fatalf("%d wait, of 5, and %d of %d are in the group", len(subjects), count(), before)
				}
			}
			id, _ := held(t, gd)
			if err := gd.Approve(t.Context(), id, "admin"); err != nil {
				t.Fatal(err)
			}
			if a := w.do(all, way.method, "/Groups/"+g, body); a.StatusCode >= 300 {
				t.Fatal(a.StatusCode, a.body)
			}
			if way.method == "DELETE" {
				w.do(all, "GET", "/Groups/"+g, "").want(t, 404, "")
			} else if count() != 0 {
				t.Errorf("%d are left", count())
			}
		})
	}
}

// Some may always go.
func TestB09_AFewMayLeaveAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	var members []string
	for i := range 4 {
		members = append(members, `{"value":"`+w.named(all, fmt.Sprint("u", i))+`"}`)
	}
	g := w.do(all, "POST", "/Groups", groupJSON(`"displayName":"staff","members":[`+strings.Join(members, ",")+`]`)).want(t, 201, "").obj.String("id")
	gd := w.guarded()
	w.do(all, "PUT", "/Groups/"+g, groupJSON(`"displayName":"staff","members":[`+members[0]+`]`)).want(t, 200, "")
	if id, _ := held(t, gd); id != "" {
		t.Error("three were held")
	}
	w.do(all, "DELETE", "/Groups/"+g, "").want(t, 429, "") // the fourth
}

func TestB09_PassingUsersWaitForAPerson(t *testing.T) {
	t.Parallel()
	w, crm, _ := passWorld(t)
	var who []string
	for i := range 5 {
		who = append(who, w.named(push, fmt.Sprint("u", i)))
	}
	gd := w.guarded()
	disable := scimtest.Patch(`{"op":"replace","path":"active","value":false}`)
	w.do(push, "DELETE", "/Users/"+who[0], "").want(t, 204, "")
	w.do(push, "DELETE", "/Users/"+who[1], "").want(t, 204, "")
	w.do(push, "PATCH", "/Users/"+who[2], disable).want(t, 200, "")
	told := len(crm.told)
	w.do(push, "PATCH", "/Users/"+who[3], disable).want(t, 429, "")
	w.do(push, "DELETE", "/Users/"+who[4], "").want(t, 429, "")
	id, subjects := held(t, gd)
	if len(subjects) != 2 || len(crm.told) != told || len(crm.accounts) != 3 {
		t.Fatalf("%v wait; %d accounts", subjects, len(crm.accounts))
	}
	if err := gd.Approve(t.Context(), id, "admin"); err != nil {
		t.Fatal(err)
	}
	w.do(push, "PATCH", "/Users/"+who[3], disable).want(t, 200, "")
	w.do(push, "DELETE", "/Users/"+who[4], "").want(t, 204, "")
	if len(crm.accounts) != 2 {
		t.Errorf("%d accounts", len(crm.accounts))
	}
}

func TestC14_NothingIsWrittenWhereAConditionDoesNotHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	kim, lee := w.named(all, "kim"), w.named(all, "lee")
	g := w.do(all, "POST", "/Groups", groupJSON(`"displayName":"staff","members":[{"value":"`+kim+`","display":"Kim"}]`)).want(t, 201, "").obj.String("id")
	before := []uint64{w.stored(kim).Version, w.stored(lee).Version}
	w.deltas = nil
	for method, body := range map[string]string{
		"PATCH": scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"` + lee + `","display":"Lee"},{"value":"` + kim + `","display":"K"}]}`),
		"PUT":   groupJSON(`"displayName":"staff","members":[{"value":"` + lee + `","display":"Lee"}]`),
	} {
		w.do(all, method, "/Groups/"+g, body, "If-Match", `W/"99"`).want(t, 412, "invalidVers")
		if len(w.deltas) > 0 || w.stored(kim).Version != before[0] || w.stored(lee).Version != before[1] {
			t.Errorf("%s has written %+v", method, w.deltas)
		}
		w.do(all, method, "/Groups/"+g, body, "If-Match", "*") // and where it holds, it does
		if len(w.deltas) == 0 {
			t.Errorf("%s has written nothing", method)
		}
		w.do(all, "PUT", "/Groups/"+g, groupJSON(`"displayName":"staff","members":[{"value":"`+kim+`","display":"Kim"}]`)).want(t, 200, "")
		before = []uint64{w.stored(kim).Version, w.stored(lee).Version}
		w.deltas = nil
	}
}
