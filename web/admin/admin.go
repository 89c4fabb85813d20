// Package admin is the desk of those who look after the gateway: pages over its
// API.
//
// The pages have no rights of their own: what a person may not do by the API,
// they may not do here. A page's state is in its address, so that it can be
// sent to a colleague; what is done is posted to that same address, so that a
// refusal is said where it was asked for.
package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/api"
	webdesk "github.com/gatehouse-sso/gatehouse/web/desk"
)

// Path is where New's handler is mounted.
const Path = "/.gatehouse/admin"

// Config of the desk.
type Config struct {
	API   api.Client
	Pages *web.Pages
	// Has reports whether somebody is an administrator or has one of these duties.
	Has func(s authz.Subject, duties ...string) bool
	webdesk.Titles
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
	{"overview", "/overview", []string{"helpdesk", "auditors"}},
	{"people", "/people", []string{"helpdesk", "auditors"}},
	{"groups", "/groups", []string{"helpdesk", "auditors"}},
	{"sessions", "/sessions", []string{"helpdesk", "auditors"}},
	{"services", "/services", []string{"helpdesk", "auditors", "release_editors"}},
	{"release", "/release", []string{"release_editors", "auditors"}},
	{"targets", "/targets", []string{"helpdesk", "auditors"}},
	{"tasks", "/tasks", []string{"helpdesk", "auditors"}},
	{"providers", "/providers", []string{"helpdesk", "auditors"}},
	{"clients", "/clients", []string{"auditors"}},
	{"audit", "/audit", []string{"auditors"}},
	{"settings", "/settings", []string{"auditors"}},
}

// maxForm bounds what a form may hold, in bytes.
const maxForm = 2 << 20

// New makes the desk.
func New(c Config) http.Handler {
	d := &desk{Config: c, mux: http.NewServeMux(), shared: webdesk.Desk{API: c.API, Pages: c.Pages, Titles: c.Titles, FreshURL: c.FreshURL, HomeURL: Path + "/"}}
	d.mux.HandleFunc("GET "+Path+"/{$}", d.front)
	d.mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, Path+"/", http.StatusSeeOther) })
	d.page("/overview", d.overview, nil)
	d.peoplePages()
	d.groupPages()
	d.sessionPages()
	d.page("/services", d.services, nil)
	d.page("/service", d.service, nil)
	d.page("/mine", d.mine, nil)
	d.page("/mine/service", d.mineService, nil)
	d.releasePages()
	d.targetPages()
	d.taskPages()
	d.providerPages()
	d.clientPages()
	d.page("/audit", d.audit, nil)
	d.page("/flow", d.flow, nil)
	d.page("/settings", d.settings, nil)
	d.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.Pages.Render(w, r, http.StatusNotFound, web.Failed{Code: "path.unknown", HomeURL: Path + "/"})
	})
	return http.MaxBytesHandler(d.mux, maxForm)
}

type desk struct {
	Config
	mux    *http.ServeMux
	shared webdesk.Desk
}

// A view makes a page of what the API tells the person.
type view func(r *http.Request) (web.Board, error)

// An act is what a form of a page asks for: a route of the API, the fields that it
// takes and what is always so.
type act struct {
	route  string
	fields []string
	always url.Values
	done   string // text "done." of it
	to     string // path of the page that it leads to; empty: the one that asked
	// next, if not nil, is the address of the page that it leads to.
	next func(r *http.Request) string
	// form, if not nil, makes what the API gets, in place of the above.
	form func(r *http.Request) url.Values
	// shows, if not nil, makes a page of the answer in place of leading on.
	shows func(r *http.Request, answer []byte) (web.Page, error)
}

// page adds a page, and what its forms do, by the value of their field "do".
func (d *desk) page(path string, v view, acts map[string]act) {
	d.mux.HandleFunc("GET "+Path+path, func(w http.ResponseWriter, r *http.Request) {
		b, err := v(r)
		if err != nil {
			d.shared.Refused(w, r, err, "", nil)
			return
		}
		d.Pages.Render(w, r, http.StatusOK, b)
	})
	if acts == nil {
		return
	}
	d.mux.HandleFunc("POST "+Path+path, func(w http.ResponseWriter, r *http.Request) {
		a, known := acts[r.FormValue("do")]
		if !known {
			d.Pages.Render(w, r, http.StatusBadRequest, web.Failed{Code: "request.parameters", HomeURL: Path + "/"})
			return
		}
		refused := func(err error) {
			d.shared.Refused(w, r, err, r.URL.RequestURI(), func(p *web.Problem) web.Page {
				b, err := v(r)
				if err != nil {
					return web.Failed{Code: p.Code, Text: p.Text, HomeURL: Path + "/"}
				}
				b.Problem = p
				return b
			})
		}
		var answer []byte
		if err := d.API.Call(r.Context(), a.route, a.asks(r), &answer); err != nil {
			refused(err)
			return
		}
		if a.shows != nil {
			p, err := a.shows(r, answer)
			if err != nil {
				refused(err)
				return
			}
			d.Pages.Render(w, r, http.StatusOK, p)
			return
		}
		to := r.URL.RequestURI()
		if a.to != "" {
			to = Path + a.to
		}
		if a.next != nil {
			to = a.next(r)
		}
		webdesk.Done(w, r, to, a.done)
	})
}

// asks is what the API gets.
func (a act) asks(r *http.Request) url.Values {
	if a.form != nil {
		return a.form(r)
	}
	q := url.Values{}
	for name, values := range a.always {
		q[name] = values
	}
	for _, name := range a.fields {
		if values := slices.DeleteFunc(slices.Clone(r.PostForm[name]), func(s string) bool { return s == "" }); len(values) > 0 {
			q[name] = values
		}
	}
	return q
}

