package main

import (
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

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

// R31: twenty workers of a client make, make again, change, disable and delete people
// at the same time. What was acknowledged is so at the end, and nothing else is.
func TestR31_AStormOfSCIMRequestsLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hr, n := w.hr(), often(120, 50_000)
	type person struct {
		display string
		active  bool
	}
	var mu sync.Mutex
	want, next := map[string]person{}, make(chan int)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range next {
				name := fmt.Sprintf("storm-%05d", i)
				made := hr.patient("POST", "/Users", scimUser(fmt.Sprintf(`"userName":%q,"displayName":"Made"`, name)))
				if made.status != 201 {
					t.Errorf("%s is made: %d %s", name, made.status, made.raw)
					continue
				}
				at := "/Users/" + made.obj.String("id")
				step := func(status int, method, path, body string) {
					if r := hr.patient(method, path, body); r.status != status {
						t.Errorf("%s %s of %s: %d, want %d: %s", method, path, name, r.status, status, r.raw)
					}
				}
				step(409, "POST", "/Users", scimUser(fmt.Sprintf(`"userName":%q`, name)))
				step(200, "PATCH", at, scimPatch(fmt.Sprintf(`{"op":"replace","path":"displayName","value":"Person %d"}`, i)))
				is := person{fmt.Sprint("Person ", i), true}
				switch i % 10 {
				case 3:
					step(200, "PATCH", at, scimPatch(`{"op":"replace","path":"active","value":false}`))
					is.active = false
				case 7:
					step(204, "DELETE", at, "")
					continue
				}
				mu.Lock()
				want[name] = is
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()

	got := map[string]person{}
	for start, total := 1, 1; start <= total; {
		r := hr.patient("GET", "/Users?"+url.Values{"filter": {`userName sw "storm-"`}, "startIndex": {strconv.Itoa(start)}, "count": {"200"}}.Encode(), "")
		if r.status != 200 {
			t.Fatal(r.status, r.raw)
		}
		list := r.obj.List("Resources")
		for _, one := range list {
			u := one.(*scim.Object)
			active, _ := u.Get("active").(bool)
			got[u.String("userName")] = person{u.String("displayName"), active}
		}
		var err error
		if total, err = strconv.Atoi(fmt.Sprint(r.obj.Get("totalResults"))); err != nil {
			t.Fatal(r.raw)
		}
		start += max(len(list), 1)
	}
	for name, is := range want {
		if got[name] != is {
			t.Errorf("%s is %+v, and was acknowledged as %+v", name, got[name], is)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there and should not be", name)
		}
	}
}
