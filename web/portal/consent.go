package portal

import (
	"net/http"
	"net/url"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/desk"
)

// ConsentPath is where one says what others may learn.
const ConsentPath = "/.gatehouse/consent"

func (c Config) consentRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+ConsentPath, c.consents)
	mux.HandleFunc("POST "+ConsentPath, c.consent)
}

// consents shows who learns what: before a service is used what is new there, and
// without one everything.
func (c Config) consents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var list []api.Recipient
	if err := c.API.Call(r.Context(), "GET /v1/me/consents", url.Values{"service": {q.Get("service")}}, &list); err != nil {
		c.Refused(w, r, err, "", nil)
		return
	}
	if q.Get("service") != "" && len(list) == 0 { // it was said in another tab
		c.onward(w, r, q.Get("back"), "")
		return
	}
	page := web.Consent{
		Desk: c.around(r, "consent"), Service: q.Get("service"), Fields: url.Values{"back": {q.Get("back")}},
	}
	for _, v := range list {
		to := web.ConsentTo{Title: v.Title}
		if v.To == "service:"+q.Get("service") {
			page.Service = v.Title
		}
		for _, value := range v.Values {
			page.Fields.Add("shown", v.To+" "+value.Attribute)
			to.Values = append(to.Values, web.ConsentValue{
				Key: v.To + " " + value.Attribute, Attribute: value.Attribute, Values: value.Values, Purpose: value.Purpose, Basis: value.Basis,
				Asked: value.Basis == authz.BasisConsent, Given: value.Said == authz.Given,
			})
			page.Asks = page.Asks || value.Basis == authz.BasisConsent
		}
		page.To = append(page.To, to)
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

func (c Config) consent(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		c.Pages.Render(w, r, http.StatusBadRequest, web.Failed{Code: "request.parameters", HomeURL: ConsentPath})
		return
	}
	form := url.Values{"shown": r.PostForm["shown"], "given": r.PostForm["given"]}
	if r.PostForm.Get("none") != "" {
		form.Del("given")
	}
	if err := c.API.Call(r.Context(), "POST /v1/me/consents", form, nil); err != nil {
		c.Refused(w, r, err, ConsentPath, nil)
		return
	}
	if back := r.PostForm.Get("back"); back != "" {
		c.onward(w, r, back, r.PostForm.Get("service"))
		return
	}
	desk.Done(w, r, ConsentPath, "consent")
}

// onward leads to a page of a service. The way is that of a sign-in, which knows
// what addresses are ours; a page, not a redirect, since the form may lead to
// ourselves alone.
func (c Config) onward(w http.ResponseWriter, r *http.Request, back, title string) {
	c.Pages.Render(w, r, http.StatusOK, web.GoOn{URL: "/.gatehouse/login?" + url.Values{"return": {back}}.Encode(), To: title})
}
