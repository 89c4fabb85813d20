package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/web"
)

// Reason codes of the gateway itself.
const (
	ReasonMethod          = "request.method"
	ReasonHeaders         = "request.headers"
	ReasonBody            = "request.body"
	ReasonBodyTimeout     = "request.timeout"
	ReasonCookies         = "request.cookies"
	ReasonParameters      = "request.parameters"
	ReasonCrossSite       = "request.cross_site"
	ReasonTooMany         = "request.too_many"
	ReasonPath            = "path.ambiguous"
	ReasonPathUnknown     = "path.unknown"
	ReasonHostUnknown     = "host.unknown"
	ReasonSignIn          = "session.required"
	ReasonRevoked         = "session.revoked"
	ReasonTicket          = "session.ticket"
	ReasonRecovery        = "session.recovery"
	ReasonProviderUnknown = "login.provider_unknown"
	ReasonLoop            = "login.loop"
	ReasonLink            = "login.link"
	ReasonLinkTaken       = "login.link_taken"
	ReasonPending         = "provisioning.pending"
	ReasonTimeout         = "provisioning.timeout"
	ReasonProxy           = "proxy.untrusted"
	ReasonQuestion        = "proxy.question"
	ReasonNotBehind       = "proxy.not_behind"
	ReasonStore           = "store.unavailable"
	ReasonUpstream        = "upstream.unreachable"
	ReasonUpstreamTimeout = "upstream.timeout"
	ReasonUpstreamDown    = "upstream.down"
	ReasonUpstreamLarge   = "upstream.too_large"
	ReasonInternal        = "internal"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonMethod:          "The HTTP method is not one that services get.",
	ReasonHeaders:         "The request has more header lines or cookies than are accepted.",
	ReasonBody:            "The request's body is larger than what is accepted.",
	ReasonBodyTimeout:     "The client stopped in the middle of the request's body.",
	ReasonCookies:         "The browser sent the gateway's cookie more than once; neither is believed.",
	ReasonParameters:      "A parameter is missing, given twice, or not what it should be.",
	ReasonTooMany:         "One address sent too many requests without a session, or one person signed in too often.",
	ReasonCrossSite:       "The request was made by a page of another site.",
	ReasonPath:            "The path can be read in more than one way.",
	ReasonPathUnknown:     "No service is at this address.",
	ReasonHostUnknown:     "No service has this host, or the connection was opened for another one.",
	ReasonSignIn:          "Nobody is signed in.",
	ReasonRevoked:         "The session ended while the request was under way.",
	ReasonTicket:          "The hand-over from the gateway to the service's host was not valid: used before, too old, or in a browser that keeps no cookies.",
	ReasonRecovery:        "The code of the machine was used before, is older than ten minutes, or was never made, or a later one took its place.",
	ReasonProviderUnknown: "There is no such identity provider, or this service does not take it.",
	ReasonLoop:            "The person signed in several times in a row for the same address, and came back as nobody, or as weakly signed in as before.",
	ReasonLink:            "Adding an identity was not asked for in this session, or too long ago, or the session is over.",
	ReasonLinkTaken:       "The identity that somebody wanted to add is another user's.",
	ReasonPending:         "The person's account at a target is being prepared.",
	ReasonTimeout:         "The person's account at a target was not ready in time.",
	ReasonProxy:           "Somebody asked as a proxy who is not listed as one.",
	ReasonQuestion:        "A proxy did not describe the request that it asks about in the way of its kind.",
	ReasonNotBehind:       "A proxy asked about a service that is not behind it.",
	ReasonStore:           "The store could not be read, so nobody knows who this is, and nobody passes.",
	ReasonUpstream:        "The service could not be reached, or broke off.",
	ReasonUpstreamTimeout: "The service did not answer in time.",
	ReasonUpstreamDown:    "The service is down: none of its upstreams can be reached, or passes its checks.",
	ReasonUpstreamLarge:   "The service's answer is larger than what is accepted.",
	ReasonInternal:        "Something in the gateway went wrong; the log has the details under the support code.",
}

// A refusal is an error with its reason code.
type refusal struct {
	code   string
	detail string // for the log
	said   string // what the identity provider said, for the person; untrusted
	idp    *Provider
	retry  string // where to try again
	after  int    // seconds until it is worth another try; 0: not known
	cause  error  // instead of detail, where there is one
}

