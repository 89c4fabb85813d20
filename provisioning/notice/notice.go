// Package notice tells people what became of a request for access: those who
// decide, that there is one; who asked, what they said.
//
//	access.Told ─tx─▶ KindRequest ──▶ whom does it concern? ──▶ KindMail, one for each ──▶ a mail server
//	                                                       └──▶ KindHook ──▶ an address, signed
//
// What is to be told is a task in the transaction that made it happen, so that
// nothing is told that did not happen, and what happened is told although nothing
// ran for a while. A message is made when it is sent: it says how things are then,
// and who is gone or decided meanwhile is not written to. It is sent at least
// once; one that comes twice has the same Message-ID.
//
// An address that answers 410 wants to hear no more, and that is kept: its tasks
// are parked without a call, until somebody has one of them tried again.
//
// Messages go through many hands, so they say who asks for what, and where to
// look; why, and everything else, is on the page, behind a sign-in.
package notice

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/mail"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/webhook"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kinds of tasks. Their keys name a request, the state that it came to and, of
// KindMail, a user.
const (
	KindRequest = "notify.request"
	KindMail    = "notify.mail"
	KindHook    = "notify.hook"
)

// Config of Notices.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Access    *access.Access
	Mail      *Mail           // nil: nobody is written to
	Hook      *webhook.Sender // nil: no address is told
	// Say is a text for people, in the language of the site, with its values.
	Say func(key string, values ...any) (string, error)
	// Service is what people call a service.
	Service func(id string) string
	// RequestsURL shows people their own requests, DecideURL those they decide.
	RequestsURL, DecideURL string
	Log                    *slog.Logger
	Now                    func() time.Time
}

// Notices tell people.
type Notices struct{ Config }

// New makes Notices.
func New(c Config) *Notices {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Notices{c}
}

// Told is what access.Config wants.
func (n *Notices) Told(tx store.Tx, r access.Request) error {
	if n.Mail == nil && n.Hook == nil {
		return nil
	}
	return task.Add(tx, KindRequest, r.State+"/"+r.ID, n.Now())
}

// mostApprovers are written to about one request.
const mostApprovers = 50

// atOnce users are looked at in one go.
const atOnce = 500

// Handle is the task.Handler of KindRequest: it finds out whom it concerns.
func (n *Notices) Handle(ctx context.Context, key string) error {
	state, id, _ := strings.Cut(key, "/")
	r, ok, err := n.request(ctx, id)
	if err != nil || !ok {
		return err
	}
	var to []string
	switch {
	case n.Mail == nil || state == access.Withdrawn:
	case state != access.Pending:
		to = []string{r.UserID}
	case r.State == access.Pending:
		if to, err = n.approvers(ctx, r); err != nil {
			return err
		}
		if len(to) == 0 {
			n.Log.WarnContext(ctx, "nobody can be told of a request, because nobody decides about it", "request", id, "role", r.Role)
		}
	}
	return n.Store.Update(ctx, func(tx store.Tx) error {
		for _, user := range to {
			if err := task.Add(tx, KindMail, key+"/"+user, n.Now()); err != nil {
				return err
			}
		}
		if n.Hook == nil {
			return nil
		}
		return task.Add(tx, KindHook, key, n.Now())
	})
}

// request is one as it is; not ok: it is gone, with who made it.
func (n *Notices) request(ctx context.Context, id string) (r access.Request, ok bool, err error) {
	r, _, err = n.Access.Get(ctx, id, access.Machine)
	var gone *access.Refusal
	if errors.As(err, &gone) {
		return r, false, nil
	}
	return r, err == nil, err
}

// approvers are the users who answer a request or, if there are none, all who
// decide about it.
func (n *Notices) approvers(ctx context.Context, r access.Request) (list []string, err error) {
	after, others := "", []string{}
	for {
		last := after
		for u, err := range n.Directory.Users(ctx, after, atOnce) {
			if err != nil {
				return nil, err
			}
			last = u.ID
			if !u.Active {
				continue
			}
			s, err := n.Directory.Subject(ctx, u.ID)
			if errors.Is(err, provisioning.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			switch decides, answers := n.Access.DecidesAbout(s, r); {
			case answers:
				list = append(list, u.ID)
			case decides:
				others = append(others, u.ID)
			}
		}
		if last == after || len(list) >= mostApprovers {
			if len(list) == 0 {
				list = others
			}
			return list[:min(len(list), mostApprovers)], nil
		}
		after = last
	}
}

// HandleMail is the task.Handler of KindMail.
func (n *Notices) HandleMail(ctx context.Context, key string) error {
	state, rest, _ := strings.Cut(key, "/")
	id, userID, _ := strings.Cut(rest, "/")
	r, ok, err := n.request(ctx, id)
	if err != nil || !ok || n.Mail == nil || state == access.Pending && r.State != access.Pending {
		return err
	}
	u, err := n.Directory.User(ctx, userID)
	if errors.Is(err, provisioning.ErrNotFound) || err == nil && !u.Active {
		return nil
	}
	if err != nil {
		return err
	}
	to, ok := addressOf(u)
	if !ok {
		n.Log.InfoContext(ctx, "somebody has no mail address to be told at", "user", userID, "request", id)
		return nil
	}
	subject, body, err := n.message(ctx, state, r)
	if err != nil {
		return err
	}
	return n.Mail.Send(ctx, Message{ID: digest(key), To: to, Subject: subject, Body: body})
}

// addressOf is where a user can be written to: the address alone, which is
// exactly what they have as mail.
func addressOf(u provisioning.User) (string, bool) {
	for _, m := range provisioning.Effective(u, "mail") {
		if a, err := mail.ParseAddress(m); err == nil && a.Address == m && !strings.ContainsAny(m, "\r\n") {
			return m, true
		}
	}
	return "", false
}

// message is what is written about a request that came to a state.
func (n *Notices) message(ctx context.Context, state string, r access.Request) (subject, body string, err error) {
	role := r.Role
	if known, ok := n.Access.Role(r.Role); ok {
		role = known.Title
	}
	who, err := n.Directory.User(ctx, r.UserID)
	if err != nil && !errors.Is(err, provisioning.ErrNotFound) {
		return "", "", err
	}
	name := n.Directory.FullName(who.Store, who.UserName)
	if called := provisioning.Effective(who, "display_name"); len(called) > 0 {
		name = called[0] + " (" + name + ")"
	}
	until, url := r.Until, n.RequestsURL
	switch state {
	case access.Pending:
		url = n.DecideURL
	case access.Approved:
		until = r.Granted
	}
	values := []any{"name", name, "role", role, "until", until, "url", url}
	what, err := n.Say("mail."+state+".subject", values...)
	if err != nil {
		return "", "", err
	}
	body, err = n.Say("mail."+state+".body", values...)
	if err == nil && r.Service != "" {
		var line string
		line, err = n.Say("mail.service", "service", n.Service(r.Service))
		body += "\n" + line
	}
	return what, body + "\n", err
}

// digest names a message, without saying anything of whom it is about.
func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}
