package gateway

import (
	"errors"
	"net/http"
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
	page := web.Preparing{Service: v.service.Title, Support: v.code(), At: v.g.c.Now(), RetryURL: v.here()}
	page.Contact, page.ContactURL = v.contact()
	for _, s := range states {
		if s.Wait {
			state := s.Status
			if state == outbox.Failed && !late {
				state = outbox.Pending // it is tried again
			}
			page.Targets = append(page.Targets, web.TargetState{Title: s.Title, State: state})
		}
	}
	code := ReasonPending
	if late {
		code = ReasonTimeout
		page.Code = code
		v.note("denied", code, refusal{code: code, detail: "accounts were not ready in time"})
	} else {
		page.RefreshSeconds = refreshEvery
	}
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		page.RefreshSeconds = 0 // coming back would be a GET, and this was none
	}
	v.answer(status(code), code, page)
	return true
}

// provisioned is the state of the accounts that matter to the service: done,
// pending, failed, or empty if none does.
func (v *visit) provisioned(f *forService) string {
	if len(v.service.ProvisionedBy) == 0 || v.session == nil {
		return ""
	}
	f.mu.RLock()
	known := f.provisioned
	f.mu.RUnlock()
	if known != "" {
		return known
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
		f.mu.Lock()
		f.provisioned = state
		f.mu.Unlock()
	}
	return state
}
