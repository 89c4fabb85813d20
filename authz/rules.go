package authz

import (
	"net/netip"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

// Pos is where something was written: file:line:col.
type Pos = string

// A Match describes people and requests. Every field that is given must hold;
// within a list any one is enough. Of a deny without clauses about people,
// everybody is meant; of an allow, everybody who is signed in, unless Anyone.
type Match struct {
	Anyone   bool // also people who are not signed in: public
	SignedIn bool // everyone who is signed in
	Roles    []string
	Groups   []string // the directory's own and asserted ones; see IdentityProviders
	// Users by name: "partners/kim" is kim of the user store partners, "kim" is
	// kim of the first user store. Names that differ in case alone are one name.
	Users []string
	// IdentityProviders they signed in at; of a role, that say something about
	// them. Groups and Attributes beside it are what that provider asserts.
	IdentityProviders []string
	UserStores        []string
	Attributes        map[string][]string // any of the values, byte for byte
	ACR, AMR          []string
	MaxAge            time.Duration // signed in at most this long ago
	// Callers are programs: "token:ci", the ID of a caller, or either with * for
	// any text. Who names them describes no people.
	Callers  []string
	Networks []netip.Prefix
	When     string // a condition of package expr
}

// A Rule allows or denies whom it describes; exactly one of Allow and Deny is
// given. Methods and Paths say what it is about; left out, everything.
type Rule struct {
	ID      string
	Text    string // for the people whom it refuses
	Pos     Pos
	Methods []string
	Paths   []string
	Allow   *Match
	Deny    *Match
}

// A Role is a name for some people: those whom any of From describes, and those
// to whom it was granted. From reads neither roles, nor the sign-in, nor the
// request: a role is the same wherever the person comes from.
type Role struct {
	ID    string
	Title string
	Pos   Pos
	From  []Match
}

// ServiceRules are the rules of one service. Without rules nobody passes.
type ServiceRules struct {
	ID    string
	Pos   Pos
	Rules []Rule
}

// Known are the names that rules may use and only others can list. A nil list is
// not checked.
type Known struct {
	IdentityProviders []string
	// UserStores; user names of the first have no prefix. If there is none, that is "primary".
	UserStores []string
	// Attributes that users can have, which expressions may read.
	Attributes []string
	// Programs, if not nil, remember expressions from one policy to the next.
	Programs *Programs
}

// Programs remember compiled expressions.
type Programs = expr.Programs

// Like reports whether all of text fits a pattern in which * stands for any run
// of characters, as in the lists of a Match.
func Like(text, pattern string) bool { return expr.Glob(text, pattern) }

// Canonical reports whether a path means one thing to everybody who reads it, so
// that it can be decided about: it begins with a slash, has neither empty nor dot
// segments, and nothing that is no part of a decoded path.
func Canonical(path string) bool {
	return canonical(path) && !percent(path) && !strings.ContainsAny(path, "?#\\;\x00")
}

// A Mistake in what was to be compiled, and how to mend it.
type Mistake struct{ Pos, Text, Cure string }

func (m Mistake) String() string {
	s := m.Pos + ": " + m.Text
	if m.Cure != "" {
		s += " — " + m.Cure
	}
	return s
}
