package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/web"
)

// A sign-in, from the click to the page that was clicked:
//
//	service's host                 gateway's host                  identity provider
//	GET /report
//	  └─ puts a random value into the browser (bind)
//	     ────▶ /login?return=…&bind=hash
//	             ├─ session there? decide for the address; good: hand over
//	             ├─ which provider: one, the chooser, or ?idp=
//	             └─ Begin ─ flow sealed into a cookie ────▶ person proves who they are
//	           callback ◀───────────────────────────────────┘
//	             ├─ flow from its cookie, once
//	             ├─ Finish → Identity; Directory.Login → User
//	             └─ session, cookie, ticket for the service's host
//	/session?ticket= ◀──────────┘
//	  └─ ticket and bind → cookie of this host ──▶ GET /report

// flow is what a browser carries for us while its person is away at an
// identity provider, sealed.
type flow struct {
	Provider string             `json:"p"`
	Pending  federation.Pending `json:"f"`
	Return   string             `json:"r"`
	Bind     string             `json:"b,omitempty"`
	Support  string             `json:"c"`
	// Before is the session in whose place the one of this sign-in comes: with
	// an answer posted from another site its cookie does not.
	Before string `json:"o,omitempty"`
	// Trial: nobody is let in by this sign-in.
	Trial *Trial `json:"y,omitempty"`
	// Link is the user to whom the identity is added, instead of signing in.
	Link string `json:"l,omitempty"`
}

const (
	flowLife = 10 * time.Minute
	// flowKept is how long a browser keeps it, so that who took too long is
	// told so, and comes back to their own address all the same.
	flowKept = 30 * time.Minute
	// flowSkew is how far the clocks of replicas may be apart.
	flowSkew = time.Minute
	// maxFlows is how many sign-ins one browser may have under way, and
	// maxFlowBytes how much of a request's header they may fill; the oldest go.
	maxFlows     = 20
	maxFlowBytes = 16 << 10
	// maxReturn bounds the address that a sign-in comes back to.
	maxReturn = 1500
)

// destination is an address to come back to: always one of ours.
type destination struct {
	url, host, path string
	service         *service // nil: nothing is there
}

// destination reads a return address. What is not the canonical address of a
// host of ours becomes the portal: an attacker can write this parameter.
func (g *Gateway) destination(raw string) destination {
	home := destination{url: g.c.Public.String() + "/", host: g.host, path: "/"}
	home.service, _ = g.routes.match(home.host, home.path)
	if raw == "" || len(raw) > maxReturn || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }) {
		return home
	}
	if strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		raw = g.c.Public.String() + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != g.scheme() || u.User != nil || u.Fragment != "" {
		return home
	}
	d := destination{host: canonicalHost(u.Host)}
	if d.host == "" || g.origin(d.host) != u.Scheme+"://"+u.Host {
		return home
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if d.path, err = canonicalPath(u); err != nil {
		return home
	}
	var known bool
	if d.service, known = g.routes.match(d.host, d.path); !known && d.host != g.host {
		return home
	}
	if _, reserved := own(d.path); reserved {
		if d.service = g.routes.page(d.host, d.path); d.service == nil {
			return home
		}
	}
	d.url = u.String()
	return d
}

// loginURL is where signing in for an address begins.
func (g *Gateway) loginURL(back, bind string) string {
	q := url.Values{"return": {back}}
	if bind != "" {
		q.Set("bind", bind)
	}
	return g.c.Public.String() + "/.gatehouse/login?" + q.Encode()
}

// switchURL is where one signs in as somebody else.
func (v *visit) switchURL(back string) string {
	return v.g.c.Public.String() + "/.gatehouse/login?" + url.Values{"return": {back}, "switch": {"1"}}.Encode()
}

// signIn answers who is not signed in: a browser's GET goes to the sign-in and
// comes back; its form is told that it was not sent; a program gets a 401.
func (v *visit) signIn() {
	switch read := v.r.Method == http.MethodGet || v.r.Method == http.MethodHead; {
	case v.caller() != browser:
		v.answer(http.StatusUnauthorized, ReasonSignIn, nil)
	case !read:
		v.answer(http.StatusUnauthorized, ReasonSignIn, web.ReturnByGet{Service: v.service.Title, URL: v.here()})
	case v.arrivals() >= maxRounds:
		http.SetCookie(v.w, v.g.c.Cookie.Make("round", ""))
		v.refuse(refusal{code: ReasonLoop, detail: "signed in for this address again and again", retry: v.here()})
	default:
		v.toLogin()
	}
}

