package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/web"
)

// refreshEvery is how often a page that waits comes back, in seconds.
const refreshEvery = 1

// held keeps a session that waits for accounts from its service, and shows how
// far they are. It reports whether it has answered. A target that heals lets
// the person in at their next request, without another sign-in.
func (v *visit) held() bool {
	if v.session == nil || v.session.Hold == nil {
		return false
	}
	hold, ctx := v.session.Hold, v.r.Context()
	late := !v.g.c.Now().Before(hold.Until)
	if v.settled(ctx, v.session.UserID, time.Second) || late && hold.Continue {
		switch err := v.g.c.Sessions.Release(ctx, v.session.ID, nil); {
		case errors.Is(err, session.ErrNone):
			v.refuse(refusal{code: ReasonRevoked, detail: "the session ended while its accounts were prepared"})
		case err != nil:
			v.refuse(refusal{code: ReasonStore, detail: "release session: " + err.Error()})
		default:
			return false
		}
		return true
	}
	states, err := v.g.c.Outbox.States(ctx, v.session.UserID)
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "look up accounts: " + err.Error()})
		return true
	}
	code := ReasonPending
	if late {
		code = ReasonTimeout
		v.note("denied", code, refusal{code: code, detail: "accounts were not ready in time"})
	}
	v.prepare(code, !late, states, func(s outbox.State) bool { return s.Wait })
	return true
}

// arriving keeps somebody from a service that can not work for them yet, because
// a target has still to make their account: for a while without an answer, then
// with a page that comes back until it is there. It reports whether it has
// answered. Sign-ins that wait have waited before, and where they are to go on
// in spite of it, they do.
func (v *visit) arriving() bool {
	if v.session == nil || len(v.service.ProvisionedBy) == 0 || v.service.ProvisionedWithin <= 0 {
		return false
	}
	if p := v.g.providers[v.session.Provider]; v.ready.arrived.Load() || p != nil && p.Blocking {
		return false
	}
	within := v.service.ProvisionedWithin
	wait := min(max(v.session.Created.Add(within).Sub(v.g.c.Now()), time.Second), within)
	ctx, cancel := context.WithTimeout(v.r.Context(), wait)
	defer cancel()
	there, err := v.g.c.Outbox.Arrive(ctx, v.session.UserID, v.service.ProvisionedBy)
	var states []outbox.State
	if err == nil && !there {
		states, err = v.g.c.Outbox.States(v.r.Context(), v.session.UserID)
	}
	switch {
	case err != nil && v.r.Context().Err() == nil:
		v.refuse(refusal{code: ReasonStore, detail: "look up accounts: " + err.Error()})
		return true
	case there:
		return false
	}
	v.prepare(ReasonPending, true, states, func(s outbox.State) bool { return slices.Contains(v.service.ProvisionedBy, s.Target) })
	return true
}

// prepare answers with how far the accounts are that open chooses. Where it is
// worth it, the page comes back.
func (v *visit) prepare(code string, again bool, states []outbox.State, open func(outbox.State) bool) {
	page := web.Preparing{Service: v.service.Title, Support: v.code(), At: v.g.c.Now(), RetryURL: v.here()}
	page.Contact, page.ContactURL = v.contact()
	for _, s := range states {
		if open(s) {
			state := s.Status
			if state == outbox.Failed && again {
				state = outbox.Pending // it is tried again
			}
			page.Targets = append(page.Targets, web.TargetState{Title: s.Title, State: state})
		}
	}
	switch {
	case !again:
		page.Code = code
	case v.r.Method == http.MethodGet || v.r.Method == http.MethodHead: // coming back is a GET
		page.RefreshSeconds = refreshEvery
	}
	v.answer(status(code), code, page)
}

// provisioned is the state of the accounts that matter to the service: done,
// pending, failed, or empty if none does.
func (v *visit) provisioned() string {
	if len(v.service.ProvisionedBy) == 0 || v.session == nil {
		return ""
	}
	if v.ready.arrived.Load() {
		return outbox.Done
	}
	states, err := v.g.c.Outbox.States(v.r.Context(), v.session.UserID)
	if err != nil {
		return outbox.Failed
	}
	state := outbox.Done
	for _, id := range v.service.ProvisionedBy {
		for _, s := range states {
			if s.Target != id || s.Status == outbox.Done {
				continue
			}
			if s.Status == outbox.Failed || state == outbox.Done {
				state = s.Status
			}
		}
	}
	if state == outbox.Done {
		v.ready.arrived.Store(true)
	}
	return state
}
