package saml_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// BenchmarkFinish measures one answer of 9 KiB: signed as a whole, in both
// parts, and encrypted besides.
func BenchmarkFinish(b *testing.B) {
	pad := idptest.IDPAttribute("urn:oid:1.3.6.1.4.1.5923.1.1.1.7", "eduPersonEntitlement")
	for range 33 {
		pad.CreateElement("saml:AttributeValue").SetText("urn:mace:example.org:entitlement:" + strings.Repeat("x", 60))
	}
	for name, f := range map[string]idptest.IDPFault{
		"signed": {Sign: idptest.IDPSignResponse}, "both": {}, "encrypted": {Encryption: sealed256},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, withRSA)
			f.Policy = attributes(pad).Policy
			form, pending := w.answer(b, f)
			b.ReportMetric(float64(len(xmlOf(b, form))), "bytes")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.sp.Finish(post(b, form), pending); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBegin(b *testing.B) {
	w := newWorld(b, withRSA)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := w.sp.Begin(b.Context(), federation.Login{}); err != nil {
			b.Fatal(err)
		}
	}
}
