package scimtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// crowd makes users u0 … of which every third has a title.
func (s site) crowd(n int) []string {
	s.t.Helper()
	var all []string
	for i := range n {
		rest := fmt.Sprintf(`"userName":"u%02d"`, i)
		if i%3 == 0 {
			rest += fmt.Sprintf(`,"title":"T%d"`, i%2)
		}
		all = append(all, s.user(rest))
	}
	return all
}

// SC30_Operators: each comparison, and how they are joined.
func SC30_Operators(t *testing.T, open Open) {
	s := begin(t, open)
	s.user(`"userName":"ann","title":"Dr","active":true`)
	s.user(`"userName":"bob","title":"Mr","active":false`)
	s.user(`"userName":"cid"`)
	for filter, want := range map[string]string{
		`title eq "dr"`: "[ann]", `title ne "Dr"`: "[bob cid]", `userName co "i"`: "[cid]", `userName sw "B"`: "[bob]", `userName ew "N"`: "[ann]", `title pr`: "[ann bob]",
		`userName gt "bob"`: "[cid]", `userName ge "bob"`: "[bob cid]", `userName lt "bob"`: "[ann]", `userName le "BOB"`: "[ann bob]",
		`active eq false and title eq "Mr"`: "[bob]", `title eq "Dr" or title eq "Mr" and active eq true`: "[ann]", `(title eq "Dr" or title eq "Mr") and active eq false`: "[bob]",
		`not (title pr)`: "[cid]", `NOT (title pr) OR USERNAME EQ "ann"`: "[ann cid]", `title eq null`: "[cid]", `userName pr`: "[ann bob cid]",
	} {
		if got := fmt.Sprint(s.get(users("filter", filter)).each("userName")); got != want {
			t.Errorf("%s finds %s, want %s", filter, got, want)
		}
	}
}

// SC31_Paths: value paths, URNs with dots, times, and what an address does to a filter.
func SC31_Paths(t *testing.T, open Open) {
	s := begin(t, open)
	u := s.user(`"userName":"a b+c","active":true,"emails":[{"value":"a@x","type":"work"}],"nickName":"O\"B \\ ü","` + scim.EnterpriseUserURN + `":{"department":"IT"}`)
	s.user(`"userName":"z","active":false,"emails":[{"value":"a@x","type":"home"}]`)
	for filter, want := range map[string]string{
		`userName%20eq%20%22a%20b%2Bc%22`: "1", `userName+eq+%22a+b%2Bc%22`: "1", `nickName+eq+%22O%5C%22B+%5C%5C+%C3%BC%22`: "1",
		`emails%5Btype+eq+%22work%22%5D`: "1", `emails[value+eq+%22a@x%22]`: "2", `emails[type+eq+%22work%22+and+value+co+%22@x%22]`: "1", `emails[type+eq+%22work%22].value+eq+%22A@x%22`: "1",
		`emails.value+eq+%22a@x%22`: "2", `emails+pr`: "2", `meta.resourceType+eq+%22User%22`: "2", `meta.resourceType+eq+%22Group%22`: "0",
		`meta.lastModified+gt+%222015-10-10T14:38:21.8617979-07:00%22`: "2", `(ActiVe+eq+true)+and+meta.lastmodified+ge+%222021-09-23T19:35:41.8420572Z%22`: "1", `not+(active+eq+true)`: "1",
		`urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department+eq+%22it%22`: "1", `urn:ietf:params:scim:schemas:core:2.0:User:userName+eq+%22z%22`: "1",
	} {
		if got := s.get("/Users?filter=" + filter).total(); got != want {
			t.Errorf("%s finds %s, want %s", filter, got, want)
		}
	}
	g := s.group("g", u)
	s.group("h")
	if got := fmt.Sprint(s.get(query("/Groups", "filter", `members[value eq "`+id(u)+`"]`)).each("id")); got != "["+id(g)+"]" {
		t.Errorf("groups of a member: %s", got)
	}
}

