package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/web"
)

// A sign-in whose person is to be asked something stops before it writes
// anything. What the identity provider said goes with the page, sealed, and comes
// back with the form:
//
//	answer of the provider ──▶ page: what we know, what we ask
//	                            │ sealed identity, bound to this browser by a cookie
//	                            └─▶ POST /.gatehouse/welcome ──▶ enter, as any sign-in
//
// The answer counts as used when the sign-in ends, so a form that is sent again is
// a sign-in that is replayed.

// welcomed is what a welcome page carries.
type welcomed struct {
	Flow     flow                `json:"f"`
	Identity federation.Identity `json:"i"`
}

// questions are what is to be asked of the person before they may enter.
func (v *visit) questions(p *Provider, id federation.Identity) (provisioning.Questions, error) {
	if !p.JIT.Asks() {
		return provisioning.Questions{}, nil
	}
	return v.g.c.Directory.Questions(v.r.Context(), id, p.JIT)
}

// ask shows the welcome page, with what was wrong with the answers before.
func (v *visit) ask(p *Provider, f flow, id federation.Identity, q provisioning.Questions, given *provisioning.Answers, wrong *provisioning.Unanswered) error {
	browser := ""
	if ck, err := v.r.Cookie(v.g.c.Cookie.Name("welcome")); err == nil {
		browser = ck.Value
	}
	if session.Binding(browser) == "" {
		browser = session.Nonce()
		ck := v.g.c.Cookie.Make("welcome", browser)
		ck.MaxAge = int(flowKept.Seconds())
		http.SetCookie(v.w, ck)
	}
	sealed, err := v.g.c.Keys.Seal(welcomeSeal(browser), welcomed{f, id})
	if err != nil {
		return err
	}
	page := web.Welcome{
		Provider: p.Title, Service: v.serviceTitle(), First: q.First, Choose: q.Choose, UserName: q.UserName,
		Action: "/.gatehouse/welcome", Fields: url.Values{"state": {sealed}}, CancelURL: v.g.c.Public.String() + "/", Contact: v.g.c.Contact, ContactURL: v.g.c.ContactURL,
	}
	for _, k := range q.Known {
		page.Known = append(page.Known, web.KnownValue{Attribute: k.Attribute, Values: k.Values})
	}
	for _, a := range q.Asked {
		page.Asked = append(page.Asked, web.AskedValue{Attribute: a.Attribute, Required: a.Required})
	}
	status := http.StatusOK
	if wrong != nil {
		status, page.Wrong = http.StatusUnprocessableEntity, wrong.Field
		page.Taken, page.UserName = wrong.Taken, given.UserName
		for i, a := range page.Asked {
			page.Asked[i].Value = given.Attributes[a.Attribute]
		}
	}
	v.answer(status, "", page)
	return nil
}

func welcomeSeal(browser string) string { return "welcome " + session.Binding(browser) }

// welcome is POST /.gatehouse/welcome: what the person answered.
func (v *visit) welcome() {
	if !v.fromHere() {
		v.refuse(refusal{code: ReasonCrossSite, detail: "answers from a page that is not ours"})
		return
	}
	v.form = true
	p, f, err := v.welcomed()
	v.signedIn(p, err)
	if err != nil {
		v.refuseFlow(p, f, err)
	}
}

func (v *visit) welcomed() (p *Provider, f flow, err error) {
	unknown := func(why string) (*Provider, flow, error) {
		return &Provider{}, f, refusal{code: federation.ReasonStateUnknown, detail: why}
	}
	ck, err := v.r.Cookie(v.g.c.Cookie.Name("welcome"))
	if err != nil || session.Binding(ck.Value) == "" {
		return unknown("this browser was asked nothing")
	}
	if err := v.r.ParseForm(); err != nil {
		return unknown("the form can not be read")
	}
	var w welcomed
	if v.g.c.Keys.Open(welcomeSeal(ck.Value), v.r.PostForm.Get("state"), &w) != nil {
		return unknown("these answers are to no question of ours to this browser")
	}
	f, v.support = w.Flow, w.Flow.Support
	if p = v.g.providers[f.Provider]; p == nil {
		return unknown("the sign-in was begun at " + f.Provider + ", which is not configured any more")
	}
	v.service = v.g.destination(f.Return).service
	if age := v.g.c.Now().Sub(f.Pending.Began); age < -flowSkew || age > flowKept {
		return p, f, refusal{code: federation.ReasonStateExpired, detail: "the sign-in was begun " + age.String() + " ago"}
	}
	if err := v.recall(); err != nil {
		return p, f, err
	}
	given := &provisioning.Answers{UserName: v.r.PostForm.Get("user_name"), Attributes: map[string]string{}}
	for name := range v.r.PostForm {
		if attr, ok := strings.CutPrefix(name, "attribute."); ok {
			given.Attributes[attr] = v.r.PostForm.Get(name)
		}
	}
	asking := *p
	asking.JIT.Answers = given
	err = v.enter(&asking, f, w.Identity)
	var wrong *provisioning.Unanswered
	if !errors.As(err, &wrong) {
		return p, f, err
	}
	q, err := v.questions(p, w.Identity)
	if err == nil {
		err = v.ask(p, f, w.Identity, q, given, wrong)
	}
	return p, f, err
}
