package portal

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/desk"
)

// RequestsPath is where one asks for access, and decides about it.
const RequestsPath = "/.gatehouse/requests"

func (c Config) requestRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+RequestsPath, c.requests)
	mux.HandleFunc("GET "+RequestsPath+"/{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, RequestsPath, http.StatusSeeOther) })
	mux.HandleFunc("GET "+RequestsPath+"/ask", c.askForm)
	mux.HandleFunc("POST "+RequestsPath+"/ask", c.ask)
	mux.HandleFunc("POST "+RequestsPath+"/withdraw", c.withdraw)
	mux.HandleFunc("GET "+RequestsPath+"/open", c.deciding)
	mux.HandleFunc("POST "+RequestsPath+"/decide", c.decide)
}

// around is the desk of whoever is signed in. Who decides about nothing is not
// shown where one would.
func (c Config) around(r *http.Request, here string) web.Desk {
	places := []web.Place{
		{Key: "requests", URL: RequestsPath, Here: here == "requests"},
		{Key: "consent", URL: ConsentPath, Here: here == "consent"},
	}
	if waiting := c.waiting(r); waiting.Decides {
		places = append(places, web.Place{Key: "deciding", URL: RequestsPath + "/open", Here: here == "deciding", Count: waiting.Count})
	}
	places = append(places, web.Place{Key: "me", URL: MePath, Here: here == "me"})
	return c.Around(r, places)
}

// waiting is what waits for the person; nothing if that can not be found out,
// which the page they are on will say itself.
func (c Config) waiting(r *http.Request) (v api.Waiting) {
	_ = c.API.Call(r.Context(), "GET /v1/decisions/count", nil, &v)
	return v
}

func (c Config) requests(w http.ResponseWriter, r *http.Request) { c.showRequests(w, r, nil) }

