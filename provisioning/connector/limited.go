package connector

import (
	"context"
	"iter"

	"golang.org/x/time/rate"
)

// Limited lets at most perSecond calls a second through to c, the others wait
// or end with their context; 0 is no limit. One call of a Connector may be
// several requests, so this bounds the calls and not the requests.
func Limited(c Connector, perSecond int) Connector {
	if perSecond <= 0 {
		return c
	}
	return &limited{c, rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

type limited struct {
	c Connector
	l *rate.Limiter
}

func (l *limited) wait(ctx context.Context) error {
	if err := l.l.Wait(ctx); err != nil {
		return &Error{Class: Transient, Text: "waiting for the rate limit", Err: err}
	}
	return nil
}

func (l *limited) Sync(ctx context.Context, want Account, have string) (string, error) {
	if err := l.wait(ctx); err != nil {
		return have, err
	}
	return l.c.Sync(ctx, want, have)
}

func (l *limited) Find(ctx context.Context, want Account) ([]Account, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l.c.Find(ctx, want)
}

func (l *limited) Remove(ctx context.Context, have string) error {
	if err := l.wait(ctx); err != nil {
		return err
	}
	return l.c.Remove(ctx, have)
}

func (l *limited) Accounts(ctx context.Context) iter.Seq2[Account, error] {
	return func(yield func(Account, error) bool) {
		if err := l.wait(ctx); err != nil {
			yield(Account{}, err)
			return
		}
		l.c.Accounts(ctx)(yield)
	}
}
