package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// said is what an entry says about somebody.
type said struct {
	remote, dn string
	name       string
	attrs      map[string][]string // under the names that the configuration uses
	active     bool
}

// problem is a Problem as an error.
type problem struct{ code, text string }

func (p *problem) Error() string { return p.code + ": " + p.text }

// Reason is the reason code.
func (p *problem) Reason() string { return p.code }

// adDisabled is the flag of userAccountControl that says that an account is off
// (MS-ADTS, 2.2.16).
const adDisabled = 0x2

// hear makes of an entry what it says.
func (s *Source) hear(e *goldap.Entry) (said, error) {
	h := said{remote: ldapconn.ID(e, s.Dialect), dn: ldapconn.Normal(e.DN), attrs: map[string][]string{}, active: true}
	if h.remote == "" {
		return h, &problem{ReasonNoID, "the entry shows no " + s.Dialect.IDAttribute()}
	}
	for _, name := range s.Attributes {
		if values := ldapconn.Values(e, name); len(values) > 0 {
			h.attrs[name] = values
		}
	}
	id := federation.Identity{Attributes: h.attrs}
	names, _, err := s.UserName.Values(id)
	if err != nil || len(names) == 0 {
		return h, &problem{ReasonNameless, "the entry has no " + strings.Join(s.UserName.Theirs(), ", ")}
	}
	h.name = names[0]
	if s.Dialect == ldapconn.ActiveDirectory {
		flags, err := strconv.ParseInt(ldapconn.Value(e, accountControl), 10, 64)
		// What can not be read lets nobody in.
		h.active = err == nil && flags&adDisabled == 0
	}
	if s.Active != nil && h.active {
		values, _, err := s.Active.Values(id)
		if err != nil {
			return h, &problem{provisioning.ReasonMapping, "whether the person is active can not be computed: " + err.Error()}
		}
		h.active = len(values) == 1 && slices.Contains([]string{"true", "yes", "1"}, strings.ToLower(values[0]))
	}
	return h, nil
}

// what became of an entry.
type what string

const (
	created   what = "created"
	changed   what = "changed"
	unchanged what = "unchanged"
	disabled  what = "disabled"
	deleted   what = "deleted"
	held      what = "held"
	skipped   what = "skipped"
	confirmed what = "missing" // and nothing was to be done
)

// outcome of one entry.
type outcome struct {
	what   what
	fields []provisioning.Field
	user   string // whose access ended
	why    error  // of held and skipped
}

// differs says whether take would write anything. It only reads.
func (r *Reader) differs(tx store.Tx, s *Source, h said) (bool, error) {
	row, known, err := persons.Get(tx, person{Source: s.ID, Remote: h.remote}.key())
	if err != nil {
		return false, err
	}
	if !known {
		return h.active, nil // nobody makes a user in order to disable it
	}
	u, there, err := r.c.Directory.UserTx(tx, row.User)
	if err != nil || !there {
		return true, err
	}
	if row.DN != h.dn || row.Active != h.active || !row.Gone.IsZero() || u.UserName != h.name {
		return true, nil
	}
	next, err := s.Mapping.Say(u, s.by(), h.attrs, r.now())
	if err != nil {
		return true, nil // take says what
	}
	return !provisioning.Diff(u, next, s.by()).Empty(), nil
}

