package dialect

import (
	"encoding/json"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// doubleQuotes puts JSON texts that are in single quotes into double ones. In
// JSON there is no single quote outside of a text, so what is JSON stays as it
// is. A text that does not end is left for the decoder to refuse.
func doubleQuotes(data []byte) (out []byte, changed bool) {
	for i := 0; i < len(data); i++ {
		quote := data[i]
		if quote != '"' && quote != '\'' {
			out = append(out, quote)
			continue
		}
		end := i + 1
		for end < len(data) && data[end] != quote {
			if data[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(data) {
			return data, false
		}
		if quote == '"' {
			out = append(out, data[i:end+1]...)
			i = end
			continue
		}
		changed = true
		out = append(out, '"')
		for j := i + 1; j < end; j++ {
			switch c := data[j]; {
			case c == '"':
				out = append(out, '\\', '"')
			case c == '\\' && data[j+1] == '\'': // no escape of JSON's
			case c == '\\':
				out = append(out, c, data[j+1])
				j++
			default:
				out = append(out, c)
			}
		}
		out = append(out, '"')
		i = end
	}
	return out, changed
}

// filter puts right the values in a filter, or in the brackets of a path. It
// knows only where values stand; all else is the parser's to judge.
func (t *turn) filter(text string) string {
	if len(text) > scim.MaxFilter || !t.has(filterUnquoted) && !t.has(booleanText) {
		return text
	}
	var out, seen strings.Builder // seen: the sample
	var path, outer string
	var rules []string
	const wantPath, wantOp, wantValue = 0, 1, 2
	state := wantPath
	put := func(s string) { out.WriteString(s); seen.WriteString(s) }
	for i := 0; i < len(text); {
		if strings.IndexByte(" ()[]", text[i]) >= 0 {
			switch text[i] {
			case '(':
				state = wantPath
			case ')':
				state = wantPath
			case '[':
				outer, state = path, wantPath
			case ']':
				path, outer, state = outer, "", wantOp
			}
			put(text[i : i+1])
			i++
			continue
		}
		end := wordEnd(text, i)
		word := text[i:end]
		i = end
		switch {
		case state == wantPath && isOneOf(word, "and", "or", "not"), state == wantOp && isOneOf(word, "and", "or"):
			state = wantPath
			put(word)
		case state == wantPath:
			path, state = word, wantOp
			put(word)
		case state == wantOp && strings.HasPrefix(word, "."): // emails[…].value
			path += word
			put(word)
		case state == wantOp && isOneOf(word, "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"):
			state = wantValue
			put(word)
		case state == wantValue:
			state = wantPath
			right, rule := t.literal(t.typeOf(outer, path), word)
			if rule != "" && t.has(rule) {
				rules = append(rules, rule)
				word = right
			}
			out.WriteString(word)
			seen.WriteString("…")
		default: // pr, and what the parser will refuse
			state = wantPath
			put(word)
		}
	}
	for _, rule := range rules {
		t.made = append(t.made, Rewrite{rule, clip(seen.String())})
	}
	return out.String()
}

// literal is how a value in a filter must be written, and the rule that says so;
// empty: it is right.
func (t *turn) literal(typ scim.Type, word string) (right, rule string) {
	if word[0] == '"' {
		if truth, ok := truthOf(strings.Trim(word, `"`)); ok && typ == scim.Boolean {
			return map[bool]string{true: "true", false: "false"}[truth], booleanText
		}
		return "", ""
	}
	if truth, ok := truthOf(word); ok && typ == scim.Boolean {
		right = map[bool]string{true: "true", false: "false"}[truth]
		if right == word {
			return "", ""
		}
		return right, booleanText
	}
	text := typ == scim.String || typ == scim.Reference || typ == scim.DateTime || typ == scim.Binary
	if word == "null" || !text && json.Valid([]byte(word)) {
		return "", ""
	}
	quoted, err := json.Marshal(word)
	if err != nil {
		return "", "" // a string can always be encoded
	}
	return string(quoted), filterUnquoted
}

// typeOf is the type of what a path names, inside brackets of another; empty:
// nothing.
func (t *turn) typeOf(outer, path string) scim.Type {
	if outer != "" {
		path = outer + "." + path
	}
	p, err := t.rt.Path(path)
	if err != nil {
		return ""
	}
	attr, sub := p.Attribute()
	if sub != nil {
		attr = sub
	}
	if attr == nil {
		return ""
	}
	if value := find(attr.Sub, "value"); value != nil && sub == nil { // emails co "x" is about their values
		attr = value
	}
	return attr.Type
}

// wordEnd is where the word that begins at i ends; a text in quotes is one.
func wordEnd(text string, i int) int {
	if text[i] == '"' {
		for i++; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(text)
	}
	for i < len(text) && strings.IndexByte(` ()[]"`, text[i]) < 0 {
		i++
	}
	return i
}

func isOneOf(word string, list ...string) bool {
	for _, w := range list {
		if strings.EqualFold(word, w) {
			return true
		}
	}
	return false
}

// maxSample is how long a sample can be, in bytes.
const maxSample = 200

func clip(s string) string {
	if len(s) <= maxSample {
		return s
	}
	return strings.ToValidUTF8(s[:maxSample], "") + "…"
}

// sample shows what was sent without any value that may be a person's: of
// texts and numbers nothing is left but the operation, its path with the values
// in it taken out, and names that are attributes' or schemas'.
func sample(v *scim.Object) string {
	o, _ := redacted("", v).(*scim.Object)
	return clip(string(o.AppendJSON(nil)))
}

func redacted(name string, v any) any {
	switch v := v.(type) {
	case string:
		switch {
		case sameName(name, "op") && isOneOf(v, "add", "replace", "remove"):
			return v
		case sameName(name, "path"):
			return redactedPath(v)
		}
		if _, ok := truthOf(v); ok {
			return v
		}
		return "…"
	case bool:
		return v
	case *scim.Object:
		out := scim.NewObject()
		for name, x := range v.All() {
			shown := name
			if !isName(name) {
				shown = redactedPath(name)
			}
			if x == nil {
				x = ""
			}
			out.Set(shown, redacted(name, x))
		}
		return out
	case []any:
		if len(v) == 0 {
			return "…"
		}
		return []any{redacted("", v[0])}
	}
	return 0
}

// redactedPath is a path without the values in its brackets.
func redactedPath(path string) string {
	head, _, ok := strings.Cut(path, "[")
	switch {
	case !isName(head):
		return "…"
	case !ok:
		return head
	}
	if _, tail, ok := strings.Cut(path, "]"); ok && isName(strings.TrimPrefix(tail, ".")) {
		return head + "[…]" + tail
	}
	return head + "[…]"
}

// isName reports whether s can be the name of an attribute, or a path of names.
func isName(s string) bool {
	return len(s) <= 120 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.-_$") == ""
}
