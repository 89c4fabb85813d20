package gateway

import (
	"errors"
	"math"

	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
)

// bear takes the credential that a program shows. It counts, and a session beside
// it does not: a browser sends that by itself. What is no credential leaves
// everything as it is, and one that is not believed ends the visit.
func (v *visit) bear() error {
	text, err := bearer.Credential(v.r.Header["Authorization"])
	if err == nil && text == "" {
		return nil
	}
	if err == nil {
		v.bears, err = v.g.c.Callers.Know(v.r.Context(), text, v.service.ID, v.path, v.from)
	}
	if err != nil {
		var no *bearer.Refusal
		if errors.As(err, &no) {
			return refusal{code: no.Code, detail: no.Detail, after: int(math.Ceil(no.After.Seconds()))}
		}
		return err
	}
	v.session, v.who = nil, v.g.prepareProgram(v.bears)
	return nil
}

// prepareProgram returns what is prepared for a program.
func (g *Gateway) prepareProgram(b *bearer.Caller) *prepared {
	if p, ok := g.programs.GetIfPresent(b.Key); ok && p.fixed == &b.Subject {
		return p
	}
	p := g.fix(&b.Subject)
	g.programs.Set(b.Key, p)
	return p
}

// challenge tells a program how to be known (RFC 6750, section 3).
func challenge(code string) string {
	if code == bearer.ReasonUnknown || code == bearer.ReasonJWT {
		return `Bearer realm="Gatehouse", error="invalid_token"`
	}
	return `Bearer realm="Gatehouse"`
}
