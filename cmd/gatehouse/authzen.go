package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/authzen"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// authzen answers services that ask for decisions, by the policy of this site.
func (s *site) authzen(p *process) http.Handler {
	c := authzen.Config{
		Base: s.cfg.Server.PublicURL.String(), Prefix: "/.gatehouse/access/v1/", Decide: s.rules.policy.Decide, Callers: s.callers, Now: p.now,
		Subject: func(ctx context.Context, name string) (authz.Subject, error) {
			userStore, rest := s.directory.SplitName(name)
			u, err := s.directory.ByName(ctx, userStore, rest)
			id := u.ID
			if errors.Is(err, provisioning.ErrNotFound) {
				id, err = name, nil
			}
			var sub authz.Subject
			if err == nil {
				sub, err = s.directory.Subject(ctx, id)
			}
			if errors.Is(err, provisioning.ErrNotFound) {
				return authz.Subject{}, authzen.ErrNobody
			}
			return s.rules.policy.Roles(sub), err
		},
		Denied: func(token string, r authz.Request, code string) {
			p.recorder.Record(audit.Event{Kind: "denied", Code: code, UserID: r.Subject.ID, Service: r.Service, Provider: r.Subject.Provider, By: "caller:token/" + token, Text: r.Method + " " + r.Path})
		},
		Refused: func(code, from string) { p.recorder.Record(audit.Event{Kind: "token.refused", Code: code, From: from}) },
	}
	for _, svc := range s.cfg.Services {
		c.Services = append(c.Services, svc.ID)
	}
	return authzen.Handler(c)
}
