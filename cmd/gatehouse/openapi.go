package main

import (
	"encoding"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// The document of the API is made from the table of routes: nothing is in one
// that is not in the other.

// documentRoutes serve it.
func (a *api) documentRoutes() {
	a.raw("GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.document())
	}, "release_editors", "approvers", "helpdesk", "auditors").doc("This document.", nil).file("application/json")
}

// document is in the form of OpenAPI 3.1.
func (a *api) document() []byte {
	kinds := kinds{}
	type object = map[string]any
	refused := object{"description": "It was not done. The code is one of docs/reference/reasons.md.", "content": object{
		"application/json": object{"schema": object{
			"type": "object", "required": []string{"error", "code"},
			"properties": object{"error": object{"type": "string", "description": "one sentence, with the cure"}, "code": object{"type": "string"}},
		}},
	}}
	paths := map[string]object{}
	for _, rt := range a.routes {
		op := object{
			"summary": rt.text, "operationId": strings.ToLower(rt.method()) + strings.NewReplacer("/v1", "", "/", "_", ".", "_", "{", "", "}", "").Replace(rt.path()),
			// Administrators may use every route; these may use this one too.
			"x-duties": append([]string{administrator}, rt.duties...), "x-fresh-sign-in": !rt.safe() || rt.fresh,
		}
		answer := object{"description": "Done."}
		switch {
		case rt.answer != nil:
			answer["content"] = object{"application/json": object{"schema": kinds.of(rt.answer)}}
		case rt.media != "":
			content := object{}
			for _, media := range strings.Split(rt.media, ", ") {
				content[media] = object{}
			}
			answer["content"] = content
		}
		op["responses"] = object{"200": answer, "default": refused}
		if rt.body != "" {
			op["requestBody"] = object{"required": true, "content": object{rt.body: object{}}}
		}
		parameters := []object{}
		for _, p := range rt.takes {
			parameters = append(parameters, p.document(strings.Contains(rt.path(), "{"+p.name+"}")))
		}
		op["parameters"] = parameters
		path := strings.TrimPrefix(rt.path(), "/v1")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(rt.method())] = op
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Gatehouse", "version": "1",
			"description": "What administrators' pages and the verbs of gatehouse do. A browser's session says who asks; a change must come from the gateway's own origin and within ten minutes of a sign-in. On the machine the same routes answer at admin.sock. Parameters of a change may stand in a form (application/x-www-form-urlencoded) instead of the query. Durations are in nanoseconds.",
		},
		"servers": []object{{"url": "/.gatehouse/api/v1"}},
		"paths":   paths,
	}
	doc["components"] = object{"schemas": kinds.schemas()}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err) // maps, slices and strings
	}
	return append(text, '\n')
}

func (p param) document(inPath bool) map[string]any {
	schema := map[string]any{"type": p.kind}
	if p.among != nil {
		schema["enum"] = p.among
	}
	if p.many {
		schema = map[string]any{"type": "array", "items": schema}
	}
	doc := map[string]any{"name": p.name, "in": "query", "description": p.text, "schema": schema}
	if p.required || inPath {
		doc["required"] = true
	}
	if inPath {
		doc["in"] = "path"
	}
	return doc
}

// kinds are the types that answers are made of, by their name in the document.
type kinds map[string]reflect.Type

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType     = reflect.TypeFor[json.Marshaler]()
)

// of is the schema of a type, as encoding/json writes it.
func (k kinds) of(t reflect.Type) map[string]any {
	type object = map[string]any
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == durationType:
		return object{"type": "integer", "description": "nanoseconds"}
	case t.Kind() == reflect.Pointer:
		return k.of(t.Elem())
	case t.Implements(textType):
		return object{"type": "string"}
	case t.Implements(jsonType):
		return object{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": []string{"array", "null"}, "items": k.of(t.Elem())}
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": k.of(t.Elem())}
	case reflect.Struct:
		return object{"$ref": "#/components/schemas/" + k.named(t)}
	case reflect.Interface:
		return object{}
	}
	return object{"type": "integer"}
}

// named is what a type is called: its own name, with that of its package where
// another has it.
func (k kinds) named(t reflect.Type) string {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if have, taken := k[name]; taken && have != t {
		pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	k[name] = t
	return name
}

// schemas are those of all types that were named, and of what these are made of.
func (k kinds) schemas() map[string]any {
	all := map[string]any{}
	for len(all) < len(k) {
		for _, name := range slices.Sorted(maps.Keys(k)) {
			if all[name] == nil {
				properties, required := map[string]any{}, []string{}
				k.fields(k[name], properties, &required)
				slices.Sort(required)
				all[name] = map[string]any{"type": "object", "properties": properties, "required": required}
			}
		}
	}
	return all
}

func (k kinds) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
			continue
		case f.Anonymous && name == "":
			k.fields(f.Type, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		properties[name] = k.of(f.Type)
		if !strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer {
			*required = append(*required, name)
		}
	}
}
