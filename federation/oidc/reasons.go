package oidc

// Reason codes of this package. Those that OpenID Connect shares with SAML are
// in package federation.
const (
	ReasonToken         = "oidc.token"
	ReasonAlgorithm     = "oidc.algorithm"
	ReasonSignature     = "oidc.signature"
	ReasonIssuer        = "oidc.issuer"
	ReasonAudience      = "oidc.audience"
	ReasonAZP           = "oidc.azp"
	ReasonNonce         = "oidc.nonce"
	ReasonExpired       = "oidc.expired"
	ReasonIssuedAt      = "oidc.issued_at"
	ReasonHash          = "oidc.hash"
	ReasonIssParam      = "oidc.iss_param"
	ReasonTokenEndpoint = "oidc.token_endpoint"
	ReasonUserInfo      = "oidc.userinfo"
	ReasonOverage       = "oidc.groups_overage"
	ReasonLogout        = "oidc.logout_token"
)

// Reasons says what each code of this package means, in one sentence for an
// administrator. The reference table is made from it.
var Reasons = map[string]string{
	ReasonToken:         "The identity provider gave no ID token, or one that is not a plain signed JWT.",
	ReasonAlgorithm:     "The ID token is signed with an algorithm that is not on this provider's list.",
	ReasonSignature:     "No key that the identity provider publishes fits the ID token's signature.",
	ReasonIssuer:        "The ID token was issued by somebody else than the configured issuer; the two must be equal to the last byte.",
	ReasonAudience:      "The ID token was issued for another client.",
	ReasonAZP:           "The ID token is for several clients and does not say that it was issued to this one.",
	ReasonNonce:         "The ID token belongs to another sign-in.",
	ReasonExpired:       "The ID token has expired, or does not say when it does.",
	ReasonIssuedAt:      "The ID token is from the future, or does not say when it was issued; compare the clocks.",
	ReasonHash:          "The ID token belongs to another access token or code than the one it came with.",
	ReasonIssParam:      "The answer does not come from the identity provider that was asked (RFC 9207).",
	ReasonTokenEndpoint: "The identity provider did not accept the code, or this gateway's client secret or key.",
	ReasonUserInfo:      "The identity provider's userinfo answer can not be used, or is about another person.",
	ReasonOverage:       "The person is in more groups than the identity provider puts into its answer, and fetching them is not configured.",
	ReasonLogout:        "The identity provider's logout token is none: it names nobody, could be used again, or is another kind of token.",
}
