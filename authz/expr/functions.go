package expr

import (
	"fmt"
	"net/netip"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// maxNetworks is how many networks net takes one by one; for more there is its list form.
const maxNetworks = 8

// functions are our own, and those of the extensions whose result could grow
// beyond what the cost limit sees in time.
func functions() []cel.EnvOption {
	str, num, list := cel.StringType, cel.IntType, cel.ListType(cel.StringType)
	elem := cel.TypeParamType("T")
	nets := []cel.FunctionOpt{
		cel.Overload("net_string_list", []*cel.Type{str, list}, cel.BoolType, cel.FunctionBinding(netList)),
	}
	for n := 1; n <= maxNetworks; n++ {
		args := []*cel.Type{str}
		for range n {
			args = append(args, str)
		}
		nets = append(nets, cel.Overload(fmt.Sprintf("net_string_%d", n), args, cel.BoolType, cel.FunctionBinding(netAny)))
	}
	return []cel.EnvOption{
		cel.Function("net", nets...),
		cel.Function("one", cel.Overload("one_list", []*cel.Type{cel.ListType(elem)}, elem, cel.UnaryBinding(one))),
		cel.Function("first", cel.Overload("first_list", []*cel.Type{cel.ListType(elem)}, elem, cel.UnaryBinding(first))),
		cel.Function("glob", cel.Overload("glob_string_string", []*cel.Type{str, str}, cel.BoolType, cel.BinaryBinding(glob))),
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{str, str, str}, str, cel.FunctionBinding(replace)),
			cel.MemberOverload("string_replace_string_string_int", []*cel.Type{str, str, str, num}, str, cel.FunctionBinding(replace))),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{list}, str, cel.FunctionBinding(join)),
			cel.MemberOverload("list_join_string", []*cel.Type{list, str}, str, cel.FunctionBinding(join))),
	}
}

// Contains reports whether the network has the address. An IPv4 address written
// as IPv6 (::ffff:10.0.0.1) is that IPv4 address, on both sides; a zone says
// where an address was seen, not which it is, and does not count.
func Contains(n netip.Prefix, a netip.Addr) bool {
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Contains(a.Unmap().WithZone(""))
}

// ParseNetwork reads a network (10.0.0.0/8) or a single address, which is the
// network of that address alone. Bits behind the mask do not count.
func ParseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
}

// Glob reports whether all of text fits the pattern, in which * stands for any
// run of characters and everything else for itself.
func Glob(text, pattern string) bool {
	head, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return text == pattern
	}
	if text, ok = strings.CutPrefix(text, head); !ok {
		return false
	}
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, piece)
		}
		at := strings.Index(text, piece)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(piece):], after
	}
}

func netAny(args ...ref.Val) ref.Val {
	return inNetworks(args[0], func(yield func(ref.Val) bool) {
		for _, n := range args[1:] {
			if !yield(n) {
				return
			}
		}
	})
}

func netList(args ...ref.Val) ref.Val { return inNetworks(args[0], elements(args[1])) }

func inNetworks(addr ref.Val, networks func(func(ref.Val) bool)) ref.Val {
	a, err := netip.ParseAddr(string(addr.(types.String)))
	if err != nil {
		return types.NewErr("net: %q is no IP address", addr.Value())
	}
	// Every network is read, so that a wrong one is an error whatever the others say.
	found := types.False
	for n := range networks {
		s, ok := n.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(n)
		}
		p, err := ParseNetwork(string(s))
		if err != nil {
			return types.NewErr("net: %q is no network", string(s))
		}
		if Contains(p, a) {
			found = types.True
		}
	}
	return found
}

func elements(list ref.Val) func(func(ref.Val) bool) {
	return func(yield func(ref.Val) bool) {
		for it := list.(traits.Lister).Iterator(); it.HasNext() == types.True; {
			if !yield(it.Next()) {
				return
			}
		}
	}
}

func one(list ref.Val) ref.Val {
	l := list.(traits.Lister)
	if n := l.Size(); n != types.Int(1) {
		return types.NewErr("one: the list has %v elements", n)
	}
	return l.Get(types.Int(0))
}

func first(list ref.Val) ref.Val {
	l := list.(traits.Lister)
	if l.Size() == types.Int(0) {
		return types.NewErr("first: the list is empty")
	}
	return l.Get(types.Int(0))
}

func glob(text, pattern ref.Val) ref.Val {
	return types.Bool(Glob(string(text.(types.String)), string(pattern.(types.String))))
}

// replace is that of the extension, but refuses to make a text that is too
// large before it makes it.
func replace(args ...ref.Val) ref.Val {
	s, old, with := string(args[0].(types.String)), string(args[1].(types.String)), string(args[2].(types.String))
	n := strings.Count(s, old)
	if len(args) == 4 {
		if most := int(args[3].(types.Int)); most >= 0 && most < n {
			n = most
		}
	}
	if len(s)+n*(len(with)-len(old)) > MaxText {
		return types.NewErr("replace: the text would be too large")
	}
	return types.String(strings.Replace(s, old, with, n))
}

// join is that of the extension, with the same restraint.
func join(args ...ref.Val) ref.Val {
	sep := ""
	if len(args) == 2 {
		sep = string(args[1].(types.String))
	}
	var b strings.Builder
	for e := range elements(args[0]) {
		s, ok := e.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(e)
		}
		if b.Len()+len(sep)+len(s) > MaxText {
			return types.NewErr("join: the text would be too large")
		}
		if b.Len() > 0 {
			b.WriteString(sep)
		}
		b.WriteString(string(s))
	}
	return types.String(b.String())
}
