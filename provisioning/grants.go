package provisioning

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// MaxGrants is how many roles one user can have by grant.
const MaxGrants = 32

// anyRole is what everybody with a grant is found by; no role is called so.
const anyRole = "*"

// Give adds a grant, or puts it in the place of the one of the same role.
func (u *User) Give(g Grant) {
	u.Drop(g.Role)
	u.Grants = append(u.Grants, g)
	slices.SortFunc(u.Grants, func(a, b Grant) int { return cmp.Compare(a.Role, b.Role) })
}

// Drop takes the grant of a role away, and reports whether there was one.
func (u *User) Drop(role string) bool {
	n := len(u.Grants)
	u.Grants = slices.DeleteFunc(u.Grants, func(g Grant) bool { return g.Role == role })
	return len(u.Grants) < n
}

// Granted yields users who were given a role by name, ordered by ID, those after
// one, at most limit (0: all). An empty role is any.
func (d *Directory) Granted(ctx context.Context, role, after string, limit int) iter.Seq2[User, error] {
	return func(yield func(User, error) bool) {
		var list []userRow
		err := d.Store.View(ctx, func(tx store.Tx) (err error) {
			list, err = some(users.Find(tx, "granted", cmp.Or(role, anyRole), after, limit))
			return err
		})
		if err != nil {
			yield(User{}, fmt.Errorf("list grants: %w", err))
			return
		}
		for _, r := range list {
			if !yield(d.userOf(r), nil) {
				return
			}
		}
	}
}

func roles(grants []Grant) (list []string) {
	for _, g := range grants {
		list = append(list, g.Role)
	}
	return list
}

func sameGrants(a, b []Grant) bool {
	return slices.EqualFunc(a, b, func(x, y Grant) bool {
		return x.Role == y.Role && x.By == y.By && x.Request == y.Request && x.Since.Equal(y.Since) && x.Until.Equal(y.Until)
	})
}

// badGrants says what is wrong with grants.
func badGrants(list []Grant) string {
	if len(list) > MaxGrants {
		return fmt.Sprintf("are too many; one user can have %d roles by grant", MaxGrants)
	}
	for i, g := range list {
		switch {
		case g.Role == "" || g.Role == anyRole:
			return "has a grant without a role"
		case i > 0 && list[i-1].Role >= g.Role:
			return "has two grants of " + g.Role + ", or not in the order of their roles"
		case g.By == "" || g.Since.IsZero():
			return "does not say who granted " + g.Role + ", or since when"
		case !g.Until.IsZero() && g.Until != g.Until.UTC().Truncate(time.Millisecond):
			return "has an end that is not stored as it is"
		}
	}
	return ""
}
