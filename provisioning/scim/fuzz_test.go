package scim_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// What is decoded is encoded so that it decodes to the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,"\u0000",{"b":null}],"c":{"d":1e3}}`, `{"a":1,"A":2}`, `{"a":"\ud800"}`, strings.Repeat(`{"a":`, 40), `{"a":1}x`, "{\"a\":\"\xff\"}", `{"\u2028":"\\\""}`, `{"a":-0.5E+10,"b":[true,false, 0]}`, `{"a":tru`, `{"a":1.}`, `{"a":-}`, `{"a":"\x"}`, `{"a":"\`, `{"a" 1}`, `{"a":[1 2]}`, `{"a":1,}`, "{\"a\":\"\x01\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := scim.Decode(data)
		if valid := json.Valid(data); err == nil && !valid || valid && err != nil && (strings.Contains(err.Error(), "not valid JSON") || strings.Contains(err.Error(), "too early")) {
			t.Fatalf("%q is valid JSON: %v, but %v", data, valid, err)
		}
		if err != nil {
			return
		}
		if !bytes.Contains(data, []byte("null")) && !bytes.Contains(data, []byte("[]")) { // which mean nothing in SCIM
			if a, b := plain(t, data), plain(t, o.AppendJSON(nil)); !cmp.Equal(a, b) {
				t.Fatalf("%q was understood otherwise:\n%s", data, cmp.Diff(a, b))
			}
		}
		again, err := scim.Decode(o.AppendJSON(nil))
		if err != nil || !again.Equal(o) {
			t.Fatalf("%s is written %s: %v", data, o.AppendJSON(nil), err)
		}
		if r, err := scim.UserType().New(o); err == nil {
			if !r.Clone().Equal(r) {
				t.Fatalf("a copy of %s differs", r.AppendJSON(nil))
			}
		}
	})
}

// plain is a message as encoding/json understands it.
func plain(t *testing.T, data []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
