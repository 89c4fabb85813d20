package connector

import (
	"context"
	"slices"
	"strings"
	"time"
)

// A Lister reads accounts a page at a time, so that a walk over all of them can
// go on where it was cut off. What is without it is walked with Accounts, in one go.
type Lister interface {
	List(ctx context.Context, q Listing) (Page, error)
}

// A Listing is what a Lister is asked for.
type Listing struct {
	Cursor string // Next of the page before; empty: the first page
	// Since asks only for what was changed at this time or later; zero: for all.
	// A target that can not tell is an error that is ErrCanNot.
	Since time.Time
}

// A Page of accounts.
type Page struct {
	Accounts []Account
	Next     string // cursor of the next page; empty: this is the last one
	Total    int    // how many there are in all; 0: the target does not say
}

// Drift names what a target's account has otherwise than is wanted: user_name,
// active, or one of the attributes of want, ordered. What the target has beyond
// those is no difference. Names of attributes and values of one attribute have
// no order and no case of the attribute's name.
func Drift(want, have Account) (names []string) {
	if !strings.EqualFold(want.UserName, have.UserName) {
		names = append(names, "user_name")
	}
	if want.Active != have.Active {
		names = append(names, "active")
	}
	there := make(map[string][]string, len(have.Attributes))
	for name, values := range have.Attributes {
		name = strings.ToLower(name)
		there[name] = append(there[name], values...)
	}
	for name, values := range want.Attributes {
		if !sameSet(values, there[strings.ToLower(name)]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
