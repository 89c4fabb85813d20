package saml_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// dsa is a certificate around a DSA key, which nothing in Go makes any more.
const dsa = "MIIC0jCCAn+gAwIBAgIUXW7hkJ+6Ef16LDMOuxpa8FmNkSIwCwYJYIZIAWUDBAMCMAwxCjAIBgNVBAMMAWQwIBcNMjYxMTIyMTM1ODU4WhgPMjEyNjEwMjkxMzU4NThaMAwxCjAIBgNVBAMMAWQwggHAMIIBNAYHKoZIzjgEATCCAScCgYEA1PPf6ojD2aLgGWhjt9fUmVle9bmkvWU9DSPkZvfLYfzgMonIhJanNDnCVrKjvvBN7tggNxd8u0rixbkaYHuv+Upz4sm1EVtBA81xVpN87nOYcL/jiFSIdYBU9tfaPY7pnTCXEs+/zJ4Do2bosvmeecMdvQn9MfwvQ9Klu3bFAm8CHQDEwAot/Ogw8THuLzrn/iOXutlGJ4EAc0V62n7HAoGBAJJfBSyF0hWKHM8QxJ2vVkRwLDKbJHP4GqryuB+IjO9xUYWh/jEYABf/jYWFhPi5hjsEPnb+hEq0pgG+ItBy6RrOINIvekrttndbeaZ1/TZg74iE9A+cOmp+yjdLryHIHHsjAo3QlKaEUZMsr8KiUWHQCbDu5pB/2O6Hitm00ED6A4GFAAKBgQCfN5R1MI4dh8i1nfyjmIq4EwHHwlj076iceQrAALTEi1QNiT26OPvoseZLKpm95r9a2zc5qCDYYzYx1QalC+KqX2Uyq6K4S1UCxK9vPR/6YrzENR3fxxKmOagZIb08NhgpRP82dt234Oid0exfwv8yH7oamzgmn+lo58UWUs/Dk6NTMFEwHQYDVR0OBBYEFM1MknY5rcbsWW95svBcVieUj+leMB8GA1UdIwQYMBaAFM1MknY5rcbsWW95svBcVieUj+leMA8GA1UdEwEB/wQFMAMBAf8wCwYJYIZIAWUDBAMCA0AAMD0CHEx+n/CN97YJ3GJBthBuLQOluE5RRV2DHrZQVdkCHQCP0PWglZ+JeuTqHkNfdZ2Aa2LD8y/kK60dtYL4"

// A11: a certificate that is odd, or costs much to look at, is worth nothing, and a
// good one beside it counts; without one the metadata is refused, and the last good
// stays.
func TestA11_OddCertificatesAreWorthNothing(t *testing.T) {
	t.Parallel()
	made := func(pub, priv any, change func(*x509.Certificate)) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "odd"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
		if change != nil {
			change(c)
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, pub, priv)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	of := func(key crypto.Signer, change func(*x509.Certificate)) []byte { return made(key.Public(), key, change) }
	elliptical := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	good := elliptical(elliptic.P256())
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(dsa)
	if err != nil {
		t.Fatal(err)
	}
	whole := of(good, nil)
	for name, der := range map[string][]byte{
		"of DSA":                     raw,
		"of RSA with 1024 bits":      of(small, nil),
		"of ECDSA with 224 bits":     of(elliptical(elliptic.P224()), nil),
		"of Ed25519":                 of(edwards, nil),
		"with a negative serial":     bytes.Replace(whole, []byte{2, 1, 7}, []byte{2, 1, 0x87}, 1),
		"cut short":                  whole[:len(whole)-9],
		"with something behind it":   append(bytes.Clone(whole), 0),
		"of nothing":                 {},
		"of a length that is a lie":  {0x30, 0x84, 0xff, 0xff, 0xff, 0xff},
		"with a point off its curve": bytes.Replace(whole, ecdsaPoint(t, good)[1:5], []byte{1, 2, 3, 4}, 1),
		"nested ten thousand deep":   bytes.Repeat([]byte{0x30, 0x80}, 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := fromURL(t)
			w.accepted(t, idptest.IDPFault{})
			theirs := w.idp.Metadata()
			text := "<ds:X509Certificate>" + base64.StdEncoding.EncodeToString(der) + "</ds:X509Certificate>"
			certificate := regexp.MustCompile(`<(\w+:)?X509Certificate>[^<]*</(\w+:)?X509Certificate>`)
			one := certificate.FindString(string(theirs))
			if one == "" {
				t.Fatalf("no certificate in %s", theirs)
			}
			prefix, _, _ := strings.Cut(one[1:], "X509Certificate>")
			text = strings.ReplaceAll(text, "ds:", prefix)

			s.gives([]byte(certificate.ReplaceAllLiteralString(string(theirs), text)))
			w.clock.advance(time.Hour)
			if err := w.sp.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "no usable signing key") {
				t.Errorf("alone: %v", err)
			}
			w.accepted(t, idptest.IDPFault{})

			s.gives([]byte(strings.Replace(string(theirs), one, text+one, 1)))
			w.clock.advance(time.Hour)
			if err := w.sp.Refresh(t.Context()); err != nil {
				t.Errorf("beside a good one: %v", err)
			}
			w.accepted(t, idptest.IDPFault{})
		})
	}
	// Ten thousand names are many, and no reason to refuse a key.
	t.Run("with ten thousand names", func(t *testing.T) {
		t.Parallel()
		w, s := fromURL(t)
		der := of(good, func(c *x509.Certificate) {
			for i := range 10_000 {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("n%d.test", i))
			}
		})
		certificate := regexp.MustCompile(`(X509Certificate>)[^<]*(</)`)
		s.gives([]byte(certificate.ReplaceAllString(string(w.idp.Metadata()), "${1}"+base64.StdEncoding.EncodeToString(der)+"${2}")))
		w.clock.advance(time.Hour)
		if err := w.sp.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// ecdsaPoint is a public key as it stands in a certificate.
func ecdsaPoint(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	raw, err := key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
