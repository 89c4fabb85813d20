package saml

import (
	"bytes"
	"strings"
	"testing"

	validator "github.com/mattermost/xml-roundtrip-validator"
	"pgregory.net/rapid"
)

func TestSurvivesSaysWhatTheRoundTripValidatorSays(t *testing.T) {
	t.Parallel()
	parts := []string{
		"<a>", "</a>", "<a/>", "<x:a y:b='1'>", "<x::a>", "<:a>", "<a :b='1'>", "<a xmlns='u'>", "<a xmlns:x='u'>", "<a b='&lt;'>", "</x:a>",
		"text", "&amp;", "&#10;", "]]>", "<![CDATA[x]]>", "<!-- c -->", "<!-- - -->", "<!x <!-- - -->->", "<!DOCTYPE a>", "<?p i?>", "<?xml version='1.0'?>", "\r", " ", "<", "é", "\x00", "\xff",
	}
	same, different := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		doc := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 12).Draw(t, "parts"), ""))
		want, got := validator.Validate(bytes.NewReader(doc)), survives(doc)
		if (want == nil) != (got == nil) {
			t.Fatalf("%q: %v, the validator says %v", doc, got, want)
		}
		if got == nil {
			same++
		} else {
			different++
		}
	})
	if same == 0 || different == 0 {
		t.Errorf("%d survive, %d do not: nothing is shown", same, different)
	}
}