func (r refusal) Error() string {
	if r.cause != nil {
		return r.cause.Error()
	}
	return r.code + ": " + r.detail
}
func (r refusal) Reason() string { return r.code }
func (r refusal) Unwrap() error  { return r.cause }

// reasonOf is the reason code of an error; what has none is ours to mend.
func reasonOf(err error) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return ReasonInternal
}

// statuses of reason codes: each by itself, or by its family, the part before
// the first dot.
var statuses = map[string]int{
	ReasonInternal:        http.StatusInternalServerError,
	ReasonStore:           http.StatusServiceUnavailable,
	ReasonUpstream:        http.StatusBadGateway,
	ReasonUpstreamTimeout: http.StatusGatewayTimeout,
	ReasonUpstreamDown:    http.StatusServiceUnavailable,
	ReasonUpstreamLarge:   http.StatusBadGateway,

	ReasonMethod:          http.StatusMethodNotAllowed,
	ReasonHeaders:         http.StatusRequestHeaderFieldsTooLarge,
	ReasonBody:            http.StatusRequestEntityTooLarge,
	ReasonBodyTimeout:     http.StatusRequestTimeout,
	ReasonCookies:         http.StatusBadRequest,
	ReasonParameters:      http.StatusBadRequest,
	ReasonCrossSite:       http.StatusForbidden,
	ReasonTooMany:         http.StatusTooManyRequests,
	ReasonPath:            http.StatusBadRequest,
	ReasonPathUnknown:     http.StatusNotFound,
	ReasonHostUnknown:     http.StatusMisdirectedRequest,
	ReasonSignIn:          http.StatusUnauthorized,
	ReasonRevoked:         http.StatusUnauthorized,
	ReasonTicket:          http.StatusForbidden,
	ReasonRecovery:        http.StatusForbidden,
	ReasonProviderUnknown: http.StatusNotFound,
	ReasonProxy:           http.StatusForbidden,
	ReasonQuestion:        http.StatusBadRequest,
	ReasonNotBehind:       http.StatusForbidden,
	ReasonPending:         http.StatusServiceUnavailable,
	ReasonTimeout:         http.StatusServiceUnavailable,

	federation.ReasonStateUnknown: http.StatusBadRequest,
	federation.ReasonStateExpired: http.StatusBadRequest,
	federation.ReasonMalformed:    http.StatusBadRequest,
	federation.ReasonTooLarge:     http.StatusRequestEntityTooLarge,
	federation.ReasonUnavailable:  http.StatusServiceUnavailable,
	authz.ReasonLogin:             http.StatusUnauthorized,

	bearer.ReasonUnknown:   http.StatusUnauthorized,
	bearer.ReasonJWT:       http.StatusUnauthorized,
	bearer.ReasonScope:     http.StatusForbidden,
	bearer.ReasonKeys:      http.StatusServiceUnavailable,
	bearer.ReasonThrottled: http.StatusTooManyRequests,

	// What somebody said about a person, or what the person may.
	"login": http.StatusForbidden, "oidc": http.StatusForbidden, "saml": http.StatusForbidden,
	"jit": http.StatusForbidden, "user": http.StatusForbidden, "access": http.StatusForbidden,

	// What was asked of the release policy can not be, as things are.
	"release": http.StatusConflict,
}

// Status of a reason code. Of a code that it does not know it says so; that is
// a mistake of ours, and a 500.
func Status(code string) (status int, known bool) {
	if st, ok := statuses[code]; ok {
		return st, true
	}
	family, _, _ := strings.Cut(code, ".")
	if st, ok := statuses[family]; ok {
		return st, true
	}
	return http.StatusInternalServerError, false
}

func status(code string) int {
	st, _ := Status(code)
	return st
}

// refuse ends a visit that can not go on: logged, recorded, and said to the
// caller in a form that it can read. Where another answer has begun it breaks
// off instead, so that the half does not look complete.
func (v *visit) refuse(err error) {
	code := reasonOf(err)
	v.note("refused", code, err)
	if v.w.begun.Load() {
		v.span.Failed(code)
		panic(http.ErrAbortHandler)
	}
	v.comeAgain(err)
	v.answer(status(code), code, v.failed(err, code))
}