// stepUp sends a browser to a stronger sign-in; others are told.
func (v *visit) stepUp(d authz.Decision) {
	if v.caller() != browser || v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		v.deny(d)
		return
	}
	v.toLogin()
}

func (v *visit) toLogin() {
	bind := ""
	if v.host != v.g.host {
		value := ""
		if ck, err := v.r.Cookie(v.g.c.Cookie.Name("bind")); err == nil {
			value = ck.Value
		}
		if bind = session.Binding(value); bind == "" {
			value = session.Nonce()
			bind = session.Binding(value)
			http.SetCookie(v.w, v.g.c.Cookie.Make("bind", value))
		}
	}
	v.redirect(v.g.loginURL(v.here(), bind))
}

// Who signed in, came back and is nobody comes again, and again: the browser
// keeps no cookies, or the session was over as it began. So arrivals at one
// address are counted for a minute, in a cookie of the host arrived at, and who
// needs one more after maxRounds is told.
const (
	maxRounds = 3
	roundTime = time.Minute
)

// arrive sends a browser that has a session of this host on to where it wanted
// to go. With SameSite=Strict that must be a page's doing: what an identity
// provider's page began comes without our cookies to the end of its redirects.
func (v *visit) arrive(to string) {
	ck := v.g.c.Cookie.Make("round", roundOf(to)+"."+strconv.Itoa(v.arrivalsAt(to)+1))
	ck.MaxAge = int(roundTime.Seconds())
	http.SetCookie(v.w, ck)
	v.goTo(to)
}

// goTo leads on: by a redirect or, where that would lose the session or the page
// with the form would not allow it, a page.
func (v *visit) goTo(to string) {
	if v.form || v.caller() == browser && v.g.c.Sessions.Cookie("x").SameSite == http.SameSiteStrictMode {
		v.answer(http.StatusOK, "", web.GoOn{URL: to, To: v.serviceTitle()})
		return
	}
	v.redirect(to)
}

// arrivals is how often this browser arrived here just now.
func (v *visit) arrivals() int { return v.arrivalsAt(v.here()) }

func (v *visit) arrivalsAt(to string) int {
	ck, err := v.r.Cookie(v.g.c.Cookie.Name("round"))
	if err != nil {
		return 0
	}
	at, count, _ := strings.Cut(ck.Value, ".")
	n, err := strconv.Atoi(count)
	if err != nil || at != roundOf(to) {
		return 0
	}
	return n
}

// roundOf is short for an address.
func roundOf(address string) string {
	sum := sha256.Sum256([]byte(address))
	return encode(sum[:9])
}

// secondLook is how much later a browser is looked at again whose session has
// just ended.
const secondLook = 250 * time.Millisecond

