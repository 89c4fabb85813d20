// Package webtest has a sample of every page, as tests and browsers want to
// meet them: full ones, empty ones, and both ends of those that change.
package webtest

import (
	"net/url"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// A Sample is a page with the status it is shown with.
type Sample struct {
	Name   string // of a file or an address: lower-case letters and dashes
	Status int
	Page   web.Page
}

// Samples are fresh values on every call. Each kind of page is there at least
// once.
func Samples() []Sample {
	at := time.Date(2026, time.March, 9, 14, 5, 6, 0, time.UTC)
	bob := web.Who{Name: "Bob Baker", Provider: "Campus"}
	choices := []web.Choice{
		{ID: "campus", Title: "Campus", URL: "/.gatehouse/login?idp=campus", Text: "uni.example · Germany", Last: true},
		{ID: "partner", Title: "Partner University", URL: "/.gatehouse/login?idp=partner", Text: "partner.example · Ireland"},
		{ID: "long", Title: "Königlich-Niederländische Akademie der Naturwissenschaftsgeschichtsschreibung zu Amsterdam", URL: "/.gatehouse/login?idp=long"},
		{ID: "hebrew", Title: "האוניברסיטה העברית בירושלים", URL: "/.gatehouse/login?idp=hebrew", Text: "huji.example · Israel"},
	}
	return slices.Concat(deskSamples(at, bob), releaseSamples(at, bob), consentSamples(bob), accessSamples(at, bob), meSamples(at, bob), []Sample{
		{"chooser", 200, web.Chooser{Service: "Wiki", Choices: choices[1:2]}},
		{"chooser-search", 200, web.Chooser{
			Service: "Wiki", Choices: choices, Search: true, Remembers: true,
			Keep: url.Values{"return": {"/report?year=2026"}}, ForgetURL: "/.gatehouse/login?forget=1",
		}},
		{"chooser-found", 200, web.Chooser{Choices: choices[1:3], Search: true, Query: "uni"}},
		{"chooser-nothing", 200, web.Chooser{Search: true, Query: "qwertz"}},
		{"welcome", 200, web.Welcome{
			Provider: "Campus", Service: "Wiki", First: true, Choose: true, UserName: "bob", Action: "/.gatehouse/welcome", Fields: url.Values{"state": {"c2VhbGVk"}}, CancelURL: "/",
			Known: []web.KnownValue{{Attribute: "display_name", Values: []string{"Bob Baker"}}, {Attribute: "affiliation", Values: []string{"student", "library"}}},
			Asked: []web.AskedValue{{Attribute: "mail", Required: true}, {Attribute: "phone"}},
		}},
		{"welcome-taken", 422, web.Welcome{
			Provider: "Campus", First: true, Choose: true, UserName: "bob", Wrong: "user_name", Taken: true, Action: "/.gatehouse/welcome", Fields: url.Values{"state": {"c2VhbGVk"}},
		}},
		{"welcome-again", 422, web.Welcome{
			Provider: "Campus", Action: "/.gatehouse/welcome", Fields: url.Values{"state": {"c2VhbGVk"}}, Wrong: "mail", Asked: []web.AskedValue{{Attribute: "mail", Value: "bob", Required: true}},
		}},
		{"denied", 403, web.Denied{
			Service: "Payroll", Who: bob, Code: "access.no_rule", Support: "7F3K-92QD", At: at,
			Rules: []web.Unmet{
				{Text: "Payroll is for the finance office, signed in with a second factor.", Have: []string{"student", "library"}},
				{Text: "Auditors may read it in March."},
			},
			Contact: "helpdesk@uni.example", AskURL: "/.gatehouse/requests?role=finance",
			SwitchURL: "/.gatehouse/login?fresh=1", LogoutURL: "/.gatehouse/logout",
		}},
		{"denied-step-up", 403, web.Denied{
			Service: "Payroll", Who: web.Who{Name: "Alice Archer", Provider: "Campus"}, Code: "access.step_up",
			Support: "2MVX-81PA", At: at,
			Rules:     []web.Unmet{{Text: "Payroll is for the finance office, signed in with a second factor.", Have: []string{"password"}}},
			StepUpURL: "/.gatehouse/login?step_up=1", Contact: "Finance help desk", ContactURL: "https://help.uni.example/finance",
		}},
		{"denied-inactive", 403, web.Denied{
			Service: "Wiki", Who: bob, Code: "user.inactive", Support: "9QHT-44KC", At: at, Contact: "helpdesk@uni.example",
			SwitchURL: "/.gatehouse/login?fresh=1",
		}},
		{"missing-attribute", 403, web.MissingAttribute{
			Service: "Wiki", Provider: "Partner University", Attribute: "mail", Recipient: "https://gate.uni.example/.gatehouse/saml/partner/metadata",
			ErrorURL: "https://idp.partner.example/error?code=IDENTIFICATION_FAILURE", RetryURL: "/.gatehouse/login?idp=partner",
			SwitchURL: "/.gatehouse/login", Contact: "helpdesk@uni.example", Code: "jit.attribute_missing", Support: "C0DE-1234", At: at,
		}},
		{"preparing", 200, web.Preparing{
			Service: "Wiki", RefreshSeconds: 2, RetryURL: "/.gatehouse/login?flow=1",
			Targets: []web.TargetState{{Title: "Directory", State: "done"}, {Title: "CRM", State: "working", Text: "Attempt 2 of 3"}, {Title: "Mail", State: ""}},
		}},
		{"preparing-still", 503, web.Preparing{Service: "Wiki", RetryURL: "/report", Targets: []web.TargetState{{Title: "CRM", State: "pending"}}}},
		{"preparing-failed", 503, web.Preparing{
			Service: "Wiki", RetryURL: "/.gatehouse/login?flow=1", ContinueURL: "/report", Contact: "helpdesk@uni.example",
			Targets: []web.TargetState{{Title: "Directory", State: "done"}, {Title: "CRM", State: "failed", Text: "It did not answer in 5 seconds."}},
			Code:    "provisioning.timeout", Support: "5TGB-77YH", At: at,
		}},
		{"preparing-ready", 200, web.Preparing{
			Service: "Wiki", ContinueURL: "/report",
			Targets: []web.TargetState{{Title: "Directory", State: "done"}, {Title: "CRM", State: "done"}},
		}},
		{"failed-provider", 403, web.Failed{
			Code: "login.provider_refused", Service: "Wiki", Provider: "Partner University", Text: "The user is not allowed to use this relying party.",
			Support: "8ZNE-30RW", At: at, RetryURL: "/.gatehouse/login", Contact: "helpdesk@uni.example",
		}},
		{"failed-upstream", 502, web.Failed{Code: "upstream.unreachable", Service: "Wiki", Support: "1A2B-3C4D", At: at, RetryURL: "/report", HomeURL: "https://gate.uni.example/"}},
		{"failed-host", 421, web.Failed{Code: "host.unknown", HomeURL: "https://gate.uni.example/"}},
		{"failed-unknown", 500, web.Failed{Code: "something.else", Support: "1A2B-3C4D", At: at}},
		{"signed-out", 200, web.SignedOut{From: []string{"Wiki", "Payroll"}, Provider: "Campus", State: web.Kept, AgainURL: "/"}},
		{"signed-out-there", 200, web.SignedOut{From: []string{"Wiki", "Payroll"}, Others: 2, Provider: "Campus", State: web.Ended, AgainURL: "/"}},
		{"signed-out-asked", 200, web.SignedOut{From: []string{"Wiki", "Payroll"}, Provider: "Campus", State: web.Asked, AgainURL: "/"}},
		{"signed-out-cannot", 200, web.SignedOut{From: []string{"Wiki", "Payroll"}, Provider: "Campus", State: web.CanNot, AgainURL: "/"}},
		{"signed-out-plain", 200, web.SignedOut{}},
		{"signed-out-nobody", 200, web.SignedOut{Nobody: true, AgainURL: "/"}},
		{"portal", 200, web.Portal{
			Who: bob, MeURL: "/.gatehouse/me", LogoutURL: "/.gatehouse/logout", AdminURL: "/.gatehouse/admin/",
			Services: []web.Tile{
				{Title: "Wiki", Description: "What everybody here should know, and what somebody found out.", URL: "http://wiki.localhost:8080", Allowed: true},
				{Title: "Payroll", Description: "Payslips and travel costs.", Why: "Payroll is for the finance office, signed in with a second factor.", AskURL: "/.gatehouse/requests?role=finance"},
				{Title: "Library", URL: "https://library.uni.example", Allowed: true},
			},
		}},
		{"portal-empty", 200, web.Portal{Who: bob, LogoutURL: "/.gatehouse/logout"}},
		{"post-form", 200, web.PostForm{
			Action: "https://idp.partner.example/sso/post", To: "Partner University",
			Fields: url.Values{"SAMLRequest": {"PHNhbWxwOkF1dGhuUmVxdWVzdC8+"}, "RelayState": {"f3a1"}},
		}},
		{"go-on", 200, web.GoOn{URL: "https://idp.uni.example/logout", To: "Campus"}},
		{"return-by-get", 200, web.ReturnByGet{Service: "Wiki", URL: "/edit/page"}},
		{"recover", 200, web.Recover{Action: "/.gatehouse/recover", Fields: url.Values{"code": {"a1b2"}}}},
		{"confirm", 200, web.Confirm{
			Who: bob, From: []string{"Wiki", "Payroll"}, Action: "/.gatehouse/logout", Fields: url.Values{"csrf": {"e5f6"}}, BackURL: "/",
		}},
	})
}
