package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// A decoder fills a Config from a syntax tree. A value that can not be read is
// a mistake and stays as it was; decoding goes on behind it.
type decoder struct {
	file, dir    string
	inline, skip bool // see Option
	positions    map[string]Pos
	mistakes     []Mistake
	surprises    []Mistake
	files        []string // that this one names
}

// all are the mistakes, in the order of the file, without repetition.
func (d *decoder) all() []Mistake {
	ms := Sort(d.mistakes)
	if len(ms) > maxMistakes {
		more := Mistake{File: d.file, Line: ms[maxMistakes].Line, Col: ms[maxMistakes].Col,
			What: fmt.Sprintf("%d more mistakes from here on", len(ms)-maxMistakes), Cure: "mend those above first"}
		ms = append(ms[:maxMistakes:maxMistakes], more)
	}
	return ms
}

func (d *decoder) mistake(pos Pos, what, cure string) {
	d.mistakes = append(d.mistakes, Mistake{pos.File, pos.Line, pos.Col, what, cure})
}

func (d *decoder) surprise(at where, what, cure string) {
	pos := d.positions[string(at)]
	d.surprises = append(d.surprises, Mistake{pos.File, pos.Line, pos.Col, what, cure})
}

// config reads a whole file. It gives nil if there is no tree to speak of.
func (d *decoder) config(src []byte) *Config {
	top := Pos{d.file, 1, 1}
	if len(src) > MaxSize {
		d.mistake(top, "the file is larger than 1 MiB", "name the configuration of the gateway, not its data")
		return nil
	}
	if !utf8.Valid(src) {
		d.mistake(top, "the file is not UTF-8", "save it as UTF-8")
		return nil
	}
	if line, p := excess(src); p != nil {
		d.mistake(Pos{d.file, line, 1}, p.what, p.cure)
		return nil
	}
	tree, err := parse(src)
	if err != nil {
		pos, what := top, err.Error()
		if e := yaml.Error(nil); errors.As(err, &e) {
			what = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				pos = Pos{d.file, max(1, t.Position.Line), max(1, t.Position.Column)}
			}
		}
		if strings.Contains(what, "'\t'") {
			d.mistake(pos, "not YAML: a tab, where only spaces can be", "indent with spaces")
			return nil
		}
		d.mistake(pos, "not YAML: "+what, "mend the line, or the one before it; text with : # { [ * & in it goes in quotes")
		return nil
	}
	var docs []ast.Node
	for _, doc := range tree.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentGroupType {
			docs = append(docs, doc.Body)
		}
	}
	if len(docs) != 1 {
		what, cure := "the file is empty", "begin with version: 1"
		if len(docs) > 1 {
			top, what, cure = d.pos(docs[1]), "the file holds more than one document", "remove the --- and what follows, or merge them"
		}
		d.mistake(top, what, cure)
		return nil
	}
	c := &Config{file: d.file, positions: d.positions}
	defer func() { c.files = d.files }()
	d.value(docs[0], reflect.ValueOf(c).Elem(), "", rules{})
	if len(c.UserStores) == 0 {
		c.UserStores = []UserStore{{ID: "primary"}}
	}
	if u := c.Server.PublicURL; u != nil && u.Path == "/" {
		u.Path = "" // so that paths can be put behind it
	}
	for i := range c.Services {
		// Names of one's own stand alone, unless a preset is written beside them.
		at := where("services").index(i).key("headers").key("preset")
		if h := &c.Services[i].Headers; len(h.Own) > 0 && d.positions[string(at)] == (Pos{}) {
			h.Preset = "none"
		}
	}
	c.surprises = d.surprises
	return c
}

// parse makes the tree. The parser's own panics are errors: it reads what
// anybody may have written.
func parse(src []byte) (tree *ast.File, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = errors.New("it can not be understood at all")
		}
	}()
	return parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
}

// Of these the parser's time or its stack would grow beyond measure.
const (
	maxDepth = 64       // brackets in brackets; "- - -" in one line
	maxLine  = 64 << 10 // bytes
	maxKeys  = 4096     // of one mapping
)