// login is GET /.gatehouse/login.
func (v *visit) login() {
	q := v.r.URL.Query()
	for _, vals := range q {
		if len(vals) > 1 {
			v.refuse(refusal{code: ReasonParameters, detail: "a parameter is given twice"})
			return
		}
	}
	if err := v.recall(); err != nil {
		v.refuse(err)
		return
	}
	if q.Has("try") {
		v.try(q.Get("try"))
		return
	}
	var hint string
	if q.Has("iss") {
		var err error
		if q, hint, err = v.g.invited(q); err != nil {
			v.refuse(err)
			return
		}
	}
	if v.session == nil && q.Get("idp") == "" && !q.Has("again") && len(v.r.CookiesNamed(v.g.c.Cookie.Name(""))) > 0 {
		// The session is over, or another tab of this browser is signing in at
		// this moment and has taken its place. A second look, when that tab has
		// its answer, comes with the cookie.
		select {
		case <-time.After(secondLook):
		case <-v.r.Context().Done():
		}
		q.Set("again", "1")
		v.redirect(v.g.c.Public.String() + "/.gatehouse/login?" + q.Encode())
		return
	}
	dest := v.g.destination(q.Get("return"))
	v.service = dest.service
	if q.Has("link") {
		v.beginLink(q, dest)
		return
	}
	var want federation.Login
	other := q.Get("switch") != "" || v.session != nil && v.session.Recovers() && (dest.host != v.g.host || dest.service != nil && !v.g.ours(dest.service))
	if v.session != nil && !other {
		d := authz.Decision{Outcome: authz.Allow}
		if dest.service != nil {
			var err error
			if d, err = v.g.decideFor(v.r.Context(), v.who, dest.service, http.MethodGet, dest.path, v.from); err != nil {
				v.refuse(refusal{code: ReasonStore, detail: "decide: " + err.Error()})
				return
			}
		}
		if d.Outcome != authz.StepUp {
			v.goOn(dest, q.Get("bind"), v.session.ID)
			return
		}
		want = wanted(d)
	}
	want.Fresh, want.Hint = want.Fresh || other, hint
	offered := v.g.offered(dest.service)
	if v.session != nil && !other && offered[v.session.Provider] != nil {
		// Stronger, but as the same person: where they came from.
		offered = map[string]*Provider{v.session.Provider: offered[v.session.Provider]}
	}
	p := offered[q.Get("idp")]
	switch {
	case p == nil && q.Get("idp") != "":
		v.refuse(refusal{code: ReasonProviderUnknown, detail: "identity provider " + q.Get("idp")})
	case p == nil && len(offered) == 1:
		for _, only := range offered {
			v.begin(only, dest, q.Get("bind"), want)
		}
	case p == nil:
		v.choose(offered, dest, q)
	default:
		v.begin(p, dest, q.Get("bind"), want)
	}
}

// invited reads a sign-in that an OpenID provider or another site begins (OpenID
// Connect Core section 4). It says which provider, perhaps who, and where to;
// nothing else that is asked for counts.
func (g *Gateway) invited(q url.Values) (login url.Values, hint string, err error) {
	for _, p := range g.c.Providers {
		if p.Issuer != "" && p.Issuer == q.Get("iss") {
			return url.Values{"idp": {p.ID}, "return": {g.destination(q.Get("target_link_uri")).url}}, q.Get("login_hint"), nil
		}
	}
	return nil, "", refusal{code: ReasonProviderUnknown, detail: "a sign-in begun by " + q.Get("iss")}
}

// offered are the identity providers for a service, by ID.
func (g *Gateway) offered(s *service) map[string]*Provider {
	if s == nil || len(s.IdentityProviders) == 0 {
		return g.providers
	}
	m := map[string]*Provider{}
	for _, id := range s.IdentityProviders {
		if p := g.providers[id]; p != nil {
			m[id] = p
		}
	}
	return m
}

// searchFrom is how many identity providers make a search field worth its room.
const searchFrom = 8

// choose shows the chooser, the choice of the last time first.
func (v *visit) choose(offered map[string]*Provider, dest destination, q url.Values) {
	page := web.Chooser{Service: v.serviceTitle(), Query: q.Get("q"), Search: len(offered) >= searchFrom, Remembers: true, Keep: url.Values{}}
	for _, k := range []string{"return", "bind", "switch"} {
		if q.Has(k) {
			page.Keep.Set(k, q.Get(k))
		}
	}
	last := ""
	if ck, err := v.r.Cookie(v.g.c.Cookie.Name("idp")); err == nil && q.Get("forget") == "" {
		last = ck.Value
	} else if err == nil {
		http.SetCookie(v.w, v.g.c.Cookie.Make("idp", ""))
	}
	link := func(key, val string) string {
		to := url.Values{key: {val}}
		for k, vals := range page.Keep {
			to[k] = vals
		}
		return "/.gatehouse/login?" + to.Encode()
	}
	for i := range v.g.c.Providers {
		p := &v.g.c.Providers[i]
		if offered[p.ID] == nil || !found(page.Query, p.Title, p.Hint, p.ID) {
			continue
		}
		c := web.Choice{ID: p.ID, Title: p.Title, LogoURL: p.LogoURL, Text: p.Hint, URL: link("idp", p.ID), Last: p.ID == last}
		if c.Last {
			page.ForgetURL = link("forget", "1")
			page.Choices = slices.Insert(page.Choices, 0, c)
		} else {
			page.Choices = append(page.Choices, c)
		}
	}
	v.answer(http.StatusOK, "", page)
}

