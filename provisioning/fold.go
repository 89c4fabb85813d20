package provisioning

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of names, in bytes of UTF-8.
const (
	MaxName    = 256  // user, group and attribute names, external IDs
	MaxSubject = 1024 // issuer and subject of a Ref
)

// Fold is the form in which names are compared: Unicode's full case folding
// between canonical decomposition and composition (D145 of the standard, then
// NFC). "Bob" and "bob", "é" and "e\u0301" are one name; "ı" is not "i", and
// compatibility forms such as "Ａ" are other letters. Names are shown as given.
func Fold(name string) string {
	ascii := true
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(name)
	}
	return norm.NFC.String(strings.Map(cherokee, cases.Fold().String(norm.NFD.String(name))))
}

// cherokee gives the capital, to which the small letters of this script fold.
// Package cases folds the capitals to the small ones as well, so that neither
// would be equal to itself in the other case.
func cherokee(r rune) rune {
	switch {
	case r >= 0xAB70 && r <= 0xABBF:
		return r - 0xAB70 + 0x13A0
	case r >= 0x13F8 && r <= 0x13FD:
		return r - 8
	}
	return r
}

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
