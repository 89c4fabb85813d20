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

// documents are of parts that are odd, many of them well-formed.
var documents = rapid.Custom(func(t *rapid.T) []byte {
	parts := []string{
		"<a>", "</a>", "<a/>", "<x:a y:b='1'>", "<x:a y:b='1'/>", "<x:a x:xmlns='1' xml:id='2'/>", "<y:y xmlns:y='urn:z' y:y='&#9;&#10;&quot;é'/>",
		"<x::a>", "<:a>", "<a :b='1'>", "<a :b='1'/>", "<a xmlns='u:u'/>", "<a xmlns:z='u:u' z:a='1' x:a='2'/>", "<a b='&lt;'/>", "<a b=1/>", "<a b/>", "</x:a>",
		"text", "&amp;&lt;&gt;&apos;", "&#10;", "&#13;", "&odd;", "]]>", "<![CDATA[x]]>", "<![CDATA[]]>", "<![CDATA[<&]]>", "<!-- c -->", "<!-- - -->", "<!---->",
		"<!x <!-- - -->->", "<!DOCTYPE a>", "<?p i?>", "\r\n", "\r", " ", "\t", "<", "é", "\u2028", "\x00", "\xff",
	}
	inner := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 8).Draw(t, "parts"), "")
	head := rapid.SampledFrom([]string{"", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-8'?>\n", "<?xml version='1.0' encoding='latin1'?>"}).Draw(t, "head")
	return []byte(head + "<r xmlns:x='urn:x' xmlns:y='urn:y'>" + inner + "</r>")
})

func TestWhatIsLoadedIsWhatTheRoundTripValidatorLetsPass(t *testing.T) {
	passed, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		b := documents.Draw(t, "document")
		doc, err := read(b, maxMessage)
		if err != nil {
			return
		}
		want, got := validator.Validate(bytes.NewReader(b)), doc.load()
		if (want == nil) != (got == nil) {
			t.Fatalf("%q: %v, the validator says %v", b, got, want)
		}
		if got != nil {
			refused++
			return
		}
		passed++
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
	})
	if passed == 0 || refused == 0 {
		t.Errorf("%d pass, %d do not: nothing is shown", passed, refused)
	}
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