func found(query string, in ...string) bool {
	for _, word := range strings.Fields(strings.ToLower(query)) {
		if !strings.Contains(strings.ToLower(strings.Join(in, " ")), word) {
			return false
		}
	}
	return true
}

// begin sends the browser to an identity provider.
func (v *visit) begin(p *Provider, dest destination, bind string, want federation.Login) {
	challenge, pending, err := p.Begin(v.r.Context(), want)
	if err != nil {
		v.refuse(fmt.Errorf("begin sign-in at %s: %w", p.ID, withProvider(err, p, v.g.loginURL(dest.url, ""))))
		return
	}
	f := flow{Provider: p.ID, Pending: pending, Return: dest.url, Bind: bind, Support: v.code(), Trial: v.trial, Link: v.linking}
	if v.session != nil {
		f.Before = v.session.ID
	}
	name := v.flowName(pending.State)
	sealed, err := v.g.c.Keys.Seal(name, f)
	if err != nil {
		v.refuse(err)
		return
	}
	v.makeRoom(len(name) + len(sealed))
	ck := v.g.c.Cookie.Make(name, sealed)
	ck.MaxAge = int(flowKept.Seconds())
	if p.CrossSite && ck.Secure {
		ck.SameSite = http.SameSiteNoneMode
	}
	http.SetCookie(v.w, ck)
	remember := v.g.c.Cookie.Make("idp", p.ID)
	remember.MaxAge = 180 * 24 * 3600
	http.SetCookie(v.w, remember)
	if challenge.Form != nil {
		v.answer(http.StatusOK, "", web.PostForm{Action: challenge.URL.String(), Fields: challenge.Form, To: p.Title})
		return
	}
	v.redirect(challenge.URL.String())
}

// flowName is the name of the cookie of one flow: when it began, for pruning,
// and a part of its state, for finding.
func (v *visit) flowName(state string) string {
	return "login-" + strconv.FormatInt(v.g.c.Now().UnixMilli(), 36) + "-" + stateTag(state)
}

// stateTag is a part of a state that can stand in a cookie's name.
func stateTag(state string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(state))[:min(16, base64.RawURLEncoding.EncodedLen(len(state)))]
}

