// Package expr is the one expression language of Gatehouse: CEL with a fixed,
// small set of variables and functions. Conditions of rules, mappings of what
// identity providers say and transforms of what is released all use it.
//
//	source ──▶ Compile(kind) ──▶ Program ──▶ Bool, Holds │ Strings
//	                │ *Error: line, column, what, cure
//
// What can be known beforehand is an error of Compile: a misspelt field, a wrong
// type, a network that is none, a regular expression that can not be read or
// that is put together at run time. What is left for run time — a missing key, a
// list that has not exactly one element, an address that is none — is an error
// too, never a default: the caller decides against the person.
//
// A Program has a size and a cost limit, runs without a clock, a network or a
// store, and gives the same answer for the same values: what has no order (a
// map) can not be walked over.
//
// # Variables
//
//	Condition  user, login, request   as User, Login, Request
//	Mapping    claims                 map of lists of strings: what was asserted
//	Transform  value, values          one value, all values
//
// # Functions, besides those of CEL
//
//	net(address, network…)   is the address in any of the networks
//	one(list)                its only element; an error if there is not exactly one
//	first(list)              its first element; an error if there is none
//	glob(text, pattern)      * in the pattern stands for any run of characters
//
// and of CEL's extensions: strings (lowerAscii, split, join, replace, format, …),
// lists (slice, flatten, distinct, sort, …) and sets.
package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// Limits of an expression.
const (
	MaxSource = 4 << 10 // bytes of source
	MaxText   = 1 << 20 // bytes of any one string that is made
	// MaxCost is in CEL's units, of which some thousand take a millisecond. A
	// condition is asked at every request; the others have four times as much.
	// A thousand long group names fit, each looked at with a regular expression.
	MaxCost = 50_000
)

// Kind of an expression: which variables it may read and what it must give.
type Kind int

// The kinds.
const (
	Condition Kind = iota // bool, over user, login, request
	Mapping               // string or list of strings, over claims
	Transform             // string or list of strings, over value, values
)

func (k Kind) String() string { return [...]string{"condition", "mapping", "transform"}[k] }

// A User is the variable user of a condition.
type User struct {
	ID         string                         `cel:"id"`
	Store      string                         `cel:"store"`
	UserName   string                         `cel:"user_name"` // with its store's prefix, but for the store "primary"
	Active     bool                           `cel:"active"`
	Attributes map[string][]string            `cel:"attributes"`
	Asserted   map[string]map[string][]string `cel:"asserted"` // by source, as "idp:campus", then attribute
	Groups     []string                       `cel:"groups"`
	Roles      []string                       `cel:"roles"`
}

// A Login is the variable login of a condition.
type Login struct {
	Provider string    `cel:"provider"`
	ACR      string    `cel:"acr"`
	AMR      []string  `cel:"amr"`
	At       time.Time `cel:"at"`
}

// A Request is the variable request of a condition.
type Request struct {
	Service string    `cel:"service"`
	Method  string    `cel:"method"`
	Path    string    `cel:"path"`
	From    string    `cel:"from"` // an IP address: IPv4 where it is one, without a zone
	Now     time.Time `cel:"now"`
}

// Vars are the variables of a condition.
type Vars struct {
	User    User
	Login   Login
	Request Request
}

// ResolveName finds a variable; it makes Vars what CEL evaluates with.
func (v *Vars) ResolveName(name string) (any, bool) {
	switch name {
	case "user":
		return &v.User, true
	case "login":
		return &v.Login, true
	case "request":
		return &v.Request, true
	}
	return nil, false
}

// Parent is nil: there is nothing around Vars.
func (v *Vars) Parent() cel.Activation { return nil }

// An Error says where an expression is wrong and how to mend it.
type Error struct {
	Line, Col int // from 1; columns count characters
	Text      string
	Cure      string // may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Text)
	if e.Cure != "" {
		s += " — " + e.Cure
	}
	return s
}

// A Program is a compiled expression. It may be used by many goroutines.
type Program struct {
	source string
	kind   Kind
	prg    cel.Program
	reads  []string
}

// Compile checks and compiles src. Its error is an *Error, for the first
// mistake in the source.
func Compile(k Kind, src string) (p *Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, &Error{1, 1, fmt.Sprintf("the expression can not be compiled: %v", r), ""}
		}
	}()
	switch {
	case k < Condition || k > Transform:
		return nil, &Error{1, 1, "there is no such kind of expression", ""}
	case strings.TrimSpace(src) == "":
		return nil, &Error{1, 1, "the expression is empty", ""}
	case len(src) > MaxSource:
		return nil, &Error{1, 1, fmt.Sprintf("the expression has %d bytes, more than %d", len(src), MaxSource), "split it into several rules"}
	case !utf8.ValidString(src):
		return nil, &Error{1, 1, "the expression is not UTF-8", ""}
	}
	env, err := environments[k]()
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	parsed, issues := env.Parse(src)
	if issues.Err() != nil {
		return nil, explain(k, nil, issues)
	}
	tree := parsed.NativeRep()
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, explain(k, tree, issues)
	}
	if err := k.accepts(checked); err != nil {
		return nil, err
	}
	prg, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize), // regular expressions and constant lists are made once
		cel.CostLimit(k.maxCost()),
	)
	if err != nil {
		return nil, &Error{1, 1, err.Error(), ""}
	}
	return &Program{source: src, kind: k, prg: prg, reads: reads(k, checked)}, nil
}

