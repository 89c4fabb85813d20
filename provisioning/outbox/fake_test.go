package outbox_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
)

// A fake is a target without a wire, for where many accounts matter and how they
// are sent does not. before, if there is one, is asked before each call.
type fake struct {
	mu     sync.Mutex
	n      int
	held   map[string]connector.Account
	known  map[string]string // the last account by external ID, and by folded name
	log    []string          // "sync ana", "disable ana", "remove 3"
	before func(ctx context.Context, want connector.Account) error
}

func (f *fake) target(id string, c connector.Connector) outbox.Target {
	return outbox.Target{
		ID: id, Connector: c,
		Scope: func(s authz.Subject) bool { return len(s.Attributes["department"]) > 0 },
		Account: func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			return connector.Account{UserName: u.UserName, Attributes: map[string][]string{"title": s.Attributes["title"]}}, nil
		},
	}
}

func (f *fake) ask(ctx context.Context, want connector.Account) error {
	if f.before == nil {
		return nil
	}
	return f.before(ctx, want)
}

func (f *fake) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	if err := f.ask(ctx, want); err != nil {
		return have, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held, f.known = map[string]connector.Account{}, map[string]string{}
	}
	if _, ok := f.held[have]; have != "" && !ok {
		return "", &connector.Error{Class: connector.Gone, Text: "no such account"}
	}
	if have == "" {
		f.n++
		have = fmt.Sprint(f.n)
	}
	what := "sync "
	if !want.Active {
		what = "disable "
	}
	f.log = append(f.log, what+want.UserName)
	want.ID = have
	f.held[have] = want
	f.known["id "+want.ExternalID], f.known["name "+strings.ToLower(want.UserName)] = have, have
	return have, nil
}

func (f *fake) Find(ctx context.Context, want connector.Account) (list []connector.Account, err error) {
	if err := f.ask(ctx, want); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range slices.Compact([]string{f.known["id "+want.ExternalID], f.known["name "+strings.ToLower(want.UserName)]}) {
		if a, ok := f.held[id]; ok {
			list = append(list, a)
		}
	}
	return list, nil
}

func (f *fake) Remove(ctx context.Context, have string) error {
	if err := f.ask(ctx, connector.Account{}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, "remove "+have)
	delete(f.held, have)
	return nil
}

func (f *fake) Accounts(context.Context) iter.Seq2[connector.Account, error] {
	return func(func(connector.Account, error) bool) {}
}

func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}
