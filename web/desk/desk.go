// Package desk is what all pages at which somebody works have in common: they
// ask the API in the person's name, say on the same page what it refused, and
// lead on to a page that says what was done.
//
//	GET   page ──▶ API, as the person ──▶ a struct of package web ──▶ Render
//	POST  form ──▶ API, as the person ──▶ 303 to a page that says what was done
//	                       └─ refused ──▶ the same page, with why
package desk

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// A Desk is where pages come from.
type Desk struct {
	API   api.Client
	Pages *web.Pages
	Titles
	// FreshURL is where one signs in again to come back to an address.
	FreshURL func(back string) string
	HomeURL  string // where a page leads that can not go on
}

// Titles are what people call the things of the configuration; what has no title,
// or is there no more, is called by its ID.
type Titles struct{ Provider, Client, Service, Target, Role, Store func(id string) string }

// Who is the person in front of the page.
func (d Desk) Who(r *http.Request) web.Who {
	s := authz.SubjectFrom(r.Context())
	return web.Who{Name: s.DisplayName(), Provider: d.Provider(s.Provider)}
}

// Around is the desk as the person sees it between these places.
func (d Desk) Around(r *http.Request, places []web.Place) web.Desk {
	around := web.Desk{Who: d.Who(r), PortalURL: "/", LogoutURL: "/.gatehouse/logout", Places: places}
	if r.Method == http.MethodGet {
		around.Done = r.URL.Query().Get("done")
	}
	return around
}

// Refused shows what the API said no to: on the page that asked if there is one,
// to which a fresh sign-in leads back.
func (d Desk) Refused(w http.ResponseWriter, r *http.Request, err error, back string, page func(*web.Problem) web.Page) {
	var e *api.Error
	if !errors.As(err, &e) {
		d.Pages.Render(w, r, http.StatusInternalServerError, web.Failed{Code: "internal", HomeURL: d.HomeURL})
		return
	}
	if page == nil || e.Status == http.StatusForbidden && e.Code == authz.ReasonNoRule {
		d.Pages.Render(w, r, e.Status, web.Failed{Code: e.Code, Text: e.Text, HomeURL: d.HomeURL})
		return
	}
	p := &web.Problem{Code: e.Code, Text: e.Text}
	if e.Code == authz.ReasonStepUp {
		p.AgainURL = d.FreshURL(back)
	}
	d.Pages.Render(w, r, e.Status, page(p))
}

// Done leads on after something was done, to a page of ours.
func Done(w http.ResponseWriter, r *http.Request, to, what string) {
	u, err := url.Parse(to)
	if err != nil {
		u = &url.URL{Path: "/"}
	}
	q := u.Query()
	q.Set("done", what)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}
