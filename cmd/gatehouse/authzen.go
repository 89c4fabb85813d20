package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/authzen"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// authzen answers services that ask for decisions, by the policy of this site.
func (s *site) authzen(p *process) http.Handler {
	c := authzen.Config{
		Base: s.cfg.Server.PublicURL.String(), Prefix: "/.gatehouse/access/v1/", Decide: s.rules.policy.Decide, Callers: s.callers, Now: p.now,
		Subject: func(ctx context.Context, name string) (authz.Subject, error) {
			u, err := s.userNamed(ctx, name)
			var sub authz.Subject
			if err == nil {
				sub, err = s.directory.Subject(ctx, u.ID)
			}
			if errors.Is(err, provisioning.ErrNotFound) {
				return authz.Subject{}, authzen.ErrNobody
			}
			return s.rules.policy.Roles(sub), err
		},
		Support: gateway.SupportCode,
		Decided: func(q authzen.Question, d authz.Decision) {
			p.meters.Service(q.Service).Asked(d.Outcome.String(), d.Rule())
			if d.Outcome != authz.Allow {
				p.recorder.Record(audit.Event{Kind: "denied", Code: d.Code, UserID: q.Subject.ID, Service: q.Service, Provider: q.Subject.Provider, By: "caller:token/" + q.Token, Flow: q.Support, Text: strings.TrimSpace(q.Method + " " + q.Path + " " + d.Rule())})
			}
		},
		Refused: func(code, from string) { p.recorder.Record(audit.Event{Kind: "token.refused", Code: code, From: from}) },
	}
	for _, svc := range s.cfg.Services {
		c.Services = append(c.Services, svc.ID)
	}
	return authzen.Handler(c)
}
