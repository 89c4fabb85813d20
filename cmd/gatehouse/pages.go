package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/web"
	webadmin "github.com/gatehouse-sso/gatehouse/web/admin"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/desk"
	"github.com/gatehouse-sso/gatehouse/web/portal"
)

// Pages of ours for people who are signed in are services that live in this
// process. Whoever is signed in may open them; what they may see and do there
// follows from their duties.
const (
	portalID  = "gatehouse:portal"
	adminID   = "gatehouse:admin"
	apiID     = "gatehouse:api"
	freshID   = "gatehouse:fresh"
	askID     = "gatehouse:requests"
	consentID = "gatehouse:consent"
	meID      = "gatehouse:me"
)

// freshPath leads through a fresh sign-in to the address in its query.
const freshPath = "/.gatehouse/fresh"

// ownRules are the access rules of pages of ours.
func ownRules() (list []authz.ServiceRules) {
	for _, id := range []string{portalID, adminID, apiID, freshID, askID, consentID, meID} {
		m := &authz.Match{SignedIn: true}
		if id == freshID {
			m.MaxAge = freshSignIn
		}
		list = append(list, authz.ServiceRules{ID: id, Pos: "built in", Rules: []authz.Rule{{
			ID: "signed-in", Text: "These pages are for everyone who is signed in.", Pos: "built in", Allow: m,
		}}})
	}
	return list
}

// ownPages are those on the gateway's own host. The portal's front page is at /
// unless the site has one of its own.
func (s *site) ownPages(p *process, pages *web.Pages, tiles []portal.Service) []gateway.Service {
	table := routesOf(p, s, true)
	common := desk.Desk{
		API: webapi.Client{Handler: table}, Pages: pages, HomeURL: "/",
		Titles:   s.titles(),
		FreshURL: func(back string) string { return freshPath + "?" + url.Values{"return": {back}}.Encode() },
	}
	mine := portal.New(portal.Config{
		Desk: common, Services: tiles, Decide: s.rules.policy.Decide, LogoutURL: "/.gatehouse/logout", AdminURL: s.adminURL, Now: p.now,
		Asking: func(ctx context.Context, sub authz.Subject, service string, d authz.Decision, back string) (string, *web.Waiting) {
			asking := s.asking(ctx, sub, service, d, back)
			return asking.URL, asking.Waiting
		},
	})
	own := func(id, path string, h http.Handler) gateway.Service {
		return gateway.Service{ID: id, Title: pages.Name(), Host: s.cfg.Server.PublicURL.Hostname(), Path: path, Handler: h}
	}
	list := []gateway.Service{
		own(apiID, "/.gatehouse/api", http.StripPrefix("/.gatehouse/api", http.MaxBytesHandler(table, maxAPI))),
		own(freshID, freshPath, http.HandlerFunc(goBack)),
		own(adminID, webadmin.Path, webadmin.New(webadmin.Config{
			API: common.API, Pages: pages, Has: s.has, Titles: common.Titles, FreshURL: common.FreshURL,
		})),
		own(askID, portal.RequestsPath, mine),
		own(consentID, portal.ConsentPath, mine),
		own(meID, portal.MePath, mine),
	}
	home := s.cfg.Server.PublicURL.Hostname()
	if !slices.ContainsFunc(s.cfg.Services, func(c configs.Service) bool { return c.Host == home && (c.Path == "/" || c.Path == "") }) {
		list = append(list, own(portalID, "/", mine))
	}
	return list
}

// adminURL is where somebody administers; nowhere for who has no duties and answers
// for nothing.
func (s *site) adminURL(who authz.Subject) string {
	duties := []string{}
	for duty := range dutiesOf(s.cfg) {
		duties = append(duties, duty)
	}
	if !s.has(who, duties...) && len(s.ownedBy(who)) == 0 {
		return ""
	}
	return webadmin.Path + "/"
}

// maxAPI bounds what a person's browser may send to the API, in bytes. Larger
// files come by the machine.
const maxAPI = 16 << 20

// goBack leads to a page of this host. Who came here signed in just now.
func goBack(w http.ResponseWriter, r *http.Request) {
	back := r.URL.Query().Get("return")
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\t\r\n") {
		back = "/"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
