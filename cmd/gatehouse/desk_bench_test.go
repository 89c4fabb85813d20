package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/web"
)

// BenchmarkDeskLists measures the first page of each list of the desk, and one
// person's page, in a directory of 100,000 users behind which there are 200 services.
//
//	go test -run '^$' -bench DeskLists -benchtime 5x ./cmd/gatehouse
func BenchmarkDeskLists(b *testing.B) {
	l := newLab(b, func(c *labConfig) {
		for i := range 195 {
			c.Services = append(c.Services, fmt.Sprintf("service-%03d", i))
		}
	})
	l.in("campus", "carol")
	site := l.p.site.Load()
	carol, err := site.directory.ByName(b.Context(), "primary", "carol")
	if err != nil {
		b.Fatal(err)
	}
	const users, together = 100_000, 4 // as many as one transaction takes
	for i := 0; i < users; i += together {
		err := l.p.store.Update(b.Context(), func(tx store.Tx) error {
			for n := i; n < i+together; n++ {
				u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("user-%06d", n), Active: true}
				u.Say(provisioning.Admin, "mail", u.UserName+"@uni.example")
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
	var pages http.Handler
	for _, own := range site.ownPages(l.p, look, nil) {
		if own.ID == adminID {
			pages = own.Handler
		}
	}
	for _, path := range []string{"/overview", "/people", "/people?q=user-09", "/person?name=user-050000&service=service-100", "/groups", "/services", "/service?id=service-100", "/targets", "/target?id=directory", "/tasks", "/tasks?state=parked", "/audit", "/audit?kind=login", "/audit?service=wiki", "/settings", "/release", "/release/to?to=service:service-100", "/release/rule?to=service:service-100", "/release/draft", "/release/preview?name=user-050000", "/release/affected", "/release/history", "/mine"} {
		b.Run(path[1:], func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, deskPath+path, nil)
				w := httptest.NewRecorder()
				if pages.ServeHTTP(w, r.WithContext(authz.WithSubject(r.Context(), sub))); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
