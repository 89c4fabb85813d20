package admin

import (
	"net/http"
	"net/url"

	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
)

const pageOf = 50

func (d *desk) peopleRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"/people", d.people)
}

// people lists who is known, or found.
func (d *desk) people(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	form := url.Values{"limit": {"51"}, "q": {q.Get("q")}, "after": {q.Get("after")}}
	var list []api.User
	if err := d.API.Call(r.Context(), "GET /v1/users", form, &list); err != nil {
		d.refused(w, r, err, nil)
		return
	}
	page := web.People{Desk: d.around(r, "people"), Query: q.Get("q")}
	if len(list) > pageOf {
		list = list[:pageOf]
		page.MoreURL = Path + "/people?" + url.Values{"q": {q.Get("q")}, "after": {list[pageOf-1].ID}}.Encode()
	}
	for _, u := range list {
		page.Rows = append(page.Rows, web.PersonRow{Name: api.First(u.Attributes["display_name"]), UserName: u.UserName, Mail: api.First(u.Attributes["mail"]), Active: u.Active, Modified: u.Modified})
	}
	d.Pages.Render(w, r, http.StatusOK, page)
}