func (k Kind) maxCost() uint64 {
	if k == Condition {
		return MaxCost
	}
	return 4 * MaxCost
}

// Source is what was compiled.
func (p *Program) Source() string { return p.source }

// Reads gives the dotted paths of the variables it reads, sorted, as
// "request.now" or "user.attributes.mail"; a path stops where the name is only
// known at run time.
func (p *Program) Reads() []string { return slices.Clone(p.reads) }

// ReadsUnder reports whether it reads path or anything in it.
func (p *Program) ReadsUnder(path string) bool {
	return slices.ContainsFunc(p.reads, func(r string) bool {
		return r == path || strings.HasPrefix(r, path+".") || strings.HasPrefix(path, r+".")
	})
}

// Bool evaluates a condition. On an error the answer is false.
func (p *Program) Bool(vars map[string]any) (bool, error) {
	out, err := p.eval(Condition, vars)
	return out == types.True, err
}

// Holds evaluates a condition, as Bool does, over variables of known types.
func (p *Program) Holds(vars *Vars) (bool, error) {
	out, err := p.eval(Condition, vars)
	return out == types.True, err
}

// Strings evaluates a mapping or a transform. A single string is a list of one.
func (p *Program) Strings(vars map[string]any) ([]string, error) {
	out, err := p.eval(Mapping, vars)
	if err != nil {
		return nil, err
	}
	switch v := out.(type) {
	case types.String:
		return []string{string(v)}, nil
	case traits.Lister:
		var list []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			s, ok := it.Next().(types.String)
			if !ok {
				return nil, fmt.Errorf("evaluate: an element of the list is no string")
			}
			list = append(list, string(s))
		}
		return list, nil
	}
	return nil, fmt.Errorf("evaluate: the result is neither a string nor a list of strings")
}

// eval runs the program; want is Condition, or anything else for strings. CEL
// turns a panic of its own into an error; whatever escapes it is one too.
func (p *Program) eval(want Kind, vars any) (out ref.Val, err error) {
	if p == nil || (p.kind == Condition) != (want == Condition) {
		return nil, fmt.Errorf("evaluate: not a %s", want)
	}
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("evaluate: %v", r)
		}
	}()
	out, _, err = p.prg.Eval(vars)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	return out, nil
}

// environments are built when first needed: they take milliseconds.
var environments = map[Kind]func() (*cel.Env, error){
	Condition: sync.OnceValues(func() (*cel.Env, error) { return environment(Condition) }),
	Mapping:   sync.OnceValues(func() (*cel.Env, error) { return environment(Mapping) }),
	Transform: sync.OnceValues(func() (*cel.Env, error) { return environment(Transform) }),
}

// variables of each kind, with their types.
func variables(k Kind) map[string]*cel.Type {
	text := cel.ListType(cel.StringType)
	switch k {
	case Mapping:
		return map[string]*cel.Type{"claims": cel.MapType(cel.StringType, text)}
	case Transform:
		return map[string]*cel.Type{"value": cel.StringType, "values": text}
	}
	return map[string]*cel.Type{
		"user": cel.ObjectType("expr.User"), "login": cel.ObjectType("expr.Login"), "request": cel.ObjectType("expr.Request"),
	}
}

func environment(k Kind) (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.Types(
			cel.NativeTypeFor[User](types.ParseStructTags(true)),
			cel.NativeTypeFor[Login](types.ParseStructTags(true)),
			cel.NativeTypeFor[Request](types.ParseStructTags(true)),
		),
		ext.Strings(), ext.Lists(ext.ListsVersion(2), ext.ListsMaxRangeSize(1000)), ext.Sets(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ExpressionNodeLimit(10_000),
		cel.ParserRecursionLimit(60),
		cel.ParserErrorRecoveryLimit(4),
	}
	vars := variables(k)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		opts = append(opts, cel.Variable(name, vars[name]))
	}
	env, err := cel.NewEnv(append(opts, functions()...)...)
	if err != nil {
		return nil, err
	}
	// The first unknown name makes what later ones are suggested from, and others that
	// compile at that moment would read it half made: nobody else is here yet.
	_, _ = env.Compile("no.such")
	return env, nil
}
