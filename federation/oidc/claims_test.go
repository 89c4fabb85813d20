package oidc

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// plain is a decoded value as encoding/json would give it.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := map[string]any{}
		for k, e := range v {
			m[k] = plain(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = plain(e)
		}
		return l
	}
	return v
}

// FuzzDecode: what is accepted, encoding/json reads the same; no name is there
// twice; and claims made of it neither panic nor exceed the limits.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":1,"A":2}`, `{"a":{"b":[1,"x",null,true,{"c":1e400}]}}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"a":"\\ud800"}`,
		`[]`, `null`, `{"a":1}{}`, `{"groups":["a"],"sub":"x","_claim_names":{"groups":"s"}}`, `{"email":"a","email_verified":"true"}`, strings.Repeat("[", 50),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decode(data)
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("accepted, but encoding/json says %v", err)
		}
		if got := plain(o); !reflect.DeepEqual(got, any(want)) {
			t.Fatalf("read differently: %s", cmp.Diff(want, got))
		}
		o.overage("groups")
		attrs, err := o.attributes("groups")
		if err != nil || within(attrs) != nil {
			return
		}
		for name, values := range attrs {
			for _, v := range values {
				if v == "" || !utf8.ValidString(v) {
					t.Fatalf("%q has the value %q", name, v)
				}
			}
		}
	})
}

func FuzzBrief(f *testing.F) {
	f.Add("<script>")
	f.Add(strings.Repeat("é", 500))
	f.Add("a\r\nb\x00\u2028c\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := brief(s)
		if len([]rune(got)) > 201 || strings.ContainsAny(got, "<>\"&\r\n\x00\u2028\u202e") || !utf8.ValidString(got) {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestDecodeReadsEscapesWhole(t *testing.T) {
	t.Parallel()
	for in, good := range map[string]bool{
		`{"a":"\ud83d\ude00"}`: true, `{"a":"\\ud800"}`: true, `{"a":"\\\\ud800"}`: true, `{"a":"\u00e9\n"}`: true, `{"a":"\uD83D\uDE00"}`: true,
		`{"a":"\ud83d"}`: false, `{"a":"\ud83dx"}`: false, `{"a":"\ud83d\n"}`: false, `{"a":"\ud83d\ud83d"}`: false, `{"a":"\ude00"}`: false, `{"a":"\\\ud800"}`: false,
		`{"\ud800":1}`: false, `{"a":"\u12"}`: false, `{"a":"\uzzzz"}`: false,
	} {
		if _, err := decode([]byte(in)); (err == nil) != good {
			t.Errorf("%s: %v", in, err)
		}
	}
}
