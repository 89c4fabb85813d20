// Package external is the connector to what people write themselves, in any
// language. One protocol, two carriers: [Exec] starts a program for each call
// and speaks over its standard input and output, [HTTP] posts to an address.
//
// A call is one JSON object, its answer another. What is written by others knows
// nothing of provisioning: it reads, finds, creates, updates, deletes and lists
// accounts as it is told. What makes a connector safe to repeat is done here:
//
//	have == ""   find by external ID ─▶ one: as below
//	                                 └▶ create
//	have != ""   get ─▶ difference ─▶ none: nothing is asked for
//	                               └▶ update, with the names of what differs
//
//	{"protocol":1,"op":"test"}                                   {}
//	{"protocol":1,"op":"get","id":"7"}                           {"account":{…}} or {"account":null}
//	{"protocol":1,"op":"find","external_id":"0199…"}             {"accounts":[…]}
//	{"protocol":1,"op":"find","user_name":"ana"}                 {"accounts":[…]}
//	{"protocol":1,"op":"create","account":{…}}                   {"account":{"id":"7"}}
//	{"protocol":1,"op":"update","id":"7","account":{…},"changed":["title"]}   {}
//	{"protocol":1,"op":"delete","id":"7"}                        {}
//	{"protocol":1,"op":"list","cursor":"…"}                      {"accounts":[…],"next":"…"}
//
// An account is {"id","external_id","user_name","active","attributes":{"name":
// ["value",…]}}. Any answer may be {"error":{"class":"conflict","text":"…",
// "after":30,"ambiguous":true}} instead, with a class of [connector.Class] by its
// name. What is no such answer says that something else answers than was meant.
package external

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/post"
)

// Protocol is the version of the protocol that is spoken here.
const Protocol = 1

// Bounds of one call.
const (
	MaxAnswer = post.MaxAnswer // bytes
	MaxAfter  = post.MaxAfter  // what an answer asks for is cut to this
	maxFound  = 10             // accounts that find may answer with
	maxText   = 200            // bytes of an answer's own words
)

var tooLarge = fmt.Sprintf("the answer is larger than %d bytes", MaxAnswer)

// An Account as it goes over the wire.
type Account struct {
	ID         string              `json:"id,omitempty"`
	ExternalID string              `json:"external_id,omitempty"`
	UserName   string              `json:"user_name,omitempty"`
	Active     bool                `json:"active"`
	Attributes map[string][]string `json:"attributes,omitempty"`
}

// A Call asks for one thing.
type Call struct {
	Protocol   int      `json:"protocol"`
	Op         string   `json:"op"`
	ID         string   `json:"id,omitempty"`
	ExternalID string   `json:"external_id,omitempty"`
	UserName   string   `json:"user_name,omitempty"`
	Account    *Account `json:"account,omitempty"`
	Changed    []string `json:"changed,omitempty"` // user_name, external_id, active, or names of attributes
	Cursor     string   `json:"cursor,omitempty"`
}

// writes: the call is to change something.
func (c Call) writes() bool { return c.Op == "create" || c.Op == "update" || c.Op == "delete" }

// An Answer to a Call.
type Answer struct {
	Account  *Account   `json:"account"`
	Accounts []*Account `json:"accounts"`
	Next     string     `json:"next"` // of list: there is more; empty: that was all
	Error    *Failure   `json:"error"`
}

// A Failure is an answer that says no.
type Failure struct {
	Class     string  `json:"class"` // transient, auth, gone, conflict, invalid or route
	Text      string  `json:"text"`  // for an administrator
	After     float64 `json:"after"` // seconds; 0: it does not say
	Ambiguous bool    `json:"ambiguous"`
}

// A Carrier takes a call to the other side and brings its answer, as they are.
// An error of its own is a *connector.Error, Ambiguous where the call may have
// been carried out.
type Carrier interface {
	Carry(ctx context.Context, call []byte) (answer []byte, err error)
}

// secretive is a Carrier that has credentials, and knows them.
type secretive interface{ Secrets() []string }

// A Connector speaks to what is on the other side of a Carrier. Make one with New.
type Connector struct{ carrier Carrier }

var (
	_ connector.Connector = (*Connector)(nil)
	_ connector.Getter    = (*Connector)(nil)
	_ connector.Tester    = (*Connector)(nil)
)

// New makes a Connector; it asks nothing yet.
func New(c Carrier) *Connector { return &Connector{c} }

// Test asks whether the other side is there and can reach what it stands for.
func (c *Connector) Test(ctx context.Context) error {
	_, err := c.call(ctx, Call{Op: "test"})
	return err
}