// excess finds what no configuration has and what the parser could not bear:
// it recurses for every level, and for every key of a mapping in lines.
func excess(src []byte) (line int, p *problem) {
	type block struct{ indent, keys int }
	var open []block // mappings in lines around this one, by indent
	flow := 0
	for text := range bytes.Lines(src) {
		line++
		if len(text) > maxLine {
			return line, &problem{"the line is longer than 64 KiB", "break it into lines"}
		}
		steps := 0
		for i, b := range text {
			switch b {
			case '[', '{':
				flow++
			case ']', '}':
				flow = max(0, flow-1)
			case '-', '?':
				if i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\t') {
					steps++
				}
			}
			if flow > maxDepth || steps > maxDepth {
				return line, &problem{"lists and mappings are nested too deep", "nothing in this file goes deeper than a few levels"}
			}
		}
		rest := bytes.TrimLeft(text, " ")
		indent := len(text) - len(rest)
		if len(bytes.TrimSpace(rest)) == 0 || rest[0] == '#' {
			continue
		}
		for len(open) > 0 && open[len(open)-1].indent > indent {
			open = open[:len(open)-1]
		}
		if rest[0] == '-' {
			continue
		}
		if len(open) == 0 || open[len(open)-1].indent < indent {
			open = append(open, block{indent: indent})
		}
		if open[len(open)-1].keys++; open[len(open)-1].keys > maxKeys {
			return line, &problem{"a mapping has more than 4096 keys", "nothing in this file has so many"}
		}
	}
	return 0, nil
}

// rules are what a field's tags say.
type rules struct {
	key      string
	inline   bool
	required bool
	enum     []string
	preset   string // the default
	minimum  string
}

func rulesOf(f reflect.StructField) rules {
	key, opt, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	r := rules{key: key, inline: opt == "inline"}
	for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		switch k, v, _ := strings.Cut(part, "="); k {
		case "required":
			r.required = true
		case "enum":
			r.enum = append(r.enum, v)
		case "default":
			r.preset = v
		case "minimum":
			r.minimum = v
		}
	}
	return r
}

// fields yields the fields of a struct that stand in the file.
func fields(t reflect.Type) func(func(int, rules) bool) {
	return func(yield func(int, rules) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("yaml") == "-" {
				continue
			}
			if !yield(i, rulesOf(f)) {
				return
			}
		}
	}
}

// value reads n into v.
func (d *decoder) value(n ast.Node, v reflect.Value, at where, r rules) {
	d.positions[string(at)] = d.pos(n)
	if !d.plain(n) {
		return
	}
	t := v.Type()
	if t == reflect.TypeFor[Secret]() {
		d.secretValue(n, v, at)
		return
	}
	if k, ok := kinds[t]; ok {
		text, isWord := wordOf(n)
		if !isWord {
			d.expected(n, at, k.what)
			return
		}
		if val, p := k.parse(d, text); p != nil {
			d.mistake(d.pos(n), p.what, p.cure)
		} else {
			v.Set(reflect.ValueOf(val))
		}
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		d.value(n, v.Elem(), at, r)
	case reflect.Struct:
		d.structure(n, v, at)
	case reflect.Map:
		d.mapping(n, v, at)
	case reflect.Slice:
		d.list(n, v, at, r)
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.expected(n, at, "true or false")
		}
	case reflect.Int:
		d.number(n, v, at, r)
	case reflect.String:
		d.text(n, v, at, r)
	default:
		panic("configs: no way to read a " + t.String())
	}
}

// plain refuses what YAML can do and this file does not need.
func (d *decoder) plain(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.mistake(d.pos(n), "an anchor (&)", "write the value out; text that begins with & goes in quotes")
	case *ast.AliasNode:
		d.mistake(d.pos(n), "an alias (*)", "write the value out; text that begins with * goes in quotes")
	case *ast.TagNode:
		d.mistake(d.pos(n), "a tag (!)", "remove it; text that begins with ! goes in quotes")
	case *ast.NullNode:
		d.mistake(d.pos(n), "there is no value", "write one, or remove the line")
	default:
		return true
	}
	return false
}

// expected is the mistake of a value that has another shape.
func (d *decoder) expected(n ast.Node, at where, want string) {
	d.mistake(d.pos(n), fmt.Sprintf("%s is %s", naming(at), shape(n)), "write "+want)
}

// naming is how a message names a value.
func naming(at where) string {
	if at == "" {
		return "the file"
	}
	return at.last()
}

func shape(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	}
	return "something else"
}

// wordOf is the text of a value that is written as one word, quoted or not.
func wordOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) text(n ast.Node, v reflect.Value, at where, r rules) {
	var s string
	switch n := n.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode, *ast.BoolNode:
		d.expected(n, at, strconv.Quote(n.GetToken().Value)+" with quotes, if it is meant as text")
		return
	default:
		d.expected(n, at, "text")
		return
	}
	switch {
	case strings.TrimSpace(s) == "":
		d.mistake(d.pos(n), naming(at)+" is empty", "write a value, or remove the line")
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f }):
		d.mistake(d.pos(n), naming(at)+" has control characters in it", "remove them")
	case len(r.enum) > 0 && !slices.Contains(r.enum, s):
		cure, ok := refusedChoice[index.ReplaceAllString(at.last(), "")+" "+s]
		if !ok {
			cure = guess(s, r.enum)
		}
		d.mistake(d.pos(n), fmt.Sprintf("%s is %q", naming(at), s), cure)
	default:
		v.SetString(s)
	}
}

