package provisioning

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// The stored form. TestStoredForm pins keys and bytes. Values of indexes that belong to a user store are a tuple
// (user store, folded name).
//
//	user       ID → user            unique name; plain by_name, external, mail, modified, store, granted
//	link       hash of Ref → link   plain user
//	group      ID → group           unique name; plain by_name, external
//	member     (group, user)        plain group, user
//	nest       (parent, child)      plain parent, child
//	tombstone  ID → when            for ever: an ID is never reused
//	touch      group ID → cursor    while its members are being told
//	roll       group ID → version   of who is in it
//	shift      (change, user)       plain change, user; a large change of a group, written aside
//	flip       group ID → change    the one whose shifts are in force, until they are edges
//	tally      (store, part) → n    how many users there are
//	unique     (attribute, hash)    who has a value that only one user may have
//	built      table → cursor       how far its rows have the indexes of this program
//	once       hash of key → until  plain until; horizon in the raw key (once, h)

type userRow struct {
	ID         string             `json:"id"`
	Store      string             `json:"store"`
	UserName   string             `json:"user_name"`
	ExternalID string             `json:"external_id,omitempty"`
	Version    uint64             `json:"version"`
	Active     bool               `json:"active"`
	Attributes map[string][]Claim `json:"attributes,omitempty"`
	Grants     []Grant            `json:"grants,omitempty"`
	Consents   []Consent          `json:"consents,omitempty"`
	Created    time.Time          `json:"created"`
	Modified   time.Time          `json:"modified"`
}

type linkRow struct {
	Ref      federation.Ref `json:"ref"`
	Provider string         `json:"provider"`
	UserID   string         `json:"user"`
	Seen     time.Time      `json:"seen"`
}

type groupRow struct {
	ID         string    `json:"id"`
	Store      string    `json:"store"`
	Name       string    `json:"name"`
	ExternalID string    `json:"external_id,omitempty"`
	Version    uint64    `json:"version"`
	Created    time.Time `json:"created"`
	Modified   time.Time `json:"modified"`
}

type memberRow struct {
	Group string    `json:"group"`
	User  string    `json:"user"`
	By    Source    `json:"by"`
	Since time.Time `json:"since"`
}

type nestRow struct {
	Parent string    `json:"parent"`
	Child  string    `json:"child"`
	By     Source    `json:"by"`
	Since  time.Time `json:"since"`
}

type tombstoneRow struct {
	ID   string    `json:"id"`
	Kind string    `json:"kind"` // user, group
	By   Source    `json:"by"`
	At   time.Time `json:"at"`
}

// touchRow is how far the members of a group have been told of its change.
type touchRow struct {
	Group  string `json:"group"`
	Gen    uint64 `json:"gen"`              // counts requests; a walk that began before one does not end it
	Member string `json:"member,omitempty"` // key of the last member told
	Child  string `json:"child,omitempty"`  // key of the last group inside it that was asked to do the same
	Inner  bool   `json:"inner,omitempty"`  // members are done, groups inside it are being asked
}

// rollRow counts the changes of who is in a group.
type rollRow struct {
	Group   string    `json:"group"`
	Version uint64    `json:"version"`
	At      time.Time `json:"at"` // of the last
}

// shiftRow is one member of a change that is too large for one transaction. It
// counts for nothing unless the group's flip names its change; then it counts
// instead of the edge.
type shiftRow struct {
	Change string    `json:"change"`
	Group  string    `json:"group"`
	User   string    `json:"user"`
	In     bool      `json:"in"`
	At     time.Time `json:"at"` // when it was written
}

// flipRow makes the shifts of a change count.
type flipRow struct {
	Group  string `json:"group"`
	Change string `json:"change"`
	By     Source `json:"by"`
}

// tallyRow is a part of the number of users in a user store, so that two
// creations seldom write the same row.
type tallyRow struct {
	Store string `json:"store"`
	Part  byte   `json:"part"`
	Users int    `json:"users"`
}

// uniqueRow is who has a value of an attribute that only one user may have.
type uniqueRow struct {
	Attribute string `json:"attribute"`
	Hash      string `json:"hash"` // SHA-256 of the folded value, hex
	User      string `json:"user"`
}

// builtRow is how far the rows of a table have the indexes of a form.
type builtRow struct {
	Table string `json:"table"`
	Form  int    `json:"form"`
	After string `json:"after,omitempty"` // key of the last row done
	Done  bool   `json:"done"`
}

type onceRow struct {
	Key   string    `json:"key"` // SHA-256 of the Once's key, hex
	Until time.Time `json:"until,omitzero"`
	Call  string    `json:"call"` // the call of Login that used it, so that a repeated commit knows itself
}

