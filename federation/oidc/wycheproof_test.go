package oidc

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// vectors is a file of testdata/jose: Wycheproof's tests of JSON Web Signatures
// and Keys, Apache-2.0, see LICENSE there.
type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment         string
		Private, Public json.RawMessage
		Tests           []struct {
			TcID    int
			Comment string
			JWS     json.RawMessage
			Result  string
			Flags   []string
		}
	}
}

// publish is a key or key set as a provider would publish it.
func publish(t *testing.T, raw json.RawMessage) []json.RawMessage {
	t.Helper()
	var one map[string]any
	if err := json.Unmarshal(raw, &one); err != nil {
		t.Fatal(err)
	}
	list, ok := one["keys"].([]any)
	if !ok {
		list = []any{one}
	}
	var out []json.RawMessage
	for _, e := range list {
		k := e.(map[string]any)
		if k["kty"] != "oct" {
			for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi"} {
				delete(k, secret)
			}
		}
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestO46_WycheproofAcceptsNothingInvalid(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]struct {
		tests int // in the file
		// Signatures accepted. The other valid ones are by HMAC, by a key that is
		// for another algorithm than the header's, or have a header that is not
		// base64url; encryption is no signature.
		accepted int
	}{
		"json_web_signature_test.json": {tests: 401, accepted: 32},
		"json_web_key_test.json":       {tests: 26, accepted: 1},
		"json_web_crypto_test.json":    {tests: 83, accepted: 2},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join("testdata", "jose", file))
			if err != nil {
				t.Fatal(err)
			}
			var v vectors
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			seen, accepted := 0, 0
			for _, g := range v.TestGroups {
				source := g.Public
				if source == nil {
					source = g.Private
				}
				keys := publish(t, source)
				p, err := New(Config{
					ID: "w", Issuer: "https://w.example", ClientID: "c", Secret: "s", RedirectURL: "https://gate.example/cb",
					Algorithms: possibleAlgorithms, Now: time.Now,
				})
				if err != nil {
					t.Fatal(err)
				}
				p.keys.fetch = func(context.Context) ([]jose.JSONWebKey, error) { return usableKeys(keys) }
				for _, tt := range g.Tests {
					seen++
					var jws string
					if json.Unmarshal(tt.JWS, &jws) != nil {
						jws = string(tt.JWS) // as an object, or not a signature at all
					}
					_, _, err := p.signed(t.Context(), jws, "jwt")
					switch {
					case err == nil && tt.Result == "invalid":
						t.Errorf("%s, test %d (%s, %v): accepted", g.Comment, tt.TcID, tt.Comment, tt.Flags)
					case err == nil:
						accepted++
					}
				}
			}
			if seen != want.tests || seen != v.NumberOfTests {
				t.Errorf("%d tests in the file, want %d", seen, want.tests)
			}
			if accepted != want.accepted {
				t.Errorf("positive control: %d valid signatures accepted, want %d", accepted, want.accepted)
			}
		})
	}
}
