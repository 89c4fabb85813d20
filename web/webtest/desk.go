package webtest

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// deskSamples are the pages at which somebody works.
func deskSamples(at time.Time, who web.Who) []Sample {
	around := func(here string) web.Desk {
		d := web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout"}
		for _, key := range []string{"people"} {
			d.Places = append(d.Places, web.Place{Key: key, URL: "/.gatehouse/admin/" + key, Here: key == here})
		}
		return d
	}
	refused := around("people")
	refused.Problem = &web.Problem{
		Code: "access.step_up", Text: "Changes need a sign-in from the last ten minutes.", AgainURL: "/.gatehouse/fresh?return=%2F",
		Fields: []web.FieldProblem{{Field: "q", Text: "This is too long."}},
	}
	told := around("people")
	told.Done = "disabled"
	return []Sample{
		{"people", 200, web.People{Desk: around("people"), MoreURL: "/.gatehouse/admin/people?after=u2", Rows: []web.PersonRow{
			{Name: "Bob Baker", UserName: "bob", Mail: "bob@uni.example", URL: "/.gatehouse/admin/people/u1", Active: true, Modified: at},
			{UserName: "partners/dana", URL: "/.gatehouse/admin/people/u2", Modified: at},
		}}},
		{"people-found", 200, web.People{Desk: told, Query: "bo", Rows: []web.PersonRow{{UserName: "bob", Active: true, Modified: at}}}},
		{"people-refused", 403, web.People{Desk: refused, Query: "zz"}},
	}
}
