package scim

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
)

// A Target is how far a user's account at a system is: done, pending or failed.
type Target struct{ ID, State string }

// TargetsHeader says in an answer how far the targets are, for a client that
// waits: crm=done, mail=pending.
const TargetsHeader = "Gatehouse-Targets"

// maxWait is the longest that a request waits for targets.
const maxWait = 30 * time.Second

// patience is what Prefer says of wait (RFC 7240 section 4.3), in bounds.
func patience(headers []string) time.Duration {
	for _, h := range headers {
		for p := range strings.SplitSeq(h, ",") {
			p, _, _ = strings.Cut(p, ";")
			name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			if n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(v), `"`)); err == nil && n > 0 {
				return min(time.Duration(min(n, 1000))*time.Second, maxWait)
			}
		}
	}
	return 0
}

// settle waits for the targets of a user who changed, if the request prefers that.
// What they say is in its answer; what is not done goes on without it.
func (c *Config) settle(ctx context.Context, userID string) {
	v := visitOf(ctx)
	if v == nil || v.patience == 0 || c.Settle == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, v.patience)
	defer cancel()
	for _, t := range c.Settle(ctx, client.From(ctx), userID) {
		v.add(t)
	}
}

// add keeps the worst that was said of each target.
func (v *visit) add(t Target) {
	v.mu.Lock()
	defer v.mu.Unlock()
	worse := map[string]int{"done": 0, "pending": 1, "failed": 2}
	for i, o := range v.targets {
		if o.ID == t.ID {
			if worse[t.State] > worse[o.State] {
				v.targets[i] = t
			}
			return
		}
	}
	v.targets = append(v.targets, t)
}

// answering writes what is known of the targets before an answer begins.
type answering struct {
	http.ResponseWriter
	v *visit
}

func (a *answering) WriteHeader(status int) {
	a.v.mu.Lock()
	var list []string
	for _, t := range a.v.targets {
		list = append(list, t.ID+"="+t.State)
	}
	a.v.mu.Unlock()
	if len(list) > 0 {
		a.Header().Set(TargetsHeader, strings.Join(list, ", "))
	}
	a.ResponseWriter.WriteHeader(status)
}