// SC33_UnknownAttribute is refused: not everybody is found, and not nobody.
func SC33_UnknownAttribute(t *testing.T, open Open) {
	s := begin(t, open)
	s.user(`"userName":"a"`)
	for _, filter := range []string{`colour eq "x"`, `name.colour eq "x"`, `emails[colour eq "x"]`, `urn:x:y:colour pr`, `userName sw O`, `userName eq`, ``, `title pr and meta.location eq "x"`, `title pr or 1 eq 1`, `title`, `title eq "x" title`, `userName eq "x`} {
		s.do("GET", users("filter", filter), "").want(t, 400, scim.InvalidFilter)
	}
	s.do("GET", users("filter", `title pr`, "filter", `userName pr`), "").want(t, 400, scim.InvalidSyntax)
	s.do("GET", users("filter", `title pr`, "Filter", `userName pr`), "").want(t, 400, scim.InvalidSyntax)
}

// SC34_AnyElement: all conditions inside brackets hold for one value.
func SC34_AnyElement(t *testing.T, open Open) {
	s := begin(t, open)
	s.user(`"userName":"a","emails":[{"value":"a@x","type":"work"},{"value":"b@x","type":"home"}]`)
	for filter, want := range map[string]string{
		`emails[type eq "work" and value eq "b@x"]`: "0", `emails.type eq "work" and emails.value eq "b@x"`: "1", `emails[not (type eq "work") and value eq "b@x"]`: "1",
	} {
		if got := s.get(users("filter", filter)).total(); got != want {
			t.Errorf("%s finds %s, want %s", filter, got, want)
		}
	}
}

// SC35_FiltersAreBounded in length and depth.
func SC35_FiltersAreBounded(t *testing.T, open Open) {
	s := begin(t, open)
	s.user(`"userName":"a"`)
	for _, filter := range []string{
		strings.Repeat("(", 5000), strings.Repeat("(", 12) + "title pr" + strings.Repeat(")", 12), `title eq "` + strings.Repeat("x", 1<<20) + `"`,
		strings.TrimSuffix(strings.Repeat(`title pr or `, 500), " or "), strings.Repeat(`not (`, 12) + "title pr" + strings.Repeat(")", 12),
	} {
		s.do("POST", "/Users/.search", string(scim.NewObject("schemas", []any{scim.SearchURN}, "filter", filter[:min(len(filter), 1<<19)]).AppendJSON(nil))).want(t, 400, scim.InvalidFilter)
	}
	if n := s.get(users("filter", strings.Repeat("(", 10)+"userName pr"+strings.Repeat(")", 10))).total(); n != "1" {
		t.Errorf("ten parentheses find %s", n)
	}
}

// SC36_Search: by POST, of one type and of all; and over all types at the base.
func SC36_Search(t *testing.T, open Open) {
	s := begin(t, open)
	for i := range 3 {
		s.user(fmt.Sprintf(`"userName":"u%d","displayName":"same"`, i))
		s.group(fmt.Sprintf("g%d", i))
	}
	search := func(path, rest string) answer {
		return s.do("POST", path+"/.search", `{"schemas":["`+scim.SearchURN+`"]`+rest+`}`)
	}
	if a := search("/Users", `,"filter":"userName eq \"U1\"","attributes":["userName"],"startIndex":1,"count":10`).want(t, 200, ""); a.total() != "1" || a.obj.List("Resources")[0].(*scim.Object).Len() != 3 {
		t.Error(a.body)
	}
	if a := search("/Groups", `,"sortBy":"displayName","sortOrder":"descending"`).want(t, 200, ""); fmt.Sprint(a.each("displayName")) != "[g2 g1 g0]" {
		t.Error(a.body)
	}
	for _, a := range []answer{search("", `,"filter":"userName eq \"u1\" or displayName eq \"G2\""`), s.do("GET", query("/", "filter", `userName eq "u1" or displayName eq "g2"`), "")} {
		if a.want(t, 200, ""); a.total() != "2" || a.each("userName")[0] != "u1" || a.each("displayName")[1] != "g2" {
			t.Error(a.body)
		}
	}
	if a := s.get(query("/", "filter", `displayName pr`, "sortBy", "displayName", "count", "2")); fmt.Sprint(a.each("displayName")) != "[g0 g1]" || a.total() != "6" {
		t.Error(a.body)
	}
	for _, method := range []string{"startIndex", "cursor"} {
		seen, next := []string{}, "1"
		if method == "cursor" {
			next = ""
		}
		for range 10 {
			a := s.get(query("/", "filter", "id pr", method, next, "count", "2"))
			seen = append(seen, a.each("id")...)
			if next = a.obj.String("nextCursor"); method == "startIndex" {
				next = strconv.Itoa(len(seen) + 1)
			}
			if next == "" || next == "7" {
				break
			}
		}
		slices.Sort(seen)
		if len(slices.Compact(seen)) != 6 {
			t.Errorf("by %s: %d", method, len(seen))
		}
	}
	search("", `,"filter":"colour pr"`).want(t, 400, scim.InvalidFilter)
	search("/nothing", ``).want(t, 404, "")
	search("/Users", `,"count":"x"`).want(t, 400, scim.InvalidValue)
	search("/Users", `,"filter":{"a":1}`).want(t, 400, scim.InvalidSyntax)
}

