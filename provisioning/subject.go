package provisioning

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// SubjectOf is what policy sees now of a user who is in these groups of the
// directory. A grant that has ended counts for nothing, whether or not somebody
// took it away already. What belongs to a sign-in is left for the caller to fill in.
func (d *Directory) SubjectOf(u User, groups []string) authz.Subject {
	now := d.now()
	s := authz.Subject{
		ID: u.ID, Store: u.Store, UserName: u.UserName, Active: u.Active, Version: u.Version,
		Attributes: make(map[string][]string, len(u.Attributes)),
		Asserted:   make(map[string]map[string][]string),
		Groups:     slices.Clone(groups),
	}
	for _, g := range u.Grants {
		if !g.Ended(now) {
			s.Granted = append(s.Granted, g.Role)
		}
	}
	for _, c := range u.Consents {
		if s.Consents == nil {
			s.Consents = make(map[string]map[string]string)
		}
		if s.Consents[c.To] == nil {
			s.Consents[c.To] = make(map[string]string)
		}
		s.Consents[c.To][c.Attribute] = c.Said
	}
	for attr, claims := range u.Attributes {
		s.Attributes[attr] = Effective(u, attr)
		if u.Says(Self, attr) != nil && !slices.Contains(d.TrustSelf, attr) {
			if s.Proven == nil {
				s.Proven = make(map[string][]string)
			}
			others := User{Attributes: map[string][]Claim{attr: slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c.Source == Self })}}
			s.Proven[attr] = Effective(others, attr)
		}
		for _, c := range claims {
			by := s.Asserted[string(c.Source)]
			if by == nil {
				by = make(map[string][]string)
				s.Asserted[string(c.Source)] = by
			}
			by[attr] = slices.Clone(c.Values)
		}
	}
	return s
}

// Subject is what policy sees of a user, or ErrNotFound.
func (d *Directory) Subject(ctx context.Context, id string) (authz.Subject, error) {
	return view(ctx, d, "user "+id, func(tx store.Tx) (authz.Subject, bool, error) {
		u, ok, err := d.UserTx(tx, id)
		if err != nil || !ok {
			return authz.Subject{}, false, err
		}
		s, err := d.SubjectTx(tx, u)
		return s, true, err
	})
}

// SubjectTx is what policy sees of u, with groups as they are in tx.
func (d *Directory) SubjectTx(tx store.Tx, u User) (authz.Subject, error) {
	gs, err := d.groupsOf(tx, u.ID)
	if err != nil {
		return authz.Subject{}, err
	}
	var names []string
	for _, g := range gs {
		names = append(names, d.FullName(g.Store, g.Name))
	}
	slices.Sort(names)
	return d.SubjectOf(u, names), nil
}

// FullName is a name with the prefix of its user store, unless that is the
// first one: so a group of partners is never taken for one of ours.
func (d *Directory) FullName(userStore, name string) string {
	if userStore == d.UserStores[0] {
		return name
	}
	return userStore + "/" + name
}

// Watch yields the IDs of users who changed, on any replica. "", first and
// after any gap, and when a group was renamed, nested or deleted,
// or many of its members changed at once, means:
// forget everything. From the first on nothing is missed. It ends with ctx or
// when the store is closed.
func (d *Directory) Watch(ctx context.Context) iter.Seq[string] {
	type news struct {
		id    string
		first bool // of its table
	}
	return func(yield func(string) bool) {
		ctx, cancel := context.WithCancel(ctx)
		all := make(chan news)
		waiting := 0 // tables that are not being watched yet
		var wg sync.WaitGroup
		watch := func(prefix []byte, id func(key []byte) (string, bool)) {
			waiting++
			wg.Go(func() {
				defer cancel()
				first := true
				for key := range d.Store.Watch(ctx, prefix) {
					n := news{first: first}
					first = false
					if key != nil {
						var ok bool
						if n.id, ok = id(key); !ok {
							continue
						}
					}
					select {
					case all <- n:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		everything := func([]byte) (string, bool) { return "", true }
		watch(users.Prefix(), users.KeyOf)
		watch(groups.Prefix(), everything)
		watch(nests.Prefix(), everything)
		watch(flips.Prefix(), everything)
		defer wg.Wait()
		defer cancel()
		for {
			select {
			case n := <-all:
				if n.first {
					waiting--
				}
				if waiting > 0 {
					continue
				}
				if n.first {
					n.id = ""
				}
				if !yield(n.id) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