// failed is the page for an error.
func (v *visit) failed(err error, code string) web.Page {
	var r refusal
	_ = errors.As(err, &r)
	contact, contactURL := v.contact()
	var missing *provisioning.Refusal
	if errors.As(err, &missing) && missing.Code == provisioning.ReasonMissing && r.idp != nil {
		return web.MissingAttribute{
			Service: v.serviceTitle(), Provider: r.idp.Title, Attribute: missing.Attribute, Recipient: r.idp.Recipient, ErrorURL: r.idp.ErrorURL,
			Contact: contact, ContactURL: contactURL, RetryURL: r.retry, SwitchURL: v.switchURL(r.retry), Code: code, Support: v.code(), At: v.g.c.Now(),
		}
	}
	p := web.Failed{
		Code: code, Support: v.code(), Service: v.serviceTitle(), Text: r.said, RetryURL: r.retry, At: v.g.c.Now(),
		HomeURL: v.g.c.Public.String() + "/", Contact: contact, ContactURL: contactURL,
	}
	if r.idp != nil {
		p.Provider = r.idp.Title
	}
	return p
}

func (v *visit) serviceTitle() string {
	if v.service == nil {
		return ""
	}
	return v.service.Title
}

func (v *visit) contact() (string, string) {
	if s := v.service; s != nil && (s.Contact != "" || s.ContactURL != "") {
		return s.Contact, s.ContactURL
	}
	return v.g.c.Contact, v.g.c.ContactURL
}

// deny answers who is signed in and may not pass, with what is missing.
func (v *visit) deny(d authz.Decision) {
	s := v.service
	who, err := v.who.subject(v.r.Context())
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "load user: " + err.Error()})
		return
	}
	v.note("denied", d.Code, errors.New(firstRule(d)))
	contact, contactURL := v.contact()
	here := v.here()
	page := web.Denied{
		Service: s.Title, Code: d.Code, Support: v.code(), At: v.g.c.Now(),
		Rules: unmet(d, s.DeniedText), Contact: contact, ContactURL: contactURL,
	}
	if v.session != nil {
		page.Who = web.Who{Name: who.DisplayName(), Provider: v.providerTitle()}
		page.SwitchURL, page.LogoutURL = v.switchURL(here), v.g.c.Public.String()+"/.gatehouse/logout"
		if v.g.c.Asking != nil {
			asking := v.g.c.Asking(v.r.Context(), *who, s.ID, d, here)
			page.AskURL, page.Waiting = asking.URL, asking.Waiting
		}
		if page.Waiting != nil && v.r.Method == http.MethodGet {
			page.RefreshSeconds = lookAgain
		}
	}
	if d.Outcome == authz.StepUp {
		page.StepUpURL = v.g.loginURL(here, "")
	}
	v.answer(status(d.Code), d.Code, page)
}

// lookAgain is after how many seconds a denial that somebody decides about is
// looked at again by itself.
const lookAgain = 20

// unmet says what each rule wants, in its own words, once.
func unmet(d authz.Decision, fallback string) (list []web.Unmet) {
	seen := map[string]bool{}
	for _, r := range d.Reasons {
		if d.Code == "access.denied_by_rule" && !(r.Effect == authz.Deny && r.Matched) || d.Code != "access.denied_by_rule" && r.Effect == authz.Deny {
			continue
		}
		if elsewhere(r) {
			continue
		}
		text := r.Text
		if text == "" {
			text = fallback
		}
		if text == "" || seen[text] {
			continue
		}
		seen[text] = true
		u := web.Unmet{Text: text}
		for _, c := range r.Unmet {
			if c.Kind != "acr" { // an address that means nothing to a person
				u.Have = append(u.Have, c.Have...)
			}
		}
		list = append(list, u)
	}
	return list
}

// elsewhere: the rule is about other paths or methods than this request's.
func elsewhere(r authz.Reason) bool {
	return slices.ContainsFunc(r.Unmet, func(c authz.Clause) bool { return c.Kind == "paths" || c.Kind == "methods" })
}

func firstRule(d authz.Decision) string {
	for _, r := range d.Reasons {
		if r.Matched && r.Effect == authz.Deny {
			return "rule " + r.Rule
		}
	}
	return d.Outcome.String()
}

// name is what the person is called on a page.
func (v *visit) name() string {
	who, err := v.who.subject(v.r.Context())
	if err != nil {
		return "" // the page says the rest
	}
	return who.DisplayName()
}

func (v *visit) providerTitle() string {
	if p := v.g.providers[v.session.Provider]; p != nil {
		return p.Title
	}
	return v.session.Provider
}

