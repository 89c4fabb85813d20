package scim

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// labels is the attribute in which a client's claim holds what it calls a user
// among the members of its groups, if that is not the user's name: each value
// is the ID of a group, a space, and the display. It goes with the user.
const labels = "scim:labels"

// maxLabels bounds those of one user and client; the oldest go.
const maxLabels = 100

// labelled is what a client calls a user in a group; empty: nothing.
func labelled(u *provisioning.User, by provisioning.Source, groupID string) string {
	for _, v := range u.Says(by, labels) {
		if display, ok := strings.CutPrefix(v, groupID+" "); ok {
			return display
		}
	}
	return ""
}

// relabelAll keeps what the client calls those who came into a group, and forgets what
// it called those who left. It is done when they are in and out: a group that did not
// change has nothing to say of its members. Who is named no display keeps what there is.
func (s groups) relabelAll(ctx context.Context, groupID string, came []any, left []string) error {
	for _, v := range came {
		el, _ := v.(*rfc.Object)
		if display := el.String("display"); display != "" {
			if err := s.relabel(ctx, groupID, el.String("value"), display); err != nil {
				return err
			}
		}
	}
	for _, id := range left {
		if err := s.relabel(ctx, groupID, id, ""); err != nil {
			return err
		}
	}
	return nil
}

// relabel writes one label; empty: none. One that does not fit beside all that is known
// of the user is left out: then the user's name stands there.
func (s groups) relabel(ctx context.Context, groupID, id, display string) error {
	c := client.From(ctx)
	u, err := s.Directory.Peek(ctx, id)
	switch {
	case errors.Is(err, provisioning.ErrNotFound): // a group, or deleted meanwhile
		return nil
	case err != nil:
		return err
	case display == c.Join(u.Store, u.UserName):
		display = ""
	}
	if !c.May(u.Store) || display == labelled(u, c.Source(), groupID) {
		return nil
	}
	_, _, err = s.Directory.Change(ctx, id, c.Source(), func(u *provisioning.User) error {
		all := slices.DeleteFunc(u.Says(c.Source(), labels), func(v string) bool { return strings.HasPrefix(v, groupID+" ") })
		if display != "" {
			all = append(all, groupID+" "+display)
		}
		u.Say(c.Source(), labels, all[max(0, len(all)-maxLabels):]...)
		return nil
	})
	var full *provisioning.Invalid
	if errors.Is(err, provisioning.ErrNotFound) || errors.As(err, &full) && full.Field == "attributes" || errors.Is(err, store.ErrLimit) {
		return nil
	}
	return answer(err, id)
}

// named are the members of next whom cur names differently, or not at all.
func named(cur, next *rfc.Resource) []any {
	was := map[string]string{}
	for _, v := range cur.List("members") {
		el, _ := v.(*rfc.Object)
		was[el.String("value")] = el.String("display")
	}
	var list []any
	for _, v := range next.List("members") {
		el, _ := v.(*rfc.Object)
		if display, in := was[el.String("value")]; !in || el.String("display") != display {
			list = append(list, v)
		}
	}
	return list
}
