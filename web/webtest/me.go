package webtest

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// meSamples are the page of what is known about a person.
func meSamples(at time.Time, who web.Who) []Sample {
	around := web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout", Done: "identity_added", Places: []web.Place{
		{Key: "requests", URL: "/.gatehouse/requests"}, {Key: "me", URL: "/.gatehouse/me", Here: true},
	}}
	return []Sample{
		{"me", 200, web.Me{
			Desk: around, UserName: "bob", Created: at, Roles: []string{"Finance office"}, Groups: []string{"staff", "fin"}, ExportURL: "/.gatehouse/me/export",
			Claims: []web.ClaimRow{
				{Attribute: "mail", Values: []string{"bob@uni.example", "b.baker@uni.example"}, Source: "Campus", Kind: "idp", At: at},
				{Attribute: "groups", Values: []string{"staff"}, Kind: "admin", At: at},
			},
			Grants: []web.GrantRow{{Role: "Finance office", By: "alice", Since: at, Until: at.Truncate(24 * time.Hour).Add(48 * time.Hour)}, {Role: "Library", By: "carol", Since: at}},
			Services: []web.RecipientRow{
				{Title: "Wiki", Sent: []web.SentRow{{Attribute: "mail", Name: "email", Values: []string{"bob@uni.example"}, Purpose: "To send notices"}}, Withheld: []string{"groups"}, Seen: at},
				{Title: "Library"},
			},
			Targets:  []web.RecipientRow{{Title: "Staff directory", State: "done", At: at, Sent: []web.SentRow{{Attribute: "mail", Name: "emails", Values: []string{"bob@uni.example"}}}}},
			Sessions: []web.SessionRow{{ID: "s1", Provider: "Campus", Created: at, Seen: at, Until: at, Current: true}, {ID: "s2", Provider: "Partner University", Created: at, Seen: at, Until: at}},
			Links: []web.LinkRow{
				{Provider: "Campus", ProviderID: "campus", Issuer: "https://idp.uni.example", Subject: "f3a1", Since: at, Keeps: "current"},
				{Provider: "Partner University", ProviderID: "partner", Issuer: "https://idp.partner.example", Subject: "b2c4", Since: at},
			},
			Add: []web.Choice{{ID: "guild", Title: "Guild"}},
		}},
		{"me-little", 200, web.Me{Desk: around, UserName: "partners/dana"}},
	}
}
