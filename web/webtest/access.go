package webtest

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// accessSamples are the pages of asking for access and deciding about it.
func accessSamples(at time.Time, who web.Who) []Sample {
	around := func(here string) web.Desk {
		return web.Desk{Who: who, PortalURL: "/", LogoutURL: "/.gatehouse/logout", Places: []web.Place{
			{Key: "requests", URL: "/.gatehouse/requests", Here: here == "requests"},
			{Key: "deciding", URL: "/.gatehouse/requests/open", Here: here == "deciding", Count: 2},
		}}
	}
	ask := web.Ask{
		Desk: around("requests"), Service: "Payroll", Rules: []string{"Payroll is for the finance office."}, Role: "Finance office", RoleID: "finance",
		ServiceID: "payroll", BackURL: "https://payroll.uni.example/slips", Until: "2026-04-08", Earliest: "2026-03-09", Latest: "2026-06-06", LongestReason: 1000,
	}
	refused := ask
	refused.Problem = &web.Problem{Code: "access.until", Text: "the role finance can be had until 2026-06-07 at most"}
	refused.Reason, refused.Until = "Month end closing", "2027-01-01"
	short := ask
	short.Role, short.Until, short.Latest, short.At = "Emergency access", "8h", "", at.Add(8*time.Hour)
	choose := web.Ask{Desk: around("requests"), Service: "Payroll", BackURL: "/", Choices: []web.Choice{
		{Title: "Finance office", URL: "/.gatehouse/requests/ask?role=finance"}, {Title: "Auditors", URL: "/.gatehouse/requests/ask?role=auditors"},
	}}
	told := around("requests")
	told.Done = "asked"
	const day = 24 * time.Hour
	chosen := at.Truncate(day).Add(31 * day) // as a day
	return []Sample{
		{"ask", 200, ask},
		{"ask-refused", 403, refused},
		{"ask-short", 200, short},
		{"ask-choose", 200, choose},
		{"ask-nothing", 200, web.Ask{Desk: around("requests"), BackURL: "/"}},
		{"requests", 200, web.Requests{Desk: told, Rows: []web.RequestRow{
			{ID: "q3", Role: "Finance office", Service: "Payroll", Reason: "Month end", State: "pending", OpenURL: "https://payroll.uni.example/slips", Made: at, Until: chosen},
			{ID: "q2", Role: "Library", Reason: "Thesis", State: "approved", OpenURL: "/", Made: at, Until: at.Add(30 * day), Granted: at.Add(7 * day), Decided: at, Decider: "Alice Archer", Text: "A week will do."},
			{ID: "q1", Role: "Auditors", Service: "Ledger", Reason: "Curious", State: "denied", Made: at, Until: at.Add(day), Decided: at, Decider: "carol", Text: "Please ask your head of department."},
		}}},
		{"requests-none", 200, web.Requests{Desk: around("requests")}},
		{"deciding", 200, web.Deciding{Desk: around("deciding"), MoreURL: "/.gatehouse/requests/open?after=q3", Rows: []web.DecisionRow{
			{ID: "q3", Name: "Bob Baker", UserName: "bob", Role: "Finance office", Service: "Payroll", Reason: "Month end", Made: at, Until: chosen, Has: []string{"student", "library"}, Opens: []string{"Payroll"}, Accounts: []string{"Ledger"}, Earliest: "2026-03-09", Latest: "2026-04-07"},
			{ID: "q4", UserName: "partners/dana", Role: "Finance office", Reason: "Project", Made: at, Until: at.Add(time.Hour)},
		}}},
		{"deciding-none", 200, web.Deciding{Desk: around("deciding")}},
		{"denied-waiting", 403, web.Denied{
			Service: "Payroll", Who: who, Code: "access.no_rule", Support: "7F3K-92QD", At: at, Rules: []web.Unmet{{Text: "Payroll is for the finance office."}},
			Waiting: &web.Waiting{Role: "Finance office", Made: at, Until: chosen, URL: "/.gatehouse/requests"}, RefreshSeconds: 20,
			LogoutURL: "/.gatehouse/logout",
		}},
		{"portal-waiting", 200, web.Portal{Who: who, LogoutURL: "/.gatehouse/logout", RequestsURL: "/.gatehouse/requests", DecideURL: "/.gatehouse/requests/open", Deciding: 2, MeURL: "/.gatehouse/me", Services: []web.Tile{
			{Title: "Payroll", Why: "Payroll is for the finance office.", Waiting: &web.Waiting{Role: "Finance office", Made: at, Until: at, URL: "/.gatehouse/requests"}},
		}}},
	}
}