// flows are the flow cookies of this browser, oldest first.
func (v *visit) flows() (list []*http.Cookie) {
	prefix := v.g.c.Cookie.Name("login-")
	for _, ck := range v.r.Cookies() {
		if strings.HasPrefix(ck.Name, prefix) {
			list = append(list, ck)
		}
	}
	// Times of the same length order as text; until 2059 they are.
	slices.SortFunc(list, func(a, b *http.Cookie) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// makeRoom takes the oldest flows away, so that one more of n bytes fits. Of
// those only the address that their tab wants is kept.
func (v *visit) makeRoom(n int) {
	list := v.flows()
	for _, ck := range list {
		n += len(ck.Name) + len(ck.Value)
	}
	var old []tab
	for len(list) > 0 && (len(list) >= maxFlows || n > maxFlowBytes) {
		n -= len(list[0].Name) + len(list[0].Value)
		if f, ok := v.openFlow(list[0]); ok {
			old = append(old, tab{stateTag(f.Pending.State), f.Return})
		}
		v.dropFlow(list[0].Name)
		list = list[1:]
	}
	if len(old) > 0 {
		v.keepTabs(append(v.tabs(), old...))
	}
}

// A tab is one whose sign-in had to make room for newer ones. When it comes
// back from the identity provider it starts again with its own address.
type tab struct {
	State  string `json:"s"` // stateTag
	Return string `json:"r"`
}

// maxTabBytes bounds the cookie that tabs are kept in; the oldest go.
const maxTabBytes = 3 << 10

func (v *visit) tabs() (list []tab) {
	if ck, err := v.r.Cookie(v.g.c.Cookie.Name("tabs")); err == nil {
		_ = v.g.c.Keys.Open("tabs", ck.Value, &list) // what is not ours says nothing
	}
	return list
}

func (v *visit) keepTabs(list []tab) {
	for ; len(list) > 0; list = list[1:] {
		sealed, err := v.g.c.Keys.Seal("tabs", list)
		if err != nil || len(sealed) > maxTabBytes {
			continue
		}
		ck := v.g.c.Cookie.Make("tabs", sealed)
		ck.MaxAge = int(flowKept.Seconds())
		if ck.Secure {
			ck.SameSite = http.SameSiteNoneMode // answers by POST need it too
		}
		http.SetCookie(v.w, ck)
		return
	}
}

// openFlow reads a flow's cookie.
func (v *visit) openFlow(ck *http.Cookie) (f flow, ok bool) {
	purpose := strings.TrimPrefix(ck.Name, v.g.c.Cookie.Name("")+"-")
	return f, v.g.c.Keys.Open(purpose, ck.Value, &f) == nil
}

func (v *visit) dropFlow(name string) {
	purpose := strings.TrimPrefix(name, v.g.c.Cookie.Name("")+"-")
	http.SetCookie(v.w, v.g.c.Cookie.Make(purpose, ""))
}

// errOldTab: the answer belongs to a sign-in that made room for newer ones.
var errOldTab = errors.New("a sign-in older than the newest twenty")

// takeFlow finds the flow that an answer belongs to, and takes its cookie away:
// an answer is looked at once.
func (v *visit) takeFlow(p *Provider, state string) (flow, error) {
	for _, ck := range v.flows() {
		if !strings.HasSuffix(ck.Name, "-"+stateTag(state)) {
			continue
		}
		f, ok := v.openFlow(ck)
		if !ok || f.Pending.State != state {
			continue
		}
		v.dropFlow(ck.Name)
		v.support = f.Support
		if f.Provider != p.ID {
			return f, refusal{code: federation.ReasonStateUnknown, detail: "the sign-in was begun at " + f.Provider + ", the answer came for " + p.ID}
		}
		if age := v.g.c.Now().Sub(f.Pending.Began); age < -flowSkew || age > flowLife {
			return f, refusal{code: federation.ReasonStateExpired, detail: "the sign-in was begun " + age.Round(time.Second).String() + " ago"}
		}
		return f, nil
	}
	for _, t := range v.tabs() {
		if t.State == stateTag(state) {
			return flow{Return: t.Return}, errOldTab
		}
	}
	return flow{}, refusal{code: federation.ReasonStateUnknown, detail: "this browser has no such sign-in under way"}
}

// finish takes an identity provider's answer.
func (v *visit) finish(p *Provider) {
	span := v.span.Child("gatehouse.sign_in")
	defer span.End()
	span.Say(tracing.KeyProvider, p.ID)
	heard := span.Child("gatehouse." + p.Callback[:strings.IndexByte(p.Callback, '/')] + ".response")
	f, id, err := v.identify(p)
	heard.Failed(codeOf(err))
	heard.End()
	if errors.Is(err, errOldTab) {
		v.redirect(v.g.destination(f.Return).url)
		return
	}
	if f.Trial != nil {
		v.tried(p, f, id, err)
		return
	}
	if err == nil {
		err = v.g.c.Pace.ofPerson(id.Ref.Issuer, id.Ref.Subject)
	}
	var q provisioning.Questions
	if err == nil && f.Link == "" {
		q, err = v.questions(p, id)
	}
	switch {
	case err == nil && f.Link != "":
		err = v.link(p, f, id)
	case err == nil && q.Any():
		v.service = v.g.destination(f.Return).service
		if err = v.ask(p, f, id, q, nil, nil); err == nil {
			return // the sign-in goes on when they have answered
		}
	case err == nil:
		err = v.enter(p, f, id)
	}
	v.signedIn(p, err)
	span.Failed(codeOf(err))
	if err != nil {
		v.service = v.g.destination(f.Return).service
		v.refuseFlow(p, f, err)
	}
}

// identify finds the flow of an answer and has the provider check it.
func (v *visit) identify(p *Provider) (f flow, id federation.Identity, err error) {
	if err := v.recall(); err != nil {
		return f, id, err
	}
	state, err := federation.StateOf(v.r)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			err = refusal{code: federation.ReasonTooLarge, detail: err.Error()}
		}
		return f, id, err
	}
	if f, err = v.takeFlow(p, state); err != nil {
		return f, id, err
	}
	id, err = p.Finish(v.r, f.Pending)
	return f, id, err
}

