package scim_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// What is decoded is encoded so that it decodes to the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,"\u0000",{"b":null}],"c":{"d":1e3}}`, `{"a":1,"A":2}`, `{"a":"\ud800"}`, strings.Repeat(`{"a":`, 40), `{"a":1}x`, "{\"a\":\"\xff\"}", `{"\u2028":"\\\""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := scim.Decode(data)
		if err != nil {
			return
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