// SC37_Paging: out of bounds is clamped, what is no number refused, and nothing found is an empty list.
func SC37_Paging(t *testing.T, open Open) {
	s := begin(t, open)
	for i := range 6 {
		s.user(fmt.Sprintf(`"userName":"u%d"`, i))
	}
	config := s.get("/ServiceProviderConfig").obj
	largest, _ := strconv.Atoi(fmt.Sprint(config.Sub("filter").Get("maxResults")))
	for _, c := range []struct {
		params []string
		want   string // startIndex, then who
	}{
		{nil, "1 u0 u1 u2 u3 u4 u5"}, {[]string{"startIndex", "3", "count", "2"}, "3 u2 u3"}, {[]string{"startIndex", "6"}, "6 u5"}, {[]string{"startIndex", "7"}, "7"},
		{[]string{"count", "0"}, "1"}, {[]string{"count", "-1"}, "1"}, {[]string{"startIndex", "0"}, "1 u0 u1 u2 u3 u4 u5"}, {[]string{"startIndex", "-5", "count", "1"}, "1 u0"},
		{[]string{"count", "1000000000"}, "1 u0 u1 u2 u3 u4 u5"}, {[]string{"startIndex", "1000000000000"}, "1000000000000"}, {[]string{"startIndex", "-99999999999999999999", "count", "1"}, "1 u0"},
		{[]string{"filter", `userName ge "u4"`}, "1 u4 u5"}, {[]string{"filter", `userName ge "u1"`, "startIndex", "3", "count", "2"}, "3 u3 u4"}, {[]string{"filter", `userName eq "x"`}, "1"},
	} {
		a := s.get(users(c.params...))
		got := strings.TrimSpace(fmt.Sprint(a.obj.Get("startIndex")) + " " + strings.Join(a.each("userName"), " "))
		if got != c.want || fmt.Sprint(a.obj.Get("itemsPerPage")) != fmt.Sprint(len(a.each("id"))) || !strings.Contains(a.body, `"Resources":[`) {
			t.Errorf("%v: %q, want %q", c.params, got, c.want)
		}
		if len(c.params) == 0 || c.params[0] != "filter" {
			if a.total() != "6" {
				t.Errorf("%v: %s", c.params, a.body)
			}
		}
	}
	for _, bad := range []string{"x", "1.5", "1e9", "", "0x1", " 1"} {
		s.do("GET", users("count", bad), "").want(t, 400, scim.InvalidValue)
		s.do("GET", users("startIndex", bad), "").want(t, 400, scim.InvalidValue)
	}
	for i := range largest - 3 {
		s.user(fmt.Sprintf(`"userName":"v%d"`, i))
	}
	if n := len(s.get(users("count", "1000000")).each("id")); n != largest {
		t.Errorf("the largest page has %d, advertised are %d", n, largest)
	}
}

// walk asks page after page, and calls between before each but the first.
func (s site) walk(method string, between func(seen []string), params ...string) []string {
	s.t.Helper()
	var seen []string
	for next := map[string]string{"startIndex": "1", "cursor": ""}[method]; ; {
		a := s.get(users(append(params, method, next)...))
		got := a.each("id")
		seen = append(seen, got...)
		if method == "cursor" {
			if next = a.obj.String("nextCursor"); next == "" {
				return seen
			}
		} else {
			total, _ := strconv.Atoi(a.total())
			if len(got) == 0 || len(seen) >= total {
				return seen
			}
			next = strconv.Itoa(len(seen) + 1)
		}
		if len(seen) > 100_000 {
			s.t.Fatal("the walk does not end")
		}
		if between != nil {
			between(seen)
		}
	}
}

