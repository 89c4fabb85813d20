package webtest

import (
	"net/url"

	"github.com/gatehouse-sso/gatehouse/web"
)

// consentSamples are the pages about what others learn.
func consentSamples(who web.Who) []Sample {
	around := web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout", Places: []web.Place{{Key: "consent", URL: "/.gatehouse/consent", Here: true}}}
	mail := web.ConsentValue{Key: "service:wiki mail", Attribute: "mail", Values: []string{"bob@uni.example"}, Purpose: "Payslip notices", Basis: "consent", Asked: true, Given: true}
	name := web.ConsentValue{Key: "service:wiki display_name", Attribute: "display_name", Values: []string{"Bob Baker"}, Basis: "contract"}
	return []Sample{
		{"consent", 200, web.Consent{
			Desk: around, Service: "Wiki", Asks: true, Fields: url.Values{"shown": {"service:wiki mail"}},
			To: []web.ConsentTo{{Title: "Wiki", Values: []web.ConsentValue{mail, name}}, {Title: "Directory", Values: []web.ConsentValue{mail}}},
		}},
		{"consent-notice", 200, web.Consent{Desk: around, Service: "Wiki", To: []web.ConsentTo{{Title: "Wiki", Values: []web.ConsentValue{name}}}}},
		{"consent-none", 200, web.Consent{Desk: around}},
	}
}
