package oidc

import (
	"context"
	"errors"
	"time"
)

// Status is how what a provider publishes stands, for administrators.
type Status struct {
	Issuer string
	Read   time.Time // when the keys in use were fetched; zero: none were yet
	Keys   []Key
	Err    error // why the last attempt failed; nil if it did not, or there was none
}

// A Key that the provider signs with.
type Key struct{ ID, Algorithm string }

// Status says how things stand, and fetches nothing.
func (p *Provider) Status() Status {
	s := Status{Issuer: p.cfg.Issuer}
	_, _, err := p.published.state()
	keys, got, errKeys := p.keys.state()
	s.Read, s.Err = got, errors.Join(err, errKeys)
	for _, k := range keys {
		s.Keys = append(s.Keys, Key{k.KeyID, k.Algorithm})
	}
	return s
}

// Refresh fetches what the provider publishes, if the last time is not just gone.
func (p *Provider) Refresh(ctx context.Context) error {
	if _, err := p.published.get(ctx, true); err != nil {
		return err
	}
	_, err := p.keys.get(ctx, true)
	return errors.Join(err, p.Status().Err)
}