// settleFirst is how long a blocking sign-in waits before it shows progress.
const settleFirst = time.Second

// enter makes the identity a user with a session, and sends them on.
func (v *visit) enter(p *Provider, f flow, id federation.Identity) error {
	ctx := v.r.Context()
	row := session.Row{
		Session: session.Session{
			Provider: p.ID,
			ACR:      id.Context.ACR, AMR: id.Context.AMR, AuthTime: id.Context.At, Until: id.Context.Until,
		},
		Issuer: id.Ref.Issuer, Subject: id.Ref.Subject, ProviderSession: id.Context.Session, Flow: f.Support,
	}
	if id.Context.Name != "" {
		row.ProviderName = session.Named(p.ID, "person", id.Context.Name)
	}
	var err error
	if row.LogoutHint, err = v.g.sealHint(id.Context.LogoutHint); err != nil {
		return err
	}
	gs, err := v.g.c.Sessions.New(v.r, v.host)
	if err != nil {
		return err
	}
	dest := v.g.destination(f.Return)
	b := v.g.c.Sessions.Beginning(row, v.host, cmp.Or(gs.ID, f.Before))
	if err := v.admit(p, f, id, b); err != nil {
		return err
	}
	http.SetCookie(v.w, v.g.c.Sessions.Cookie(b.Cookie))
	if weak, err := v.stillWeak(ctx, dest, f.Pending.Login, b.Session()); err != nil || weak {
		return cmp.Or(err, error(refusal{code: ReasonLoop, detail: "stepped up, and the rules want the same again"}))
	}
	if dest.host != v.g.host && session.IsBinding(f.Bind) {
		v.goOver(dest, b.Offer(dest.host, f.Bind))
		return nil
	}
	v.goOn(dest, f.Bind, b.Row.ID)
	return nil
}

// admit makes the identity a user and begins their session, in one transaction
// where nothing is to be waited for in between and it is not too much for one.
func (v *visit) admit(p *Provider, f flow, id federation.Identity, b *session.Beginning) error {
	ctx := v.r.Context()
	if !p.Blocking {
		user, d, err := v.g.c.Directory.Login(ctx, id, p.JIT, f.Support, func(tx store.Tx, u provisioning.User) error {
			b.Row.UserID = u.ID
			return b.Tx(tx)
		})
		if err == nil {
			v.changed(user, d)
		}
		if begun := b.Begun(ctx, err); !errors.Is(err, store.ErrLimit) {
			return begun
		}
	}
	user, d, err := v.g.c.Directory.Login(ctx, id, p.JIT, f.Support)
	if err != nil {
		return err
	}
	v.changed(user, d)
	b.Row.UserID = user.ID
	if p.Blocking && !v.settled(ctx, user.ID, min(settleFirst, p.Timeout)) {
		b.Row.Hold = &session.Hold{Until: v.g.c.Now().Add(p.Timeout), Continue: p.Continue}
	}
	return v.g.c.Sessions.Begin(ctx, b)
}

// changed lets the next request see what a sign-in said.
func (v *visit) changed(u provisioning.User, d provisioning.Delta) {
	v.span.Causes(u.ID)
	if !d.Empty() {
		v.g.people.forget(u.ID)
	}
}

// sealHint keeps what the provider wants back at logout, a token or a name, from
// whoever reads the store.
func (g *Gateway) sealHint(hint string) (string, error) {
	if hint == "" {
		return "", nil
	}
	return g.c.Keys.Seal("logout", hint)
}

// stillWeak reports whether a step-up was made in vain, so that another would be
// asked for.
func (v *visit) stillWeak(ctx context.Context, dest destination, asked federation.Login, s *session.Session) (bool, error) {
	if dest.service == nil {
		return false, nil
	}
	who, err := v.g.prepare(ctx, s, dest.service)
	if err != nil {
		return false, err
	}
	d, err := v.g.decideFor(ctx, who, dest.service, http.MethodGet, dest.path, v.from)
	if err != nil {
		return false, err
	}
	next := wanted(d)
	return d.Outcome == authz.StepUp && slices.Equal(next.ACR, asked.ACR) && next.MaxAge == asked.MaxAge && (asked.Fresh || !next.Fresh), nil
}

