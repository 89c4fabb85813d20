package provisioning

import (
	"errors"
	"fmt"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// ErrNotFound: there is no such user or group.
var ErrNotFound = errors.New("not found")

// Reason codes.
const (
	ReasonOff      = "jit.off"
	ReasonMissing  = "jit.attribute_missing"
	ReasonTaken    = "jit.conflict"
	ReasonMapping  = "jit.mapping"
	ReasonTooLarge = "jit.too_large"
	ReasonInactive = "user.inactive"
	ReasonConflict = "user.conflict"
	ReasonInvalid  = "user.invalid"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonOff:      "The person is not known here and this identity provider may not create users.",
	ReasonMissing:  "The identity provider did not send an attribute that is required; its administrator must release it.",
	ReasonTaken:    "Another user has this user name already; an administrator can link the sign-in to that user if they are the same person.",
	ReasonMapping:  "An attribute mapping of this identity provider could not be computed from what it sent.",
	ReasonTooLarge: "The identity provider sent more groups or attributes than are accepted about one person.",
	ReasonInactive: "The user is deactivated.",
	ReasonConflict: "The name is taken by another user or group of the same user store.",
	ReasonInvalid:  "What is to be stored about a user or group is not valid.",
}

// A Refusal says why a sign-in, although genuine, is not accepted. It is
// federation.ErrRefused by errors.Is.
type Refusal struct {
	Code   string // from Reasons
	Detail string // for the log and the administrator
	// Attribute is ours and Theirs is what the identity provider calls it
	// (several, where an expression reads several), for ReasonMissing.
	Attribute string
	Theirs    []string
	UserID    string // whom it is about, if known
	Err       error
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Detail }

// Reason is the reason code.
func (r *Refusal) Reason() string { return r.Code }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Is reports federation.ErrRefused.
func (r *Refusal) Is(target error) bool { return target == federation.ErrRefused }

// A Conflict is a name that another user or group has.
type Conflict struct{ Field, Value string }

func (c *Conflict) Error() string { return fmt.Sprintf("%s %q is taken", c.Field, c.Value) }

// Reason is the reason code.
func (c *Conflict) Reason() string { return ReasonConflict }

// Invalid is something that can not be stored.
type Invalid struct{ Field, Text string }

func (i *Invalid) Error() string { return i.Field + " " + i.Text }

// Reason is the reason code.
func (i *Invalid) Reason() string { return ReasonInvalid }
