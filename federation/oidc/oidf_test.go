package oidc_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// oidf says, for each module of the OpenID Foundation's relying party
// conformance suite (oidcc-client-test-…), which test here makes the same
// promise, or why there is none.
var oidf = map[string]string{
	"":                                         "TestO01_HonestProvidersAreUnderstood",
	"idtoken-sig-rs256":                        "TestO01_HonestProvidersAreUnderstood",
	"client-secret-basic":                      "TestO44_ClientAuthenticationIsUnderstood",
	"scope-userinfo-claims":                    "TestProvider",
	"userinfo-bearer-header":                   "TestO01_HonestProvidersAreUnderstood",
	"userinfo-signed":                          "TestO01_HonestProvidersAreUnderstood",
	"userinfo-bearer-body":                     "the token goes in the header; RFC 6750 leaves the choice to the client",
	"kid-absent-single-jwks":                   "TestO01_HonestProvidersAreUnderstood",
	"missing-athash":                           "TestO01_HonestProvidersAreUnderstood",
	"nonce-unless-code-flow":                   "TestO12_NonceMustFit",
	"nonce-invalid":                            "TestO12_NonceMustFit",
	"discovery-openid-config":                  "TestO15_MetadataOfAnotherIssuerIsRefused",
	"discovery-jwks-uri-keys":                  "TestO01_HonestProvidersAreUnderstood",
	"discovery-issuer-mismatch":                "TestO15_MetadataOfAnotherIssuerIsRefused",
	"discovery-webfinger-acct":                 "providers are configured, not found by an address that a person types",
	"discovery-webfinger-url":                  "providers are configured, not found by an address that a person types",
	"dynamic-registration":                     "clients are registered by an administrator",
	"invalid-iss":                              "TestO02_WrongIssuerIsRefused",
	"invalid-aud":                              "TestO03_WrongAudienceIsRefused",
	"missing-aud":                              "TestO03_WrongAudienceIsRefused",
	"missing-sub":                              "TestO06_MissingClaimsAreRefused",
	"missing-iat":                              "TestO06_MissingClaimsAreRefused",
	"idtoken-sig-none":                         "TestO07_UnsignedIsRefused",
	"invalid-sig-hs256":                        "TestO08_HMACIsRefused",
	"invalid-sig-rs256":                        "TestO09_WrongSignatureIsRefused",
	"invalid-sig-es256":                        "TestO09_WrongSignatureIsRefused",
	"kid-absent-multiple-jwks":                 "TestO10_WithoutKidAnyPublishedKeyMayFit",
	"invalid-athash":                           "TestO13_HashesMustFitWherePresent",
	"invalid-chash":                            "TestO13_HashesMustFitWherePresent",
	"missing-chash":                            "TestO01_HonestProvidersAreUnderstood",
	"userinfo-invalid-sub":                     "TestO14_UserinfoAboutSomebodyElseIsRefused",
	"signing-key-rotation":                     "TestO16_KeyRotationIsFollowed",
	"signing-key-rotation-just-before-signing": "TestO16_KeyRotationIsFollowed",
	"form-post-error":                          "TestO28_FormPostAnswersAndErrors",
	"aggregated-claims":                        "TestDistributedClaimsAreSilence",
	"distributed-claims":                       "TestDistributedClaimsAreSilence",
	"mtls-endpoint-aliases":                    "there is no client authentication by certificate",
	"request-uri-signed-none":                  "requests are sent as parameters",
	"request-uri-signed-rs256":                 "requests are sent as parameters",
	"refresh-token":                            "refresh tokens are not asked for",
	"refresh-token-invalid-issuer":             "TestO33_NoRefreshCanNameSomebodyElse",
	"refresh-token-invalid-sub":                "TestO33_NoRefreshCanNameSomebodyElse",
	"rp-backchannel-rpinitlogout":              "TestO35_LogoutTokenIsUnderstood",
	"rp-backchannel-rpinitlogout-alg-none":     "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-no-event":     "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-with-nonce":   "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-wrong-alg":    "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-wrong-aud":    "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-wrong-event":  "TestO36_BadLogoutTokensAreRefused",
	"rp-backchannel-rpinitlogout-wrong-iss":    "TestO36_BadLogoutTokensAreRefused",
	"rp-frontchannel-opinitlogout":             "logout by frames of the provider's page needs cookies that browsers do not send there; the back channel is built",
	"rp-frontchannel-rpinitlogout":             "logout by frames of the provider's page needs cookies that browsers do not send there; the back channel is built",
	"rp-init-logout":                           "TestO43_SignOutComesBackWithItsOwnState",
	"rp-init-logout-no-state":                  "TestO43_SignOutComesBackWithItsOwnState",
	"rp-init-logout-other-state":               "TestO43_SignOutComesBackWithItsOwnState",
	"session-management":                       "needs frames with scripts of the provider",
}

func TestOIDFModulesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	if n := len(oidf); n != 56 {
		t.Errorf("%d modules, the suite has 56", n)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				there[fn.Name.Name] = true
			}
		}
	}
	for module, test := range oidf {
		if strings.HasPrefix(test, "Test") && !there[test] {
			t.Errorf("oidcc-client-test-%s: there is no %s", module, test)
		}
	}
}