func (d *decoder) number(n ast.Node, v reflect.Value, at where, r rules) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		d.expected(n, at, "a whole number")
		return
	}
	x, err := strconv.ParseInt(i.GetToken().Value, 10, 32)
	least, _ := strconv.ParseInt(r.minimum, 10, 64)
	switch {
	case err != nil:
		d.mistake(d.pos(n), fmt.Sprintf("%s is %s", naming(at), i.GetToken().Value), "write a whole number of reasonable size in decimal digits")
	case len(r.enum) > 0 && !slices.Contains(r.enum, strconv.FormatInt(x, 10)):
		d.mistake(d.pos(n), fmt.Sprintf("%s is %d", naming(at), x), "write "+strings.Join(r.enum, " or "))
	case x < least:
		d.mistake(d.pos(n), fmt.Sprintf("%s is %d", naming(at), x), fmt.Sprintf("write a number of at least %d", least))
	default:
		v.SetInt(x)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, at where, r rules) {
	_, some := v.Interface().(interface{ some() })
	filled := some || r.required
	r.required = false
	seq, ok := n.(*ast.SequenceNode)
	if !ok && !some {
		d.expected(n, at, "a list: [ … ], or lines that begin with -")
		return
	}
	if !ok {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.value(n, v.Index(0), at.index(0), r)
		return
	}
	if filled && len(seq.Values) == 0 {
		d.mistake(d.pos(n), naming(at)+" is an empty list", "list at least one, or remove the line")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		d.value(item, v.Index(i), at.index(i), r)
	}
}

// pairs are the entries of a mapping whose keys are plain words, each once. A
// mapping without any says nothing and is refused.
func (d *decoder) pairs(n ast.Node, at where, want string) ([]*ast.MappingValueNode, bool) {
	var all []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		all = n.Values
	case *ast.MappingValueNode:
		all = []*ast.MappingValueNode{n}
	default:
		d.expected(n, at, want)
		return nil, false
	}
	if len(all) == 0 && at != "" {
		d.mistake(d.pos(n), naming(at)+" is empty", "write at least one line, or remove it")
		return nil, false
	}
	seen := map[string]Pos{}
	return slices.DeleteFunc(slices.Clone(all), func(kv *ast.MappingValueNode) bool {
		pos := d.pos(kv.Key)
		if kv.Key.IsMergeKey() {
			d.mistake(pos, "a merge key (<<)", "write the values out")
			return true
		}
		key, ok := wordOf(kv.Key)
		if !ok || key == "" {
			d.mistake(pos, "a key that is not a word", "write key: value")
			return true
		}
		first, twice := seen[key]
		if twice {
			d.mistake(pos, fmt.Sprintf("the key %q stands here twice", key), fmt.Sprintf("keep one; the other is in line %d", first.Line))
			return true
		}
		seen[key] = pos
		return false
	}), true
}

func (d *decoder) structure(n ast.Node, v reflect.Value, at where) {
	t := v.Type()
	if w, ok := v.Addr().Interface().(worded); ok {
		if word, ok := n.(*ast.StringNode); ok {
			d.presets(v)
			d.word(word, w, v, at)
			return
		}
	}
	want := "a mapping with keys such as " + strings.Join(first(keysOf(t), 4), ", ")
	kvs, ok := d.pairs(n, at, want)
	if !ok {
		return
	}
	d.presets(v)
	var rest []*ast.MappingValueNode
	for _, kv := range kvs {
		key, _ := wordOf(kv.Key)
		if i, r, ok := field(t, key); ok {
			if what, cure, ok := notYetAt(at.key(key)); ok {
				d.mistake(d.pos(kv.Key), what, cure)
			}
			d.value(kv.Value, v.Field(i), at.key(key), r)
		} else {
			rest = append(rest, kv)
		}
	}
	for i, r := range fields(t) {
		if r.inline {
			d.entries(rest, v.Field(i), at)
			rest = nil
		}
	}
	for _, kv := range rest {
		key, _ := wordOf(kv.Key)
		d.unknown(d.pos(kv.Key), at, key, keysOf(t))
	}
	for _, r := range fields(t) {
		if _, present := d.positions[string(at.key(r.key))]; r.required && !present {
			d.mistake(d.positions[string(at)], fmt.Sprintf("%s is missing%s", r.key, within(at)), "add "+r.key+": …")
		}
	}
}

func within(at where) string {
	if at == "" {
		return ""
	}
	return " in " + string(at)
}

