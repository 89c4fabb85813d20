// Package csv keeps the accounts of a system that reads files.
//
// Such a system can not be asked who is there. So what the next file is to say is
// kept here, in the gateway's store, an account a row: Sync changes the row, in one
// transaction with a task that writes a file a little later. Changes that come
// meanwhile are in the same file.
//
//	Sync, Remove ──▶ account row, changed ──task, after a while──▶ file
//	                                                               ├ users_TIME_full.csv    every account
//	                                                               └ users_TIME_delta.csv   what changed, by _op and _seq
//
// A file is there whole or not at all; beside it come NAME.sha256, and last
// NAME.done. A change is told again in the next file if it is not known whether
// this one arrived: its _seq is the same then.
//
// What it can not know is whether somebody read the file, and what they made of
// it. That Sync succeeded means that it stands in the next one; whether files
// arrive is in the task that writes them.
package csv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kind of the tasks that write files; their key is Key(target).
const Kind = "csv.write"

// Key of a target's task.
func Key(target string) string { return target + "/file" }

// A Column is an attribute of the accounts.
type Column struct {
	Name  string // its heading
	Multi bool   // values are joined, and escaped so that they can be told apart
}

// Columns that every file has, before those of the attributes.
const (
	colID     = "external_id"
	colName   = "user_name"
	colActive = "active"
	colOp     = "_op"  // of a delta file: add, update, disable, delete
	colSeq    = "_seq" // of a delta file: counts changes
)

// CheckColumn refuses a heading that means something else.
func CheckColumn(name string) error {
	if slices.Contains([]string{colID, colName, colActive, colOp, colSeq}, name) {
		return errors.New("every file has this column already")
	}
	return nil
}

// Config of a Connector.
type Config struct {
	Store   store.Store
	Target  string
	Place   folder.Place
	Columns []Column
	Delta   bool          // files hold what changed, instead of every account
	Every   time.Duration // for how long changes are gathered
	Keep    int           // how many files stay; 0: all
	BOM     bool          // files begin with a byte order mark
	// Harmless makes text of cells that a spreadsheet would run as a formula,
	// which alters them.
	Harmless bool
	Now      func() time.Time // nil: time.Now
}

// A Connector keeps accounts and writes files. It is a connector.Connector, a
// connector.Getter and a connector.Tester.
type Connector struct{ c Config }

// New makes a Connector.
func New(c Config) *Connector {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Connector{c}
}

// account is what the next full file says of somebody.
type account struct {
	Target     string              `json:"target"`
	ID         string              `json:"id"` // random; no part of a file
	ExternalID string              `json:"external_id,omitempty"`
	UserName   string              `json:"user_name"`
	Active     bool                `json:"active,omitempty"`
	Attributes map[string][]string `json:"attributes,omitempty"`
	Seq        uint64              `json:"seq"`               // of the last change
	Changed    bool                `json:"changed,omitempty"` // since the last file
	Removed    bool                `json:"removed,omitempty"` // the next file says so for the last time
	Told       bool                `json:"told,omitempty"`    // it stands in a file
	ToldActive bool                `json:"told_active,omitempty"`
}

var accounts = store.Table[account]{
	Name: "csv_account",
	Key:  func(a account) string { return string(store.Key(a.Target, a.ID)) },
	Unique: map[string]func(account) []string{
		"name":     func(a account) []string { return a.there(strings.ToLower(a.UserName)) },
		"external": func(a account) []string { return a.there(a.ExternalID) },
	},
	Index: map[string]func(account) []string{
		"target": func(a account) []string { return []string{a.Target} },
		"changed": func(a account) []string {
			if !a.Changed {
				return nil
			}
			return []string{place(a.Target, a.Seq)}
		},
	},
}

// place is where a change stands among those of a target.
func place(target string, seq uint64) string {
	return string(store.Key(target, fmt.Sprintf("%020d", seq)))
}

// there is a value by which an account is found that is not removed.
func (a account) there(value string) []string {
	if a.Removed || value == "" {
		return nil
	}
	return []string{string(store.Key(a.Target, value))}
}

func (a account) shown() connector.Account {
	return connector.Account{ID: a.ID, ExternalID: a.ExternalID, UserName: a.UserName, Active: a.Active, Attributes: a.Attributes}
}

// count is how many changes a target had.
type count struct {
	Target string `json:"target"`
	Seq    uint64 `json:"seq"`
}

var counts = store.Table[count]{Name: "csv_count", Key: func(c count) string { return c.Target }}

// Sync notes what the next file is to say of an account.
func (c *Connector) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	id := have
	err := c.c.Store.Update(ctx, func(tx store.Tx) error {
		id = have
		was, ok, err := c.known(tx, want, have)
		if err != nil {
			return err
		}
		if !ok && have != "" {
			return &connector.Error{Class: connector.Gone, Text: "there is no such account"}
		}
		now := was
		if !ok {
			now = account{Target: c.c.Target, ID: rand.Text()}
		}
		id = now.ID
		now.ExternalID, now.UserName, now.Active = want.ExternalID, want.UserName, want.Active
		now.Attributes = map[string][]string{}
		for _, attrs := range []map[string][]string{was.Attributes, want.Attributes} {
			for name, values := range attrs {
				if delete(now.Attributes, name); len(values) > 0 {
					now.Attributes[name] = values
				}
			}
		}
		if ok && same(was, now) {
			return nil
		}
		return c.change(tx, now)
	})
	if errors.Is(err, store.ErrConflict) {
		return "", &connector.Error{Class: connector.Conflict, Text: "another account has the name or the external ID"}
	}
	if err != nil {
		return "", wrap("note the account", err)
	}
	return id, nil
}

