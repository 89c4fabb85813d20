// Package portal is what a signed-in person has of the gateway: the services that
// they may open, and the others, greyed, with what they lack; what they asked for,
// what waits for them to decide, and what is known about them.
//
// To the gateway it is one more service, that happens to live in this process:
// it finds the person in the request's context. What it shows as open is what
// the policy says, asked for each service's own front page. Everything else it
// asks the API, in the person's name.
package portal

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/desk"
)

// A Service as the portal shows it.
type Service struct {
	ID, Title, Description, LogoURL string
	URL                             string // where it is opened
	Path                            string // of URL, as rules see it
}

// Config of the portal.
type Config struct {
	desk.Desk
	Services []Service // in the order they are shown
	Decide   func(authz.Request) authz.Decision
	// Asking is where somebody asks for a service that was denied, or what they
	// asked for already. nil: they can not.
	Asking    func(ctx context.Context, s authz.Subject, service string, d authz.Decision, back string) (askURL string, waiting *web.Waiting)
	LogoutURL string
	// AdminURL is where somebody administers; empty: they do not.
	AdminURL func(authz.Subject) string
	Now      func() time.Time
}

// maxForm bounds what a form may hold, in bytes.
const maxForm = 64 << 10

// New makes the portal: its front page at /, the others below /.gatehouse/.
func New(c Config) http.Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	c.requestRoutes(mux)
	c.consentRoutes(mux)
	c.meRoutes(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.Pages.Render(w, r, http.StatusNotFound, web.Failed{Code: "path.unknown", HomeURL: "/", At: c.Now()})
	})
	return http.MaxBytesHandler(mux, maxForm)
}

func (c Config) page(w http.ResponseWriter, r *http.Request) {
	s := authz.SubjectFrom(r.Context())
	page := web.Portal{Who: c.Who(r), LogoutURL: c.LogoutURL, AdminURL: c.AdminURL(s), RequestsURL: RequestsPath, MeURL: MePath}
	if waiting := c.waiting(r); waiting.Decides {
		page.DecideURL, page.Deciding = RequestsPath+"/open", waiting.Count
	}
	from, _ := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
	for _, sv := range c.Services {
		d := c.Decide(authz.Request{Subject: s, Service: sv.ID, Method: http.MethodGet, Path: sv.Path, From: from, Now: c.Now()})
		t := web.Tile{Title: sv.Title, Description: sv.Description, LogoURL: sv.LogoURL, URL: sv.URL}
		// A stronger sign-in is asked for on the way.
		t.Allowed = d.Outcome == authz.Allow || d.Outcome == authz.StepUp
		if !t.Allowed {
			t.Why = why(d)
			if c.Asking != nil {
				t.AskURL, t.Waiting = c.Asking(r.Context(), s, sv.ID, d, sv.URL)
			}
		}
		page.Services = append(page.Services, t)
	}
	c.Pages.Render(w, r, http.StatusOK, page)
}

// why is the first rule's own words for what is missing.
func why(d authz.Decision) string {
	for _, r := range d.Reasons {
		if r.Text != "" && (r.Effect == authz.Deny) == r.Matched {
			return r.Text
		}
	}
	return ""
}
