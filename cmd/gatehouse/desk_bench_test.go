//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/web"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// multitude is a lab with a directory of 100,000 users behind which there are 200
// services, and the pages of the desk as carol opens them. It needs no disk, and the
// target is paused, so that their accounts wait: what is measured is the work of pages.
func multitude(b *testing.B, edit func(string) string) (*lab, func(b *testing.B, path string)) {
	l := newLab(b, func(c *labConfig) {
		c.Dir = memoryDir(b)
		for i := range 195 {
			c.Services = append(c.Services, fmt.Sprintf("service-%03d", i))
		}
	})
	if edit != nil {
		l.reload(edit)
	}
	l.in("campus", "carol")
	site := l.p.site.Load()
	carol, err := site.directory.ByName(b.Context(), "primary", "carol")
	if err != nil {
		b.Fatal(err)
	}
	editor{t: b, w: l.world}.must("POST /v1/target/pause", url.Values{"id": {"directory"}}, nil)
	users, together := 100_000, 4 // as many as one transaction takes
	if testing.Short() {
		users = 2_000
	}
	for i := 0; i < users; i += together {
		err := l.p.store.Update(b.Context(), func(tx store.Tx) error {
			for n := i; n < i+together; n++ {
				u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("user-%06d", n), Active: true}
				u.Say(provisioning.Admin, "mail", u.UserName+"@uni.example")
				u.Say(provisioning.Admin, "display_name", u.UserName)
				u.Say(provisioning.Admin, "groups", "everybody", fmt.Sprint("team-", n%100))
				if _, _, err := site.directory.CreateTx(tx, u, provisioning.Admin); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	sub, err := site.directory.Subject(b.Context(), carol.ID)
	if err != nil {
		b.Fatal(err)
	}
	sub.Provider, sub.AuthTime = "campus", l.clock.now()
	look, err := web.New(web.Brand{})
	if err != nil {
		b.Fatal(err)
	}
	return l, func(b *testing.B, path string) {
		var pages http.Handler
		for _, own := range l.p.site.Load().ownPages(l.p, look, nil) {
			if own.ID == adminID {
				pages = own.Handler
			}
		}
		reportCPU(b, func() {
			r := httptest.NewRequest(http.MethodGet, deskPath+path, nil)
			w := httptest.NewRecorder()
			if pages.ServeHTTP(w, r.WithContext(authz.WithSubject(r.Context(), sub))); w.Code != http.StatusOK {
				b.Fatal(w.Code, w.Body)
			}
		})
	}
}

// reportCPU measures what an operation takes of the processors, which others on the
// machine have less to do with than with how long it takes.
func reportCPU(b *testing.B, op func()) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := cpu()
	for b.Loop() {
		op()
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N)/1e6, "cpu-ms/op")
}

// BenchmarkDeskLists measures the first page of each list of the desk, and one
// person's page, in a directory of 100,000 users behind which there are 200 services.
//
//	go test -run '^$' -bench DeskLists -benchtime 5x ./cmd/gatehouse
func BenchmarkDeskLists(b *testing.B) {
	_, open := multitude(b, nil)
	for _, path := range []string{"/overview", "/people", "/people?q=user-09", "/person?name=user-001000&service=service-100", "/groups", "/services", "/service?id=service-100", "/targets", "/target?id=directory", "/tasks", "/tasks?state=parked", "/audit", "/audit?kind=login", "/audit?service=wiki", "/settings", "/mine"} {
		b.Run(path[1:], func(b *testing.B) { open(b, path) })
	}
}

// BenchmarkRelease measures the release editor in the same directory: each service
// has eight rules that editors keep, two of them with expressions, and the draft
// changes those of all services. "everybody" is the comparison of the draft for all
// users at all services, as the task does it; "publish" is until it is in force.
//
//	go test -run '^$' -bench Release/ -benchtime 5x -timeout 30m ./cmd/gatehouse
func BenchmarkRelease(b *testing.B) {
	l, open := multitude(b, func(s string) string {
		return strings.ReplaceAll(s, "    release: [ user_name ]\n", "    release_in: editor\n")
	})
	apply := func(b *testing.B, more ...versions.Rule) {
		p := versions.Policy{Rules: map[string][]versions.Rule{}}
		for _, s := range l.p.site.Load().file.Services {
			if s.Edited() {
				p.Rules["service:"+s.ID] = append([]versions.Rule{
					{Attribute: "user_name", Purpose: "To know who it is", Basis: "contract"}, {Attribute: "mail", As: "email", When: `"team-7" in user.groups`}, {Attribute: "display_name", Transform: "value.lowerAscii()"},
					{Attribute: "groups", Values: []string{"team-*"}}, {Attribute: "given_name"}, {Attribute: "family_name"}, {Attribute: "phone"}, {Attribute: "department"},
				}, more...)
			}
		}
		if len(p.Rules) < 190 {
			b.Fatalf("only %d services have their rules from editors", len(p.Rules))
		}
		raw, err := json.Marshal(p)
		if err != nil {
			b.Fatal(err)
		}
		w := httptest.NewRecorder()
		if newAPI(l.p, l.p.site.Load()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/release/apply", strings.NewReader(string(raw)))); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
	e := editor{t: b, w: l.world}
	publish := func() { e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil) }
	apply(b)
	publish()
	b.Run("publish", func(b *testing.B) {
		i := 0
		reportCPU(b, func() { // with saving the draft
			i++
			apply(b, versions.Rule{Attribute: "title", Purpose: fmt.Sprint(i)})
			publish()
		})
	})
	apply(b, versions.Rule{Attribute: "identity_provider"}, versions.Rule{Attribute: "user_store"})
	for _, path := range []string{"/release", "/release/to?to=service%3Aservice-100&name=user-001000", "/release/rule?to=service%3Aservice-100", "/release/draft", "/release/preview?name=user-001000", "/release/affected", "/release/history", "/release/cases"} {
		b.Run(path[1:], func(b *testing.B) { open(b, path) })
	}
	b.Run("everybody", func(b *testing.B) {
		reportCPU(b, func() {
			if err := l.p.site.Load().beginImpact(b.Context(), "carol", l.clock.now()); err != nil {
				b.Fatal(err)
			}
			for ended := false; !ended; time.Sleep(500 * time.Millisecond) {
				var rep webapi.ReleaseReport
				e.must("GET /v1/release/impact", nil, &rep)
				ended = !rep.Ended.IsZero()
				b.ReportMetric(float64(rep.Compared), "comparisons")
			}
		})
	})
}
