// Package ldap reads people and groups from an LDAP directory, OpenLDAP or
// Active Directory, so that a user store is filled and emptied by the directory
// that it mirrors.
//
//	task ──▶ everything: read page by page ─┬▶ each entry: person ─▶ Directory
//	   │     what changed: syncrepl, ───────┘
//	   │       DirSync or timestamps
//	   └▶ who was not there ─▶ confirmed by a search for them ─▶ guard ─▶ disabled,
//	                                                            and deleted later
//
// An entry is known by what never changes (entryUUID, objectGUID). Which user it
// became is a row of our own, written in the transaction that makes the user, so
// no entry becomes two users, and a name that somebody else has is never taken
// over unless the source may. What an entry says are claims of the source; what
// others said stays. That somebody is disabled there disables the user here, and
// an administrator's own word about that is changed only when the directory says
// something else than it said before.
//
// Nobody is taken away by silence. A walk that broke off, is empty or is so much
// shorter than the last one is not believed. Whoever a believable walk did not
// show is searched for by their ID, and only when the directory answers that there
// is no such entry are they disabled, within the limits of the mass-change guard.
//
// A walk that was broken off begins again at its beginning, since no directory
// goes on with a page after its connection is gone; it writes only what is not
// written yet.
//
// A preview is the same code on transactions that are thrown away.
package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kind of the tasks; their key is a source's ID.
const Kind = "directory.read"

// Reason codes.
const (
	ReasonForeign  = "source.foreign"
	ReasonNameless = "source.nameless"
	ReasonNoID     = "source.no_id"
	ReasonTwice    = "source.twice"
	ReasonGroup    = "source.group_taken"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonForeign:  "A user of this name is there already and is not from this source, which may take nobody over.",
	ReasonNameless: "An entry has no user name, so it is left out.",
	ReasonNoID:     "The directory does not show the ID of an entry, so it is left out: the bind needs the right to read it.",
	ReasonTwice:    "The user is another entry's already, so the entry is left out.",
	ReasonGroup:    "A group of this name is there already and is not from this source, which takes no group over.",
}

// Method is how a directory says what changed.
type Method string

// Methods. Auto takes the best that the server knows.
const (
	Auto      Method = "auto"
	Syncrepl  Method = "syncrepl"  // RFC 4533
	DirSync   Method = "dirsync"   // Active Directory
	Timestamp Method = "timestamp" // does not tell who is gone: everything does, now and again
	None      Method = "none"      // everything, each time
)

// A Source is a directory that is read.
type Source struct {
	ID, Title string
	Pool      *ldapconn.Pool
	Dialect   ldapconn.Dialect
	Base      string
	Filter    string // empty: the dialect's people
	Method    Method

	UserStore  string
	AdoptNames bool // it may take over a user of the same name who is nobody's of its own
	Keep       bool // people who are gone stay as they are
	UserName   provisioning.From
	Mapping    provisioning.Mapping
	Attributes []string           // of theirs, that Mapping and the others read
	Active     *provisioning.From // what says true, yes or 1 of who may use anything; nil: as the dialect says
	Links      *Links
	Groups     *Groups // nil: none are read

	Every, FullEvery time.Duration
	DeleteAfter      time.Duration // of being gone; 0: never
	// Form stands for what of all this says how an entry becomes a user: when it is
	// another than it was, everything is read again.
	Form string
}

// Links bind a user who is created to a person of an identity provider.
type Links struct {
	Provider, Issuer string
	Subject          provisioning.From
}

// Groups that are read.
type Groups struct {
	Base, Filter, Name, Member string
}

func (s *Source) by() provisioning.Source { return provisioning.SourceFeed(s.ID) }

func (s *Source) scope() string { return guard.Source(string(s.by())) }

// people is the query for everybody.
func (s *Source) people() ldapconn.Query {
	filter := s.Filter
	if filter == "" {
		filter = "(objectClass=inetOrgPerson)"
		if s.Dialect == ldapconn.ActiveDirectory {
			filter = "(&(objectCategory=person)(objectClass=user))"
		}
	}
	attrs := append([]string{s.Dialect.IDAttribute(), s.stamp()}, s.Attributes...)
	if s.Dialect == ldapconn.ActiveDirectory {
		attrs = append(attrs, accountControl)
	}
	return ldapconn.Query{Base: s.Base, Filter: filter, Attrs: attrs}
}

// groups is the query for all groups.
func (s *Source) groups() ldapconn.Query {
	filter := s.Groups.Filter
	if filter == "" {
		filter = "(objectClass=groupOfNames)"
		if s.Dialect == ldapconn.ActiveDirectory {
			filter = "(objectClass=group)"
		}
	}
	return ldapconn.Query{Base: s.Groups.Base, Filter: filter, Attrs: []string{s.Dialect.IDAttribute(), s.stamp(), s.Groups.Name, s.Groups.Member}}
}

// stamp is the attribute that says when an entry changed.
func (s *Source) stamp() string {
	if s.Dialect == ldapconn.ActiveDirectory {
		return "whenChanged"
	}
	return "modifyTimestamp"
}

const accountControl = "userAccountControl"

// Config of a Reader.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Guard     *guard.Guard // nil: nothing is held
	Sources   []Source
	// Left is told of users who were disabled, after it is stored. nil: nobody is.
	Left func(ctx context.Context, userID string) error
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// A Reader reads sources. Its methods may be called from many goroutines.
type Reader struct {
	c       Config
	sources map[string]*Source
}