// Get reads one account.
func (c *Connector) Get(ctx context.Context, id string) (connector.Account, error) {
	a, err := c.get(ctx, id, connector.Account{})
	if err != nil {
		return connector.Account{}, err
	}
	return *a, nil
}

// get is Get; private are values that no error may tell.
func (c *Connector) get(ctx context.Context, id string, private connector.Account) (*connector.Account, error) {
	a, err := c.call(ctx, Call{Op: "get", ID: id}, private)
	switch {
	case err != nil:
		return nil, err
	case a.Account == nil:
		return nil, &connector.Error{Class: connector.Gone, Text: "get: there is no such account"}
	case a.Account.ID != id:
		return nil, &connector.Error{Class: connector.Route, Text: "get: the answer is another account than the one asked for"}
	}
	out := account(a.Account)
	return &out, nil
}

// Sync makes the target agree with want.
func (c *Connector) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	if have != "" {
		there, err := c.get(ctx, have, want)
		if err != nil {
			return have, err
		}
		return have, c.update(ctx, want, there)
	}
	mine, err := c.find(ctx, Call{Op: "find", ExternalID: want.ExternalID}, want)
	if err != nil {
		return "", err
	}
	switch len(mine) {
	case 0:
		return c.create(ctx, want)
	case 1:
		return mine[0].ID, c.update(ctx, want, &mine[0])
	}
	return "", &connector.Error{Class: connector.Conflict, Text: fmt.Sprintf("find: %d accounts have the external ID of this user", len(mine))}
}

func (c *Connector) create(ctx context.Context, want connector.Account) (string, error) {
	a, err := c.call(ctx, Call{Op: "create", Account: wire(want)}, want)
	if err != nil {
		return "", err
	}
	if a.Account == nil || a.Account.ID == "" {
		return "", &connector.Error{Class: connector.Route, Ambiguous: true, Text: "create: the answer has no id"}
	}
	return a.Account.ID, nil
}

func (c *Connector) update(ctx context.Context, want connector.Account, there *connector.Account) error {
	changed := differs(want, *there)
	if len(changed) == 0 {
		return nil
	}
	_, err := c.call(ctx, Call{Op: "update", ID: there.ID, Account: wire(want), Changed: changed}, want)
	return err
}

// differs names what is not as it is wanted.
func differs(want, there connector.Account) (names []string) {
	if want.UserName != there.UserName {
		names = append(names, "user_name")
	}
	if want.ExternalID != "" && want.ExternalID != there.ExternalID {
		names = append(names, "external_id")
	}
	if want.Active != there.Active {
		names = append(names, "active")
	}
	for _, name := range slices.Sorted(maps.Keys(want.Attributes)) {
		a, b := slices.Sorted(slices.Values(want.Attributes[name])), slices.Sorted(slices.Values(there.Attributes[name]))
		if !slices.Equal(slices.Compact(a), slices.Compact(b)) {
			names = append(names, name)
		}
	}
	return names
}

// Find returns the accounts that have the external ID, or else the user name, of want.
func (c *Connector) Find(ctx context.Context, want connector.Account) ([]connector.Account, error) {
	got, err := c.find(ctx, Call{Op: "find", ExternalID: want.ExternalID}, want)
	if err != nil || len(got) > 0 {
		return got, err
	}
	return c.find(ctx, Call{Op: "find", UserName: want.UserName}, want)
}

func (c *Connector) find(ctx context.Context, q Call, private connector.Account) ([]connector.Account, error) {
	if q.ExternalID == "" && q.UserName == "" {
		return nil, nil
	}
	a, err := c.call(ctx, q, private)
	if err != nil {
		return nil, err
	}
	if len(a.Accounts) > maxFound {
		return nil, &connector.Error{Class: connector.Route, Text: fmt.Sprintf("find: the answer is %d accounts: it does not search", len(a.Accounts))}
	}
	var out []connector.Account
	for _, f := range a.Accounts {
		if f == nil || f.ID == "" {
			return nil, noID
		}
		if q.ExternalID != "" && f.ExternalID != q.ExternalID {
			return nil, &connector.Error{Class: connector.Route, Text: "find: the answer is an account that was not searched for"}
		}
		out = append(out, account(f))
	}
	return out, nil
}

var noID = &connector.Error{Class: connector.Route, Text: "the answer has an account without an id"}

// Remove deletes the account.
func (c *Connector) Remove(ctx context.Context, have string) error {
	_, err := c.call(ctx, Call{Op: "delete", ID: have})
	if err != nil && connector.ClassOf(err) == connector.Gone {
		return nil
	}
	return err
}

