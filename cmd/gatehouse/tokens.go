package main

import (
	"cmp"
	"context"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
)

// loadTokens reads the service tokens, and begins to remember who guesses some.
func (p *process) loadTokens(ctx context.Context) (err error) {
	p.issuers, p.guesses = bearer.NewKeys(), bearer.NewLimits()
	p.tokens, err = bearer.LoadTokens(ctx, bearer.TokensConfig{
		Store: p.store, Key: p.hashes, Now: p.now,
		Ended: func() {
			if s := p.site.Load(); s != nil && s.gateway != nil {
				s.gateway.Recheck("", "")
			}
		},
		Failed: func(err error) { p.log.Error("service tokens", "error", err) },
	})
	return err
}

// callers are the programs that the services of a configuration take.
func (p *process) callers(cfg *configs.Config) *bearer.Callers {
	c := bearer.Config{Services: map[string]bearer.Service{}, Tokens: p.tokens, Keys: p.issuers, Limits: p.guesses, Now: p.now}
	client := outboundClient(cfg.Outbound.Allow, nil, 10*time.Second)
	for _, s := range cfg.Services {
		taken := bearer.Service{Tokens: s.Tokens}
		for _, i := range s.Callers {
			algorithms := i.Algorithms
			if len(algorithms) == 0 {
				algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
			}
			taken.Issuers = append(taken.Issuers, &bearer.Issuer{
				ID: i.ID, Issuer: address(i.Issuer), Audience: i.Audience, Subjects: i.Subjects, Algorithms: algorithms, KeysURL: address(i.Keys),
				Attributes: i.Attributes, Longest: cmp.Or(i.Longest, 24*time.Hour), Skew: i.Skew, Client: client,
			})
		}
		c.Services[s.ID] = taken
	}
	return bearer.New(c)
}
