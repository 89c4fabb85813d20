package migrate

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A node is a value in a YAML file, with its place. The zero node is not there.
type node struct {
	place
	n ast.Node
}

// readYAML reads the first document of a file.
func readYAML(f Source) (node, error) {
	file, err := parser.ParseBytes([]byte(f.Text), 0)
	if err != nil {
		return node{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return node{place{f.Name, 1}, doc.Body}, nil
		}
	}
	return node{}, fmt.Errorf("%s: there is nothing in it", f.Name)
}

func (n node) there() bool { return n.n != nil }

func (n node) wrap(m ast.Node) node {
	if tag, ok := m.(*ast.TagNode); ok {
		m = tag.Value
	}
	if m == nil || m.GetToken() == nil {
		return node{}
	}
	return node{place{n.file, m.GetToken().Position.Line}, m}
}

// pairs are key and value of a mapping, in order.
func (n node) pairs() (list []struct {
	key   string
	value node
}) {
	var values []*ast.MappingValueNode
	switch m := n.n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	}
	for _, v := range values {
		wrapped := n.wrap(v.Value)
		wrapped.line = v.Key.GetToken().Position.Line
		list = append(list, struct {
			key   string
			value node
		}{v.Key.GetToken().Value, wrapped})
	}
	return list
}

// at follows keys; the zero node if one is not there.
func (n node) at(keys ...string) node {
	for _, key := range keys {
		found := node{}
		for _, p := range n.pairs() {
			if p.key == key {
				found = p.value
			}
		}
		n = found
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