// word reads a struct that is written as one word, under the rules of its
// field that the word is for.
func (d *decoder) word(n *ast.StringNode, w worded, v reflect.Value, at where) {
	if h, ok := w.(*Headers); ok {
		_, r, _ := field(v.Type(), "preset")
		d.text(n, reflect.ValueOf(&h.Preset).Elem(), at, r)
		return
	}
	var s string
	before := len(d.mistakes)
	d.text(n, reflect.ValueOf(&s).Elem(), at, rules{})
	if len(d.mistakes) > before {
		return
	}
	if p := w.word(s); p != nil {
		d.mistake(d.pos(n), p.what, p.cure)
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, at where) {
	kvs, ok := d.pairs(n, at, "a mapping: key: value")
	if !ok {
		return
	}
	d.entries(kvs, v, at)
}

// entries reads pairs into a map, whose keys are text.
func (d *decoder) entries(kvs []*ast.MappingValueNode, v reflect.Value, at where) {
	for _, kv := range kvs {
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		key, _ := wordOf(kv.Key)
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(kv.Value, item, at.key(key), rules{})
		v.SetMapIndex(reflect.ValueOf(key), item)
	}
}

func (d *decoder) secretValue(n ast.Node, v reflect.Value, at where) {
	if _, isWord := wordOf(n); isWord {
		var s string
		before := len(d.mistakes)
		d.text(n, reflect.ValueOf(&s).Elem(), at, rules{})
		switch {
		case len(d.mistakes) > before:
		case !d.inline:
			d.mistake(d.pos(n), naming(at)+" is written into the file", "put it into a file or a variable: { file: PATH } or { env: NAME }")
		default:
			v.Set(reflect.ValueOf(Secret{&s}))
		}
		return
	}
	var src secretSource
	before := len(d.mistakes)
	d.value(n, reflect.ValueOf(&src).Elem(), at, rules{})
	if len(d.mistakes) > before {
		return
	}
	s, p := d.secret(src, at)
	if p != nil {
		d.mistake(d.pos(n), p.what, p.cure)
		return
	}
	v.Set(reflect.ValueOf(s))
}

// presets fills the defaults of a struct and of the structs in it.
func (d *decoder) presets(v reflect.Value) {
	for i, r := range fields(v.Type()) {
		f := v.Field(i)
		k, isKind := kinds[f.Type()]
		switch {
		case f.Kind() == reflect.Struct:
			d.presets(f)
		case r.preset == "":
		case isKind:
			val, p := k.parse(d, r.preset)
			if p != nil {
				panic("configs: " + p.what)
			}
			f.Set(reflect.ValueOf(val))
		case f.Kind() == reflect.String:
			f.SetString(r.preset)
		case f.Kind() == reflect.Bool:
			f.SetBool(r.preset == "true")
		case f.Kind() == reflect.Int:
			x, _ := strconv.ParseInt(r.preset, 10, 32)
			f.SetInt(x)
		}
	}
}

// unknown refuses a key that the mapping at a place does not have. If it is a
// known one misspelt, that one counts as written, so that nobody says it is
// missing.
func (d *decoder) unknown(pos Pos, at where, key string, known []string) {
	if what, cure, ok := notYetAt(at.key(key)); ok {
		d.positions[string(at.key(key))] = pos // it is there, as far as choices go
		d.mistake(pos, what, cure)
		return
	}
	if k := nearest(key, known); k != "" && d.positions[string(at.key(k))] == (Pos{}) {
		d.positions[string(at.key(k))] = pos
	}
	d.mistake(pos, fmt.Sprintf("unknown key %q", key), guess(key, known))
}

func field(t reflect.Type, key string) (int, rules, bool) {
	for i, r := range fields(t) {
		if r.key == key && !r.inline {
			return i, r, true
		}
	}
	return 0, rules{}, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, r := range fields(t) {
		if !r.inline {
			keys = append(keys, r.key)
		}
	}
	return keys
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

// pos is where a value begins: of a mapping, its first key.
func (d *decoder) pos(n ast.Node) Pos {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	var t *token.Token
	if n != nil {
		t = n.GetToken()
	}
	if t == nil || t.Position == nil {
		return Pos{d.file, 1, 1}
	}
	return Pos{d.file, max(1, t.Position.Line), max(1, t.Position.Column)}
}

// regular looks at a file that the configuration names, without opening it: a
// pipe would make the gateway wait.
func (d *decoder) regular(path string) (fs.FileInfo, *problem) {
	if d.skip {
		return nil, nil
	}
	if !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, &problem{"the file " + path + " can not be used: " + reason(err), "put it there, or mend the path; paths are relative to the folder of this file"}
	}
	if !info.Mode().IsRegular() {
		return nil, &problem{path + " is not a regular file", "name a file"}
	}
	return info, nil
}

// reason is what an error of the file system says, without the path again.
func reason(err error) string {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}
