package files

import (
	"errors"
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// do does what a row says, or finds out what that would be, if tx is thrown away.
// What is wrong with the row is in the result; an error is of the store.
func (f *Files) do(tx store.Tx, s *source, imp Import, columns []string, r row) (result, error) {
	out := result{N: r.N, Name: r.Name}
	if r.Refusal != nil {
		return out.failed(r.Refusal), nil
	}
	p, u, no, err := f.who(tx, s, r)
	switch {
	case err != nil:
		return out, err
	case no != nil:
		return out.failed(no), nil
	case u.ID == "" && !r.Active: // nobody is made in order to be disabled
		out.Status = Unchanged
		return out, nil
	}
	if u.ID == "" {
		return f.create(tx, s, r, p, out)
	}
	return f.change(tx, s, imp, columns, r, p, u, out)
}

func (r result) failed(why *Refusal) result {
	r.Status, r.Code, r.Text = Failed, why.Code, why.Text
	return r
}

// who finds whom a row is about: the user whom the source calls so, or else who
// has the name and is the source's own, or may become so.
func (f *Files) who(tx store.Tx, s *source, r row) (person, provisioning.User, *Refusal, error) {
	p, known, err := persons.Lookup(tx, "key", string(store.Key(s.ID, r.key())))
	if err != nil {
		return p, provisioning.User{}, nil, err
	}
	if known {
		u, ok, err := f.c.Directory.UserTx(tx, p.User)
		if err != nil || ok {
			return p, u, nil, err
		}
		if err := persons.Delete(tx, persons.Key(p)); err != nil { // somebody deleted them here
			return p, u, nil, err
		}
	}
	fresh := person{Source: s.ID, Key: r.key(), Active: true}
	u, ok, err := f.c.Directory.ByNameTx(tx, r.Store, r.Name)
	if err != nil || !ok {
		return fresh, provisioning.User{}, nil, err
	}
	// They may be known by their name and have a number only now.
	p, known, err = persons.Get(tx, string(store.Key(s.ID, u.ID)))
	switch {
	case err != nil:
		return p, u, nil, err
	case known && numbered(p.Key) && r.ExternalID != "":
		return p, u, refuse(ReasonForeign, "a user of this name is there already, whom the source knows by another number"), nil
	case known:
		return p, u, nil, nil
	case !s.AdoptNames && !says(u, s.By):
		return p, u, refuse(ReasonForeign, "a user of this name is there already and is not from this source"), nil
	}
	fresh.User = u.ID
	return fresh, u, nil, nil
}

// says: the user has something of a source.
func says(u provisioning.User, by provisioning.Source) bool {
	for _, claims := range u.Attributes {
		if slices.ContainsFunc(claims, func(c provisioning.Claim) bool { return c.Source == by }) {
			return true
		}
	}
	return false
}

func (f *Files) create(tx store.Tx, s *source, r row, p person, out result) (result, error) {
	u := provisioning.User{Store: r.Store, UserName: r.Name, ExternalID: r.ExternalID, Active: true}
	for attr, values := range r.Attributes {
		u.Say(s.By, attr, values...)
	}
	u, _, err := f.c.Directory.CreateTx(tx, u, s.By)
	if no := refusalOf(err); no != nil {
		return out.failed(no), nil
	}
	if err != nil {
		return out, err
	}
	p.User, p.Active = u.ID, true
	out.Status, out.User = Created, u.ID
	return out, persons.Put(tx, p)
}

func (f *Files) change(tx store.Tx, s *source, imp Import, columns []string, r row, p person, u provisioning.User, out result) (result, error) {
	out.User = u.ID
	// What the source says of being active counts when it says something else than
	// before; in between it is for others to say.
	leaves := !r.Active && u.Active && (p.Active || p.Gone != "")
	returns := r.Active && (!p.Active || p.Gone != "")
	answer := guard.Answer{Verdict: guard.Go}
	var err error
	switch {
	case leaves && f.c.Guard != nil:
		if answer, err = f.c.Guard.AskTx(tx, act(s, u, imp.ID, "the source says that they are not active any more")); err != nil {
			return out, err
		}
	case returns && f.c.Guard != nil:
		if err := f.c.Guard.WithdrawTx(tx, act(s, u, "", "")); err != nil {
			return out, err
		}
	}
	_, d, err := f.c.Directory.ChangeTx(tx, u.ID, s.By, func(u *provisioning.User) error {
		u.UserName = r.Name
		if r.ExternalID != "" {
			u.ExternalID = r.ExternalID
		}
		for attr, values := range r.Attributes {
			u.Say(s.By, attr, values...)
		}
		if imp.Content == Full { // it says all there is to say
			for attr := range u.Attributes {
				if !slices.Contains(columns, attr) {
					u.Say(s.By, attr)
				}
			}
		}
		switch {
		case returns:
			u.Active = true
		case leaves && answer.Go():
			u.Active = false
		}
		return nil
	})
	if no := refusalOf(err); no != nil {
		return out.failed(no), nil
	}
	if err != nil {
		return out, err
	}
	switch {
	case leaves && !answer.Go():
		out.Status, out.Code, out.Text = Held, answer.Code(), answer.Text
	case leaves:
		out.Status = Disabled
	case d.Empty():
		out.Status = Unchanged
	default:
		out.Status = Changed
	}
	now := person{Source: s.ID, User: u.ID, Key: r.key(), Active: r.Active}
	if r.ExternalID == "" && numbered(p.Key) {
		now.Key = p.Key // a row without the number does not take it away
	}
	if leaves && !answer.Go() {
		now.Gone = imp.ID
	}
	if now == p {
		return out, nil
	}
	return out, persons.Put(tx, now)
}

// leave disables somebody who is missing, if the guard lets it.
func (f *Files) leave(tx store.Tx, s *source, imp Import, p person) (result, bool, error) {
	u, ok, err := f.c.Directory.UserTx(tx, p.User)
	if err != nil {
		return result{}, false, err
	}
	if !ok {
		return result{}, false, persons.Delete(tx, persons.Key(p))
	}
	if !u.Active || p.Gone == imp.ID {
		return result{}, false, nil
	}
	out := result{Name: f.c.Directory.FullName(u.Store, u.UserName), User: u.ID, Status: Disabled, Text: "not in the file any more"}
	p.Gone = imp.ID
	if f.c.Guard != nil {
		answer, err := f.c.Guard.AskTx(tx, act(s, u, imp.ID, "not in the full file "+imp.File))
		if err != nil {
			return out, false, err
		}
		if !answer.Go() {
			out.Status, out.Code, out.Text = Held, answer.Code(), answer.Text
			return out, true, persons.Put(tx, p)
		}
	}
	_, _, err = f.c.Directory.ChangeTx(tx, u.ID, s.By, func(u *provisioning.User) error { u.Active = false; return nil })
	return out, true, firstErr(err, persons.Put(tx, p))
}

// refusalOf is what the directory does not take of a row.
func refusalOf(err error) *Refusal {
	var taken *provisioning.Conflict
	var invalid *provisioning.Invalid
	switch {
	case errors.As(err, &taken):
		return refuse(taken.Reason(), taken.Error())
	case errors.As(err, &invalid):
		return refuse(invalid.Reason(), invalid.Error())
	}
	return nil
}
