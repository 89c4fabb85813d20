package configs

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	check "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write gatehouse.schema.json and docs/reference/configuration.md from the types")

const (
	schemaFile = "gatehouse.schema.json"
	docsFile   = "../docs/reference/configuration.md"
	module     = "github.com/gatehouse-sso/gatehouse/configs"
)

// current compares a file that is made from the types with what they say.
func current(t *testing.T, name string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s is not what the types say; run go test ./configs -update\n%s", name, d)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	current(t, schemaFile, schemaJSON(t))
}

func TestReferenceIsCurrent(t *testing.T) {
	current(t, docsFile, reference(t, comments(t)))
}

func TestEveryKeyIsExplained(t *testing.T) {
	said := comments(t)
	for _, typ := range structs() {
		if said[module+"."+typ.Name()] == "" {
			t.Errorf("%s has no comment", typ)
		}
		for i, r := range fields(typ) {
			f := typ.Field(i)
			text := said[module+"."+typ.Name()+"."+f.Name]
			if !strings.HasPrefix(text, f.Name) || !strings.HasSuffix(text, ".") {
				t.Errorf("the comment of %s.%s (%s) is no sentence that begins with its name: %q", typ, f.Name, r.key, text)
			}
		}
	}
}

// The schema knows the examples and refuses a key that the types do not have:
// an editor and gatehouse check say the same.
func TestSchemaAcceptsTheExamplesAndRefusesATypo(t *testing.T) {
	doc, err := check.UnmarshalJSON(bytes.NewReader(schemaJSON(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := check.NewCompiler()
	if err := c.AddResource(schemaFile, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	valid := func(src []byte) error {
		j, err := yaml.YAMLToJSON(src)
		if err != nil {
			t.Fatal(err)
		}
		v, err := check.UnmarshalJSON(bytes.NewReader(j))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, name := range append(examples(t), "testdata/contract.yaml") {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(src); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		typo := bytes.Replace(src, []byte("public_url:"), []byte("publik_url:"), 1)
		if err := valid(typo); err == nil {
			t.Errorf("%s: the schema accepts a key that there is not", name)
		}
	}
}

// comments are the comments of the source, by type and by field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	var r jsonschema.Reflector
	if err := r.AddGoComments(module, ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for k, v := range r.CommentMap {
		r.CommentMap[k] = strings.Join(strings.Fields(v), " ")
	}
	return r.CommentMap
}

// keyed is a field's comment with its key in place of its name.
func keyed(name, key, text string) string {
	if rest, ok := strings.CutPrefix(text, name); ok && key != "" {
		return "`" + key + "`" + rest
	}
	return text
}

func schemaJSON(t *testing.T) []byte {
	t.Helper()
	said := comments(t)
	r := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		ExpandedStruct:             true,
		Anonymous:                  true,
		Mapper:                     mapped,
		LookupComment: func(typ reflect.Type, name string) string {
			if typ.Kind() == reflect.Struct && name != "" {
				f, _ := typ.FieldByName(name)
				return keyed(name, rulesOf(f).key, said[module+"."+typ.Name()+"."+name])
			}
			return said[module+"."+typ.Name()]
		},
	}
	s := r.Reflect(Config{})
	s.Title = "Configuration of Gatehouse"
	// The reflector knows nothing of maps that are inline.
	header := r.Reflect(Header{})
	header.Version, header.Definitions = "", nil
	s.Definitions["Header"] = header
	s.Definitions["Headers"].AdditionalProperties = &jsonschema.Schema{Ref: "#/$defs/Header"}
	for typ, word := range words {
		object := s.Definitions[typ]
		s.Definitions[typ] = &jsonschema.Schema{Description: object.Description, AnyOf: []*jsonschema.Schema{word, object}}
		object.Description = ""
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// words are the types that can be written as one word, and which one.
var words = map[string]*jsonschema.Schema{
	"Mapped":  {Type: "string"},
	"Header":  {Type: "string"},
	"Release": {Type: "string"},
	"TLS":     {Type: "string", Enum: []any{"proxy"}},
	"Auth":    {Type: "string", Enum: []any{"none"}},
	"Headers": {Type: "string", Enum: presets()},
}

func TestEveryWordedTypeIsInTheSchema(t *testing.T) {
	var got []string
	for _, typ := range structs() {
		if _, ok := reflect.New(typ).Interface().(worded); ok {
			got = append(got, typ.Name())
		}
	}
	slices.Sort(got)
	if want := []string{"Auth", "Header", "Headers", "Mapped", "Release", "TLS"}; !slices.Equal(got, want) || len(words) != len(want) {
		t.Errorf("worded types: %v, in the schema: %d", got, len(words))
	}
}

func presets() []any {
	_, r, _ := field(reflect.TypeFor[Headers](), "preset")
	var all []any
	for _, p := range r.enum {
		all = append(all, p)
	}
	return all
}

// mapped is the schema of the types that are not what their Go type looks like.
func mapped(t reflect.Type) *jsonschema.Schema {
	if k, ok := kindOf(t); ok {
		return &jsonschema.Schema{Type: "string", Pattern: k.form}
	}
	if t == reflect.TypeFor[Secret]() {
		one := func(key string) *jsonschema.Schema {
			props := jsonschema.NewProperties()
			props.Set(key, &jsonschema.Schema{Type: "string"})
			return &jsonschema.Schema{Type: "object", Properties: props, Required: []string{key}, AdditionalProperties: jsonschema.FalseSchema}
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one("file"), one("env")}}
	}
	if item, ok := someOf(t); ok {
		of := mapped(item)
		switch {
		case of != nil:
		case item.Kind() == reflect.String:
			of = &jsonschema.Schema{Type: "string"}
		default:
			of = &jsonschema.Schema{Ref: "#/$defs/" + item.Name()}
		}
		least := uint64(1)
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{of, {Type: "array", Items: of, MinItems: &least}}}
	}
	return nil
}

func kindOf(t reflect.Type) (kind, bool) {
	if t == reflect.TypeFor[url.URL]() {
		t = reflect.PointerTo(t)
	}
	k, ok := kinds[t]
	return k, ok
}

func someOf(t reflect.Type) (item reflect.Type, ok bool) {
	if t.Kind() != reflect.Slice {
		return nil, false
	}
	_, ok = reflect.Zero(t).Interface().(interface{ some() })
	return t.Elem(), ok
}

// inner is the struct that a field's values are, if they are one.
func inner(t reflect.Type) (reflect.Type, bool) {
	for {
		if _, ok := kindOf(t); ok || t == reflect.TypeFor[Secret]() {
			return nil, false
		}
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			t = t.Elem()
		case reflect.Struct:
			return t, true
		default:
			return nil, false
		}
	}
}

// structs are all types of the file, in its order, each once.
func structs() []reflect.Type {
	var all []reflect.Type
	var add func(reflect.Type)
	add = func(t reflect.Type) {
		if slices.Contains(all, t) {
			return
		}
		all = append(all, t)
		for i := range fields(t) {
			if in, ok := inner(t.Field(i).Type); ok {
				add(in)
			}
		}
	}
	add(reflect.TypeFor[Config]())
	return all
}

const intro = `# The configuration file

<!-- Made from the types in configs/config.go by go test ./configs -update. -->

One YAML file says everything. ` + "`gatehouse check -c FILE`" + ` reads it and reports every mistake at once, each with its
place and a cure; ` + "`gatehouse run -c FILE`" + ` refuses to start, or to take over a changed file, while there is one. Begin with
[configs/minimal.yaml](../../configs/minimal.yaml); [configs/annotated.yaml](../../configs/annotated.yaml) shows every key in use.
Editors that know the YAML language server complete and check the file as you type if its first line is
` + "`# yaml-language-server: $schema=PATH/gatehouse.schema.json`" + `.

- Keys that are not known, or stand twice, are mistakes. So are empty values: leave out what you do not want to say.
- *One or more* means: one value, or a list of them. Of a list, any one is enough.
- Paths of files are relative to the folder of the configuration.
- Secrets are never written into the file. They are ` + "`{ file: PATH }`" + ` or ` + "`{ env: NAME }`" + `, and print as ` + "`…`" + `. A file that others
  than its owner and group can use (wider than 0640) is reported.
- Anchors, aliases, merge keys and tags of YAML are not accepted; the file is at most 1 MiB.
- What weakens a protection is named ` + "`insecure_…`" + ` and is reported as long as it is on.
`

// reference is the page of docs.
func reference(t *testing.T, said map[string]string) []byte {
	t.Helper()
	places := map[reflect.Type]string{}
	var order []reflect.Type
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, at string) {
		if _, ok := places[typ]; ok {
			return
		}
		places[typ] = at
		order = append(order, typ)
		for i, r := range fields(typ) {
			ft := typ.Field(i).Type
			in, ok := inner(ft)
			if !ok {
				continue
			}
			below := strings.TrimPrefix(at+"."+r.key, ".")
			if r.inline {
				below = at + ".NAME"
			} else if ft.Kind() == reflect.Map {
				below += ".NAME"
			} else if ft.Kind() == reflect.Slice {
				below += "[]"
			}
			walk(in, below)
		}
	}
	walk(reflect.TypeFor[Config](), "")
	anchor := func(place string) string {
		return strings.ToLower(strings.NewReplacer(".", "", "[", "", "]", "").Replace(place))
	}
	link := func(typ reflect.Type) string { return fmt.Sprintf("[%s](#%s)", typ.Name(), anchor(places[typ])) }

	var b strings.Builder
	b.WriteString(intro)
	for _, typ := range order {
		if place := places[typ]; place == "" {
			b.WriteString("\n## The whole file\n\n")
		} else {
			fmt.Fprintf(&b, "\n## `%s`\n\n%s\n\n", place, said[module+"."+typ.Name()])
		}
		b.WriteString("| key | value | left out | |\n|---|---|---|---|\n")
		for i, r := range fields(typ) {
			f := typ.Field(i)
			text := strings.ReplaceAll(said[module+"."+typ.Name()+"."+f.Name], "|", `\|`)
			key := "`" + r.key + "`"
			if r.inline {
				key = "*NAME*"
			}
			absent := "–"
			if r.required {
				absent = "**required**"
			} else if r.preset != "" {
				absent = "`" + r.preset + "`"
			}
			if what, _, ok := notYetAt(where(places[typ]).key(r.key)); ok {
				absent, text = "–", text+" *Refused: "+what+".*"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", key, valueOf(f.Type, r, link), absent, text)
		}
	}
	b.WriteString("\n## Attributes that are built in\n\nThey need no entry under `attributes`.\n\n| id | title | values |\n|---|---|---|\n")
	for _, a := range builtin {
		many := "one"
		if a.Multi {
			many = "several"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.ID, a.Title, many)
	}
	fmt.Fprintf(&b, "\nA release can also name what the gateway itself knows: `%s`.\n", strings.Join(releasable, "`, `"))
	b.WriteString("\n## What is refused because it is not built yet\n\n| key | |\n|---|---|\n")
	for _, n := range notYet {
		fmt.Fprintf(&b, "| `%s` | %s: %s |\n", n.path, n.what, n.cure)
	}
	b.WriteString("| `store: etcd:…` | the store etcd is not built yet: write bolt: and the path of a file |\n")
	return []byte(b.String())
}

// valueOf says what may be written for a field.
func valueOf(t reflect.Type, r rules, link func(reflect.Type) string) string {
	if len(r.enum) > 0 {
		list := "`" + strings.Join(r.enum, "`, `") + "`"
		if t.Kind() == reflect.Slice {
			return "list, each one of " + list
		}
		return list
	}
	if k, ok := kindOf(t); ok {
		return k.what
	}
	if t == reflect.TypeFor[Secret]() {
		return "secret"
	}
	if item, ok := someOf(t); ok {
		return "one or more: " + valueOf(item, rules{}, link)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueOf(t.Elem(), rules{}, link)
	case reflect.Slice:
		return "list, each " + valueOf(t.Elem(), rules{}, link)
	case reflect.Map:
		if r.inline {
			return valueOf(t.Elem(), rules{}, link)
		}
		return "NAME: " + valueOf(t.Elem(), rules{}, link)
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.Struct:
		return link(t)
	}
	return "text"
}
