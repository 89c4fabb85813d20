package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Diagnosis is what a source's every step comes to now, with one entry as an
// example.
type Diagnosis struct {
	Source string   `json:"source"`
	OK     bool     `json:"ok"`
	Steps  []Step   `json:"steps"` // up to the first that fails
	Sample *Example `json:"sample,omitempty"`
}

// No: the source can not be read.
func (d Diagnosis) No() bool { return !d.OK }

// A Step of a Diagnosis.
type Step struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// An Example is how one entry is understood.
type Example struct {
	Entry    string   `json:"entry"` // its distinguished name
	ID       string   `json:"id"`
	UserName string   `json:"user_name"`
	Active   bool     `json:"active"`
	User     string   `json:"user,omitempty"` // the ID of the user whom it became
	Fields   []Origin `json:"fields"`
	Problem  string   `json:"problem,omitempty"`
}

// An Origin says where an attribute comes from.
type Origin struct {
	Attribute string   `json:"attribute"`
	From      []string `json:"from"` // names of theirs that were read
	Values    []string `json:"values"`
}

// Test goes through the steps of reading a source. entry is whom to show, by the
// value of what has user names, an ID or a distinguished name; empty: the first
// that is found. It changes nothing.
func (r *Reader) Test(ctx context.Context, id, entry string) (Diagnosis, error) {
	s := r.sources[id]
	if s == nil {
		return Diagnosis{}, ErrNotFound
	}
	d := Diagnosis{Source: id}
	step := func(what string, err error, text string) bool {
		if err != nil {
			text = err.Error()
		}
		d.Steps = append(d.Steps, Step{What: what, OK: err == nil, Text: text})
		return err == nil
	}
	var root ldapconn.Root
	var who string
	err := s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) {
		who = c.WhoAmI()
		root, err = c.Root()
		return err
	})
	secure := "without TLS"
	if s.Pool.Secure() {
		secure = "over TLS"
	}
	if who == "" {
		who = "anonymous, or the directory does not say"
	}
	if !step("connect and bind", err, fmt.Sprintf("%s, as %s", secure, who)) {
		return d, nil
	}
	step("directory", nil, strings.TrimSpace(fmt.Sprintf("%s trees: %s; changes are told by %s", root.Vendor, strings.Join(root.Contexts, "; "), s.method(root))))
	bases := []string{s.Base}
	if s.Groups != nil {
		bases = append(bases, s.Groups.Base)
	}
	for _, base := range bases {
		err := s.Pool.Do(ctx, func(c *ldapconn.Conn) error {
			list, err := c.Search(ldapconn.Query{Base: base, Object: true, Attrs: []string{"1.1"}})
			if err == nil && len(list) == 0 {
				err = errors.New("it can not be read by who was bound")
			}
			return err
		})
		if !step("base "+base, err, "is there") {
			return d, nil
		}
	}
	q := s.people()
	q.Limit = 1
	if filter := s.whom(entry); filter != "" {
		q.Filter = ldapconn.And(q.Filter, filter)
	} else if entry != "" {
		q.Base, q.Object = entry, true
	}
	var list []*goldap.Entry
	err = s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) {
		list, err = c.Search(q)
		return err
	})
	if !step("search "+q.Filter, err, fmt.Sprintf("found %s", map[bool]string{true: "somebody", false: "nobody"}[len(list) > 0])) {
		return d, nil
	}
	d.OK = true
	if len(list) > 0 {
		if d.Sample, err = r.example(ctx, s, list[0]); err != nil {
			return d, err
		}
		d.OK = d.Sample.Problem == ""
	}
	if s.Groups != nil {
		q := s.groups()
		q.Limit, q.Attrs = 1, []string{s.Groups.Name}
		err := s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) {
			list, err = c.Search(q)
			return err
		})
		text := "found none"
		if len(list) > 0 {
			text = "found " + ldapconn.Value(list[0], s.Groups.Name)
		}
		d.OK = step("groups "+q.Filter, err, text) && d.OK
	}
	return d, nil
}

// whom is the filter for who is to be shown; empty: it is a distinguished name, or nobody in particular.
func (s *Source) whom(entry string) string {
	if filter, ok := s.Dialect.ByID(entry); ok {
		return filter
	}
	if entry == "" || strings.Contains(entry, "=") {
		return ""
	}
	var all []string
	for _, name := range s.UserName.Theirs() {
		all = append(all, ldapconn.Equal(name, entry))
	}
	return ldapconn.Or(all...)
}

// example says how an entry is understood.
func (r *Reader) example(ctx context.Context, s *Source, e *goldap.Entry) (*Example, error) {
	h, err := s.hear(e)
	x := &Example{Entry: e.DN, ID: h.remote, UserName: h.name, Active: h.active, Fields: []Origin{}}
	if p, is := hurt(err, h); is {
		x.Problem = p.Text
	}
	for _, f := range s.Mapping.Froms() {
		values, _, err := f.From.Values(federation.Identity{Attributes: h.attrs})
		if err != nil && x.Problem == "" {
			x.Problem = f.Attribute + " can not be computed: " + err.Error()
		}
		x.Fields = append(x.Fields, Origin{Attribute: f.Attribute, From: f.From.Theirs(), Values: append([]string{}, values...)})
	}
	if x.Problem != "" {
		return x, nil
	}
	// What taking it would say, without taking it.
	err = r.c.Store.Update(ctx, func(tx store.Tx) error {
		row, _, err := persons.Get(tx, person{Source: s.ID, Remote: h.remote}.key())
		if err != nil {
			return err
		}
		x.User = row.User
		if _, err = r.take(tx, s, h, newCycle()); err != nil {
			return err
		}
		return errDry
	})
	if p, is := hurt(err, h); is {
		x.Problem = p.Text
		return x, nil
	}
	if errors.Is(err, errDry) {
		err = nil
	}
	return x, err
}
