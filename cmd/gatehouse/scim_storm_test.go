package main

import (
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// patient asks again when it is told to wait.
func (c *scimClient) patient(method, path, body string) returned {
	for {
		r := c.ask(method, path, body)
		if r.status != 429 {
			return r
		}
		wait, err := strconv.Atoi(r.header.Get("Retry-After"))
		if err != nil {
			c.w.t.Errorf("429 without a time: %v", r.header)
			return r
		}
		time.Sleep(time.Duration(wait) * time.Second)
	}
}

// R31: twenty workers of a client make, make again, change, disable and delete people,
// and put them into groups and take them out, at the same time. What was acknowledged
// is so at the end, and nothing else is.
func TestR31_AStormOfSCIMRequestsLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hr, people, groups := w.hr(), often(120, 50_000), often(12, 5_000)
	storm := func(n int, do func(i int)) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					do(i)
				}
			})
		}
		wg.Wait()
	}
	step := func(status int, method, path, body string) (r returned, ok bool) {
		if r = hr.patient(method, path, body); r.status != status {
			t.Errorf("%s %s %s: %d, want %d: %s", method, path, body, r.status, status, r.raw)
		}
		return r, r.status == status
	}
	type person struct {
		display string
		active  bool
	}
	var mu sync.Mutex
	want, wantIn := map[string]person{}, map[string]bool{} // of wantIn: group and member
	teams := make([]string, groups)
	storm(groups, func(i int) {
		body := fmt.Sprintf(`{"schemas":[%q],"displayName":"hr-storm-%04d"}`, scim.GroupURN, i)
		if made, ok := step(201, "POST", "/Groups", body); ok {
			teams[i] = made.obj.String("id")
			step(409, "POST", "/Groups", body)
		}
	})
	storm(people, func(i int) {
		name, team := fmt.Sprintf("storm-%05d", i), teams[i*groups/people] // neighbours come at the same time
		made, ok := step(201, "POST", "/Users", scimUser(fmt.Sprintf(`"userName":%q,"displayName":"Made"`, name)))
		if !ok {
			return
		}
		id := made.obj.String("id")
		step(409, "POST", "/Users", scimUser(fmt.Sprintf(`"userName":%q`, name)))
		step(200, "PATCH", "/Users/"+id, scimPatch(fmt.Sprintf(`{"op":"replace","path":"displayName","value":"Person %d"}`, i)))
		step(204, "PATCH", "/Groups/"+team, scimPatch(fmt.Sprintf(`{"op":"add","path":"members","value":[{"value":%q}]}`, id)))
		is, in := person{fmt.Sprint("Person ", i), true}, true
		switch i % 10 {
		case 3:
			step(200, "PATCH", "/Users/"+id, scimPatch(`{"op":"replace","path":"active","value":false}`))
			is.active = false
		case 5:
			step(204, "PATCH", "/Groups/"+team, scimPatch(fmt.Sprintf(`{"op":"remove","path":"members[value eq \"%s\"]"}`, id)))
			in = false
		case 7:
			step(204, "DELETE", "/Users/"+id, "")
			return
		}
		mu.Lock()
		defer mu.Unlock()
		want[name] = is
		if in {
			wantIn[team+" "+id] = true
		}
	})

	all := func(path string, each func(*scim.Object)) {
		for start, total := 1, 1; start <= total; {
			r, ok := step(200, "GET", path+"?"+url.Values{"startIndex": {strconv.Itoa(start)}, "count": {"200"}}.Encode(), "")
			if !ok {
				t.FailNow()
			}
			list := r.obj.List("Resources")
			for _, one := range list {
				each(one.(*scim.Object))
			}
			var err error
			if total, err = strconv.Atoi(fmt.Sprint(r.obj.Get("totalResults"))); err != nil {
				t.Fatal(r.raw)
			}
			start += max(len(list), 1)
		}
	}
	got, gotIn := map[string]person{}, map[string]bool{}
	all("/Users", func(u *scim.Object) {
		active, _ := u.Get("active").(bool)
		got[u.String("userName")] = person{u.String("displayName"), active}
	})
	all("/Groups", func(g *scim.Object) {
		for _, m := range g.List("members") {
			gotIn[g.String("id")+" "+m.(*scim.Object).String("value")] = true
		}
	})
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(person{})); diff != "" {
		t.Errorf("people (-acknowledged +there):\n%s", diff)
	}
	if diff := cmp.Diff(wantIn, gotIn); diff != "" {
		t.Errorf("who is in which group (-acknowledged +there):\n%s", diff)
	}
}