// New makes a Reader. It asks no directory yet.
func New(c Config) *Reader {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reader{c: c, sources: map[string]*Source{}}
	for _, s := range c.Sources {
		if s.Method == "" {
			s.Method = Auto
		}
		r.sources[s.ID] = &s
	}
	return r
}

// Begin sees to it that sources are read. It is called when the configuration is
// in force.
func (r *Reader) Begin(ctx context.Context) error {
	for id := range r.sources {
		if err := r.c.Store.Update(ctx, func(tx store.Tx) error { return task.Add(tx, Kind, id, r.c.Now()) }); err != nil {
			return fmt.Errorf("begin with source %s: %w", id, err)
		}
	}
	return nil
}

// ErrNotFound: there is no such source.
var ErrNotFound = errors.New("there is no such directory among the sources")

// Ask has a source be read now. It is called in the transaction of whoever wants it.
func (r *Reader) Ask(tx store.Tx, id string) error {
	if r.sources[id] == nil {
		return ErrNotFound
	}
	return task.Add(tx, Kind, id, r.c.Now())
}

// AskFull is Ask, and everything is read, whatever is told of changes.
func (r *Reader) AskFull(tx store.Tx, id string) error {
	if r.sources[id] == nil {
		return ErrNotFound
	}
	st, _, err := states.Get(tx, id)
	if err != nil {
		return err
	}
	st.Source, st.Ask = id, true
	if err := states.Put(tx, st); err != nil {
		return err
	}
	return r.Ask(tx, id)
}

// Resume is the part of guard.Config.Resume that is about sources of this kind:
// whatever was approved or rejected is asked for again.
func (r *Reader) Resume(tx store.Tx, it guard.Item) (mine bool, err error) {
	for id, s := range r.sources {
		if s.scope() == it.Act.Scope {
			return true, r.AskFull(tx, id)
		}
	}
	return false, nil
}

// unknownSource is how often a task looks whether its source is configured again.
const unknownSource = time.Hour

// Handle is the task.Handler of Kind.
func (r *Reader) Handle(ctx context.Context, id string) error {
	s := r.sources[id]
	if s == nil {
		return &task.Retry{After: unknownSource, Reason: "source " + id + " is not in the configuration"}
	}
	rep, err := r.read(ctx, s)
	if ctx.Err() != nil {
		return context.Cause(ctx) // stopped: it is not the directory's fault
	}
	if err == nil && rep.Unsound == "" {
		return &task.Retry{After: s.Every, Reason: "the next look at the directory"}
	}
	why := rep.Unsound
	if err != nil {
		why = err.Error()
		r.c.Log.Warn("a source can not be read", "source", id, "error", why)
		if serr := r.failed(ctx, s, err); serr != nil {
			return serr
		}
	}
	return &task.Retry{After: s.Every, Reason: why}
}

// failed notes why a source could not be read.
func (r *Reader) failed(ctx context.Context, s *Source, why error) error {
	return r.c.Store.Update(ctx, func(tx store.Tx) error {
		st, _, err := states.Get(tx, s.ID)
		if err != nil {
			return err
		}
		st.Source, st.Error, st.Tried = s.ID, why.Error(), r.now()
		return states.Put(tx, st)
	})
}

// now is the time as it is stored.
func (r *Reader) now() time.Time { return r.c.Now().UTC().Truncate(time.Second) }

// Status of a source.
type Status struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	State State  `json:"state"`
}

// Statuses of all sources, ordered by ID.
func (r *Reader) Statuses(ctx context.Context) ([]Status, error) {
	var list []Status
	err := r.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for _, id := range sortedKeys(r.sources) {
			st, _, err := states.Get(tx, id)
			if err != nil {
				return err
			}
			st.PeopleCookie, st.GroupsCookie = nil, nil
			list = append(list, Status{ID: id, Title: r.sources[id].Title, State: st})
		}
		return nil
	})
	return list, err
}

// StateOf is what is known of one source.
func (r *Reader) StateOf(ctx context.Context, id string) (Status, error) {
	list, err := r.Statuses(ctx)
	if err != nil {
		return Status{}, err
	}
	for _, st := range list {
		if st.ID == id {
			return st, nil
		}
	}
	return Status{}, ErrNotFound
}

// method is how a server says what changed.
func (s *Source) method(root ldapconn.Root) Method {
	switch {
	case s.Method != Auto:
		return s.Method
	case s.Dialect == ldapconn.ActiveDirectory && root.Can(goldap.ControlTypeDirSync) && s.atRoot(root):
		return DirSync
	case s.Dialect == ldapconn.RFC && root.Can(goldap.ControlTypeSyncRequest):
		return Syncrepl
	}
	return Timestamp
}

// atRoot: DirSync answers about whole trees alone.
func (s *Source) atRoot(root ldapconn.Root) bool {
	context := func(dn string) bool {
		for _, c := range root.Contexts {
			if ldapconn.Normal(c) == ldapconn.Normal(dn) {
				return true
			}
		}
		return false
	}
	return context(s.Base) && (s.Groups == nil || context(s.Groups.Base))
}

func newCycle() string { return uuid.Must(uuid.NewV7()).String() }
