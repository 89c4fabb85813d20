package provisioning

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Limits of what may be said about one person.
const (
	MaxValues = 1000               // of one attribute by one source; so at most 1,000 groups
	MaxSaid   = 64 << 10           // bytes of attribute names and values by one identity provider
	MaxUser   = store.MaxValue / 2 // bytes of the user as stored; leaves room for Followers
)

// A MapRule says where one of our attributes comes from.
type MapRule struct {
	Attribute string // ours
	// From is the identity provider's name of it, or an expression if it
	// reads the variable claims: claims.given_name[0] + " " + claims.sn[0].
	From string
	// Keep what was said before when the provider is silent. A name that is
	// sent with no values is a statement, not silence.
	Keep     bool
	Required bool   // no sign-in without it
	Ask      bool   // the person may say it where the provider does not; see Questions
	Pos      string // file:line:col, for mistakes
}

// A Mapping turns what an identity provider said into claims. The zero Mapping
// maps nothing, and takes away what was mapped before.
type Mapping struct{ rules []mapRule }

type mapRule struct {
	MapRule
	from From
}

// CompileMapping checks and compiles rules; its error joins every mistake.
func CompileMapping(rules []MapRule) (Mapping, error) {
	var m Mapping
	var errs []error
	seen := make(map[string]bool)
	bad := func(r MapRule, format string, args ...any) {
		err := fmt.Errorf(format, args...)
		if r.Pos != "" {
			err = fmt.Errorf("%s: %w", r.Pos, err)
		}
		errs = append(errs, err)
	}
	for _, r := range rules {
		if text := badAttribute(r.Attribute); text != "" {
			bad(r, "attribute %q %s", r.Attribute, text)
			continue
		}
		if seen[r.Attribute] {
			bad(r, "attribute %q is mapped twice", r.Attribute)
			continue
		}
		seen[r.Attribute] = true
		from, err := CompileFrom(r.From)
		if err != nil {
			bad(r, "attribute %q: %w", r.Attribute, err)
			continue
		}
		m.rules = append(m.rules, mapRule{r, from})
	}
	if err := errors.Join(errs...); err != nil {
		return Mapping{}, err
	}
	return m, nil
}

// A Mapped is one of our attributes and where it comes from.
type Mapped struct {
	Attribute string
	From      From
}

// Froms are what the mapping maps, in the order of the rules.
func (m Mapping) Froms() (list []Mapped) {
	for _, r := range m.rules {
		list = append(list, Mapped{r.Attribute, r.from})
	}
	return list
}

func badAttribute(name string) string {
	if text := badName(name); text != "" {
		return text
	}
	if reserved(name) {
		return "is the name of something else; choose another"
	}
	return ""
}

// A From finds values in what an identity provider said: under a name of
// theirs or by an expression. The zero From finds nothing.
type From struct {
	name string
	prog *expr.Program
}

// readsClaims finds the variable claims in an expression. Names of attributes
// can contain the word too (".../identity/claims/emailaddress", "x:claims").
var readsClaims = regexp.MustCompile(`(^|[^\w./:-])claims($|[^\w/:-])`)

// CompileFrom compiles a name or, if it reads claims, an expression.
func CompileFrom(src string) (From, error) {
	src = strings.TrimSpace(src)
	if src == "" {
		return From{}, errors.New("nothing says where it comes from")
	}
	if !readsClaims.MatchString(src) {
		return From{name: src}, nil
	}
	p, err := expr.Compile(expr.Mapping, src)
	if err != nil {
		return From{}, err
	}
	return From{prog: p}, nil
}

// Theirs are the provider's names that it reads, sorted.
func (f From) Theirs() []string {
	if f.prog == nil {
		return one(f.name)
	}
	var names []string
	for _, path := range f.prog.Reads() {
		if name, ok := strings.CutPrefix(path, "claims."); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lacking are those of Theirs that were not sent, or sent empty; all, if it is
// none of them.
func (f From) lacking(id federation.Identity) []string {
	all := f.Theirs()
	if some := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return len(distinct(id.Attributes[name])) > 0 }); len(some) > 0 {
		return some
	}
	return all
}

