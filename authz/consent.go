package authz

import "slices"

// BasisConsent is the basis of what goes out only if the person agrees.
const BasisConsent = "consent"

// What a person said, or was told, about one attribute and one recipient.
const (
	Given   = "given"
	Refused = "refused"
	Told    = "told" // of what goes out on another basis
)

// Agreeable is what the recipient would learn about the subject if they agreed to
// all of it: what Release sends, and what waits for their word.
func (p *ReleasePolicy) Agreeable(to string, s Subject) []Released {
	if p == nil {
		return nil
	}
	all := make(map[string]string)
	for _, r := range p.by[to] {
		all[r.Attribute] = Given
	}
	s.Consents = map[string]map[string]string{to: all}
	return p.Release(to, s).Sent
}

// Unsaid is the part of Agreeable about which the person has not been asked, where
// its basis is their consent, and with notice that of which they have not been
// told.
func (p *ReleasePolicy) Unsaid(to string, s Subject, notice bool) (list []Released) {
	for _, r := range p.Agreeable(to, s) {
		switch said := s.Consents[to][r.Attribute]; {
		case r.Basis == BasisConsent && said != Given && said != Refused, r.Basis != BasisConsent && notice && said == "":
			list = append(list, r)
		}
	}
	return list
}

// NeedsConsent reports whether something goes to the recipient only by consent.
func (p *ReleasePolicy) NeedsConsent(to string) bool {
	return p != nil && slices.ContainsFunc(p.by[to], func(r releaseRule) bool { return r.Basis == BasisConsent })
}
