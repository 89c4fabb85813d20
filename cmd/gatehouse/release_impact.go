package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// What the draft would change for everybody is long work: a task that looks at
// users in buckets, and keeps what it counted with how far it is. It holds one
// bucket in memory, however many users there are.

const (
	taskImpact   = "release.impact"
	impactKey    = "draft" // there is one draft
	impactBucket = 500     // users
)

// A comparison is of the draft with what is in force, at the recipients for which
// they differ.
type comparison struct {
	revision string
	base     int
	to       []string
	was, is  *authz.ReleasePolicy
	change   *authz.Change
}

func (s *site) comparison(ctx context.Context) (c comparison, err error) {
	d, p, _, err := s.versions.Draft(ctx)
	if err != nil {
		return c, err
	}
	r, err := s.readOnce(d.Name(), p)
	if err != nil {
		return c, err
	}
	c = comparison{revision: d.Revision, base: s.version.Number, was: s.rules.release, is: r.release}
	for _, change := range versions.Diff(whole(s.file, s.policy), r.rules) {
		if !slices.Contains(c.to, change.To) {
			c.to = append(c.to, change.To)
		}
	}
	c.change = authz.NewChange(c.was, c.is, c.to)
	return c, nil
}

// at is the comparison at one recipient, if they differ there.
func (c comparison) at(to string) comparison {
	c.to = slices.DeleteFunc(slices.Clone(c.to), func(other string) bool { return other != to })
	c.change = authz.NewChange(c.was, c.is, c.to)
	return c
}

// each compares the releases of one user, as they are without a sign-in, at every
// recipient of the comparison: at targets, if they have an account there.
func (c comparison) each(ctx context.Context, s *site, userID string, fn func(to string, diff []authz.Difference)) error {
	sub, err := s.directory.Subject(ctx, userID)
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	sub = s.rules.policy.Roles(sub)
	c.change.Each(sub, func(some []string, diff []authz.Difference) {
		for _, to := range some {
			if scope := s.rules.scopes[targetOf(to)]; scope == nil || scope(sub) {
				fn(to, diff)
			}
		}
	})
	return nil
}

// targetOf is the ID of the target that a recipient is; a service has none.
func targetOf(to string) string {
	id, ok := strings.CutPrefix(to, "target:")
	if !ok {
		return ""
	}
	return id
}

// beginImpact starts the comparison of the draft over everybody, from the first.
func (s *site) beginImpact(ctx context.Context, by string, now time.Time) error {
	d, _, ok, err := s.versions.Draft(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return &versions.Refusal{Code: versions.ReasonNone, Text: "there is no draft to compare"}
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		if err := task.Forget(tx, taskImpact, impactKey); err != nil {
			return err
		}
		if err := versions.PutReport(tx, versions.Report{Kind: versions.Impact, Revision: d.Revision, Base: s.version.Number, By: by, Started: now.UTC()}); err != nil {
			return err
		}
		return task.Add(tx, taskImpact, impactKey, now)
	})
}

// handleImpact is the task.Handler of taskImpact.
func (s *site) handleImpact(ctx context.Context, key string) error {
	var p task.Progress
	var rep versions.Report
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		if p, _, err = task.Load(tx, taskImpact, key); err != nil {
			return err
		}
		rep, _, err = versions.ReadReport(tx, versions.Impact)
		return err
	})
	if err != nil {
		return err
	}
	c, err := s.comparison(ctx)
	if err != nil {
		return err
	}
	if c.revision != rep.Revision || c.base != rep.Base {
		return nil // of another draft; whoever wants to know asks again
	}
	for {
		last, n, some := "", 0, versions.Tally{}
		for u, err := range s.directory.Users(ctx, string(p.Cursor), impactBucket) {
			if err != nil {
				return err
			}
			last = u.ID
			n++
			if err := c.each(ctx, s, u.ID, func(to string, diff []authz.Difference) { some.Add(to, u.ID, diff) }); err != nil {
				return err
			}
		}
		done := n < impactBucket
		err := s.store.Update(ctx, func(tx store.Tx) error {
			now, ok, err := versions.ReadReport(tx, versions.Impact)
			if err != nil || !ok || !now.Started.Equal(rep.Started) {
				return err // begun anew meanwhile
			}
			now.Merge(some)
			if done {
				now.Ended = time.Now().UTC()
			}
			if err := versions.PutReport(tx, now); err != nil {
				return err
			}
			if last != "" {
				p.Cursor = []byte(last)
			}
			next := p
			next.Done += int64(n)
			return task.Save(tx, taskImpact, key, next)
		})
		if err != nil {
			return err
		}
		p.Done += int64(n)
		if done {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}
