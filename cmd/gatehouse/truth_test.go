package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// claims lists what a document says: paths with dots, and the values there as
// JSON. The elements of a list of objects are told apart by their type.
func claims(prefix string, o *scim.Object, out map[string]string) {
	for name, v := range o.All() {
		path := prefix + name
		switch v := v.(type) {
		case *scim.Object:
			claims(path+".", v, out)
		case []any:
			if first, ok := v[0].(*scim.Object); ok && first.String("type") != "" {
				for _, el := range v {
					claims(path+"["+el.(*scim.Object).String("type")+"].", el.(*scim.Object), out)
				}
				continue
			}
			out[path] = string(scim.NewObject("v", v).AppendJSON(nil))
		default:
			raw, _ := json.Marshal(v) // a string, a number or a truth value
			out[path] = string(raw)
		}
	}
}

// Everything that ServiceProviderConfig of a running gateway says is tried, and
// nothing is said that nobody tries.
func TestSC63_EveryClaimOfServiceProviderConfigIsTrue(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(yaml string) string {
		return yaml + `clients:
  - { id: hr, credentials: [ { bearer: hr-token } ], groups: "*" }
  - { id: resident, credentials: [ { basic: { user: admin, password: admin } } ] }
`
	})
	hr := &scimClient{l.world, func(r *http.Request) { r.Header.Set("Authorization", "Bearer hr-token") }, l.at("", "/.gatehouse/scim/v2")}
	doc := hr.do(200, "GET", "/ServiceProviderConfig", "")
	said := map[string]string{}
	claims("", doc, said)
	number := func(path string) (n int) {
		t.Helper()
		if _, err := fmt.Sscan(said[path], &n); err != nil || n < 1 {
			t.Fatalf("%s is %s", path, said[path])
		}
		return n
	}

	one := hr.do(201, "POST", "/Users", scimUser(`"userName":"zoe","title":"b"`)).String("id")
	// More users than a page holds.
	most := max(number("filter.maxResults"), number("pagination.maxPageSize"))
	bulk := func(n int, each func(i int) string) returned {
		var ops []string
		for i := range n {
			ops = append(ops, each(i))
		}
		return hr.ask("POST", "/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[`+strings.Join(ops, ",")+`]}`)
	}
	for made := 0; made < most+5; made += 50 {
		if r := bulk(50, func(i int) string {
			return fmt.Sprintf(`{"method":"POST","path":"/Users","bulkId":"b%d","data":%s}`, i, scimUser(fmt.Sprintf(`"userName":"u%03d"`, made+i)))
		}); r.status != 200 {
			t.Fatalf("bulk: %d %s", r.status, r.obj.AppendJSON(nil))
		}
	}
	size := func(query string) int { return len(hr.do(200, "GET", "/Users?"+query, "").List("Resources")) }
	walk := func(next func(list *scim.Object) string, query string) int {
		seen := map[string]bool{}
		for query != "" {
			list := hr.do(200, "GET", "/Users?count=90&attributes=userName&"+query, "")
			for _, v := range list.List("Resources") {
				seen[v.(*scim.Object).String("id")] = true
			}
			query = next(list)
		}
		return len(seen)
	}
	total := wholeNumber(t, hr.do(200, "GET", "/Users?count=0", "").Get("totalResults"))
	is := func(v any) string { return fmt.Sprint(v) }

	later := "" // where it is said how an asynchronous request ended
	// Each trial says what is so; it must be what the document says.
	trials := map[string]func() string{
		"schemas":           func() string { return `{"v":["` + scim.ConfigURN + `"]}` },
		"meta.resourceType": func() string { return `"ServiceProviderConfig"` },
		"meta.location": func() string {
			at := strings.Trim(said["meta.location"], `"`)
			if !(&scimClient{l.world, hr.auth, at}).do(200, "GET", "", "").Equal(doc) {
				return "something else is there"
			}
			return said["meta.location"]
		},
		"patch.supported": func() string {
			r := hr.ask("PATCH", "/Users/"+one, scimPatch(`{"op":"replace","path":"title","value":"c"}`))
			return is(r.status == 200 && r.obj.String("title") == "c")
		},
		"bulk.supported": func() string {
			r := bulk(1, func(int) string {
				return `{"method":"PATCH","path":"/Users/` + one + `","data":` + scimPatch(`{"op":"replace","path":"title","value":"d"}`) + `}`
			})
			return is(r.status == 200 && hr.do(200, "GET", "/Users/"+one, "").String("title") == "d")
		},
		"bulk.maxOperations": func() string {
			nobody := func(int) string { return `{"method":"DELETE","path":"/Users/x"}` }
			n := number("bulk.maxOperations")
			if r := bulk(n, nobody); r.status != 200 || len(r.obj.List("Operations")) != n {
				return fmt.Sprint("as many are answered with ", r.status)
			}
			if r := bulk(n+1, nobody); r.status != 413 {
				return fmt.Sprint("one more is answered with ", r.status)
			}
			return is(n)
		},
		"bulk.maxPayloadSize": func() string {
			n := number("bulk.maxPayloadSize")
			sized := func(n int) int {
				const head, tail = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":[{"method":"DELETE","path":"/Users/x"}],"x":"`, `"}`
				return hr.ask("POST", "/Bulk", head+strings.Repeat("x", n-len(head)-len(tail))+tail).status
			}
			if got := sized(n); got != 200 {
				return fmt.Sprint("as much is answered with ", got)
			}
			if got := sized(n + 1); got != 413 {
				return fmt.Sprint("one more byte is answered with ", got)
			}
			return is(n)
		},
		"filter.supported":  func() string { return is(hr.find(`userName eq "zoe"`).String("id") == one) },
		"filter.maxResults": func() string { return is(size("count=100000&" + url.Values{"filter": {`userName sw "u"`}}.Encode())) },
		"changePassword.supported": func() string {
			before := hr.do(200, "GET", "/Users/"+one, "")
			r := hr.ask("PATCH", "/Users/"+one, scimPatch(`{"op":"replace","path":"password","value":"hunter2"}`))
			return is(r.status/100 == 2 && !hr.do(200, "GET", "/Users/"+one, "").Equal(before)) // it is forgotten
		},
		"sort.supported": func() string {
			var names []string
			for _, v := range hr.do(200, "GET", "/Users?sortBy=userName&sortOrder=descending&count=5", "").List("Resources") {
				names = append(names, v.(*scim.Object).String("userName"))
			}
			down := slices.Clone(names)
			slices.Sort(down)
			slices.Reverse(down)
			return is(names[0] == "zoe" && slices.Equal(names, down))
		},
		"etag.supported": func() string {
			tag := hr.ask("GET", "/Users/"+one, "").header.Get("ETag")
			return is(tag != "" && hr.ask("GET", "/Users/"+one, "", "If-None-Match", tag).status == 304 &&
				hr.ask("PUT", "/Users/"+one, scimUser(`"userName":"zoe"`), "If-Match", `W/"0"`).status == 412)
		},
		"pagination.cursor": func() string {
			return is(walk(func(list *scim.Object) string {
				if next := list.String("nextCursor"); next != "" {
					return "cursor=" + url.QueryEscape(next)
				}
				return ""
			}, "cursor") == total)
		},
		"pagination.index": func() string {
			at := 1
			return is(walk(func(list *scim.Object) string {
				n := len(list.List("Resources"))
				if at += n; n == 0 {
					return ""
				}
				return fmt.Sprint("startIndex=", at)
			}, "startIndex=1") == total)
		},
		"pagination.defaultPaginationMethod": func() string {
			list := hr.do(200, "GET", "/Users", "")
			if list.Get("startIndex") != nil && list.Get("nextCursor") == nil {
				return `"index"`
			}
			return `"cursor"`
		},
		"pagination.defaultPageSize": func() string { return is(size("")) },
		"pagination.maxPageSize":     func() string { return is(size("count=100000")) },
		"pagination.cursorTimeout": func() string {
			n := number("pagination.cursorTimeout")
			next := "/Users?count=90&cursor=" + url.QueryEscape(hr.do(200, "GET", "/Users?count=90&cursor", "").String("nextCursor"))
			l.clock.advance(time.Duration(n-60) * time.Second)
			if r := hr.ask("GET", next, ""); r.status != 200 {
				return fmt.Sprint("before that it is answered with ", r.status)
			}
			l.clock.advance(2 * time.Minute)
			if r := hr.ask("GET", next, ""); r.status != 400 || r.obj.String("scimType") != "expiredCursor" {
				return fmt.Sprint("after that it is answered with ", r.status)
			}
			return is(n)
		},
		"securityEvents.asyncRequest": func() string {
			for i := range 50 { // one that is done at once is answered at once
				if r := hr.ask("PATCH", "/Users/"+one, scimPatch(fmt.Sprintf(`{"op":"replace","path":"title","value":"%d"}`, i)), "Prefer", "respond-async"); r.status == 202 {
					later = r.header.Get("Location")
					return `"request"`
				}
			}
			return `"none"`
		},
		"securityEvents.eventUris": func() string {
			const uri = "urn:ietf:params:scim:event:misc:asyncresp"
			told := later == ""
			eventually(t, "it is told how the request ended", func() bool {
				if !told {
					r := (&scimClient{l.world, hr.auth, later}).ask("GET", "", "")
					if parts := strings.Split(r.raw, "."); r.status == 200 && len(parts) == 3 { // a security event token
						claims, err := base64.RawURLEncoding.DecodeString(parts[1])
						told = err == nil && strings.Contains(string(claims), `"`+uri+`"`)
					}
				}
				return told
			})
			if later == "" {
				return `null`
			}
			return `{"v":["` + uri + `"]}`
		},
	}
	scheme := func(typ, name string, primary bool, auth func(*http.Request)) {
		at := "authenticationSchemes[" + typ + "]."
		trials[at+"type"] = func() string {
			r := (&scimClient{l.world, auth, hr.base}).ask("GET", "/Users?count=0", "")
			if r.status != 200 {
				return fmt.Sprint("it is answered with ", r.status)
			}
			return `"` + typ + `"`
		}
		trials[at+"name"] = func() string { return `"` + name + `"` }
		trials[at+"primary"] = func() string { return is(primary) }
		trials[at+"description"] = func() string { return said[at+"description"] }
	}
	scheme("oauthbearertoken", "Bearer token", true, hr.auth)
	scheme("httpbasic", "HTTP Basic", false, func(r *http.Request) { r.SetBasicAuth("admin", "admin") })

	for _, path := range slices.Sorted(maps.Keys(said)) {
		if trials[path] == nil {
			t.Errorf("%s is said to be %s, and nobody tries it", path, said[path])
		}
	}
	last := "pagination.cursorTimeout" // an hour later
	for _, path := range append(slices.DeleteFunc(slices.Sorted(maps.Keys(trials)), func(p string) bool { return p == last }), last) {
		if got := trials[path](); got != said[path] {
			t.Errorf("%s is said to be %s: %s", path, said[path], got)
		}
	}
}

func wholeNumber(t *testing.T, v any) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(fmt.Sprint(v), &n); err != nil {
		t.Fatalf("%v is no number", v)
	}
	return n
}