// take makes the directory agree with what an entry says. It writes what may be
// written in one transaction, for one person.
func (r *Reader) take(tx store.Tx, s *Source, h said, cycle string) (outcome, error) {
	row, known, err := persons.Get(tx, person{Source: s.ID, Remote: h.remote}.key())
	if err != nil {
		return outcome{}, err
	}
	if known {
		_, there, err := r.c.Directory.UserTx(tx, row.User)
		if err != nil {
			return outcome{}, err
		}
		if !there { // somebody deleted the user; the person is still in the directory
			if err := persons.Delete(tx, row.key()); err != nil {
				return outcome{}, err
			}
			known = false
		}
	}
	if known {
		return r.follow(tx, s, row, h, cycle)
	}
	if !h.active {
		return outcome{what: unchanged}, nil
	}
	row = person{Source: s.ID, Remote: h.remote, DN: h.dn, Active: true}
	old, taken, err := r.c.Directory.ByNameTx(tx, s.UserStore, h.name)
	if err != nil {
		return outcome{}, err
	}
	if taken {
		_, mine, err := persons.Lookup(tx, "user", string(store.Key(s.ID, old.ID)))
		switch {
		case err != nil:
			return outcome{}, err
		case mine:
			return outcome{}, &problem{ReasonTwice, fmt.Sprintf("the user %s is another entry's", h.name)}
		case !s.AdoptNames:
			return outcome{}, &problem{ReasonForeign, fmt.Sprintf("the user %s is not from this source", h.name)}
		}
		row.User = old.ID // whether they are active is for others to say until the entry changes
		if err := persons.Put(tx, row); err != nil {
			return outcome{}, err
		}
		return r.follow(tx, s, row, h, cycle)
	}
	u, err := s.Mapping.Say(provisioning.User{Store: s.UserStore, UserName: h.name, Active: true}, s.by(), h.attrs, r.now())
	if err != nil {
		return outcome{}, err
	}
	var links []provisioning.Link
	if s.Links != nil {
		if subject, _, err := s.Links.Subject.Values(federation.Identity{Attributes: h.attrs}); err == nil && len(subject) == 1 {
			links = append(links, provisioning.Link{Ref: federation.Ref{Issuer: s.Links.Issuer, Subject: subject[0]}, Provider: s.Links.Provider})
		}
	}
	u, d, err := r.c.Directory.CreateTx(tx, u, s.by(), links...)
	if err != nil {
		return outcome{}, err
	}
	row.User = u.ID
	return outcome{what: created, fields: d.Fields}, persons.Put(tx, row)
}

// follow changes a user as their entry changed.
func (r *Reader) follow(tx store.Tx, s *Source, row person, h said, cycle string) (outcome, error) {
	out := outcome{what: unchanged}
	next := row
	next.DN = h.dn
	active := h.active
	if !h.active && row.Active {
		why, err := r.ask(tx, s, row.User, cycle, "disable", "is disabled in the directory")
		if err != nil {
			return out, err
		}
		if why != nil {
			active, out.why = true, why // asked again the next time
		}
	} else if h.active && (!row.Active || !row.Gone.IsZero()) {
		if err := r.withdraw(tx, s, row.User); err != nil {
			return out, err
		}
	}
	u, d, err := r.c.Directory.ChangeTx(tx, row.User, s.by(), func(u *provisioning.User) error {
		said, err := s.Mapping.Say(*u, s.by(), h.attrs, r.now())
		if err != nil {
			return err
		}
		*u = said
		u.UserName = h.name
		if active != row.Active {
			u.Active = active
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	next.Active, next.Gone = active, zeroTime
	if next != row {
		if err := persons.Put(tx, next); err != nil {
			return out, err
		}
	}
	out.fields = d.Fields
	switch {
	case row.Active && !active:
		out.what, out.user = disabled, u.ID
	case !d.Empty():
		out.what = changed
	}
	return out, nil
}

// act is what the guard is asked about a person.
func (r *Reader) act(s *Source, userID, cycle, how, why string) guard.Act {
	return guard.Act{Scope: s.scope(), Kind: guard.Removal, Subject: userID, How: how, Cycle: cycle, Reason: why}
}

// ask asks the guard; why is nil if it may be done.
func (r *Reader) ask(tx store.Tx, s *Source, userID, cycle, how, reason string) (why, err error) {
	if r.c.Guard == nil {
		return nil, nil
	}
	a, err := r.c.Guard.AskTx(tx, r.act(s, userID, cycle, how, reason))
	if err != nil || a.Go() {
		return nil, err
	}
	return &problem{a.Code(), a.Text}, nil
}

// withdraw tells the guard that somebody is back.
func (r *Reader) withdraw(tx store.Tx, s *Source, userID string) error {
	if r.c.Guard == nil {
		return nil
	}
	return r.c.Guard.WithdrawTx(tx, r.act(s, userID, "", "", ""))
}

// hurt says whether an error is about one person alone, and what to show of it.
func hurt(err error, h said) (Problem, bool) {
	var coded interface {
		error
		Reason() string
	}
	if err == nil || !errors.As(err, &coded) {
		return Problem{}, false
	}
	text := coded.Error()
	if p := new(problem); errors.As(err, &p) {
		text = p.text
	}
	if ref := new(provisioning.Refusal); errors.As(err, &ref) {
		text = ref.Detail
	}
	return Problem{Entry: h.remote, Name: h.name, Code: coded.Reason(), Text: text}, true
}

// fieldNames are what changed, for a preview: names, not values of people.
func fieldNames(fields []provisioning.Field) (names []string) {
	for _, f := range fields {
		if !slices.Equal(f.Old, f.New) {
			names = append(names, f.Name)
		}
	}
	return names
}
