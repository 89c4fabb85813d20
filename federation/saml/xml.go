package saml

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	validator "github.com/mattermost/xml-roundtrip-validator"
)

// Namespaces of everything that is read here.
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsEnc       = "http://www.w3.org/2001/04/xmlenc#"
	nsEnc11     = "http://www.w3.org/2009/xmlenc11#"
	nsExcC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	nsXML       = "http://www.w3.org/XML/1998/namespace"
	nsXSI       = "http://www.w3.org/2001/XMLSchema-instance"
)

// Budgets of one document. They bound what an anonymous sender can make us
// do before any signature is looked at: a person with 1,000 groups needs some
// 1,100 elements, and nobody needs more than a few namespaces. The bound on a
// namespace's length is there because exclusive canonicalisation repeats a
// declaration wherever it is used again.
const (
	maxMessage  = 256 << 10 // bytes of a decoded answer
	maxMetadata = 2 << 20   // bytes of a metadata document
	maxTokens   = 5000      // elements and comments
	maxDepth    = 40
	maxAttrs    = 64  // of one element, declarations included
	maxPrefixes = 64  // distinct ones in a document
	maxSpace    = 256 // bytes of a namespace name
)

// A name is what XML calls an expanded name; two names are the same only if
// both parts are.
type name struct{ space, local string }

type attribute struct {
	name
	value string
}

// A node is an element with every name resolved. Namespace declarations are
// not among its attributes.
type node struct {
	name
	attrs     []attribute
	kids      []*node
	text      string // its own character data, joined; comments leave no trace
	commented bool   // a comment stands directly in it
	pos       int    // its place among the element children of its parent
}

// attr is the value of an attribute that has no namespace.
func (n *node) attr(local string) (string, bool) {
	for _, a := range n.attrs {
		if a.name == (name{"", local}) {
			return a.value, true
		}
	}
	return "", false
}

// attrValue is attr, with "" for an absent attribute.
func (n *node) attrValue(local string) string { v, _ := n.attr(local); return v }

// all gives the children of one name.
func (n *node) all(space, local string) []*node {
	var found []*node
	for _, k := range n.kids {
		if k.name == (name{space, local}) {
			found = append(found, k)
		}
	}
	return found
}

// one gives the only child of that name, nil if there is none; ok is false if
// there are several.
func (n *node) one(space, local string) (kid *node, ok bool) {
	switch found := n.all(space, local); len(found) {
	case 0:
		return nil, true
	case 1:
		return found[0], true
	default:
		return nil, false
	}
}

// plain reports whether the node holds text alone.
func (n *node) plain() bool { return len(n.kids) == 0 }

// elementsOnly reports whether the node holds no text but white space.
func (n *node) elementsOnly() bool { return strings.Trim(n.text, " \t\r\n") == "" }

// walk visits n and everything below it.
func (n *node) walk(visit func(n, parent *node)) { n.walkFrom(nil, visit) }

func (n *node) walkFrom(parent *node, visit func(n, parent *node)) {
	visit(n, parent)
	for _, k := range n.kids {
		k.walkFrom(n, visit)
	}
}

// binary decodes the base64 text of n; white space in it means nothing.
func (n *node) binary() ([]byte, bool) {
	if !n.plain() {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(squeeze(n.text))
	return b, err == nil
}

// squeeze removes the white space of XML.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
}

// A document is one XML document from outside, taken apart once: from the same
// tokens come our own tree, which is what everything is decided from, and etree's,
// which is what can be canonicalised. That one is made only when a signature is to
// be verified.
type document struct {
	tokens []xml.Token
	root   *node
	tree   *etree.Element
}

// read scans a document that came from outside.
func read(b []byte, max int) (*document, error) {
	d := &document{}
	var err error
	d.root, err = scan(b, max, func(t xml.Token) { d.tokens = append(d.tokens, xml.CopyToken(t)) })
	return d, err
}

// load validates the document and makes the tree. The validator writes every
// token and reads it again, which costs some five kilobytes each; so it comes
// when the cheap checks have passed, and for tokens that are not known yet. Nothing
// is accepted without it.
func (d *document) load(known *tokenSet) error {
	if err := survive(d.tokens, known); err != nil {
		return federation.Refuse(ReasonXML, "the XML does not survive being written and read again")
	}
	top := &etree.Element{}
	open := []*etree.Element{top}
	for _, t := range d.tokens {
		in := open[len(open)-1]
		switch t := t.(type) {
		case xml.StartElement:
			el := &etree.Element{Space: t.Name.Space, Tag: t.Name.Local, Attr: make([]etree.Attr, len(t.Attr))}
			for i, a := range t.Attr {
				el.Attr[i] = etree.Attr{Space: a.Name.Space, Key: a.Name.Local, Value: a.Value}
			}
			in.AddChild(el)
			open = append(open, el)
		case xml.EndElement:
			open = open[:len(open)-1] // scan has seen that they are pairs
		case xml.CharData:
			in.AddChild(etree.NewText(string(t)))
		case xml.Comment:
			in.AddChild(etree.NewComment(string(t)))
		}
	}
	d.tree = top.ChildElements()[0] // scan has seen that there is one
	return nil
}

