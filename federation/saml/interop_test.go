package saml_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/google/go-cmp/cmp"
)

const samlp = "testdata/samlp"

func pemOf(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(samlp, file))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is not PEM", file)
	}
	return block.Bytes
}

// What npm samlp answered, which encrypts with AES-256-GCM if nobody says
// otherwise.
func TestAnswersOfSamlpAreAccepted(t *testing.T) {
	t.Parallel()
	private, err := x509.ParsePKCS8PrivateKey(pemOf(t, "sp.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pemOf(t, "sp.crt"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 0, 29, 0, 0, time.UTC)
	// samlp puts http addresses of this machine into its metadata.
	p, err := saml.New(saml.Config{
		ID: "samlp", EntityID: "https://gate.example/metadata", ACSURL: "https://gate.example/acs",
		InsecureUnsignedRequests: true, Decryption: []saml.Key{{Private: private.(*rsa.PrivateKey), Certificate: cert}},
		Metadata: saml.Metadata{File: filepath.Join(samlp, "metadata.xml")}, Subject: []string{saml.UnspecifiedNameID},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	pending := federation.Pending{State: "state", Began: now, Keep: map[string]string{"request": "_vector"}}
	finish := func(raw []byte) (federation.Identity, error) {
		return p.Finish(post(t, url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(raw)}, "RelayState": {"state"}}), pending)
	}
	for _, file := range []string{"plain-both.xml", "aes256-assertion.xml", "aes256-response.xml", "aes128-response.xml"} {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(samlp, file))
			if err != nil {
				t.Fatal(err)
			}
			id, err := finish(raw)
			if err != nil {
				t.Fatal(err)
			}
			if want := (federation.Ref{Issuer: "http://127.0.0.1:19411/metadata", Subject: "ada"}); id.Ref != want {
				t.Errorf("Ref = %v, want %v", id.Ref, want)
			}
			for key, want := range map[string][]string{
				"mail": {"ada@example.org"}, "givenName": {"Ada"}, "sn": {"Lovelace"}, "http://schemas.passportjs.com/groups": {"staff", "math"},
			} {
				if diff := cmp.Diff(want, id.Attributes[key]); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
			// One letter of it changed, wherever it may be, is noticed.
			text := string(raw)
			for _, word := range []string{"_vector", "status:Success", "CipherValue>", "ada</", "https://gate.example/metadata"} {
				i := strings.Index(text, word)
				if i < 0 {
					continue
				}
				b := []byte(text)
				if at := i + len(word); word == "CipherValue>" {
					b[at+40] ^= 1
				} else {
					b[i+1] ^= 1
				}
				id, err := finish(b)
				if err == nil {
					t.Fatalf("with %s changed it is accepted as %v", word, id.Ref)
				}
				isRefusal(t, id, err)
			}
		})
	}
}
