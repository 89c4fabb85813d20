package gateway

import (
	"net/http"
	"net/url"
)

// unsaid leads a browser that opens a page to where its person is asked or told
// something first. Everything else goes on without what they have not agreed to.
// Proxies that ask about requests of their own are not led anywhere.
func (v *visit) unsaid() bool {
	if v.session == nil || v.proxy != nil || !v.ready.unsaid {
		return false
	}
	if v.r.Method != http.MethodGet || v.caller() != browser {
		return false
	}
	v.redirect(v.g.c.ConsentURL + "?" + url.Values{"service": {v.service.ID}, "back": {v.here()}}.Encode())
	return true
}