// SC38_WalksLoseNobody: whatever is created and deleted between the pages, who stays is seen once.
func SC38_WalksLoseNobody(t *testing.T, open Open) {
	for _, method := range []string{"startIndex", "cursor"} {
		for _, params := range [][]string{{"count", "4"}, {"count", "4", "filter", `userName sw "u"`}, {"count", "3", "sortBy", "title"}, {"count", "5", "sortBy", "userName", "sortOrder", "descending"}} {
			t.Run(method+" "+strings.Join(params, " "), func(t *testing.T) {
				s := begin(t, open)
				there := s.crowd(24)
				gone := map[string]bool{}
				extra := 0
				seen := s.walk(method, func(seen []string) {
					for _, i := range []int{0, len(seen) - 1, len(seen) - 2} { // the first one ever, and the last two
						if at := "/Users/" + seen[i]; !gone[seen[i]] {
							gone[seen[i]] = true
							s.do("DELETE", at, "").want(t, 204, "")
						}
					}
					if at := there[len(there)-1]; !gone[id(at)] && !slices.Contains(seen, id(at)) { // and one to come
						gone[id(at)] = true
						s.do("DELETE", at, "").want(t, 204, "")
					}
					extra++
					s.user(fmt.Sprintf(`"userName":"n%d"`, extra))
				}, params...)
				times := map[string]int{}
				for _, x := range seen {
					times[x]++
				}
				for _, at := range there {
					if n := times[id(at)]; !gone[id(at)] && n != 1 {
						t.Errorf("%s stayed, and was seen %d times", at, n)
					}
				}
				if len(gone) < 8 {
					t.Errorf("only %d were deleted: this shows nothing", len(gone))
				}
			})
		}
	}
}

// SC38_WalksAtTheSameTime: several walks by number of one client do not disturb each other.
func SC38_WalksAtTheSameTime(t *testing.T, open Open) {
	s := begin(t, open)
	there := s.crowd(30)
	var wg sync.WaitGroup
	var mu sync.Mutex
	gone := map[string]bool{}
	seen := make([][]string, 4)
	for i := range seen {
		wg.Go(func() {
			seen[i] = s.walk("startIndex", func(so []string) {
				mu.Lock()
				defer mu.Unlock()
				if x := so[0]; i == 0 && !gone[x] || i > 0 && len(gone) < 10 && !gone[so[len(so)-1]] {
					if i > 0 {
						x = so[len(so)-1]
					}
					gone[x] = true
					s.do("DELETE", "/Users/"+x, "")
				}
			}, "count", "3")
		})
	}
	wg.Wait()
	for _, at := range there {
		for i := range seen {
			if !gone[id(at)] && !slices.Contains(seen[i], id(at)) {
				t.Errorf("walk %d did not see %s, who stayed", i, at)
			}
		}
	}
	if len(gone) == 0 {
		t.Error("nobody was deleted: this shows nothing")
	}
}

