package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	webadmin "github.com/gatehouse-sso/gatehouse/web/admin"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// providerRoutes are what the API can do about identity providers.
func (a *api) providerRoutes() {
	const takesID = "id! an identity provider"
	a.route("GET /v1/providers", a.providers, "helpdesk", "auditors").doc("Identity providers and how what they publish stands.", []webapi.Provider{})
	a.route("GET /v1/provider", a.provider, "helpdesk", "auditors").doc("One of them.", webapi.Provider{}, takesID)
	a.route("POST /v1/provider/refresh", a.refreshProvider).doc("Reads again what an identity provider publishes.", webapi.Provider{}, takesID)
	a.route("POST /v1/provider/try", a.tryProvider).doc("Begins a sign-in that lets nobody in, for whoever asks, in a browser.", webapi.Begun{}, takesID)
	a.route("GET /v1/provider/trial", a.trial).doc("What came of a sign-in that let nobody in, for whoever began it.", webapi.Trial{}, "key! of the trial")
}

func (a *api) providers(*http.Request) (any, error) {
	list := []webapi.Provider{}
	for _, p := range a.s.providers {
		list = append(list, a.providerView(p))
	}
	return list, nil
}

// providerOf finds an identity provider.
func (a *api) providerOf(id string) (gateway.Provider, error) {
	i := slices.IndexFunc(a.s.providers, func(p gateway.Provider) bool { return p.ID == id })
	if i < 0 {
		return gateway.Provider{}, errNone(fmt.Sprintf("there is no identity provider %q — the configuration lists those there are", id))
	}
	return a.s.providers[i], nil
}

func (a *api) provider(r *http.Request) (any, error) {
	p, err := a.providerOf(r.FormValue("id"))
	if err != nil {
		return nil, err
	}
	return a.providerView(p), nil
}

func (a *api) providerView(p gateway.Provider) webapi.Provider {
	own := a.s.cfg.Server.PublicURL.String() + "/.gatehouse/"
	v := webapi.Provider{ID: p.ID, Title: p.Title, Recipient: p.Recipient, Callback: own + p.Callback, Keys: []webapi.Key{}, Mapping: mappedBy(p.JIT.Mapping), Mode: "off", UserStore: p.JIT.UserStore}
	switch p.JIT.Mode {
	case provisioning.Blocking:
		v.Mode = "blocking"
	case provisioning.Async:
		v.Mode = "async"
	}
	var err error
	switch from := p.Provider.(type) {
	case *oidc.Provider:
		st := from.Status()
		v.Protocol, v.Issuer, v.Read, err = "oidc", st.Issuer, st.Read, st.Err
		for _, k := range st.Keys {
			v.Keys = append(v.Keys, webapi.Key{Use: "signing", ID: k.ID, Kind: k.Algorithm})
		}
	case *saml.Provider:
		st := from.Status()
		v.Protocol, v.Issuer, v.Read, v.ValidUntil, err = "saml", st.EntityID, st.Read, st.ValidUntil, st.Err
		v.Metadata = own + "saml/" + p.ID + "/metadata"
		for _, k := range st.Keys {
			if der, err := x509.MarshalPKIXPublicKey(k); err == nil {
				v.Keys = append(v.Keys, webapi.Key{Use: "signing", ID: fingerprint(der), Kind: strings.TrimPrefix(strings.TrimSuffix(fmt.Sprintf("%T", k), ".PublicKey"), "*")})
			}
		}
	}
	if err != nil {
		v.Error = err.Error()
	}
	return v
}

func mappedBy(m provisioning.Mapping) []webapi.Mapped {
	list := []webapi.Mapped{}
	for _, f := range m.Froms() {
		list = append(list, webapi.Mapped{Attribute: f.Attribute, From: notNil(f.From.Theirs())})
	}
	return list
}

func (a *api) refreshProvider(r *http.Request) (any, error) {
	p, err := a.providerOf(r.FormValue("id"))
	if err != nil {
		return nil, err
	}
	switch from := p.Provider.(type) {
	case *oidc.Provider:
		err = from.Refresh(r.Context())
	case *saml.Provider:
		err = from.Reread(r.Context())
	}
	if err != nil {
		return nil, errNo(p.ID + " can not be read: " + err.Error() + " — what was read before stays in use as long as it is good")
	}
	return a.providerView(p), nil
}

// trials keeps what came of them, for a few minutes, in memory alone: it is about
// people who did not sign in here.
type trials struct {
	mu   sync.Mutex
	kept map[string]outcome
}

type outcome struct {
	userID string
	trial  webapi.Trial
}

const (
	trialLife  = 10 * time.Minute
	mostTrials = 100
)

func (t *trials) put(key, userID string, v webapi.Trial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil || len(t.kept) >= mostTrials {
		t.kept = map[string]outcome{}
	}
	t.kept[key] = outcome{userID, v}
}

func (t *trials) get(key, userID string, now time.Time) (webapi.Trial, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.kept[key]
	if ok && now.Sub(k.trial.At) > trialLife {
		delete(t.kept, key)
		ok = false
	}
	return k.trial, ok && k.userID == userID
}

func (a *api) tryProvider(r *http.Request) (any, error) {
	if !a.people {
		return nil, errNo("a trial is for a browser: begin it on the page of the identity provider")
	}
	p, err := a.providerOf(r.FormValue("id"))
	if err != nil {
		return nil, err
	}
	key := session.Nonce()
	to := webadmin.Path + "/provider/trial?" + url.Values{"key": {key}}.Encode()
	begun, err := a.s.gateway.TryURL(gateway.Trial{Key: key, UserID: a.actor(r), Provider: p.ID, Return: to})
	return webapi.Begun{URL: begun}, err
}

func (a *api) trial(r *http.Request) (any, error) {
	v, ok := a.p.trials.get(r.FormValue("key"), a.actor(r), a.p.now())
	if !ok {
		return nil, errNone("there is no such trial, or it is more than ten minutes old, or somebody else's")
	}
	return v, nil
}

// tryOut notes what came of a trial: what the provider said, and whom a sign-in
// would make of it.
func (p *process) tryOut(site *site) func(gateway.Trial, federation.Identity, error) {
	return func(t gateway.Trial, id federation.Identity, err error) {
		now := p.now()
		v := webapi.Trial{Provider: t.Provider, At: now}
		if err == nil {
			v.Issuer, v.Subject, v.ACR, v.AMR, v.SignedIn, v.Said = id.Ref.Issuer, id.Ref.Subject, id.Context.ACR, id.Context.AMR, id.Context.At, id.Attributes
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			var u provisioning.User
			if u, v.Fresh, err = site.directory.Rehearse(ctx, id, site.rules.jit[t.Provider]); err == nil {
				who := (&api{p: p, s: site}).view(u)
				sub := site.rules.policy.Roles(site.directory.SubjectOf(u, nil))
				who.Roles, who.Groups = notNil(sub.Roles), notNil(sub.Groups)
				v.User = &who
			}
		}
		if err != nil {
			v.Code, v.Error = apiReason(err)
		}
		p.trials.put(t.Key, t.UserID, v)
	}
}