// note writes the log line and the audit event of something that went no further.
func (v *visit) note(kind, code string, err error) { v.noteAt("", kind, code, err) }

func (v *visit) noteAt(provider, kind, code string, err error) {
	e := audit.Event{Kind: kind, Code: code, Flow: v.code(), Provider: provider, From: v.from.String(), Text: err.Error()}
	if v.service != nil {
		e.Service = v.service.ID
	}
	if v.session != nil {
		e.UserID, e.Provider = v.session.UserID, v.session.Provider
	}
	if v.bears != nil {
		e.By = v.bears.Subject.ID
	}
	v.g.c.Log.InfoContext(v.r.Context(), kind, "code", code, "support", e.Flow, "service", e.Service, "provider", e.Provider, "host", v.host, "method", v.r.Method, "from", e.From, "error", e.Text)
	v.g.c.Record(e)
}

// code is the support code of this visit.
func (v *visit) code() string {
	if v.support == "" {
		v.support = SupportCode()
	}
	return v.support
}

// recover turns a panic into a 500 of this request alone.
func (v *visit) recover() {
	p := recover()
	switch {
	case p == nil:
	case p == http.ErrAbortHandler: //nolint:errorlint // a panic is compared as net/http does
		v.broke = true
		panic(p) // a response that broke off half-way must not look complete
	default:
		v.g.c.Log.Error("panic", "support", v.code(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		v.refuse(refusal{code: ReasonInternal, detail: "panic"})
	}
}

// caller is what is at the other end.
type caller int

const (
	program caller = iota
	browser
	grpc
)

func (v *visit) caller() caller {
	h := v.r.Header
	switch {
	case strings.HasPrefix(h.Get("Content-Type"), "application/grpc"):
		return grpc
	case h.Get("Upgrade") != "", h.Get("X-Requested-With") != "":
		return program
	case h.Get("Sec-Fetch-Mode") == "navigate":
		return browser
	case h.Get("Sec-Fetch-Mode") != "":
		return program
	case strings.Contains(h.Get("Accept"), "text/html"):
		return browser
	}
	return program
}

// problem is the body for programs (RFC 9457).
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Code     string `json:"code"`
	Support  string `json:"support"`
	LoginURL string `json:"login_url,omitempty"`
}

// answer says the end of a visit in the form that the caller reads. page nil
// is for callers that get no page.
func (v *visit) answer(st int, code string, page web.Page) {
	h := v.w.Header()
	h.Set("Cache-Control", "no-store")
	v.w.abandon(v.r)
	v.span.Say(tracing.KeyError, code)
	if code == ReasonMethod && h["Allow"] == nil {
		h.Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
	}
	switch c := v.caller(); {
	case c == browser && page != nil:
		v.g.c.Pages.Render(v.w, v.r, st, page)
	case c == grpc:
		// A call's failure is in the trailers of a 200; without a body they
		// are its headers.
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", strconv.Itoa(grpcStatus(st)))
		h.Set("Grpc-Message", code+" (support code "+v.code()+")")
		v.w.WriteHeader(http.StatusOK)
	default:
		p := problem{Type: "about:blank", Title: v.g.c.Pages.Title(v.r, code), Status: st, Detail: v.g.c.Pages.Text(v.r, code), Code: code, Support: v.code()}
		if st == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", `Cookie realm="Gatehouse", form-action="`+v.g.c.Public.String()+`/.gatehouse/login", cookie-name="`+v.g.c.Cookie.Name("")+`"`)
			p.LoginURL = v.g.loginURL(v.here(), "")
			if v.service != nil && v.service.callers {
				h.Add("WWW-Authenticate", challenge(code))
			}
		}
		h.Set("Content-Type", "application/problem+json")
		h.Set("X-Content-Type-Options", "nosniff")
		v.w.WriteHeader(st)
		if v.r.Method != http.MethodHead {
			_ = json.NewEncoder(v.w).Encode(p) // a caller that went away is not our trouble
		}
	}
}

// grpcStatus of an HTTP status.
func grpcStatus(st int) int {
	switch st {
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest:
		return 12 // UNIMPLEMENTED
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14 // UNAVAILABLE
	case http.StatusInternalServerError:
		return 13 // INTERNAL
	}
	return 3 // INVALID_ARGUMENT
}
