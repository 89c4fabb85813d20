package scim

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Values of scimType (RFC 7644 section 3.12).
const (
	InvalidFilter = "invalidFilter"
	TooMany       = "tooMany"
	Uniqueness    = "uniqueness"
	Mutability    = "mutability"
	InvalidSyntax = "invalidSyntax"
	InvalidPath   = "invalidPath"
	NoTarget      = "noTarget"
	InvalidValue  = "invalidValue"
	InvalidVers   = "invalidVers"
	Sensitive     = "sensitive"

	// Of cursors (RFC 9865 section 2.1).
	InvalidCursor = "invalidCursor"
	ExpiredCursor = "expiredCursor"
	InvalidCount  = "invalidCount"
)

// Reasons says what each reason code of this package means, in one sentence
// for an administrator.
var Reasons = map[string]string{
	"scim.invalidFilter": "The filter can not be read, names an attribute that does not exist or may not be asked for, or is too long or too deep.",
	"scim.tooMany":       "The request asks for more than is answered at once.",
	"scim.uniqueness":    "Another resource has this value already, and it must be unique.",
	"scim.mutability":    "The attribute can not be changed, or not be removed, by a client.",
	"scim.invalidSyntax": "The message is not the JSON that SCIM describes.",
	"scim.invalidPath":   "The path of a PATCH operation can not be read or names an attribute that does not exist.",
	"scim.noTarget":      "The path of a PATCH operation matches nothing that could be changed.",
	"scim.invalidValue":  "A required value is missing, or a value is not of its attribute's type.",
	"scim.invalidVers":   "The resource has changed since the client read it.",
	"scim.sensitive":     "The request puts personal data into an address.",
	"scim.invalidCursor": "The cursor is none of this server's, or belongs to another client or another query.",
	"scim.expiredCursor": "The cursor is too old; the walk can be begun again.",
	"scim.invalidCount":  "The walk was begun with another count than the request has.",
	"scim.unauthorized":  "The client did not prove who it is.",
	"scim.forbidden":     "The client may not do this.",
	"scim.notFound":      "There is no such resource.",
	"scim.method":        "This address does not take this method.",
	"scim.tooLarge":      "The message is larger than what is accepted.",
	"scim.mediaType":     "The message is not sent as JSON.",
	"scim.precondition":  "The client must say which version it means to change.",
	"scim.busy":          "There are too many requests at this time.",
	"scim.unsupported":   "The server does not offer this.",
	"scim.internal":      "The server failed.",
}

var statusReasons = map[int]string{
	http.StatusUnauthorized:          "scim.unauthorized",
	http.StatusForbidden:             "scim.forbidden",
	http.StatusNotFound:              "scim.notFound",
	http.StatusMethodNotAllowed:      "scim.method",
	http.StatusRequestEntityTooLarge: "scim.tooLarge",
	http.StatusUnsupportedMediaType:  "scim.mediaType",
	http.StatusPreconditionRequired:  "scim.precondition",
	http.StatusTooManyRequests:       "scim.busy",
	http.StatusNotImplemented:        "scim.unsupported",
}

// An Error is a refusal that can be sent as the answer (RFC 7644 section 3.12).
type Error struct {
	Status int
	Type   string // a scimType, or empty
	Detail string // for the person who made the request: what was wrong; no internals
	Err    error  // the cause; never sent
}

// Errorf makes an Error; the arguments after typ are as for fmt.Errorf.
func Errorf(status int, typ, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Status: status, Type: typ, Detail: err.Error(), Err: errors.Unwrap(err)}
}

func bad(typ, format string, args ...any) *Error {
	return Errorf(http.StatusBadRequest, typ, format, args...)
}

func (e *Error) Error() string {
	if e.Type != "" {
		return e.Type + ": " + e.Detail
	}
	return e.Detail
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the reason code, one of Reasons.
func (e *Error) Reason() string {
	if e.Type != "" {
		return "scim." + e.Type
	}
	if r, ok := statusReasons[e.Status]; ok {
		return r
	}
	return "scim.internal"
}

// Object is the error as a message. The status is a string, as the RFC wants it.
func (e *Error) Object() *Object {
	o := NewObject("schemas", []any{ErrorURN}, "status", strconv.Itoa(e.Status))
	if e.Type != "" {
		o.Set("scimType", e.Type)
	}
	if e.Detail != "" {
		o.Set("detail", e.Detail)
	}
	return o
}

// AsError gives err as an *Error. What is none is an internal error, whose text is not sent.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Detail: "the server failed; the client can try again", Err: err}
}
