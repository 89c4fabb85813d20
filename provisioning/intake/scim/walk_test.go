package scim_test

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// big is true where long runs are wanted.
var big = os.Getenv("GATEHOUSE_FAULTS") != ""

// fill makes users without the server, which others test.
func (w *world) fill(n int) (ids []string) {
	w.t.Helper()
	ids = make([]string, n)
	work := make(chan int)
	var wg sync.WaitGroup
	for range 64 { // who comes at the same time is committed at the same time
		wg.Go(func() {
			for i := range work {
				u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("u%06d", i), ExternalID: fmt.Sprint("e", i), Active: true}
				u.Say("scim:all", "mail", fmt.Sprintf("u%06d@x.test", i))
				u.Say("scim:all", provisioning.Kept, fmt.Sprintf(`{"externalId":"e%d","emails":[{"value":"u%06d@x.test","type":"work"}]}`, i, i))
				u, _, err := w.dir.Create(w.t.Context(), u, "scim:all")
				if err != nil {
					w.t.Error(err)
				}
				ids[i] = u.ID
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	return ids
}

// Whoever was there when a walk began, and still is when it ends, is on exactly
// one page, whatever comes and goes meanwhile.
func TestSC38_AWalkMissesNoSurvivorAndSeesNobodyTwice(t *testing.T) {
	t.Parallel()
	users, moves := 600, 50
	if big {
		users = 20_000
	}
	for name, first := range map[string]url.Values{
		"by cursor":              {"cursor": {""}, "count": {"100"}},
		"by index":               {"startIndex": {"1"}, "count": {"100"}},
		"by cursor, sorted":      {"cursor": {""}, "count": {"97"}, "sortBy": {"userName"}},
		"by index, last changed": {"startIndex": {"1"}, "count": {"97"}, "sortBy": {"meta.created"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
			ids := w.fill(users)
			// Deletions all over the list and creations, while pages are read.
			pages := make(chan bool)
			var wg sync.WaitGroup
			gone := map[string]bool{}
			for i := range moves {
				gone[ids[(i*users/moves+i)%users]] = true
			}
			wg.Go(func() {
				for id := range gone {
					<-pages
					w.do(all, "DELETE", "/Users/"+id, "").want(t, 204, "")
				}
			})
			wg.Go(func() {
				for i := range moves {
					<-pages
					w.do(all, "POST", "/Users", scimtest.User(fmt.Sprintf(`"userName":"u%06d-new"`, i*users/moves))).want(t, 201, "")
				}
			})
			seen := map[string]int{}
			q, asked, total := first, 0, 0
			for turn := 0; ; turn++ {
				// As many moves between two pages as it takes for all of them to happen.
				for range 1 + 2*moves*100/users {
					select {
					case pages <- true:
					default:
					}
				}
				a := w.do(all, "GET", "/Users?"+q.Encode(), "").want(t, 200, "")
				list := a.obj.List("Resources")
				for _, r := range list {
					seen[r.(*scim.Object).String("id")]++
				}
				asked += len(list)
				total, _ = strconv.Atoi(fmt.Sprint(a.obj.Get("totalResults")))
				q = url.Values{}
				for k, v := range first {
					q[k] = v
				}
				if first.Has("cursor") {
					if q.Set("cursor", a.obj.String("nextCursor")); q.Get("cursor") == "" {
						break
					}
				} else if q.Set("startIndex", fmt.Sprint(asked+1)); asked+1 > total {
					break
				}
				if turn > users {
					t.Fatal("the walk has no end")
				}
			}
			close(pages)
			wg.Wait()
			missing, twice := 0, 0
			for _, id := range ids {
				switch n := seen[id]; {
				case n == 0 && !gone[id]:
					missing++
				case n > 1:
					twice++
				}
			}
			if missing+twice > 0 {
				t.Errorf("%d survivors are missing, %d were seen twice", missing, twice)
			}
			if n := w.count(); n != users {
				t.Errorf("%d users are left: not everybody came and went", n)
			}
		})
	}
}

func TestTotalsOfAllUsersAreThoseOfTheClientsStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		w.named(hr, fmt.Sprint("p", i))
		w.named(resident, fmt.Sprint("mysql/m", i))
	}
	w.named(uni, "dana")
	for who, want := range map[string]string{hr: "5", uni: "1", resident: "11"} {
		for _, q := range []string{"", "?count=0", "?count=2&startIndex=2", "?sortBy=userName&sortOrder=descending"} {
			a := w.do(who, "GET", "/Users"+q, "").want(t, 200, "")
			if got := fmt.Sprint(a.obj.Get("totalResults")); got != want {
				t.Errorf("%s%s: %s, want %s", who, q, got, want)
			}
		}
	}
	// A walk over several stores goes through each to its end.
	var names []string
	for start := 1; start <= 11; start += 3 {
		a := w.do(resident, "GET", fmt.Sprint("/Users?count=3&startIndex=", start), "").want(t, 200, "")
		for _, r := range a.obj.List("Resources") {
			names = append(names, r.(*scim.Object).String("userName"))
		}
	}
	want := "[p0 p1 p2 p3 p4 partners/dana mysql/m0 mysql/m1 mysql/m2 mysql/m3 mysql/m4]"
	if fmt.Sprint(names) != want {
		t.Errorf("%v, want %s", names, want)
	}
	// Also if it begins in the middle, where nothing is remembered.
	a := w.do(resident, "GET", "/Users?count=2&startIndex=6", "").want(t, 200, "")
	if got := ids(a.obj); len(got) != 2 || a.obj.List("Resources")[0].(*scim.Object).String("userName") != "partners/dana" {
		t.Errorf("%s", a.body)
	}
}

// What an index finds is found among more than are looked at without one.
func TestIndexedFiltersFindAmongMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	list := w.fill(1100)
	time.Sleep(2 * time.Millisecond) // times are compared by the millisecond
	w.do(all, "PATCH", "/Users/"+list[7], scimtest.Patch(`{"op":"add","path":"emails","value":[{"value":"Home@x.test","type":"home"}]}`)).want(t, 200, "")
	since := w.stored(list[7]).Modified.Format("2006-01-02T15:04:05.000Z")
	for _, filter := range []string{
		`id eq "` + list[7] + `"`, `userName eq "U000007"`, `externalId eq "e7"`, `emails.value eq "u000007@X.test"`, `emails eq "home@x.test"`,
		`emails[type eq "home" and value eq "home@x.test"]`, `emails[value eq "home@x.test"].type eq "home"`,
		`active eq true and emails.value eq "home@x.test"`, `meta.lastModified ge "` + since + `"`, `userName sw "u00000" and meta.lastModified gt "2026-01-01T00:00:00Z" and id eq "` + list[7] + `"`,
	} {
		if got := w.found(all, filter); len(got) != 1 || got[0] != list[7] {
			t.Errorf("%s finds %v", filter, got)
		}
	}
	for _, filter := range []string{`emails.value eq "nobody@x.test"`, `emails[type eq "work" and value eq "home@x.test"]`, `meta.lastModified gt "2999-01-01T00:00:00Z"`, `emails.value eq "home@x.test" and active eq false`} {
		if got := w.found(all, filter); len(got) != 0 {
			t.Errorf("%s finds %v", filter, got)
		}
	}
	for _, filter := range []string{`title eq "x"`, `emails.value co "x"`, `not (userName eq "u000007")`, `userName eq "u000007" or title pr`, `meta.lastModified lt "2999-01-01T00:00:00Z"`} {
		w.do(all, "GET", "/Users?"+url.Values{"filter": {filter}}.Encode(), "").want(t, 400, scim.TooMany)
	}
}