// wanted is what a decision asks of a sign-in.
func wanted(d authz.Decision) federation.Login {
	return federation.Login{ACR: d.Needs.ACR, Fresh: d.Needs.Fresh, MaxAge: d.Needs.MaxAge}
}

// withProvider gives an error of a sign-in what its page needs. What the
// identity provider itself said is shown as its words.
func withProvider(err error, p *Provider, retry string) error {
	r := refusal{code: reasonOf(err), cause: err, idp: p, retry: retry}
	var inner refusal
	if errors.As(err, &inner) {
		r.after = inner.after
	}
	var fr *federation.Refusal
	if errors.As(err, &fr) && fr.Code == federation.ReasonDenied {
		r.said = fr.Detail
	}
	return r
}

func (v *visit) refuseLogin(p *Provider, err error) {
	v.session = nil // the one there may be is not what this is about
	code := reasonOf(err)
	v.noteAt(p.ID, "login.refused", code, err)
	v.comeAgain(err)
	v.answer(status(code), code, v.failed(err, code))
}

// refuseFlow is refuseLogin with the way back to where the sign-in was to lead.
func (v *visit) refuseFlow(p *Provider, f flow, err error) {
	retry := v.g.c.Public.String() + "/"
	if f.Return != "" {
		retry = v.g.loginURL(f.Return, "")
	}
	v.refuseLogin(p, withProvider(err, p, retry))
}

// goOn sends a signed-in browser to where it wanted to go, with a ticket if
// that is another host.
func (v *visit) goOn(dest destination, bind, sessionID string) {
	if dest.host == v.g.host {
		v.arrive(dest.url)
		return
	}
	if bind == "" {
		v.goTo(dest.url)
		return
	}
	if !session.IsBinding(bind) {
		v.refuse(refusal{code: ReasonParameters, detail: "bind is not one of ours"})
		return
	}
	ticket, err := v.g.c.Sessions.Offer(v.r.Context(), sessionID, dest.host, bind)
	if errors.Is(err, session.ErrNone) {
		v.redirect(v.g.loginURL(dest.url, bind))
		return
	}
	if err != nil {
		v.refuse(err)
		return
	}
	v.goOver(dest, ticket)
}

// goOver sends a signed-in browser to another host of ours, with a ticket for it.
func (v *visit) goOver(dest destination, ticket string) {
	v.goTo(v.g.origin(dest.host) + "/.gatehouse/session?ticket=" + ticket + "&return=" + url.QueryEscape(dest.url))
}

// redeem is GET /.gatehouse/session on a service's host.
func (v *visit) redeem() {
	browser := ""
	if ck, err := v.r.Cookie(v.g.c.Cookie.Name("bind")); err == nil {
		browser = ck.Value
	}
	q := v.r.URL.Query()
	to := v.g.origin(v.host) + "/"
	if dest := v.g.destination(q.Get("return")); dest.host == v.host {
		to = dest.url
	}
	secret, err := v.g.c.Sessions.Redeem(v.r.Context(), q.Get("ticket"), v.host, browser)
	switch {
	case errors.Is(err, session.ErrNone), errors.Is(err, session.ErrBinding):
		// Another tab of this browser signed in, or got its binding, in the same
		// moment. It has cookies now that fit together: from the top, as whoever
		// it is by them.
		v.note("refused", ReasonTicket, err)
		v.redirect(to)
		return
	case errors.Is(err, session.ErrElsewhere):
		// This process has just taken over: from the top, by the gateway's session.
		// It counts, lest several that answer at the same time send it in circles.
		v.note("refused", ReasonTicket, err)
		v.arrive(to)
		return
	}
	if errors.Is(err, session.ErrTicket) {
		err = refusal{code: ReasonTicket, detail: err.Error(), retry: to}
	}
	if err != nil {
		v.refuse(err)
		return
	}
	http.SetCookie(v.w, v.g.c.Sessions.Cookie(secret))
	v.arrive(to)
}

// settled runs the user's tasks at targets that sign-ins wait for, for as long
// as d, and reports whether nothing is left to wait for.
func (v *visit) settled(ctx context.Context, userID string, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done, err := v.g.c.Outbox.Settle(ctx, userID)
	return err == nil && done
}
