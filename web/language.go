package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// once is what addresses begin with that work only one time: coming back to
// one in another language would be another answer.
var once = []string{"/.gatehouse/oidc/", "/.gatehouse/saml/", "/.gatehouse/session"}

// switches are the links that change the language, and come back here.
func (p *Pages) switches(r *http.Request, now *speaker) []languageLink {
	if p.brand.LanguageURL == "" || len(p.speakers) < 2 || r.Method != http.MethodGet {
		return nil
	}
	if slices.ContainsFunc(once, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
		return nil
	}
	var links []languageLink
	for _, s := range p.speakers {
		q := url.Values{"to": {s.tag.String()}, "return": {r.URL.RequestURI()}}
		links = append(links, languageLink{
			Lang: s.tag.String(), Dir: s.dir(), Name: s.Name, Here: s == now,
			URL: p.brand.LanguageURL + "?" + q.Encode(),
		})
	}
	return links
}

// Language remembers the language ?to= in a cookie of this host for a year and
// goes back to the path ?return=. It is mounted at Brand.LanguageURL; the
// cookie holds nothing but the language, so anyone may set it.
func (p *Pages) Language() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		q := r.URL.Query()
		i := slices.IndexFunc(p.speakers, func(s *speaker) bool { return s.tag.String() == q.Get("to") })
		if i < 0 {
			http.Error(w, "there is no such language", http.StatusBadRequest)
			return
		}
		back := link(q.Get("return"))
		if u, err := url.Parse(back); err != nil || u.Host != "" || back == "" {
			back = "/"
		}
		http.SetCookie(w, &http.Cookie{
			Name: LanguageCookie, Value: p.speakers[i].tag.String(), Path: "/", MaxAge: 365 * 24 * 60 * 60,
			HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
		})
		http.Redirect(w, r, back, http.StatusSeeOther)
	})
}