var (
	users = &store.Table[userRow]{
		Name:   "user",
		Read:   readUser,
		Key:    func(r userRow) string { return r.ID },
		Unique: map[string]func(userRow) []string{"name": func(r userRow) []string { return named(r.Store, r.UserName) }},
		Index: map[string]func(userRow) []string{
			"by_name":  func(r userRow) []string { return named(r.Store, r.UserName) },
			"external": func(r userRow) []string { return external(r.Store, r.ExternalID) },
			"mail":     mails,
			"modified": func(r userRow) []string { return one(pair(r.Store, instant(r.Modified))) },
			"store":    func(r userRow) []string { return one(r.Store) },
			// No row from before this index has a grant, so none lacks an entry.
			"granted": func(r userRow) []string {
				if len(r.Grants) == 0 {
					return nil
				}
				return append(roles(r.Grants), anyRole)
			},
		},
	}
	links = &store.Table[linkRow]{
		Name:  "link",
		Key:   func(r linkRow) string { return refKey(r.Ref) },
		Index: map[string]func(linkRow) []string{"user": func(r linkRow) []string { return one(r.UserID) }},
	}
	groups = &store.Table[groupRow]{
		Name:   "group",
		Key:    func(r groupRow) string { return r.ID },
		Unique: map[string]func(groupRow) []string{"name": func(r groupRow) []string { return named(r.Store, r.Name) }},
		Index: map[string]func(groupRow) []string{
			"by_name":  func(r groupRow) []string { return named(r.Store, r.Name) },
			"external": func(r groupRow) []string { return external(r.Store, r.ExternalID) },
		},
	}
	members = &store.Table[memberRow]{
		Name: "member",
		Key:  func(r memberRow) string { return pair(r.Group, r.User) },
		Index: map[string]func(memberRow) []string{
			"group": func(r memberRow) []string { return one(r.Group) },
			"user":  func(r memberRow) []string { return one(r.User) },
		},
	}
	nests = &store.Table[nestRow]{
		Name: "nest",
		Key:  func(r nestRow) string { return pair(r.Parent, r.Child) },
		Index: map[string]func(nestRow) []string{
			"parent": func(r nestRow) []string { return one(r.Parent) },
			"child":  func(r nestRow) []string { return one(r.Child) },
		},
	}
	tombstones = &store.Table[tombstoneRow]{Name: "tombstone", Key: func(r tombstoneRow) string { return r.ID }}
	touches    = &store.Table[touchRow]{Name: "touch", Key: func(r touchRow) string { return r.Group }}
	rolls      = &store.Table[rollRow]{Name: "roll", Key: func(r rollRow) string { return r.Group }}
	flips      = &store.Table[flipRow]{Name: "flip", Key: func(r flipRow) string { return r.Group }}
	tallies    = &store.Table[tallyRow]{Name: "tally", Read: readTally, Key: func(r tallyRow) string { return pair(r.Store, string([]byte{'0' + r.Part})) }}
	builts     = &store.Table[builtRow]{Name: "built", Key: func(r builtRow) string { return r.Table }}
	uniques    = &store.Table[uniqueRow]{Name: "unique", Key: func(r uniqueRow) string { return pair(r.Attribute, r.Hash) }}
	shifts     = &store.Table[shiftRow]{
		Name: "shift",
		Key:  func(r shiftRow) string { return pair(r.Change, r.User) },
		Index: map[string]func(shiftRow) []string{
			"change": func(r shiftRow) []string { return one(r.Change) },
			"user":   func(r shiftRow) []string { return one(r.User) },
		},
	}
	onces = &store.Table[onceRow]{
		Name: "once",
		Key:  func(r onceRow) string { return r.Key },
		Index: map[string]func(onceRow) []string{"until": func(r onceRow) []string {
			if r.Until.IsZero() {
				return nil
			}
			return one(moment(r.Until))
		}},
	}
)

func named(userStore, name string) []string { return one(pair(userStore, Fold(name))) }

func external(userStore, id string) []string {
	if id == "" {
		return nil
	}
	return one(pair(userStore, id))
}

// maxMails are the addresses of one user that an index has; a user with more is
// under manyMails and looked at for every address.
const (
	maxMails  = 10
	manyMails = "*"
)

// mails are the addresses that a user is found by: what every source says of
// mail, and what clients keep beside it.
func mails(r userRow) []string {
	seen := map[string]bool{}
	for _, c := range r.Attributes["mail"] {
		for _, v := range c.Values {
			seen[mailKey(r.Store, v)] = true
		}
	}
	for _, c := range r.Attributes[Kept] {
		var sent struct {
			Emails []struct {
				Value any `json:"value"`
			} `json:"emails"`
		}
		for _, v := range c.Values {
			if json.Unmarshal([]byte(v), &sent) != nil {
				continue // whoever reads it says so
			}
			for _, e := range sent.Emails {
				if text, ok := e.Value.(string); ok && text != "" {
					seen[mailKey(r.Store, text)] = true
				}
			}
		}
	}
	if len(seen) > maxMails {
		return one(pair(r.Store, manyMails))
	}
	return slices.Collect(maps.Keys(seen))
}

// mailKey is bounded, as an address is what somebody sent: two that begin alike
// for so long are told apart by whoever reads the rows.
func mailKey(userStore, address string) string {
	folded := Fold(address)
	return pair(userStore, folded[:min(len(folded), MaxName)])
}

// instant is a time as text that sorts like it, in milliseconds, as stored.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func pair(a, b string) string { return string(store.Key(a, b)) }

// moment is a time as text that sorts like it, in seconds, rounded up.
func moment(t time.Time) string {
	return t.Add(time.Second - time.Nanosecond).UTC().Format("2006-01-02T15:04:05Z")
}

func rowOf(u User) userRow {
	return userRow(u)
}

func (d *Directory) userOf(r userRow) User {
	u := User(r)
	d.order(&u)
	return u
}

func groupOf(r groupRow) Group {
	return Group{r.ID, r.Store, r.Name, r.ExternalID, r.Version, 0, r.Created, r.Modified}
}

func groupRowOf(g Group) groupRow {
	return groupRow{g.ID, g.Store, g.Name, g.ExternalID, g.Version, g.Created, g.Modified}
}

// some collects rows, so that they can be written while they are read.
func some[T any](rows iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}
