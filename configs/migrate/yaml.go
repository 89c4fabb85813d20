package migrate

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A node is a value in a YAML file, with its place; what an alias stands for is in its
// place. The zero node is not there.
type node struct {
	place
	n       ast.Node
	anchors map[string]ast.Node
}

// readYAML reads the first document of a file.
func readYAML(f Source) (node, error) {
	file, err := parser.ParseBytes([]byte(f.Text), 0)
	if err != nil {
		return node{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			n := node{place{f.Name, 1}, nil, map[string]ast.Node{}}
			ast.Walk(n, doc.Body)
			return n.wrap(doc.Body), nil
		}
	}
	return node{}, fmt.Errorf("%s: there is nothing in it", f.Name)
}

func (n node) there() bool { return n.n != nil }

// Visit notes where the anchors are.
func (n node) Visit(m ast.Node) ast.Visitor {
	if a, ok := m.(*ast.AnchorNode); ok {
		n.anchors[a.Name.GetToken().Value] = a.Value
	}
	return n
}

func (n node) wrap(m ast.Node) node {
	for range 8 { // an alias of an alias may be one of itself
		switch v := m.(type) {
		case *ast.TagNode:
			m = v.Value
		case *ast.AnchorNode:
			m = v.Value
		case *ast.AliasNode:
			m = n.anchors[v.Value.GetToken().Value]
		}
	}
	if m == nil || m.GetToken() == nil {
		return node{}
	}
	return node{place{n.file, m.GetToken().Position.Line}, m, n.anchors}
}

type pair struct {
	key   string
	value node
}

// pairs are key and value of a mapping: its own, in order, and then those that it takes
// over from others (<<), of which the first to have a key counts. What comes again adds
// nothing, so a few lines that name each other many times are no more work than they
// are long.
func (n node) pairs() (list []pair) {
	known, taken := map[string]bool{}, map[ast.Node]bool{}
	var take func(node)
	take = func(n node) {
		if taken[n.n] {
			return
		}
		taken[n.n] = true
		var values []*ast.MappingValueNode
		switch m := n.n.(type) {
		case *ast.MappingNode:
			values = m.Values
		case *ast.MappingValueNode:
			values = []*ast.MappingValueNode{m}
		}
		var others []node
		for _, v := range values {
			wrapped := n.wrap(v.Value)
			if !v.Key.IsMergeKey() {
				wrapped.line = v.Key.GetToken().Position.Line
				if key := v.Key.GetToken().Value; !known[key] {
					known[key] = true
					list = append(list, pair{key, wrapped})
				}
			} else if _, several := wrapped.n.(*ast.SequenceNode); several {
				others = append(others, wrapped.items()...)
			} else {
				others = append(others, wrapped)
			}
		}
		for _, other := range others {
			take(other)
		}
	}
	take(n)
	return list
}

// at follows keys; the zero node if one is not there.
func (n node) at(keys ...string) node {
	for _, key := range keys {
		pairs := n.pairs()
		if i := slices.IndexFunc(pairs, func(p pair) bool { return p.key == key }); i >= 0 {
			n = pairs[i].value
		} else {
			n = node{}
		}
	}
	return n
}

// items of a list; a single value is a list of one, as in these files.
func (n node) items() (list []node) {
	seq, ok := n.n.(*ast.SequenceNode)
	if !ok {
		switch n.n.(type) {
		case nil, *ast.NullNode, *ast.MappingNode, *ast.MappingValueNode:
			return nil
		}
		return []node{n}
	}
	for _, v := range seq.Values {
		list = append(list, n.wrap(v))
	}
	return list
}

// text of a scalar.
func (n node) text() string {
	switch v := n.n.(type) {
	case nil, *ast.NullNode, *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return ""
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	}
	return n.n.GetToken().Value
}

// texts of a list.
func (n node) texts() (list []string) {
	for _, item := range n.items() {
		list = append(list, item.text())
	}
	return list
}

// leaves are the values below a mapping, with the way to them: those at its keys, and
// those at the keys of these.
func (n node) leaves() (list []pair) {
	for _, p := range n.pairs() {
		below := p.value.pairs()
		for _, q := range below {
			list = append(list, pair{p.key + "." + q.key, q.value})
		}
		if len(below) == 0 {
			list = append(list, p)
		}
	}
	return list
}
