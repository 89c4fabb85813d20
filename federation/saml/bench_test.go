package saml_test

import (
	"encoding/xml"
	"net/url"
	"strings"
	"testing"
	"time"

	crewjam "github.com/crewjam/saml"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// nineKiB makes an answer as long as that.
func nineKiB() idptest.IDPFault {
	pad := idptest.IDPAttribute("urn:oid:1.3.6.1.4.1.5923.1.1.1.7", "eduPersonEntitlement")
	for range 33 {
		pad.CreateElement("saml:AttributeValue").SetText("urn:mace:example.org:entitlement:" + strings.Repeat("x", 60))
	}
	return attributes(pad)
}

// BenchmarkFinish measures one answer of 9 KiB: signed as a whole, in both
// parts, and encrypted besides.
func BenchmarkFinish(b *testing.B) {
	for name, f := range map[string]idptest.IDPFault{
		"signed": {Sign: idptest.IDPSignResponse}, "both": {}, "encrypted": {Encryption: sealed256},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, withRSA)
			f.Policy = nineKiB().Policy
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

// What crewjam/saml takes to read the first of these answers, to compare with. It
// checks less: see doc.go.
func BenchmarkCrewjamReads(b *testing.B) {
	w := newWorld(b, withRSA)
	form, pending := w.answer(b, idptest.IDPFault{Sign: idptest.IDPSignResponse, Policy: nineKiB().Policy})
	raw := []byte(xmlOf(b, form))
	to, err := url.Parse(acs)
	if err != nil {
		b.Fatal(err)
	}
	sp := crewjam.ServiceProvider{EntityID: entity, AcsURL: *to, IDPMetadata: &crewjam.EntityDescriptor{}}
	if err := xml.Unmarshal(w.idp.Metadata(), sp.IDPMetadata); err != nil {
		b.Fatal(err)
	}
	crewjam.TimeNow = w.clock.now
	b.Cleanup(func() { crewjam.TimeNow = func() time.Time { return time.Now().UTC() } })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sp.ParseXMLResponse(raw, []string{pending.Keep["request"]}, *to); err != nil {
			b.Fatal(err, err.(*crewjam.InvalidResponseError).PrivateErr)
		}
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