func same(a, b account) bool {
	if a.ExternalID != b.ExternalID || a.UserName != b.UserName || a.Active != b.Active || len(a.Attributes) != len(b.Attributes) {
		return false
	}
	for name, values := range a.Attributes {
		if !slices.Equal(values, b.Attributes[name]) {
			return false
		}
	}
	return true
}

// known is the account with an ID, or, where there is none yet, that with the
// external ID.
func (c *Connector) known(tx store.Tx, want connector.Account, have string) (account, bool, error) {
	if have == "" && want.ExternalID == "" {
		return account{}, false, nil
	}
	if have == "" {
		return accounts.Lookup(tx, "external", string(store.Key(c.c.Target, want.ExternalID)))
	}
	a, ok, err := accounts.Get(tx, string(store.Key(c.c.Target, have)))
	return a, ok && !a.Removed, err
}

// change stores an account that differs, and asks for a file.
func (c *Connector) change(tx store.Tx, a account) error {
	n, _, err := counts.Get(tx, c.c.Target)
	if err != nil {
		return err
	}
	n.Target = c.c.Target
	n.Seq++
	a.Seq, a.Changed = n.Seq, true
	if err := accounts.Put(tx, a); err != nil {
		return err
	}
	if err := counts.Put(tx, n); err != nil {
		return err
	}
	return task.Add(tx, Kind, Key(c.c.Target), c.c.Now().Add(c.c.Every))
}

// Find returns who has the external ID, or else the name.
func (c *Connector) Find(ctx context.Context, want connector.Account) (list []connector.Account, err error) {
	err = c.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for _, by := range []struct{ index, value string }{{"external", want.ExternalID}, {"name", strings.ToLower(want.UserName)}} {
			if by.value == "" {
				continue
			}
			a, ok, err := accounts.Lookup(tx, by.index, string(store.Key(c.c.Target, by.value)))
			if err != nil {
				return err
			}
			if ok {
				list = append(list, a.shown())
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap("look for the account", err)
	}
	return list, nil
}

// Get returns an account by its ID.
func (c *Connector) Get(ctx context.Context, id string) (out connector.Account, err error) {
	err = c.c.Store.View(ctx, func(tx store.Tx) error {
		a, ok, err := accounts.Get(tx, string(store.Key(c.c.Target, id)))
		if err != nil {
			return err
		}
		if !ok || a.Removed {
			return &connector.Error{Class: connector.Gone, Text: "there is no such account"}
		}
		out = a.shown()
		return nil
	})
	if err != nil {
		return connector.Account{}, wrap("read the account", err)
	}
	return out, nil
}

// Remove takes an account out of full files; a delta file says that it is deleted.
func (c *Connector) Remove(ctx context.Context, have string) error {
	err := c.c.Store.Update(ctx, func(tx store.Tx) error {
		a, ok, err := accounts.Get(tx, string(store.Key(c.c.Target, have)))
		if err != nil || !ok || a.Removed {
			return err
		}
		a.Removed = true
		return c.change(tx, a)
	})
	if err != nil {
		return wrap("remove the account", err)
	}
	return nil
}

// Accounts yields the accounts that the next full file has.
func (c *Connector) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		for a, err := range c.all(ctx) {
			if err != nil {
				yield(connector.Account{}, wrap("list accounts", err))
				return
			}
			if !a.Removed && !yield(a.shown(), nil) {
				return
			}
		}
	}
}

// pageSize rows are read in one transaction.
const pageSize = 200

// all yields every row of the target, removed ones too.
func (c *Connector) all(ctx context.Context) iter.Seq2[account, error] {
	return c.paged(ctx, func(tx store.Tx, last account) iter.Seq2[account, error] {
		return accounts.Find(tx, "target", c.c.Target, accounts.Key(last), pageSize)
	})
}

// changes yields the rows that changed, in the order of their changes.
func (c *Connector) changes(ctx context.Context) iter.Seq2[account, error] {
	return c.paged(ctx, func(tx store.Tx, last account) iter.Seq2[account, error] {
		return c.changedRows(tx, last.Seq, pageSize)
	})
}

// changedRows are the first that changed after a change.
func (c *Connector) changedRows(tx store.Tx, after uint64, limit int) iter.Seq2[account, error] {
	return accounts.Range(tx, "changed", place(c.c.Target, after+1), string(store.End(store.Key(c.c.Target))), limit)
}

// paged yields rows page by page, each read in a transaction of its own by next,
// which is given the last row so far: at first one before all.
func (c *Connector) paged(ctx context.Context, next func(tx store.Tx, last account) iter.Seq2[account, error]) iter.Seq2[account, error] {
	return func(yield func(account, error) bool) {
		for last := (account{Target: c.c.Target}); ; {
			var page []account
			err := c.c.Store.View(ctx, func(tx store.Tx) error {
				page = nil
				for a, err := range next(tx, last) {
					if err != nil {
						return err
					}
					page = append(page, a)
				}
				return nil
			})
			if err != nil {
				yield(account{}, err)
				return
			}
			for _, a := range page {
				if !yield(a, nil) {
					return
				}
				last = a
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Test looks into the folder.
func (c *Connector) Test(ctx context.Context) (err error) {
	d, err := c.c.Place.Open(ctx)
	if err == nil {
		_, err = d.List("")
		err = errors.Join(err, d.Close())
	}
	if errors.Is(err, folder.ErrRefused) {
		return &connector.Error{Class: connector.Auth, Text: "the folder", Err: err}
	}
	if err != nil {
		return wrap("look into the folder", err)
	}
	return nil
}

// wrap makes an *connector.Error of what is none.
func wrap(what string, err error) error {
	var ce *connector.Error
	if errors.As(err, &ce) {
		return ce
	}
	return &connector.Error{Class: connector.Transient, Text: what, Err: err}
}
