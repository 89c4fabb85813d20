package expr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// accepts looks at what the checker lets through but we do not.
func (k Kind) accepts(checked *cel.Ast) error {
	tree := checked.NativeRep()
	var wrong *Error
	at := func(e ast.Expr, text, cure string) {
		l := tree.SourceInfo().GetStartLocation(e.ID())
		err := &Error{max(l.Line(), 1), max(l.Column()+1, 1), text, cure}
		if wrong == nil || err.before(wrong) {
			wrong = err
		}
	}
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.StructKind:
			at(e, "an expression can not make objects", "")
		case ast.ComprehensionKind:
			if tree.GetType(e.AsComprehension().IterRange().ID()).Kind() == types.MapKind {
				at(e, "a map has no order, so it can not be walked over", "name what you look for")
			}
		case ast.CallKind:
			k.acceptsCall(e.AsCall(), func(text, cure string) { at(e, text, cure) })
		}
	}))
	if wrong != nil {
		return wrong
	}
	out, list := checked.OutputType(), cel.ListType(cel.StringType)
	switch {
	case k == Condition && !out.IsExactType(cel.BoolType):
		at(tree.Expr(), fmt.Sprintf("a condition must be true or false, but this is %s", spell(out)), "compare it with something")
	case k != Condition && !out.IsExactType(cel.StringType) && !out.IsExactType(list):
		at(tree.Expr(), fmt.Sprintf("a %s must give a text or a list of texts, but this is %s", k, spell(out)), "")
	}
	if wrong != nil {
		return wrong
	}
	return nil
}

func (k Kind) acceptsCall(c ast.CallExpr, wrong func(text, cure string)) {
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	switch c.FunctionName() {
	case "dyn":
		wrong("dyn hides mistakes until somebody is refused", "leave it out")
	case "matches":
		if _, ok := literal(args[1]); !ok {
			wrong("a regular expression must be written out", `as in value.matches("^[a-z]+$")`)
		}
	case "net":
		nets := args[1:]
		if len(nets) == 1 && nets[0].Kind() == ast.ListKind {
			nets = nets[0].AsList().Elements()
		}
		for _, n := range nets {
			if s, ok := literal(n); ok {
				if _, err := ParseNetwork(s); err != nil {
					wrong(fmt.Sprintf("%q is no network", s), `as in "10.0.0.0/8" or "2001:db8::/32"`)
				}
			}
		}
	}
}

// literal is the text of a string constant.
func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// reads collects the paths of variables. A variable of a comprehension that has
// the name of one of ours counts too: reading too much is safe.
func reads(k Kind, checked *cel.Ast) []string {
	vars, found := variables(k), map[string]bool{}
	inner := map[int64]bool{} // parts of a path that was taken as a whole
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if inner[e.ID()] {
			return
		}
		if path := dotted(e, inner); len(path) > 0 && vars[path[0]] != nil {
			found[strings.Join(path, ".")] = true
		}
	}))
	return slices.Sorted(maps.Keys(found))
}

// dotted is the longest path of constant names that e is, or nil; every part
// of it is noted in inner.
func dotted(e ast.Expr, inner map[int64]bool) []string {
	var base ast.Expr
	var name string
	switch e.Kind() {
	case ast.IdentKind:
		return []string{e.AsIdent()}
	case ast.SelectKind:
		base, name = e.AsSelect().Operand(), e.AsSelect().FieldName()
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() != "_[_]" {
			return nil
		}
		s, ok := literal(c.Args()[1])
		if !ok {
			return nil
		}
		base, name = c.Args()[0], s
	default:
		return nil
	}
	path := dotted(base, inner)
	if path == nil {
		return nil
	}
	inner[base.ID()] = true
	return append(path, name)
}

func (e *Error) before(f *Error) bool {
	return e.Line < f.Line || e.Line == f.Line && e.Col < f.Col
}

