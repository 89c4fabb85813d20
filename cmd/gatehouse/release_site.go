package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// releasing is what release editors made of a site.
type releasing struct {
	versions *versions.Versions
	version  versions.Version // in force here
	policy   versions.Policy  // what it says
	lost     []string         // rules of it that the file has no place for
	pairwise []byte           // key of pairwise identifiers
	trial    *trial           // nil: nothing is tried beside it
	programs *authz.Programs  // of the process
	readings readings
}

// publish gives the site its configuration: the file with the version in force.
func (s *site) publish(ctx context.Context, p *process) error {
	s.pairwise, s.programs = p.keys.Pairwise(), &p.programs
	check := newReleaseChecker(s.file, s.programs)
	s.versions = versions.New(versions.Config{
		Store: p.store, SecondPerson: s.file.Release.SecondPerson, Now: p.now,
		Check: func(v versions.Policy) error { return check.check(s.file, v) },
		Record: func(tx store.Tx, e versions.Event) error {
			text := e.Comment
			if e.Version > 0 {
				text = fmt.Sprintf("version %d %s", e.Version, e.Comment)
			}
			return p.audit.Append(tx, audit.Event{Kind: e.Kind, By: e.By, Text: text, Names: e.Names})
		},
	})
	var err error
	if s.version, s.policy, err = versions.InForce(ctx, p.store); err != nil {
		return err
	}
	s.cfg, s.lost = published(s.file, s.policy, s.programs)
	for _, text := range s.lost {
		p.log.Error("a published release is not in force: nothing goes out by it", "rule", text)
	}
	var mistakes []configs.Mistake
	if s.rules, mistakes = compile(s.cfg, s.programs); len(mistakes) > 0 {
		return errors.New(mistakes[0].String())
	}
	s.rules.release = s.rules.release.With(s.pairwise)
	tried, policy, ok, err := s.versions.Tried(ctx)
	if err != nil || !ok {
		return err
	}
	r, err := s.read(policy)
	if err != nil {
		p.log.Error("a draft of the release policy can not be tried any more", "error", err)
		return nil
	}
	s.trial = &trial{started: tried.Started, until: tried.Until, release: r.release, now: p.now}
	return nil
}

// released puts what was published into force, and returns when it is.
func (s *server) released(ctx context.Context) error {
	taken, err := s.again(ctx, false)
	switch {
	case taken:
		s.log.Info("release policy taken", "version", s.p.site.Load().version.Number)
	case err != nil:
		return fmt.Errorf("put what was published into force: %w", err)
	}
	return nil
}

// follow puts into force what somebody published elsewhere.
func (s *server) follow() {
	for range versions.Watch(s.ctx, s.p.store) {
		for s.ctx.Err() == nil {
			now, _, err := versions.InForce(s.ctx, s.p.store)
			if err == nil && now.Number != s.p.site.Load().version.Number {
				err = s.released(s.ctx)
			}
			if err == nil || s.ctx.Err() != nil {
				break
			}
			s.log.Error("what was published is not in force yet", "error", err)
			select {
			case <-s.ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// usersOf gives those once who opened a host lately: as they are signed in or,
// where they are not, as they would come by their first identity.
func (s *site) usersOf(ctx context.Context, host string, each func(authz.Subject)) error {
	ids, err := s.sessions.Visitors(ctx, host, "", maxUsers)
	if err != nil {
		return err
	}
	for _, id := range ids {
		sub, err := s.directory.Subject(ctx, id)
		if errors.Is(err, provisioning.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		rows, err := s.sessions.Find(ctx, session.Filter{User: id}, "", 1)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			row := rows[0]
			sub.Provider, sub.ACR, sub.AMR, sub.AuthTime = row.Provider, row.ACR, row.AMR, row.AuthTime
		} else if sub.Provider, err = s.firstProvider(ctx, id); err != nil {
			return err
		}
		each(s.rules.policy.Roles(sub))
	}
	return nil
}

// A trial compares a draft with the policy in force over those who come. It is
// asked when somebody's headers are made ready, not at each of their requests,
// and counts in memory; what it counted is written from time to time.
type trial struct {
	started, until time.Time
	release        *authz.ReleasePolicy
	now            func() time.Time

	mu    sync.Mutex
	tally versions.Tally
}

// beside is what the gateway tells of releases; nil while nothing is tried.
func (s *site) beside() func(string, authz.Subject, authz.Release) {
	if s.trial == nil {
		return nil
	}
	return s.trial.compare
}

func (t *trial) compare(to string, sub authz.Subject, rel authz.Release) {
	if !t.now().Before(t.until) {
		return
	}
	diff := authz.Compare(rel, t.release.Release(to, sub))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.Add(to, sub.ID, diff)
}

// trialEvery is how often what a trial counted is written.
const trialEvery = 10 * time.Second

// keepTrial writes what the trial counts, until ctx ends, and then the rest.
func (s *site) keepTrial(ctx context.Context) {
	if s.trial == nil {
		return
	}
	tick := time.NewTicker(trialEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.writeTrial(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			s.writeTrial(ctx)
		}
	}
}

// writeTrial writes what was counted since the last time.
func (s *site) writeTrial(ctx context.Context) {
	if s.trial == nil {
		return
	}
	s.trial.mu.Lock()
	defer s.trial.mu.Unlock()
	if s.trial.tally.Compared == 0 {
		return
	}
	if err := s.versions.Count(ctx, s.trial.started, s.trial.tally); err != nil {
		s.log.Error("what the trial of a draft counted is not written yet", "error", err)
		return
	}
	s.trial.tally = versions.Tally{}
}
