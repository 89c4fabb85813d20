package saml

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/beevik/etree"
	validator "github.com/mattermost/xml-roundtrip-validator"
	"pgregory.net/rapid"
)

// oddParts are what documents can be made of, many of them well-formed.
var oddParts = []string{
	"<a>", "</a>", "<a/>", "<x:a y:b='1'>", "<x:a y:b='1'/>", "<x:a x:xmlns='1' xml:id='2'/>", "<y:y xmlns:y='urn:z' y:y='&#9;&#10;&quot;é'/>",
	"<x::a>", "<:a>", "<a :b='1'>", "<a :b='1'/>", "<a xmlns='u:u'/>", "<a xmlns:z='u:u' z:a='1' x:a='2'/>", "<a b='&lt;'/>", "<a b=1/>", "<a b/>", "</x:a>",
	"text", "&amp;&lt;&gt;&apos;", "&#10;", "&#13;", "&odd;", "]]>", "<![CDATA[x]]>", "<![CDATA[]]>", "<![CDATA[<&]]>", "<!-- c -->", "<!-- - -->", "<!---->",
	"<!x <!-- - -->->", "<!DOCTYPE a>", "<?p i?>", "\r\n", "\r", " ", "\t", "<", "é", "\u2028", "\x00", "\xff",
}

func TestWhatIsLoadedIsWhatTheRoundTripValidatorLetsPass(t *testing.T) {
	tags := &tokenSet{} // of all documents, as a provider has them
	loads := func(t interface{ Fatalf(string, ...any) }, head, inner string) (scanned, loaded bool) {
		b := []byte(head + "<r xmlns:x='urn:x' xmlns:y='urn:y'>" + inner + "</r>")
		doc, err := read(b, maxMessage)
		if err != nil {
			return false, false
		}
		want, got := validator.Validate(bytes.NewReader(b)), doc.load(tags)
		if (want == nil) != (got == nil) {
			t.Fatalf("%q: %v, the validator says %v", b, got, want)
		}
		if got != nil {
			return true, false
		}
		tree := etree.NewDocument()
		tree.ReadSettings.PreserveDuplicateAttrs = true
		if err := tree.ReadFromBytes(b); err != nil {
			t.Fatalf("%q: etree says %v", b, err)
		}
		want1, err1 := etree.NewDocumentWithRoot(tree.Root().Copy()).WriteToString()
		got1, err2 := etree.NewDocumentWithRoot(doc.tree.Copy()).WriteToString()
		if err1 != nil || err2 != nil || got1 != want1 {
			t.Fatalf("%q became %q, %v; etree makes of it %q, %v", b, got1, err2, want1, err1)
		}
		return true, true
	}
	passed, refused := 0, 0
	for _, one := range oddParts {
		for _, other := range oddParts {
			switch scanned, loaded := loads(t, "", one+other); {
			case loaded:
				passed++
			case scanned:
				refused++
			}
		}
	}
	if passed == 0 || refused == 0 {
		t.Errorf("%d pass, %d do not: nothing is shown", passed, refused)
	}
	heads := []string{"", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-8'?>\n", "<?xml version='1.0' encoding='latin1'?>"}
	rapid.Check(t, func(t *rapid.T) {
		inner := rapid.SliceOfN(rapid.SampledFrom(oddParts), 0, 8).Draw(t, "parts")
		loads(t, rapid.SampledFrom(heads).Draw(t, "head"), strings.Join(inner, ""))
	})
}

func TestOrdinaryTextSurvives(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for _, text := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c)}), string([]byte{byte(c), byte(c), '>'})} {
			if ordinary([]byte(text)) && validator.CheckToken(xml.CharData(text)) != nil {
				t.Errorf("%q does not survive", text)
			}
		}
	}
	if ordinary(nil) {
		t.Error("nothing is ordinary, and does not survive")
	}
}
