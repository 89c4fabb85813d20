package configs

import "regexp"

// notYet are things that have a place in the file and are not built: naming
// one is refused in one sentence, not ignored. What gets built loses its line.
// A path may hold [] for any index.
var notYet = []struct{ path, what, cure string }{
	{"identity_providers[].scopes", "scopes of attribute values, and from-metadata, are not built yet", "remove the line; drop foreign values with an expression in attributes"},
	{"identity_providers[].saml.metadata.mdq", "metadata by query (MDQ) is not built yet", "write url or file with one identity provider's metadata"},
	{"targets[].spml", "the connector spml is not built yet", "use scim2"},
	{"targets[].soap", "the connector soap is not built yet", "use scim2"},
	{"targets[].google", "the connector google is not built yet", "use scim2 with profile: google"},
	{"targets[].salesforce", "the connector salesforce is not built yet", "use scim2 with profile: salesforce"},
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// notYetAt finds the sentence for a path.
func notYetAt(at where) (what, cure string, ok bool) {
	path := index.ReplaceAllString(string(at), "[]")
	for _, n := range notYet {
		if n.path == path {
			return n.what, n.cure, true
		}
	}
	return "", "", false
}

// refusedChoice are words that people try, behind their key, and that are
// refused for a reason.
var refusedChoice = map[string]string{
	"same_site none":      "that would send the session along with requests that other sites cause: write lax or strict",
	"auth_method none":    "the gateway is no public client: write client_secret_basic, client_secret_post or private_key_jwt",
	"algorithms none":     "an unsigned token says nothing: write RS256, ES256 or EdDSA",
	"algorithms HS256":    "a shared secret can not sign ID tokens here: write RS256, ES256 or EdDSA",
	"algorithms HS384":    "a shared secret can not sign ID tokens here: write RS256, ES256 or EdDSA",
	"algorithms HS512":    "a shared secret can not sign ID tokens here: write RS256, ES256 or EdDSA",
	"binding artifact":    "the artifact binding is not built: write redirect or post",
	"groups_overage keep": "more groups than fit are never read as those that were known: write refuse or fetch",
}