// front leads to the first page that the person may see.
func (d *desk) front(w http.ResponseWriter, r *http.Request) {
	s := authz.SubjectFrom(r.Context())
	for _, p := range places {
		if d.Has(s, p.duties...) {
			http.Redirect(w, r, Path+p.path, http.StatusSeeOther)
			return
		}
	}
	if d.waiting(r).Owns > 0 {
		http.Redirect(w, r, Path+"/mine", http.StatusSeeOther)
		return
	}
	d.Pages.Render(w, r, http.StatusForbidden, web.Failed{Code: authz.ReasonNoRule, HomeURL: "/"})
}

// waiting is what waits for the person, and whether they answer for services;
// nothing where that can not be asked, which the page says itself.
func (d *desk) waiting(r *http.Request) (v api.Waiting) {
	_ = d.API.Call(r.Context(), "GET /v1/decisions/count", nil, &v)
	return v
}

// board begins a page at one of the places.
func (d *desk) board(r *http.Request, here string, title web.Text, name string) web.Board {
	s := authz.SubjectFrom(r.Context())
	var around []web.Place
	for _, p := range places {
		if d.Has(s, p.duties...) {
			around = append(around, web.Place{Key: p.key, URL: Path + p.path, Here: p.key == here})
		}
	}
	waiting := d.waiting(r)
	if waiting.Owns > 0 {
		around = append(around, web.Place{Key: "mine", URL: at("/mine"), Here: here == "mine"})
	}
	if waiting.Decides { // on a page of everybody who does
		around = append(around, web.Place{Key: "deciding", URL: "/.gatehouse/requests/open", Count: waiting.Count})
	}
	return web.Board{Desk: d.shared.Around(r, around), Title: title, Name: name}
}

// may reports whether the person has one of some duties, or all of them.
func (d *desk) may(r *http.Request, duties ...string) bool {
	return d.Has(authz.SubjectFrom(r.Context()), duties...)
}

// ask asks the API, as the person, where names and values alternate.
func (d *desk) ask(r *http.Request, route string, into any, form ...string) error {
	q := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		if form[i+1] != "" {
			q.Add(form[i], form[i+1])
		}
	}
	return d.API.Call(r.Context(), route, q, into)
}

// say is a text of ours; word one of a kind, where there may be none.
func say(key string, with ...string) web.Text    { return web.Text{Key: key, With: with} }
func word(kind, name string) web.Text            { return web.Text{Key: kind + "." + name, Else: name} }
func says(key string, with ...string) []web.Text { return []web.Text{say(key, with...)} }

// sayn is a text about so many things.
func sayn(key string, n int, with ...string) web.Text {
	return web.Text{Key: key, Count: &n, With: with}
}

// at is the address of a page, where names and values alternate; what is empty is
// left out.
func at(path string, form ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		if form[i+1] != "" {
			q.Set(form[i], form[i+1])
		}
	}
	if len(q) == 0 {
		return Path + path
	}
	return Path + path + "?" + q.Encode()
}

// marked is a state in words with its mark.
func marked(kind, state string) web.Cell {
	c := web.Cell{Text: word(kind, state), Mark: "wait"}
	switch state {
	case "working", "done", "allow", "ok", "active", "yes":
		c.Mark = "good"
	case "quarantine", "failed", "parked", "deny", "dead", "inactive", "no", "degraded":
		c.Mark = "bad"
	}
	return c
}

// row makes a row of cells.
func row(cells ...web.Cell) web.Row { return web.Row{Cells: cells} }

// text is a cell of somebody else's words.
func text(s string) web.Cell { return web.Cell{Value: s} }

// attribute is a cell of what people call an attribute, with its name.
func attribute(name string) web.Cell { return web.Cell{Text: word("attribute", name), Note: name} }

// source is a cell of who says something.
func (d *desk) source(s provisioning.Source) web.Cell {
	switch kind, id, _ := strings.Cut(string(s), ":"); kind {
	case "idp":
		return text(d.Provider(id))
	case "scim":
		return text(d.Client(id))
	default:
		return web.Cell{Text: word("source", kind), Note: id}
	}
}

// each are what people call several things.
func each(ids []string, title func(id string) string) (list []string) {
	for _, id := range ids {
		list = append(list, title(id))
	}
	return list
}

// heads are the headings of columns.
func heads(keys ...string) (list []web.Text) {
	for _, k := range keys {
		list = append(list, say(k))
	}
	return list
}

// does is the hidden field that chooses an act, with other hidden ones.
func does(what string, more ...string) []web.Field {
	list := []web.Field{{Kind: "hidden", Name: "do", Value: what}}
	for i := 0; i+1 < len(more); i += 2 {
		list = append(list, web.Field{Kind: "hidden", Name: more[i], Value: more[i+1]})
	}
	return list
}

// button is a form of one button.
func button(action, key, about string, fields []web.Field) web.Form {
	return web.Form{Action: action, Fields: fields, Button: say(key), About: about, Quiet: true}
}

// input is a field to type into.
func input(id, name, label, value string) web.Field {
	return web.Field{ID: id, Name: name, Kind: "text", Label: say(label), Value: value}
}

// choice is a select of names.
func choice(id, name, label, chosen string, options ...web.Option) web.Field {
	for i := range options {
		options[i].Chosen = options[i].Value == chosen
	}
	return web.Field{ID: id, Name: name, Kind: "select", Label: say(label), Options: options}
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return strings.TrimSuffix(strings.TrimRight(ftoa(f), "0"), ".") + " " + units[i]
}
