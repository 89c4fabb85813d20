package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// Limits of what may be asserted about one person.
const (
	maxValues  = 1000     // of one attribute
	maxTotal   = 64 << 10 // bytes of all names and values together
	maxSubject = 255      // bytes; OpenID Connect Core section 2
	maxDepth   = 16       // of JSON
)

// object is a JSON object as it was sent: a value is a string, json.Number,
// bool, nil, []any or object.
type object map[string]any

// decode reads one JSON object and nothing else. It refuses what two readers
// could understand differently: a name that is there twice, also in another
// case, text that is no Unicode, and anything behind the object.
// (encoding/json by itself takes the last of two, and any case.)
func decode(data []byte) (object, error) {
	if !utf8.Valid(data) || loneSurrogate(data) {
		return nil, errors.New("it holds text that is no Unicode")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	o, ok := v.(object)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	return o, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		o, folded := object{}, map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder accepts nothing else here
			fold := strings.ToLower(strings.ToUpper(name))
			if folded[fold] {
				return nil, fmt.Errorf("the name %q is there twice, as it stands or in another case", brief(name))
			}
			folded[fold] = true
			if o[name], err = decodeValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return tok, nil
}

// loneSurrogate reports an escape like \ud800 without its other half. The decoder
// would make the same replacement character of all of them, and so one name of
// two.
func loneSurrogate(data []byte) bool {
	unit := func(i int) (rune, bool) { // the escape \uXXXX at i
		if i+6 > len(data) || data[i] != '\\' || data[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(data[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		r, ok := unit(i)
		switch {
		case !ok:
			i++ // \n, \\, …
		case r >= 0xd800 && r < 0xdc00:
			if low, ok := unit(i + 6); !ok || low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		case r >= 0xdc00 && r <= 0xdfff:
			return true
		default:
			i += 5
		}
	}
	return false
}

// text is a claim that must be a string, and is not empty.
func (o object) text(name string) (string, bool) {
	s, ok := o[name].(string)
	return s, ok && s != ""
}

// list is a claim that is a string or an array of strings, none of them empty.
func (o object) list(name string) ([]string, bool) {
	switch v := o[name].(type) {
	case string:
		return []string{v}, v != ""
	case []any:
		out := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok || s == "" {
				return nil, false
			}
			out[i] = s
		}
		return out, true
	}
	return nil, false
}

// instant is a claim in seconds since 1970 (NumericDate, RFC 7519 section 2).
// A second may have a fraction; the year must be one that clocks can show.
func (o object) instant(name string) (time.Time, bool) {
	n, ok := o[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f < 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// protocolClaims say something about the sign-in, not about the person.
var protocolClaims = map[string]bool{
	"iss": true, "aud": true, "exp": true, "iat": true, "nbf": true, "nonce": true, "azp": true, "jti": true,
	"at_hash": true, "c_hash": true, "s_hash": true, "sid": true, "auth_time": true, "acr": true, "amr": true,
	"_claim_names": true, "_claim_sources": true, "hasgroups": true,
}

// attributes are the claims about the person as texts. An object is flattened
// with dots, a number or boolean is its JSON text, null is silence and an
// empty text no value. groups is the name of the claim that access hangs on:
// it is a text or a list of texts, or everything is refused.
//
// email_verified becomes true only where it is the boolean true; any other value
// (also the text "true") is false.
func (o object) attributes(groups string) (map[string][]string, error) {
	out := map[string][]string{}
	for name, v := range o {
		if protocolClaims[name] {
			continue
		}
		if name == "email_verified" {
			v = v == true
		}
		if err := flatten(out, name, v, groups); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func flatten(out map[string][]string, name string, v any, groups string) error {
	if name == groups {
		if _, ok := (object{name: v}).list(name); !ok && v != "" {
			return federation.Refuse(federation.ReasonClaims, "the claim %s is neither a text nor a list of texts", name)
		}
	}
	if o, ok := v.(object); ok {
		for k, e := range o {
			if err := flatten(out, name+"."+k, e, groups); err != nil {
				return err
			}
		}
		return nil
	}
	if v == nil {
		return nil
	}
	if _, twice := out[name]; twice {
		return federation.Refuse(federation.ReasonClaims, "two claims come to the same name %s", brief(name))
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	values := []string{}
	for _, e := range list {
		s, err := scalar(e)
		if err != nil {
			return federation.Refuse(federation.ReasonClaims, "the claim %s: %w", brief(name), err)
		}
		if s != "" {
			values = append(values, s)
		}
	}
	out[name] = values
	return nil
}

// scalar is one value as text. What stands in a list and is itself a list or an
// object is its JSON, so that nothing is lost and nothing is guessed.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	raw, err := json.Marshal(v)
	return string(raw), err
}

// merge adds what userinfo says to what the ID token says. The ID token's word
// counts where both speak. Whether an address is verified is said about the
// address beside it, so email_verified of one document never goes with email of
// the other, unless the two addresses are equal.
func merge(token, userinfo map[string][]string) map[string][]string {
	out := maps.Clone(userinfo)
	if out == nil {
		out = map[string][]string{}
	}
	maps.Copy(out, token)
	own, other := token["email"], userinfo["email"]
	if slices.Equal(own, other) {
		return out
	}
	from := token
	if own == nil {
		from = userinfo
	}
	if v, ok := from["email_verified"]; ok {
		out["email_verified"] = v
	} else {
		delete(out, "email_verified")
	}
	return out
}

// within checks the limits.
func within(attrs map[string][]string) error {
	total := 0
	for name, values := range attrs {
		if len(values) > maxValues {
			return federation.Refuse(federation.ReasonTooMany, "%d values of %s, %d are accepted", len(values), brief(name), maxValues)
		}
		total += len(name)
		for _, v := range values {
			total += len(v)
		}
	}
	if total > maxTotal {
		return federation.Refuse(federation.ReasonTooMany, "%d bytes of attributes, %d are accepted", total, maxTotal)
	}
	return nil
}

// subject checks a text that will name a person for ever.
func subject(s string) error {
	switch {
	case s == "":
		return errors.New("is missing, empty or no text")
	case len(s) > maxSubject:
		return fmt.Errorf("is longer than %d bytes", maxSubject)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }):
		return errors.New("holds control characters")
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with space")
	}
	return nil
}

// overage reports whether the provider says that groups exist which it does not
// list here: _claim_names (OpenID Connect Core 5.6.2) names the claim, or
// hasgroups is true (Entra ID, in short tokens).
func (o object) overage(groups string) bool {
	if v, ok := o["hasgroups"]; ok && v != false && v != "false" {
		return true
	}
	names, _ := o["_claim_names"].(object)
	for n := range names {
		if strings.EqualFold(n, "groups") || strings.EqualFold(n, groups) {
			return true
		}
	}
	return false
}

// brief is a stranger's text made fit for a log line: one line of at most 200
// characters, no markup.
func brief(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > 200 {
			b.WriteString("…")
			break
		}
		switch {
		case r == '<' || r == '>' || r == '"' || r == '&' || !strconv.IsPrint(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
