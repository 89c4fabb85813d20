package gateway

import (
	"net/http"
	"net/netip"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
)

// What a request tells a collector of traces, where there is one. Without one
// nothing here is called, or it is called with no span and does nothing.

// trace begins the span of a request. A trace that another proxy began goes on
// where that is one whose word counts.
func (v *visit) trace() {
	ap, err := netip.ParseAddrPort(v.r.RemoteAddr)
	v.span = v.g.c.Tracer.Request(v.r, err == nil && within(ap.Addr().Unmap().WithZone(""), v.g.c.TrustedProxies))
	// No span is there without what follows, so nobody looks at these again.
	v.span.Say(tracing.KeyScheme, v.g.scheme())
}

// endSpan ends it.
func (v *visit) endSpan(status int) {
	if v.span == nil {
		return
	}
	route, method := OwnMeter, v.r.Method
	if v.service != nil {
		route = v.service.ID
		v.span.Say(tracing.KeyService, route)
	}
	if !methods[method] {
		method = "_OTHER" // a client's invention may be anything
	}
	v.span.Name(method + " " + route)
	v.span.Say(tracing.KeyMethod, method)
	v.span.Say(tracing.KeyRoute, route)
	v.span.Status(status)
	v.span.End()
}

// judge is the decision about this request.
func (v *visit) judge() (authz.Decision, error) {
	if v.span == nil {
		return v.decide()
	}
	span := v.span.Child("gatehouse.authorize")
	defer span.End()
	d, err := v.decide()
	span.Say(tracing.KeyDecision, d.Outcome.String())
	span.Say(tracing.KeyRule, d.Rule())
	return d, err
}

// away begins the part of a service, which gets its place in the trace; what is
// returned ends it.
func (v *visit) away(r *http.Request) (back func()) {
	span := v.span.Outgoing(r.Method)
	span.Say(tracing.KeyService, v.service.ID)
	span.Say(tracing.KeyMethod, r.Method)
	span.Carry(r.Header)
	return func() {
		span.Status(v.w.status)
		span.End()
	}
}

// codeOf is the reason code of an error; empty: there is none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return reasonOf(err)
}
