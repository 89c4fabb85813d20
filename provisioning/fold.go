package provisioning

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// Limits of names, in bytes of UTF-8.
const (
	MaxName    = 256  // user, group and attribute names, external IDs
	MaxSubject = 1024 // issuer and subject of a Ref
)

// Fold is the form in which names are compared, the one that rules use too.
func Fold(name string) string { return authz.Fold(name) }

// badName says what is wrong with a name, or nothing. What can not be seen, or
// turns what is seen around, is refused: it makes two names that look like one.
func badName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "is empty"
	case strings.TrimSpace(name) != name:
		return "begins or ends with white space"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Cf, r) }):
		return "contains an invisible character"
	}
	return badText(name, MaxName)
}

// unsafeRune is a control character or a line or paragraph separator.
func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// badSubject says what is wrong with an issuer or subject, or nothing.
// Anything that is text is allowed; it is never changed.
func badSubject(s string) string {
	if strings.TrimSpace(s) == "" {
		return "is empty"
	}
	return badText(s, MaxSubject)
}

// badText says what is wrong with text that is kept as it is, or nothing.
func badText(s string, limit int) string {
	switch {
	case len(s) > limit:
		return fmt.Sprintf("is longer than %d bytes", limit)
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, unsafeRune):
		return "contains a control character"
	}
	return ""
}