// showRequests shows the person's own, with what was refused.
func (c Config) showRequests(w http.ResponseWriter, r *http.Request, refused error) {
	var list []api.Request
	if err := c.API.Call(r.Context(), "GET /v1/me/requests", url.Values{"limit": {"50"}}, &list); err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	page := web.Requests{Desk: c.around(r, "requests")}
	for _, q := range list {
		page.Rows = append(page.Rows, web.RequestRow{
			ID: q.ID, Role: q.RoleTitle, Service: q.ServiceTitle, Reason: q.Reason, State: q.State, OpenURL: q.URL, Made: q.Made, Until: q.Until,
			Granted: q.Granted, Decided: q.Decided, Decider: q.Decider, Text: q.Text,
		})
	}
	if refused != nil {
		c.Refused(w, r, refused, RequestsPath, func(p *web.Problem) web.Page { page.Problem = p; return page })
		return
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

// The form asks for a day. A role that is for shorter is asked for as long as
// it can be had.
const (
	usual    = 30 * 24 * time.Hour
	shortest = 48 * time.Hour
	// longestReason in characters: what is longer than all of them is cut.
	longestReason = 500
)

func (c Config) askForm(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page, err := c.askPage(r, q.Get("service"), q.Get("back"), q.Get("role"))
	if err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

// askPage is the form for a role, or the choice of one.
func (c Config) askPage(r *http.Request, service, back, role string) (web.Ask, error) {
	var can api.Askable
	if err := c.API.Call(r.Context(), "GET /v1/me/askable", url.Values{"service": {service}, "url": {back}}, &can); err != nil {
		return web.Ask{}, err
	}
	page := web.Ask{Desk: c.around(r, "requests"), Service: can.Title, ServiceID: can.Service, Rules: can.Wants, BackURL: can.URL, LongestReason: longestReason}
	chosen := slices.IndexFunc(can.Roles, func(o api.Role) bool { return o.ID == role })
	if len(can.Roles) == 1 {
		chosen = 0
	}
	if chosen < 0 {
		for _, o := range can.Roles {
			to := url.Values{"service": {can.Service}, "back": {can.URL}, "role": {o.ID}}
			page.Choices = append(page.Choices, web.Choice{Title: o.Title, URL: RequestsPath + "/ask?" + to.Encode()})
		}
		return page, nil
	}
	o, now := can.Roles[chosen], c.Now().UTC()
	page.Role, page.RoleID = o.Title, o.ID
	if longest := o.Latest.Sub(now); !o.Latest.IsZero() && longest < shortest {
		// The clock moves on while the form is read.
		page.Until, page.At = strconv.Itoa(int((longest-time.Minute)/time.Second))+"s", o.Latest
		return page, nil
	}
	page.Earliest, page.Until = day(now), day(now.Add(usual))
	if !o.Latest.IsZero() {
		page.Latest = lastDay(o.Latest)
		page.Until = min(page.Until, page.Latest)
	}
	return page, nil
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// lastDay is the last one that is over, in UTC, before an end.
func lastDay(end time.Time) string { return day(end.Add(-24 * time.Hour)) }

func (c Config) ask(w http.ResponseWriter, r *http.Request) {
	form := url.Values{}
	for from, to := range map[string]string{"role": "role", "service": "service", "back": "url", "reason": "reason", "until": "until"} {
		form.Set(to, r.PostFormValue(from))
	}
	err := c.API.Call(r.Context(), "POST /v1/me/request", form, nil)
	if err == nil {
		desk.Done(w, r, RequestsPath, "asked")
		return
	}
	page, again := c.askPage(r, form.Get("service"), form.Get("url"), form.Get("role"))
	if again != nil {
		c.Refused(w, r, errors.Join(err, again), "", nil)
		return
	}
	page.Reason = form.Get("reason")
	if page.At.IsZero() {
		page.Until = form.Get("until")
	}
	c.Refused(w, r, err, RequestsPath, func(p *web.Problem) web.Page {
		if id := map[string]string{"access.reason_missing": "reason", "access.until": "until"}[p.Code]; id != "" && page.RoleID != "" && (id != "until" || page.At.IsZero()) {
			p.Fields = []web.FieldProblem{{Field: id, Text: c.Pages.Title(r, p.Code)}}
		}
		page.Problem = p
		return page
	})
}

func (c Config) withdraw(w http.ResponseWriter, r *http.Request) {
	if err := c.API.Call(r.Context(), "DELETE /v1/me/request", url.Values{"id": {r.PostFormValue("id")}}, nil); err != nil {
		c.showRequests(w, r, err)
		return
	}
	desk.Done(w, r, RequestsPath, "withdrawn")
}

// pageOf requests are shown at a time.
const pageOf = 20

func (c Config) deciding(w http.ResponseWriter, r *http.Request) { c.showDeciding(w, r, nil) }

// showDeciding shows what waits for the person, with what was refused and what
// they had typed.
func (c Config) showDeciding(w http.ResponseWriter, r *http.Request, refused error) {
	var list []api.Decision
	after := r.FormValue("after")
	if err := c.API.Call(r.Context(), "GET /v1/decisions", url.Values{"limit": {strconv.Itoa(pageOf + 1)}, "after": {after}}, &list); err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	page := web.Deciding{Desk: c.around(r, "deciding")}
	if len(list) > pageOf {
		list = list[:pageOf]
		page.MoreURL = RequestsPath + "/open?" + url.Values{"after": {list[pageOf-1].ID}}.Encode()
	}
	now := c.Now()
	for _, q := range list {
		row := web.DecisionRow{
			ID: q.ID, Name: q.Name, UserName: q.UserName, Role: q.RoleTitle, Service: q.ServiceTitle, Reason: q.Reason, Made: q.Made, Until: q.Until,
			Has: q.Has, Opens: q.Opens, Accounts: q.Accounts,
		}
		if q.Latest.Sub(now) > shortest {
			row.Earliest, row.Latest = day(now), lastDay(q.Latest)
		}
		if refused != nil && r.PostFormValue("id") == q.ID {
			row.Text, row.Shorter = r.PostFormValue("text"), r.PostFormValue("until")
		}
		page.Rows = append(page.Rows, row)
	}
	if refused != nil {
		c.Refused(w, r, refused, RequestsPath+"/open", func(p *web.Problem) web.Page { page.Problem = p; return page })
		return
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

func (c Config) decide(w http.ResponseWriter, r *http.Request) {
	done := map[string]string{"approve": "approved", "deny": "denied"}[r.PostFormValue("answer")]
	form := url.Values{"id": {r.PostFormValue("id")}, "text": {r.PostFormValue("text")}}
	if done == "approved" {
		form.Set("until", r.PostFormValue("until"))
	}
	// What is no answer is refused by the API, as for any program.
	if err := c.API.Call(r.Context(), "POST /v1/request/"+url.PathEscape(r.PostFormValue("answer")), form, nil); err != nil || done == "" {
		c.showDeciding(w, r, errors.Join(err))
		return
	}
	desk.Done(w, r, RequestsPath+"/open", done)
}
