package provisioning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// An attribute of Config.Unique has a value with one user only, as far as clients
// say it: what a client would give to a second user is a *Conflict. What others say,
// such as an identity provider at a sign-in, is not refused for it, or whoever
// claims somebody's number would keep them out; then the first one has it.

func uniqueOf(attr, value string) uniqueRow {
	sum := sha256.Sum256([]byte(Fold(value)))
	return uniqueRow{Attribute: attr, Hash: hex.EncodeToString(sum[:])}
}

// keepUnique notes who has which of the values that only one may have.
func (d *Directory) keepUnique(tx store.Tx, before, after User, by Source) error {
	for _, attr := range d.Unique {
		was, is := Effective(before, attr), Effective(after, attr)
		for _, v := range was {
			if slices.Contains(is, v) {
				continue
			}
			r := uniqueOf(attr, v)
			if old, ok, err := uniques.Get(tx, uniques.Key(r)); err != nil {
				return err
			} else if ok && old.User == before.ID {
				if err := uniques.Delete(tx, uniques.Key(r)); err != nil {
					return err
				}
			}
		}
		for _, v := range is {
			r := uniqueOf(attr, v)
			r.User = after.ID
			old, taken, err := uniques.Get(tx, uniques.Key(r))
			switch {
			case err != nil:
				return err
			case taken && old.User != after.ID && !slices.Contains(was, v) && strings.HasPrefix(string(by), string(SourceClient(""))):
				return &Conflict{attr, v}
			case taken:
				continue
			}
			if err := uniques.Put(tx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// BuildUnique notes the values that users have of attributes of which only one user
// may have each, once for each attribute.
func (d *Directory) BuildUnique(ctx context.Context) error {
	for _, attr := range d.Unique {
		key := "unique:" + attr
		for done := false; !done; {
			err := d.Store.Update(ctx, func(tx store.Tx) error {
				b, _, err := builts.Get(tx, key)
				if done = b.Done; err != nil || done {
					return err
				}
				b.Table, b.Form, b.Done = key, 1, true
				wrote := 0
				for row, err := range users.All(tx, b.After, 10*pageSize) {
					if err != nil {
						return err
					}
					u := d.userOf(row)
					for _, v := range Effective(u, attr) {
						r := uniqueOf(attr, v)
						r.User = u.ID
						if _, taken, err := uniques.Get(tx, uniques.Key(r)); err != nil {
							return err
						} else if taken {
							continue
						}
						if err := uniques.Put(tx, r); err != nil {
							return err
						}
						wrote++
					}
					b.After, b.Done = u.ID, false
					if wrote >= store.MaxKeys/4 {
						break
					}
				}
				return builts.Put(tx, b)
			})
			if err != nil {
				return fmt.Errorf("note unique values of %s: %w", attr, err)
			}
		}
	}
	return nil
}
