// Package portal is the page that a signed-in person starts from: the services
// that they may open, and the others, greyed, with what they lack.
//
// To the gateway it is one more service, that happens to live in this process:
// it finds the person in the request's context. What it shows as open is what
// the policy says, asked for each service's own front page.
package portal

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/web"
)

// A Service as the portal shows it.
type Service struct {
	ID, Title, Description, LogoURL string
	URL                             string // where it is opened
	Path                            string // of URL, as rules see it
}

// Config of the portal.
type Config struct {
	Services []Service // in the order they are shown
	Decide   func(authz.Request) authz.Decision
	Pages    *web.Pages
	// Provider is the title of an identity provider.
	Provider  func(id string) string
	LogoutURL string
	// AdminURL is where somebody administers; empty: they do not.
	AdminURL func(authz.Subject) string
	Now      func() time.Time
}

// New makes the portal.
func New(c Config) http.Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.Pages.Render(w, r, http.StatusNotFound, web.Failed{Code: "path.unknown", HomeURL: "/", At: c.Now()})
	})
	return mux
}

func (c Config) page(w http.ResponseWriter, r *http.Request) {
	s := authz.SubjectFrom(r.Context())
	page := web.Portal{Who: web.Who{Name: s.DisplayName(), Provider: c.Provider(s.Provider)}, LogoutURL: c.LogoutURL, AdminURL: c.AdminURL(s)}
	from, _ := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
	for _, sv := range c.Services {
		d := c.Decide(authz.Request{Subject: s, Service: sv.ID, Method: http.MethodGet, Path: sv.Path, From: from, Now: c.Now()})
		t := web.Tile{Title: sv.Title, Description: sv.Description, LogoURL: sv.LogoURL, URL: sv.URL}
		// A stronger sign-in is asked for on the way.
		t.Allowed = d.Outcome == authz.Allow || d.Outcome == authz.StepUp
		if !t.Allowed {
			t.Why = why(d)
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
