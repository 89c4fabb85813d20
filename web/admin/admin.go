// Package admin is the desk of those who look after the gateway: pages over its
// API.
//
//	GET   page ──▶ API, as the person ──▶ a struct of package web ──▶ Render
//	POST  form ──▶ API, as the person ──▶ 303 to a page that says what was done
//	                       └─ refused ──▶ the same page, with why
//
// The pages have no rights of their own: what a person may not do by the API,
// they may not do here. A page's state is in its address, so that it can be
// sent to a colleague.
package admin

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

// Path is where New's handler is mounted.
const Path = "/.gatehouse/admin"

// Config of the desk.
type Config struct {
	API   api.Client
	Pages *web.Pages
	// Has reports whether somebody is an administrator or has one of these duties.
	Has func(s authz.Subject, duties ...string) bool
	// Provider is the title of an identity provider.
	Provider func(id string) string
	// FreshURL is where one signs in again to come back to an address.
	FreshURL func(back string) string
}

// A place is one page of the menu, for whoever has one of the duties.
type place struct {
	key, path string
	duties    []string
}

// places in the order of the menu.
var places = []place{
	{"people", "/people", []string{"helpdesk", "auditors"}},
}

// maxForm bounds what a form may hold, in bytes.
const maxForm = 2 << 20

// New makes the desk.
func New(c Config) http.Handler {
	d := &desk{c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"/{$}", d.front)
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, Path+"/", http.StatusSeeOther) })
	d.peopleRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.Pages.Render(w, r, http.StatusNotFound, web.Failed{Code: "path.unknown", HomeURL: Path + "/"})
	})
	return http.MaxBytesHandler(mux, maxForm)
}

type desk struct{ Config }

// front leads to the first page that the person may see.
func (d *desk) front(w http.ResponseWriter, r *http.Request) {
	s := authz.SubjectFrom(r.Context())
	for _, p := range places {
		if d.Has(s, p.duties...) {
			http.Redirect(w, r, Path+p.path, http.StatusSeeOther)
			return
		}
	}
	d.Pages.Render(w, r, http.StatusForbidden, web.Failed{Code: authz.ReasonNoRule, HomeURL: "/"})
}

// around is the desk as the person sees it at one of its places.
func (d *desk) around(r *http.Request, here string) web.Desk {
	s := authz.SubjectFrom(r.Context())
	around := web.Desk{Who: web.Who{Name: s.DisplayName(), Provider: d.Provider(s.Provider)}, PortalURL: "/", LogoutURL: "/.gatehouse/logout"}
	if r.Method == http.MethodGet {
		around.Done = r.URL.Query().Get("done")
	}
	for _, p := range places {
		if d.Has(s, p.duties...) {
			around.Places = append(around.Places, web.Place{Key: p.key, URL: Path + p.path, Here: p.key == here})
		}
	}
	return around
}

// refused shows what the API said no to, on the page that asked if there is one.
func (d *desk) refused(w http.ResponseWriter, r *http.Request, err error, page func(*web.Problem) web.Page) {
	var e *api.Error
	if !errors.As(err, &e) {
		d.Pages.Render(w, r, http.StatusInternalServerError, web.Failed{Code: "internal", HomeURL: Path + "/"})
		return
	}
	if page == nil || e.Status == http.StatusForbidden && e.Code != authz.ReasonStepUp {
		d.Pages.Render(w, r, e.Status, web.Failed{Code: e.Code, Text: e.Text, HomeURL: Path + "/"})
		return
	}
	p := &web.Problem{Code: e.Code, Text: e.Text}
	if e.Code == authz.ReasonStepUp {
		p.AgainURL = d.FreshURL(r.URL.RequestURI())
	}
	d.Pages.Render(w, r, e.Status, page(p))
}

// done leads on after something was done.
func done(w http.ResponseWriter, r *http.Request, to, what string) {
	u, err := url.Parse(to)
	if err != nil {
		u = &url.URL{Path: Path + "/"}
	}
	q := u.Query()
	q.Set("done", what)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}
