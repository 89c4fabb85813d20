package provisioning

import (
	"iter"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// The stored form. TestStoredForm pins keys and bytes. Values of indexes that belong to a user store are a tuple
// (user store, folded name).
//
//	user       ID → user            unique name; plain by_name, external
//	link       hash of Ref → link   plain user
//	group      ID → group           unique name; plain by_name, external
//	member     (group, user)        plain group, user
//	nest       (parent, child)      plain parent, child
//	tombstone  ID → when            for ever: an ID is never reused
//	touch      group ID → cursor    while its members are being told
//	once       hash of key → until  plain until; horizon in the raw key (once, h)

type userRow struct {
	ID         string             `json:"id"`
	Store      string             `json:"store"`
	UserName   string             `json:"user_name"`
	ExternalID string             `json:"external_id,omitempty"`
	Version    uint64             `json:"version"`
	Active     bool               `json:"active"`
	Attributes map[string][]Claim `json:"attributes,omitempty"`
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

type onceRow struct {
	Key   string    `json:"key"` // SHA-256 of the Once's key, hex
	Until time.Time `json:"until,omitzero"`
	Call  string    `json:"call"` // the call of Login that used it, so that a repeated commit knows itself
}

var (
	users = &store.Table[userRow]{
		Name:   "user",
		Key:    func(r userRow) string { return r.ID },
		Unique: map[string]func(userRow) []string{"name": func(r userRow) []string { return named(r.Store, r.UserName) }},
		Index: map[string]func(userRow) []string{
			"by_name":  func(r userRow) []string { return named(r.Store, r.UserName) },
			"external": func(r userRow) []string { return external(r.Store, r.ExternalID) },
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
	onces      = &store.Table[onceRow]{
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
	return Group(r)
}

func groupRowOf(g Group) groupRow {
	return groupRow(g)
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