// survive is what validator.Validate does after it has read a document: each token
// is written, read again and compared. What it finds out depends on the token alone,
// so tags that survived once are remembered. The validator's decoder is the lenient
// one; of what the strict one accepts it makes the same tokens, since it differs
// only in what it does instead of giving up.
func survive(tokens []xml.Token, known *tokenSet) error {
	var key []byte
	for _, t := range tokens {
		if text, ok := t.(xml.CharData); ok && ordinary(text) {
			continue
		}
		if key = appendToken(key[:0], t); known.has(key) {
			continue
		}
		if err := validator.CheckToken(t); err != nil {
			return err
		}
		known.add(key)
	}
	return nil
}

// ordinary reports whether text is written as it is, or with entities that are read
// as they were meant: some ASCII, without the one character that lines end with.
func ordinary(text []byte) bool {
	for _, c := range text {
		if c != '\n' && c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return len(text) > 0
}

// A tokenSet remembers tokens by what appendToken says of them: those that were
// last asked for, at least setSize of them.
type tokenSet struct {
	mu         sync.Mutex
	young, old map[string]struct{}
}

// Bounds of a tokenSet, which holds twice as many and so at most a megabyte.
const (
	setSize  = 1024
	maxToken = 512
)

func (s *tokenSet) has(key []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[string(key)]; ok {
		return true
	}
	_, ok := s.old[string(key)]
	if ok {
		s.put(key)
	}
	return ok
}

func (s *tokenSet) add(key []byte) {
	if len(key) > maxToken {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key)
}

// put makes a token one of the young. The caller has s.mu.
func (s *tokenSet) put(key []byte) {
	if s.young == nil || len(s.young) >= setSize {
		s.young, s.old = make(map[string]struct{}, setSize), s.young
	}
	s.young[string(key)] = struct{}{}
}

// appendToken appends what tells a token from every other.
func appendToken(b []byte, token xml.Token) []byte {
	part := func(parts ...string) {
		for _, p := range parts {
			b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
		}
	}
	switch t := token.(type) {
	case xml.StartElement:
		b = append(b, 's')
		part(t.Name.Space, t.Name.Local)
		for _, a := range t.Attr {
			part(a.Name.Space, a.Name.Local, a.Value)
		}
	case xml.EndElement:
		b = append(b, 'e')
		part(t.Name.Space, t.Name.Local)
	case xml.CharData:
		b = append(append(b, 'c'), t...)
	case xml.Comment:
		b = append(append(b, '!'), t...)
	case xml.ProcInst:
		b = append(b, '?')
		part(t.Target)
		b = append(b, t.Inst...)
	case xml.Directive:
		b = append(append(b, 'd'), t...)
	}
	return b
}

// scan parses b into nodes within the budgets above, at most max bytes, and
// refuses everything that SAML has no use for. It gives keep, if that is not nil,
// each token, which is good until the next.
func scan(b []byte, max int, keep func(xml.Token)) (*node, error) {
	if len(b) > max {
		return nil, federation.Refuse(federation.ReasonTooLarge, "the document has %d bytes; at most %d are accepted", len(b), max)
	}
	if !utf8.Valid(b) {
		return nil, federation.Refuse(ReasonXML, "the document is not UTF-8")
	}
	s := scanner{prefixes: map[string]bool{}}
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		at := d.InputOffset()
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// The decoder's own text may quote the document.
			return nil, federation.Refuse(ReasonXML, "the document is not well-formed XML, near byte %d", at)
		}
		if err := s.token(t, at); err != nil {
			return nil, err
		}
		if keep != nil {
			keep(t)
		}
	}
	if s.root == nil || len(s.open) > 0 {
		return nil, federation.Refuse(ReasonXML, "the document ends before its root does")
	}
	return s.root, nil
}

// A scanner is the state of scan between tokens.
type scanner struct {
	root     *node
	open     []level
	tokens   int
	prefixes map[string]bool
}

// A level is one open element: its name as written, for its end tag; the
// namespaces in scope; the text so far.
type level struct {
	raw   xml.Name
	node  *node
	scope map[string]string
	text  []byte
}

func (s *scanner) token(t xml.Token, at int64) error {
	switch t := t.(type) {
	case xml.ProcInst:
		if at != 0 || t.Target != "xml" {
			return federation.Refuse(ReasonXML, "the document holds a processing instruction")
		}
	case xml.Directive:
		return federation.Refuse(ReasonXML, "the document holds a DOCTYPE or another directive")
	case xml.Comment:
		if len(s.open) == 0 {
			return federation.Refuse(ReasonXML, "there is a comment outside the root element")
		}
		s.open[len(s.open)-1].node.commented = true
		return s.count()
	case xml.CharData:
		if len(s.open) > 0 {
			top := &s.open[len(s.open)-1]
			top.text = append(top.text, t...)
		} else if len(bytes.Trim(t, " \t\r\n")) > 0 {
			return federation.Refuse(ReasonXML, "there is text outside the root element")
		}
	case xml.StartElement:
		return s.start(t)
	case xml.EndElement:
		if len(s.open) == 0 || s.open[len(s.open)-1].raw != t.Name {
			return federation.Refuse(ReasonXML, "a tag is closed that is not open")
		}
		top := s.open[len(s.open)-1]
		top.node.text = string(top.text)
		s.open = s.open[:len(s.open)-1]
	}
	return nil
}

