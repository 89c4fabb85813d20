// Package webhook is the connector to an address that is told of changes. It
// holds no accounts that could be asked for; it is sent events.
//
// An event says what the account is now, whole, and nothing of how it came to be
// so. Outbox syncs one user at a time and the last state last; so whoever keeps
// the last event of each subject has what a target would have, and a day without
// the receiver is one event a user. Order holds per subject and not between
// them: one that is refused holds up nobody else.
//
//	Sync, nothing known      gatehouse.user.created.v1    the user
//	Sync, something else     gatehouse.user.updated.v1    the user; disabled is active: false
//	Sync, the same as last   nothing
//	Remove                   gatehouse.user.deleted.v1    nothing but the subject
//
// What was last sent is in the account's ID, which outbox keeps: our user's ID, a
// count, and a digest of the state. The ID of an event is made of the two states
// that it leads from and to, so an event that is sent again, because its answer
// was lost or a process died, has the ID that it had, and a way back to an earlier
// state has another.
//
// Events are CloudEvents 1.0 in JSON, with the user in SCIM's shape, signed as
// Standard Webhooks 1.0.0 says over the very bytes that are sent. Any answer but a
// 2xx is a failure; 410 says that it is over, and outbox then leaves the address
// alone until an administrator takes it up again. Redirects are not followed.
package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/post"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// Types of events.
const (
	Created = "gatehouse.user.created.v1"
	Updated = "gatehouse.user.updated.v1"
	Deleted = "gatehouse.user.deleted.v1"
)

// Schedule is how long after a delivery that failed the next is tried, as
// Standard Webhooks suggests. After the last there is none but by a change, or by hand.
var Schedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Config of a Connector.
type Config struct {
	URL     string
	Client  *http.Client // does the calls and bounds their time; nil: the default transport
	Secrets []string     // at least one; every event is signed with all
	Source  string       // of the events: a URI that names this gateway and target
	Now     func() time.Time
}

// A Sender signs events and sends them to one address. Make one with NewSender.
type Sender struct {
	client  *post.Client
	address string
	signers []signer
	source  string
	now     func() time.Time
}

// A Connector tells one address of users. Make one with New.
type Connector struct {
	*Sender
	rt *scim.ResourceType
}

var _ connector.Connector = (*Connector)(nil)

// New makes a Connector; it sends nothing yet.
func New(c Config) (*Connector, error) {
	out, err := NewSender(c)
	if err != nil {
		return nil, err
	}
	return &Connector{Sender: out, rt: scimuser.Type()}, nil
}

// NewSender makes a Sender; it sends nothing yet.
func NewSender(c Config) (*Sender, error) {
	p, err := post.New(c.URL, c.Client)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	if len(c.Secrets) == 0 {
		return nil, errors.New("webhook: there is no secret to sign with")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	w := &Sender{client: p, address: digest(c.URL), source: c.Source, now: c.Now}
	for _, s := range c.Secrets {
		sign, err := newSigner(s)
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		w.signers = append(w.signers, sign)
	}
	return w, nil
}

// An event as it is sent: a CloudEvent.
type event struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	DataContentType string `json:"datacontenttype,omitempty"`
	Data            any    `json:"data,omitempty"`
}

type data struct {
	Resource json.RawMessage `json:"resource"`
}

// sent is what an account's ID says of what was last sent.
type sent struct {
	user   string
	count  uint64
	digest string // of the state
}

func (s sent) String() string {
	return s.user + "." + strconv.FormatUint(s.count, 10) + "." + s.digest
}