// explain turns the first issue of CEL into a sentence of ours. tree is nil if
// there is none because the source could not be parsed.
func explain(k Kind, tree *ast.AST, issues *cel.Issues) error {
	var firstErr *Error
	for _, i := range issues.Errors() {
		e := &Error{Line: max(i.Location.Line(), 1), Col: max(i.Location.Column()+1, 1)}
		e.Text, e.Cure = sentence(k, tree, i)
		if firstErr == nil || e.before(firstErr) {
			firstErr = e
		}
	}
	if firstErr == nil {
		return errors.Join(issues.Err(), &Error{1, 1, "the expression can not be compiled", ""})
	}
	return firstErr
}

func sentence(k Kind, tree *ast.AST, i *cel.Error) (text, cure string) {
	text, _, _ = strings.Cut(i.Message, "\n")
	quoted := func(after string) (string, bool) {
		rest, ok := strings.CutPrefix(text, after+" '")
		if !ok {
			return "", false
		}
		name, _, ok := strings.Cut(rest, "'")
		return name, ok
	}
	if name, ok := quoted("undefined field"); ok {
		text = fmt.Sprintf("there is no field %q", name)
		if tree != nil {
			if fields := fieldsBeside(k, tree, i.ExprID); fields != nil {
				return text, suggest(name, fields)
			}
		}
		return text, ""
	}
	if name, ok := quoted("undeclared reference to"); ok {
		return fmt.Sprintf("there is no variable or function %q here", name), suggest(name, names(k))
	}
	if name, ok := quoted("found no matching overload for"); ok {
		_, given, _ := strings.Cut(text, "applied to '")
		return fmt.Sprintf("%s does not work with %s", operator(name), strings.TrimSuffix(given, "'")), ""
	}
	if rest, ok := strings.CutPrefix(text, "Syntax error: "); ok {
		return "it can not be read: " + rest, ""
	}
	return text, ""
}

// operator is how people write what CEL calls "_==_" or "@in".
func operator(name string) string {
	return strings.Trim(strings.NewReplacer("_[_]", "[ ]", "@", "", "_?_:_", "? :", "_", "").Replace(name), " ")
}

// fieldsBeside are the fields that could have been meant where an unknown one is.
func fieldsBeside(k Kind, tree *ast.AST, id int64) []string {
	var fields []string
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id && e.Kind() == ast.SelectKind && e.AsSelect().Operand().Kind() == ast.IdentKind {
			if t := variables(k)[e.AsSelect().Operand().AsIdent()]; t != nil {
				if env, err := environments[k](); err == nil {
					fields, _ = env.CELTypeProvider().FindStructFieldNames(t.TypeName())
				}
			}
		}
	}))
	slices.Sort(fields)
	return fields
}

// names are all variables and functions that people write by name.
func names(k Kind) []string {
	all := slices.Collect(maps.Keys(variables(k)))
	if env, err := environments[k](); err == nil {
		for name := range env.Functions() {
			if name[0] >= 'a' && name[0] <= 'z' {
				all = append(all, name)
			}
		}
		for _, m := range env.Macros() {
			all = append(all, m.Function())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func suggest(name string, from []string) string {
	if near := Nearest(name, from); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(from) <= 10 {
		return "there are " + strings.Join(from, ", ")
	}
	return ""
}

// Nearest is which of the names was probably meant by word, or empty: the one
// that the fewest slips of a finger make of it, if those are few. Of equals it is
// the first.
func Nearest(word string, names []string) string {
	best, least := "", len(word)/3+2
	for _, n := range names {
		if d := slips(word, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// slips counts the letters to insert, drop, change or swap with their neighbour
// to make b of a.
func slips(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// spell names a type in plain words.
func spell(t *cel.Type) string {
	switch t.Kind() {
	case types.BoolKind:
		return "true or false"
	case types.StringKind:
		return "a text"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.ListKind:
		return "a list (" + t.String() + ")"
	case types.MapKind:
		return "a map (" + t.String() + ")"
	}
	return "of the type " + t.String()
}