// Accounts yields all accounts. A walk that goes round in circles ends with an
// error.
func (c *Connector) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		seen, cursors := map[string]bool{}, map[string]bool{}
		for cursor := ""; ; {
			a, err := c.call(ctx, Call{Op: "list", Cursor: cursor})
			if err == nil && a.Accounts == nil {
				err = &connector.Error{Class: connector.Route, Text: "list: the answer has no accounts, not even an empty list"}
			}
			if err != nil {
				yield(connector.Account{}, err)
				return
			}
			for _, f := range a.Accounts {
				if f == nil || f.ID == "" || seen[f.ID] {
					yield(connector.Account{}, &connector.Error{Class: connector.Route, Text: "list: an account is there twice, or has no id"})
					return
				}
				seen[f.ID] = true
				if !yield(account(f), nil) {
					return
				}
			}
			if cursor = a.Next; cursor == "" {
				return
			}
			if cursors[cursor] {
				yield(connector.Account{}, &connector.Error{Class: connector.Route, Text: "list: the same cursor comes again"})
				return
			}
			cursors[cursor] = true
		}
	}
}

// call makes a call and reads its answer. No error tells a value of private.
func (c *Connector) call(ctx context.Context, q Call, private ...connector.Account) (Answer, error) {
	q.Protocol = Protocol
	raw, err := json.Marshal(q)
	if err != nil {
		return Answer{}, &connector.Error{Class: connector.Invalid, Text: q.Op, Err: err}
	}
	got, err := c.carrier.Carry(ctx, raw)
	if err != nil {
		var e *connector.Error
		if errors.As(err, &e) {
			out := *e
			out.Ambiguous, out.Text = e.Ambiguous && q.writes(), q.Op+": "+e.Text
			return Answer{}, &out
		}
		return Answer{}, &connector.Error{Ambiguous: q.writes(), Text: q.Op, Err: err}
	}
	a, ok := read(got)
	switch {
	case !ok:
		return Answer{}, &connector.Error{Class: connector.Route, Ambiguous: q.writes(), Text: q.Op + ": the answer is not that of a connector"}
	case a.Error != nil:
		var secrets []string
		if s, ok := c.carrier.(secretive); ok {
			secrets = s.Secrets()
		}
		return Answer{}, a.Error.as(q, private, secrets)
	}
	return a, nil
}

// read decodes an answer: one JSON object, and nothing after it.
func read(raw []byte) (a Answer, ok bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' || len(raw) > MaxAnswer || json.Unmarshal(raw, &a) != nil {
		return Answer{}, false
	}
	return a, a.Error == nil || a.Error.class() >= 0
}

func (f *Failure) class() connector.Class {
	for c := connector.Transient; c <= connector.Route; c++ {
		if c.String() == f.Class {
			return c
		}
	}
	return -1
}

// as makes an error of what the other side says, in its own words but for what
// they tell of a person or of our credentials.
func (f *Failure) as(q Call, private []connector.Account, secrets []string) *connector.Error {
	e := &connector.Error{Class: f.class(), Ambiguous: f.Ambiguous && q.writes(), Text: q.Op}
	if f.After > 0 { // not for NaN
		e.After = time.Duration(min(f.After, MaxAfter.Seconds()) * float64(time.Second))
	}
	if t := discreet(f.Text, q, private, secrets); t != "" {
		e.Text += ": " + t
	}
	return e
}

// discreet is a text without values of the account that the call was about and
// without secrets, in letters of whatever case.
func discreet(text string, q Call, private []connector.Account, secrets []string) string {
	hide := slices.Concat([]string{q.ID, q.ExternalID, q.UserName}, secrets)
	for _, a := range private {
		hide = append(hide, a.ExternalID, a.UserName)
		for _, vs := range a.Attributes {
			hide = append(hide, vs...)
		}
	}
	// The longest first, so that no part of one is left over.
	slices.SortFunc(hide, func(a, b string) int { return len(b) - len(a) })
	var each []string
	for _, v := range hide {
		if len(v) > 1 {
			each = append(each, regexp.QuoteMeta(strings.ToValidUTF8(v, "\uFFFD")))
		}
	}
	if len(each) > 0 {
		values, err := regexp.Compile("(?i)" + strings.Join(each, "|"))
		if err != nil {
			return "" // better no word than one too many
		}
		text = values.ReplaceAllLiteralString(text, "…")
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

func wire(a connector.Account) *Account {
	w := &Account{ExternalID: a.ExternalID, UserName: a.UserName, Active: a.Active, Attributes: map[string][]string{}}
	for name, values := range a.Attributes {
		if values == nil {
			values = []string{} // an attribute without values is cleared; null would say nothing
		}
		w.Attributes[name] = values
	}
	return w
}

func account(a *Account) connector.Account {
	return connector.Account{ID: a.ID, ExternalID: a.ExternalID, UserName: a.UserName, Active: a.Active, Attributes: a.Attributes}
}