// parse reads an account's ID; not ok: it is none of ours.
func parse(id string) (s sent, ok bool) {
	rest, digest, ok1 := cutLast(id, ".")
	user, count, ok2 := cutLast(rest, ".")
	n, err := strconv.ParseUint(count, 10, 64)
	return sent{user, n, digest}, ok1 && ok2 && err == nil && user != "" && digest != ""
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// digest is short text for the parts, in which no dot occurs.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// Sync tells what the account is now, if that is not what was last told.
func (w *Connector) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	if want.ExternalID == "" {
		return have, &connector.Error{Class: connector.Invalid, Text: "an event needs the ID of a user"}
	}
	o, err := scimuser.New(w.rt, want)
	if err != nil {
		return have, err
	}
	state := o.AppendJSON(nil)
	next := sent{user: want.ExternalID, count: 1, digest: digest(string(state))}
	kind := Created
	// A user who had an account here before begins at one again: the version tells
	// that event from the first.
	from := strconv.FormatUint(want.Version, 10)
	if have != "" {
		last, ok := parse(have)
		switch {
		case !ok || last.user != want.ExternalID:
			return have, &connector.Error{Class: connector.Gone, Text: "this was never told of the account"}
		case last.digest == next.digest:
			return have, nil
		}
		kind, from, next.count = Updated, have, last.count+1
	}
	err = w.send(ctx, event{
		ID: "msg_" + digest(w.source, from, next.String()), Type: kind, Subject: "users/" + want.ExternalID,
		DataContentType: scim.MediaType, Data: data{state},
	})
	if err != nil {
		return have, err
	}
	return next.String(), nil
}

// Remove tells that the account is to be no more.
func (w *Connector) Remove(ctx context.Context, have string) error {
	last, ok := parse(have)
	if !ok {
		return nil // this was never told of it
	}
	return w.send(ctx, event{ID: "msg_" + digest(w.source, have, "deleted"), Type: Deleted, Subject: "users/" + last.user})
}

// Find can not be answered: whom the receiver knows is not known.
func (*Connector) Find(context.Context, connector.Account) ([]connector.Account, error) {
	return nil, connector.CanNot("a webhook can not be asked who is there")
}

// Accounts can not be listed.
func (*Connector) Accounts(context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		yield(connector.Account{}, connector.CanNot("a webhook can not be asked who all is there"))
	}
}

// Caps is what can not be asked of a webhook.
func (*Connector) Caps() connector.Caps {
	return connector.Caps{NoFind: true, NoList: true, NoGroups: true, Sink: true}
}

func (w *Sender) send(ctx context.Context, e event) error {
	e.SpecVersion, e.Source = "1.0", w.source
	body, err := json.Marshal(e)
	if err != nil {
		return &connector.Error{Class: connector.Invalid, Text: "make the event", Err: err}
	}
	at := w.now()
	r, err := w.client.Post(ctx, body, func(req *http.Request) {
		req.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
		req.Header.Set("webhook-id", e.ID)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature(w.signers, e.ID, at, body))
	})
	switch {
	case err != nil:
		return err
	case r.Status/100 == 2:
		return nil // whatever it says besides
	case r.Status == http.StatusGone:
		return errGone
	case r.Status/100 == 3:
		return &connector.Error{Class: connector.Route, Text: strconv.Itoa(r.Status) + " " + http.StatusText(r.Status) + ": redirects are not followed"}
	}
	return &connector.Error{After: r.After, Throttled: r.Status == http.StatusTooManyRequests, Text: strconv.Itoa(r.Status) + " " + http.StatusText(r.Status)}
}

var errGone = &connector.Error{Class: connector.Route, Over: true, Text: "410 Gone: the receiver wants no more events"}

// Send sends an event about a subject, with data as JSON. Its id makes the
// receiver see that it is the same when it comes again. Errors are those of a
// connector.Connector; one that is Over says that the receiver wants no more,
// which it is for the caller to remember.
func (w *Sender) Send(ctx context.Context, id, kind, subject string, data any) error {
	return w.send(ctx, event{ID: "msg_" + digest(w.source, id, kind), Type: kind, Subject: subject, DataContentType: "application/json", Data: data})
}

// Address names where events go, in a few letters that tell nothing of it.
func (w *Sender) Address() string { return w.address }
