package gateway

import (
	"net/http"
	"strings"
	"time"
)

// A Meter is told what becomes of the requests to one service. It is on the
// request path: it neither blocks nor allocates.
type Meter interface {
	// Request is told of each, with the status that the client got; 499: it left
	// before an answer began.
	Request(method string, status int, took time.Duration)
	// Decision is told of each, with the rule that made it; empty: no rule did.
	Decision(outcome, rule string)
	// Evaluated is told how long the rules took where no decision was remembered.
	Evaluated(took time.Duration)
	// Released is told of each attribute that a person's session begins to tell
	// the service.
	Released(attribute string)
}

// OwnMeter is the name under which Config.Meter is asked for what the gateway
// answers itself.
const OwnMeter = "gatehouse"

// statusLeft stands for an answer that nobody waited for.
const statusLeft = 499

// silent is a Meter for nobody.
type silent struct{}

func (silent) Request(string, int, time.Duration) {}
func (silent) Decision(string, string)            {}
func (silent) Evaluated(time.Duration)            {}
func (silent) Released(string)                    {}

// end counts a request, and writes its line of the access log.
func (v *visit) end() {
	if w, asked := v.w.ResponseWriter.(*verdict); asked && !w.said && !v.broke {
		v.w.WriteHeader(http.StatusForbidden) // where nothing is said, a server says 200
	}
	if v.checks != nil {
		v.checks.end(v)
	}
	took, status := time.Since(v.began), v.w.status
	if status == 0 {
		status = http.StatusOK // as net/http says for who says nothing
		if !v.w.begun.Load() && v.broke {
			status = statusLeft
		}
	}
	m := v.g.meter
	if v.service != nil {
		m = v.service.meter
	}
	m.Request(v.r.Method, status, took)
	v.endSpan(status)
	if v.g.c.Access != nil {
		v.logAccess(status, took)
	}
}

// maxPathLogged bounds a path in the access log, in bytes.
const maxPathLogged = 512

func (v *visit) pathLogged() string {
	p := v.path
	if p == "" {
		p, _, _ = strings.Cut(v.r.URL.EscapedPath(), "?")
	}
	return p[:min(len(p), maxPathLogged)]
}

// signedIn counts the end of a sign-in.
func (v *visit) signedIn(p *Provider, err error) {
	if v.g.c.SignedIn == nil {
		return
	}
	reason := ""
	if err != nil {
		reason = reasonOf(err)
	}
	v.g.c.SignedIn(p.ID, reason, time.Since(v.began))
}