// Values finds the values, without empty and repeated ones. said is false if
// the provider is silent about it.
func (f From) Values(id federation.Identity) (values []string, said bool, err error) {
	if f.prog == nil {
		values, said = id.Attributes[f.name]
		return distinct(values), said, nil
	}
	claims := id.Attributes
	if claims == nil {
		claims = map[string][]string{}
	}
	values, err = f.prog.Strings(map[string]any{"claims": claims})
	if err == nil {
		return distinct(values), true, nil
	}
	// An expression over something that was not sent is silence, over
	// something that was sent empty a statement; all else is a mistake.
	empty := false
	for _, name := range f.Theirs() {
		v, ok := id.Attributes[name]
		if !ok {
			return nil, false, nil
		}
		empty = empty || len(v) == 0
	}
	if empty {
		return nil, true, nil
	}
	return nil, false, err
}

// Apply gives the user as the identity provider describes them now: of all
// claims of its source exactly those remain that it makes, and those kept. It
// is pure; u is not changed. Every error is a *Refusal.
func (m Mapping) Apply(u User, id federation.Identity, now time.Time) (User, error) {
	return m.Say(u, SourceIDP(id.Provider), id.Attributes, now)
}

// Say is Apply for any source, and what it said under its own names.
func (m Mapping) Say(u User, by Source, said map[string][]string, now time.Time) (User, error) {
	id := federation.Identity{Attributes: said}
	next := u.Clone()
	mapped := make(map[string]bool, len(m.rules))
	size := 0
	for _, r := range m.rules {
		mapped[r.Attribute] = true
		values, said, err := r.from.Values(id)
		if err != nil {
			return User{}, &Refusal{Code: ReasonMapping, Attribute: r.Attribute, Theirs: r.from.Theirs(), UserID: u.ID, Err: err,
				Detail: fmt.Sprintf("attribute %q can not be computed: %v", r.Attribute, err)}
		}
		before := u.Says(by, r.Attribute)
		switch {
		case !said && r.Keep:
			values = before
		case sameValues(r.Attribute, isMulti(r.Attribute, u.Attributes[r.Attribute]), before, values):
			values = before
		default:
			next.Say(by, r.Attribute, values...)
			next.stamp(by, r.Attribute, now)
		}
		if r.Required && len(values) == 0 && !(r.Ask && len(u.Says(Self, r.Attribute)) > 0) {
			return User{}, missing(r.Attribute, r.from.lacking(id), u.ID)
		}
		for _, v := range values {
			if !utf8.ValidString(v) {
				return User{}, &Refusal{Code: federation.ReasonClaims, Attribute: r.Attribute, Theirs: r.from.Theirs(), UserID: u.ID,
					Detail: fmt.Sprintf("attribute %q is not valid UTF-8", r.Attribute)}
			}
			size += len(v)
		}
		size += len(r.Attribute)
		if len(values) > MaxValues || size > MaxSaid {
			return User{}, &Refusal{Code: ReasonTooLarge, Attribute: r.Attribute, Theirs: r.from.Theirs(), UserID: u.ID,
				Detail: fmt.Sprintf("attribute %q has %d values; together %d bytes so far; allowed are %d values and %d bytes",
					r.Attribute, len(values), size, MaxValues, MaxSaid)}
		}
	}
	for attr := range u.Attributes {
		if !mapped[attr] {
			next.Say(by, attr)
		}
	}
	return next, nil
}

// missing names what was not sent.
func missing(attr string, theirs []string, userID string) *Refusal {
	return &Refusal{Code: ReasonMissing, Attribute: attr, Theirs: theirs, UserID: userID,
		Detail: fmt.Sprintf("%s is required and there was no %s", attr, strings.Join(theirs, ", "))}
}

// stamp notes when source began to say what it says.
func (u *User) stamp(by Source, attr string, at time.Time) {
	for i, c := range u.Attributes[attr] {
		if c.Source == by {
			u.Attributes[attr][i].At = at
		}
	}
}
