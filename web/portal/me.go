package portal

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/desk"
)

// MePath is the page of what is known about the person who opens it.
const MePath = "/.gatehouse/me"

func (c Config) meRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+MePath, c.me)
	mux.HandleFunc("GET "+MePath+"/export", c.export)
	mux.HandleFunc("POST "+MePath+"/session", c.endSession)
	mux.HandleFunc("POST "+MePath+"/link", c.link)
	mux.HandleFunc("POST "+MePath+"/unlink", c.unlink)
}

func (c Config) me(w http.ResponseWriter, r *http.Request) { c.showMe(w, r, nil) }

// showMe shows what is known about the person, with what was refused.
func (c Config) showMe(w http.ResponseWriter, r *http.Request, refused error) {
	var me api.Me
	if err := c.API.Call(r.Context(), "GET /v1/me", nil, &me); err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	page := web.Me{
		Desk: c.around(r, "me"), UserName: me.UserName, Created: me.Created, Claims: c.claims(me), Roles: me.Roles, Groups: me.Groups,
		Services: recipients(me.Services), Targets: recipients(me.Targets), ExportURL: MePath + "/export",
	}
	for _, g := range me.Grants {
		page.Grants = append(page.Grants, web.GrantRow{Role: g.RoleTitle, By: g.Granter, Since: g.Since, Until: g.Until})
	}
	for _, s := range me.Sessions {
		page.Sessions = append(page.Sessions, web.SessionRow{ID: s.ID, Provider: c.Provider(s.Provider), Created: s.Created, Seen: s.Seen, Until: s.Until, Current: s.Current})
	}
	for _, l := range me.Links {
		page.Links = append(page.Links, web.LinkRow{Provider: c.Provider(l.Provider), ProviderID: l.Provider, Issuer: l.Issuer, Subject: l.Subject, Since: l.Since, Keeps: l.Keeps})
	}
	for _, id := range me.Providers {
		page.Add = append(page.Add, web.Choice{ID: id, Title: c.Provider(id)})
	}
	if refused != nil {
		c.Refused(w, r, refused, MePath, func(p *web.Problem) web.Page { page.Problem = p; return page })
		return
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

// claims are what each source says, by attribute. What a client keeps here for
// itself alone is in the export.
func (c Config) claims(me api.Me) (rows []web.ClaimRow) {
	for _, attr := range slices.Sorted(maps.Keys(me.Claims)) {
		if strings.Contains(attr, ":") {
			continue
		}
		for _, claim := range me.Claims[attr] {
			kind, id, _ := strings.Cut(string(claim.Source), ":")
			row := web.ClaimRow{Attribute: attr, Values: claim.Values, Kind: kind, At: claim.At}
			switch {
			case kind == "idp":
				row.Source = c.Provider(id)
			case kind == "scim":
				row.Source = c.Client(id)
			case id != "":
				row.Source = id
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func recipients(list []api.Learner) (rows []web.RecipientRow) {
	for _, x := range list {
		row := web.RecipientRow{Title: x.Title, Seen: x.Seen, At: x.At, State: x.Status}
		for _, s := range x.Sent {
			row.Sent = append(row.Sent, sent(s))
		}
		for _, w := range x.Withheld {
			if w.Values > 0 {
				row.Withheld = append(row.Withheld, w.Attribute)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func sent(s authz.Released) web.SentRow {
	return web.SentRow{Attribute: s.Attribute, Name: s.Name, Values: s.Values, Purpose: s.Purpose}
}

// export is everything, to keep.
func (c Config) export(w http.ResponseWriter, r *http.Request) {
	var raw []byte
	if err := c.API.Call(r.Context(), "GET /v1/me/export", nil, &raw); err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="my-data.json"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(raw) // whoever asked may be gone
}

func (c Config) endSession(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("id")
	if err := c.API.Call(r.Context(), "DELETE /v1/me/sessions", url.Values{"id": {id}}, nil); err != nil {
		c.showMe(w, r, err)
		return
	}
	done := "session_ended"
	if id == "" {
		done = "sessions_ended"
	}
	desk.Done(w, r, MePath, done)
}

// link leads to a sign-in at an identity provider that adds it.
func (c Config) link(w http.ResponseWriter, r *http.Request) {
	var to api.Link
	if err := c.API.Call(r.Context(), "POST /v1/me/link", url.Values{"provider": {r.PostFormValue("provider")}}, &to); err != nil {
		c.showMe(w, r, err)
		return
	}
	// A redirect after a form would be held to our own form-action at the provider.
	c.Pages.Render(w, r, http.StatusOK, web.GoOn{URL: to.URL, To: c.Provider(r.PostFormValue("provider"))})
}

func (c Config) unlink(w http.ResponseWriter, r *http.Request) {
	form := url.Values{}
	for _, name := range []string{"provider", "issuer", "subject"} {
		form.Set(name, r.PostFormValue(name))
	}
	if err := c.API.Call(r.Context(), "DELETE /v1/me/link", form, nil); err != nil {
		c.showMe(w, r, err)
		return
	}
	desk.Done(w, r, MePath, "identity_gone")
}