func (s *scanner) count() error {
	if s.tokens++; s.tokens > maxTokens {
		return federation.Refuse(federation.ReasonTooLarge, "the document holds more than %d elements", maxTokens)
	}
	return nil
}

func (s *scanner) start(t xml.StartElement) error {
	if err := s.count(); err != nil {
		return err
	}
	switch {
	case len(s.open) == 0 && s.root != nil:
		return federation.Refuse(ReasonXML, "there is a second root element")
	case len(s.open) >= maxDepth:
		return federation.Refuse(ReasonXML, "elements are nested more than %d deep", maxDepth)
	case len(t.Attr) > maxAttrs:
		return federation.Refuse(ReasonXML, "an element has more than %d attributes", maxAttrs)
	}
	scope, err := s.declare(t.Attr)
	if err != nil {
		return err
	}
	n := &node{}
	if n.name, err = resolve(t.Name, scope, scope[""]); err != nil {
		return err
	}
	for _, a := range t.Attr {
		if declares(a.Name) {
			continue
		}
		nm, err := resolve(a.Name, scope, "")
		if err != nil {
			return err
		}
		for _, b := range n.attrs {
			if b.name == nm {
				return federation.Refuse(ReasonXML, "an element has the same attribute twice")
			}
		}
		n.attrs = append(n.attrs, attribute{nm, a.Value})
	}
	if len(s.open) == 0 {
		s.root = n
	} else {
		parent := s.open[len(s.open)-1].node
		n.pos = len(parent.kids)
		parent.kids = append(parent.kids, n)
	}
	s.open = append(s.open, level{raw: t.Name, node: n, scope: scope})
	return nil
}

func declares(n xml.Name) bool {
	return n.Space == "xmlns" || n.Space == "" && n.Local == "xmlns"
}

// declare gives the namespaces in scope in an element with these attributes.
// A namespace name must be absolute: canonicalisation of a relative one is
// undefined, and libraries have been seen to answer with nothing at all.
func (s *scanner) declare(attrs []xml.Attr) (map[string]string, error) {
	outer := map[string]string{"xml": nsXML}
	if len(s.open) > 0 {
		outer = s.open[len(s.open)-1].scope
	}
	scope, own := outer, map[string]bool{}
	for _, a := range attrs {
		if !declares(a.Name) {
			continue
		}
		prefix := ""
		if a.Name.Space == "xmlns" {
			prefix = a.Name.Local
		}
		scheme, rest, ok := strings.Cut(a.Value, ":")
		switch {
		case own[prefix]:
			return nil, federation.Refuse(ReasonXML, "a namespace prefix is declared twice in one element")
		case prefix == "xml" || prefix == "xmlns" || a.Value == nsXML || a.Value == "http://www.w3.org/2000/xmlns/":
			return nil, federation.Refuse(ReasonXML, "a reserved namespace is declared")
		case !ok || !ncName(scheme) || rest == "" || len(a.Value) > maxSpace:
			return nil, federation.Refuse(ReasonXML, "a namespace name is empty, relative or longer than %d bytes", maxSpace)
		case prefix != "" && !ncName(prefix):
			return nil, federation.Refuse(ReasonXML, "a namespace prefix is not a name")
		}
		if s.prefixes[prefix] = true; len(s.prefixes) > maxPrefixes {
			return nil, federation.Refuse(ReasonXML, "more than %d namespace prefixes are declared", maxPrefixes)
		}
		if len(own) == 0 {
			scope = make(map[string]string, len(outer)+2)
			for k, v := range outer {
				scope[k] = v
			}
		}
		own[prefix], scope[prefix] = true, a.Value
	}
	return scope, nil
}

// resolve expands a name as written. unprefixed is the namespace of a name
// without a prefix.
func resolve(n xml.Name, scope map[string]string, unprefixed string) (name, error) {
	if !ncName(n.Local) {
		return name{}, federation.Refuse(ReasonXML, "a name has more than one colon, or nothing beside it")
	}
	if n.Space == "" {
		return name{unprefixed, n.Local}, nil
	}
	space, ok := scope[n.Space]
	if !ok {
		return name{}, federation.Refuse(ReasonXML, "a namespace prefix is used that is not declared")
	}
	return name{space, n.Local}, nil
}

// ncName reports whether s can be a name without a colon. The decoder has
// checked the characters; what it lets through is the colon.
func ncName(s string) bool { return s != "" && !strings.Contains(s, ":") }
