package ldapconn

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// classes of result codes (RFC 4511, 4.1.9). What is not named is Transient.
var classes = map[uint16]connector.Class{
	ldap.LDAPResultProtocolError:                connector.Route,
	ldap.LDAPResultSizeLimitExceeded:            connector.Route,
	ldap.LDAPResultReferral:                     connector.Route,
	ldap.LDAPResultUnavailableCriticalExtension: connector.Route,

	ldap.LDAPResultAuthMethodNotSupported:      connector.Auth,
	ldap.LDAPResultStrongAuthRequired:          connector.Auth,
	ldap.LDAPResultConfidentialityRequired:     connector.Auth,
	ldap.LDAPResultInappropriateAuthentication: connector.Auth,
	ldap.LDAPResultInvalidCredentials:          connector.Auth,

	ldap.LDAPResultNoSuchObject:       connector.Gone,
	ldap.LDAPResultEntryAlreadyExists: connector.Conflict,

	ldap.LDAPResultNoSuchAttribute:           connector.Invalid,
	ldap.LDAPResultUndefinedAttributeType:    connector.Invalid,
	ldap.LDAPResultInappropriateMatching:     connector.Invalid,
	ldap.LDAPResultConstraintViolation:       connector.Invalid,
	ldap.LDAPResultAttributeOrValueExists:    connector.Invalid,
	ldap.LDAPResultInvalidAttributeSyntax:    connector.Invalid,
	ldap.LDAPResultInvalidDNSyntax:           connector.Invalid,
	ldap.LDAPResultInsufficientAccessRights:  connector.Invalid,
	ldap.LDAPResultUnwillingToPerform:        connector.Invalid,
	ldap.LDAPResultNamingViolation:           connector.Invalid,
	ldap.LDAPResultObjectClassViolation:      connector.Invalid,
	ldap.LDAPResultNotAllowedOnNonLeaf:       connector.Invalid,
	ldap.LDAPResultNotAllowedOnRDN:           connector.Invalid,
	ldap.LDAPResultObjectClassModsProhibited: connector.Invalid,
	ldap.LDAPResultAffectsMultipleDSAs:       connector.Invalid,
	ldap.LDAPResultAdminLimitExceeded:        connector.Transient,
	ldap.LDAPResultTimeLimitExceeded:         connector.Transient,
	ldap.LDAPResultBusy:                      connector.Transient,
	ldap.LDAPResultUnavailable:               connector.Transient,
}

// classify makes an error of go-ldap a *connector.Error. What a server says in
// words can name people and is left out, but for the number that Active
// Directory begins with.
func classify(op string, err error, write bool) error {
	if err == nil {
		return nil
	}
	var le *ldap.Error
	if !errors.As(err, &le) { // of reading and writing
		le = &ldap.Error{ResultCode: ldap.ErrorNetwork, Err: err}
		err = le
	}
	switch le.ResultCode {
	case ldap.ErrorNetwork:
		return &connector.Error{Class: connector.Transient, Ambiguous: write, Text: op + ": the connection to the directory broke", Err: discreet(err)}
	case ldap.ErrorFilterCompile, ldap.ErrorEmptyPassword:
		return &connector.Error{Class: connector.Invalid, Text: op + " can not be said in LDAP", Err: discreet(err)}
	}
	if le.ResultCode > ldap.ErrorNetwork {
		return &connector.Error{Class: connector.Route, Ambiguous: write, Text: op + ": the answer of the directory can not be read", Err: discreet(err)}
	}
	return &connector.Error{Class: classes[le.ResultCode], Text: op, Err: discreet(err)}
}

// A result is an answer of the server without its words.
type result struct {
	code  uint16
	ad    string
	cause error
}

func (r *result) Error() string {
	name := ldap.LDAPResultCodeMap[r.code]
	if r.code >= ldap.ErrorNetwork {
		return name
	}
	if r.ad != "" {
		return fmt.Sprintf("result %d, %s (%s)", r.code, name, r.ad)
	}
	return fmt.Sprintf("result %d, %s", r.code, name)
}

func (r *result) Unwrap() error { return r.cause }

var adCode = regexp.MustCompile(`^[0-9A-F]{8}\b`)

func discreet(err error) error {
	var le *ldap.Error
	if !errors.As(err, &le) {
		return err
	}
	r := &result{code: le.ResultCode, cause: &ldap.Error{ResultCode: le.ResultCode, Err: errSaid}}
	if le.Err != nil {
		r.ad = adCode.FindString(le.Err.Error())
	}
	return r
}

var errSaid = errors.New("said by the directory")

// Code is the result code that an error comes from; 0: none.
func Code(err error) uint16 {
	var le *ldap.Error
	if errors.As(err, &le) {
		return le.ResultCode
	}
	return 0
}

// ADCode is the number that Active Directory begins its words with, such as
// 00000561; empty: none.
func ADCode(err error) string {
	var r *result
	if errors.As(err, &r) {
		return r.ad
	}
	return ""
}