// SC39_Cursors: opaque, of one query and one count, and refused when they are not.
func SC39_Cursors(t *testing.T, open Open) {
	s := begin(t, open)
	s.crowd(7)
	s.group("g")
	first := s.get(users("cursor", "", "count", "3"))
	next := first.obj.String("nextCursor")
	if next == "" || first.obj.Get("startIndex") != nil || first.total() != "7" || len(first.each("id")) != 3 {
		t.Fatal(first.body)
	}
	for _, c := range next {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", c) {
			t.Errorf("the cursor %q can not stand in an address", next)
		}
	}
	if s.get("/Users?cursor&count=3").body != first.body && len(s.get("/Users?cursor&count=3").each("id")) != 3 {
		t.Error("cursor without a value is not the first page")
	}
	second := s.get(users("cursor", next, "count", "3"))
	if diff := cmp.Diff([]string{"u03", "u04", "u05"}, second.each("userName")); diff != "" {
		t.Error(diff)
	}
	last := s.get(users("cursor", second.obj.String("nextCursor"), "count", "3"))
	if last.obj.Get("nextCursor") != nil || fmt.Sprint(last.each("userName")) != "[u06]" {
		t.Error(last.body)
	}
	if again := s.get(users("cursor", next, "count", "3")); fmt.Sprint(again.each("id")) != fmt.Sprint(second.each("id")) {
		t.Error("a page that is asked for again is another one")
	}
	flipped := []byte(next)
	flipped[len(flipped)/2] ^= 1
	for _, params := range [][]string{
		{"cursor", "x", "count", "3"}, {"cursor", string(flipped), "count", "3"}, {"cursor", next + "A", "count", "3"}, {"cursor", next, "count", "3", "filter", "userName pr"},
		{"cursor", next, "count", "3", "sortBy", "userName"}, {"cursor", next, "count", "3", "startIndex", "1"},
	} {
		s.do("GET", users(params...), "").want(t, 400, scim.InvalidCursor)
	}
	s.do("GET", query("/Groups", "cursor", next, "count", "3"), "").want(t, 400, scim.InvalidCursor)
	s.do("GET", users("cursor", next, "count", "4"), "").want(t, 400, scim.InvalidCount)
	s.do("GET", users("cursor", next), "").want(t, 400, scim.InvalidCount)
	if a := s.get(users("cursor", "", "count", "0")); a.total() != "7" || a.obj.Get("nextCursor") != nil {
		t.Error(a.body)
	}
	a := s.do("POST", "/Users/.search", `{"schemas":["`+scim.SearchURN+`"],"cursor":"`+next+`","count":3}`).want(t, 200, "")
	if fmt.Sprint(a.each("id")) != fmt.Sprint(second.each("id")) {
		t.Error(a.body)
	}
	p := s.get("/ServiceProviderConfig").obj.Sub("pagination")
	if p.Get("cursor") != true || p.Get("index") != true || p.String("defaultPaginationMethod") != "index" || s.get("/Users").obj.Get("nextCursor") != nil {
		t.Errorf("%s", p.AppendJSON(nil))
	}
	for _, name := range []string{"defaultPageSize", "maxPageSize", "cursorTimeout"} {
		if n, err := strconv.Atoi(fmt.Sprint(p.Get(name))); err != nil || n < 1 {
			t.Errorf("%s is %v", name, p.Get(name))
		}
	}
}

// SC40_Sort: by any attribute, sub-attribute and the primary of several values; who has none comes last.
func SC40_Sort(t *testing.T, open Open) {
	s := begin(t, open)
	s.user(`"userName":"c","title":"b","name":{"familyName":"Y"},"emails":[{"value":"z@x"},{"value":"a@x","primary":true}],"active":true`)
	s.user(`"userName":"A","name":{"familyName":"x"},"emails":[{"value":"b@x"}],"active":false`)
	s.user(`"userName":"b","title":"B","emails":[{"value":"m@x"},{"value":"a@x"}]`)
	s.user(`"userName":"d","title":"a"`)
	for _, c := range []struct{ by, order, want string }{
		{"userName", "", "[A b c d]"}, {"USERNAME", "ascending", "[A b c d]"}, {"userName", "Descending", "[d c b A]"},
		{"title", "", "[d c b A]"}, {"title", "descending", "[A c b d]"}, // b and B are equal: the older one first, in both
		{"name.familyName", "", "[A c b d]"}, {"emails", "", "[c A b d]"}, {"emails.value", "", "[c A b d]"}, {"meta.created", "", "[c A b d]"},
		{"urn:ietf:params:scim:schemas:core:2.0:User:title", "", "[d c b A]"},
	} {
		a := s.get(users("sortBy", c.by, "sortOrder", c.order))
		if got := fmt.Sprint(a.each("userName")); got != c.want {
			t.Errorf("by %s %s: %s, want %s", c.by, c.order, got, c.want)
		}
		if got := fmt.Sprint(s.get(users("sortBy", c.by, "sortOrder", c.order, "startIndex", "2", "count", "2")).each("userName")); got != "["+strings.Join(strings.Fields(strings.Trim(c.want, "[]"))[1:3], " ")+"]" {
			t.Errorf("the middle by %s %s: %s of %s", c.by, c.order, got, c.want)
		}
	}
	for _, by := range []string{"colour", "name", "password", "name.colour", "urn:x:y:z"} {
		s.do("GET", users("sortBy", by), "").want(t, 400, scim.InvalidPath)
	}
	s.do("GET", users("sortBy", "userName", "sortOrder", "upwards"), "").want(t, 400, scim.InvalidValue)
}
