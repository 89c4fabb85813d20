package authz

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
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
