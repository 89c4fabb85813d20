package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Prompt says whether a person sees what will be known of them before their
// user is made.
type Prompt string

// Prompts. Whatever else it is, is Silent.
const (
	Silent  Prompt = ""
	Confirm Prompt = "confirm" // they see it, and agree
	Choose  Prompt = "choose"  // and choose their user name
)

// Questions are what is to be asked of a person before their sign-in ends. The
// zero Questions is nothing.
type Questions struct {
	First    bool   // their user is not made yet
	UserName string // as it is proposed; empty: there is no proposal
	Choose   bool   // they may choose another
	Known    []Said // what the provider says, as it will be kept
	Asked    []Asked
}

// Any reports whether there is something to ask.
func (q Questions) Any() bool { return q.First || len(q.Asked) > 0 }

// Said is an attribute with its values.
type Said struct {
	Attribute string
	Values    []string
}

// Asked is an attribute that the person may say themselves.
type Asked struct {
	Attribute string
	Required  bool
}

// Answers are what the person said. The Directory takes from them only what it
// asks for: an attribute is kept as a claim of Self, which no rule trusts unless
// Config.TrustSelf says so.
type Answers struct {
	UserName   string
	Attributes map[string]string
}

// MaxAnswer is how long an answer may be, in bytes.
const MaxAnswer = 500

// An Unanswered is what is wrong with one answer: Field is an attribute or
// "user_name", Taken that another user has that name.
type Unanswered struct {
	Field, Text string
	Taken       bool
}

func (u *Unanswered) Error() string { return u.Field + " " + u.Text }

// Reason is the reason code.
func (u *Unanswered) Reason() string {
	if u.Taken {
		return ReasonTaken
	}
	return ReasonInvalid
}

// Asks reports whether sign-ins by j ever ask.
func (j JIT) Asks() bool {
	return j.Prompt == Confirm || j.Prompt == Choose || slices.ContainsFunc(j.Mapping.rules, func(r mapRule) bool { return r.Ask })
}

// Questions are what is to be asked before Login of the same identity. It writes
// nothing.
func (d *Directory) Questions(ctx context.Context, id federation.Identity, j JIT) (q Questions, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		u, known, err := d.linked(tx, id.Ref)
		if err == nil {
			q = j.questions(u, known, id)
		}
		return err
	})
	if err != nil {
		return Questions{}, fmt.Errorf("questions of a sign-in at %s: %w", id.Provider, err)
	}
	return q, nil
}

// questions are for u, or for who has no user yet. Who has one is asked only for
// what they can not sign in without. Mistakes in what the provider said are for
// Login to find.
func (j JIT) questions(u User, known bool, id federation.Identity) (q Questions) {
	creates := j.Mode == Blocking || j.Mode == Async
	if known && !u.Active || !known && !creates {
		return q
	}
	for _, r := range j.Mapping.rules {
		values, _, err := r.from.Values(id)
		switch {
		case err != nil:
		case len(values) > 0:
			q.Known = append(q.Known, Said{r.Attribute, values})
		case r.Ask && (r.Required || !known) && len(u.Attributes[r.Attribute]) == 0:
			q.Asked = append(q.Asked, Asked{r.Attribute, r.Required})
		}
	}
	if known {
		return Questions{Asked: q.Asked}
	}
	if names, _, err := j.UserName.Values(id); err == nil && len(names) == 1 {
		q.UserName = names[0]
	}
	q.Choose = j.Prompt == Choose
	q.First = q.Choose || j.Prompt == Confirm
	if !q.First && len(q.Asked) == 0 {
		return Questions{}
	}
	return q
}

// answered is u with what the person said, of what they are asked.
func (j JIT) answered(u User, known bool, id federation.Identity, now time.Time) (User, error) {
	if j.Answers == nil {
		return u, nil
	}
	u = u.Clone()
	for _, a := range j.questions(u, known, id).Asked {
		value := strings.TrimSpace(j.Answers.Attributes[a.Attribute])
		if value == "" && !a.Required {
			continue
		}
		if text := badAnswer(a.Attribute, value); text != "" {
			return User{}, &Unanswered{Field: a.Attribute, Text: text}
		}
		u.Say(Self, a.Attribute, value)
		u.stamp(Self, a.Attribute, now)
	}
	return u, nil
}

// badAnswer says what is wrong with what somebody says of themselves.
func badAnswer(attr, value string) string {
	switch text := badText(value, MaxAnswer); {
	case value == "":
		return "is missing"
	case text != "":
		return text
	}
	if attr == "mail" || attr == "emails" {
		if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
			return "is no mail address"
		}
	}
	return ""
}

// unanswered is what is wrong with the user name that somebody chose, where that
// is what is wrong.
func unanswered(err error) error {
	var taken *Conflict
	var invalid *Invalid
	switch {
	case errors.As(err, &taken) && taken.Field == "user_name":
		return &Unanswered{Field: taken.Field, Text: "is taken", Taken: true}
	case errors.As(err, &invalid) && invalid.Field == "user_name":
		return &Unanswered{Field: invalid.Field, Text: invalid.Text}
	}
	return err
}
