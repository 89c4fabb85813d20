package scim2

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Profile is what is known of a kind of target that does less, or other, than
// RFC 7644 says. The zero Profile is a target that does what it says that it can.
type Profile struct {
	Update   Update
	PageSize int // the most that a page has; 0: 100
	// NoUsersRemoved: DELETE only disables an account.
	NoUsersRemoved bool
	// MissingIs400: a resource that is not there is answered with 400, not 404.
	MissingIs400 bool
	// BareDelete: DELETE is refused if it says what it accepts as an answer.
	BareDelete bool
	// PluralConfig: what the target can do is under /ServiceProviderConfigs.
	PluralConfig bool
	// SingleValues: an attribute with several values takes one.
	SingleValues bool
	// MembersByValue: members are taken out by a list of values, not by a filter.
	MembersByValue bool
	// NewPassword: an account is created with a password, which nobody gets to know.
	NewPassword bool
	// Nicknames: accounts and groups are created with Entra's own attributes.
	Nicknames bool
	// Needs are the paths without which no account is created.
	Needs []string
}

// Profiles by the names that a configuration has for them.
var Profiles = map[string]Profile{
	"generic": {},
	"entra":   {Update: Patch, MissingIs400: true, BareDelete: true, NewPassword: true, Nicknames: true, Needs: []string{"displayName"}},
	"aws":     {Update: Patch, SingleValues: true, MembersByValue: true, PageSize: 100, Needs: []string{"displayName", "name.givenName", "name.familyName"}},
	"google":  {Update: Patch},
	"salesforce": {Update: Patch, NoUsersRemoved: true, PluralConfig: true,
		Needs: []string{"name.familyName", `emails[type eq "work"].value`, "entitlements.value"}},
	"slack":    {Update: Patch, NoUsersRemoved: true, PluralConfig: true, Needs: []string{`emails[type eq "work"].value`}},
	"keycloak": {PageSize: 100},
	"wso2":     {NewPassword: true},
}

// Lacks names what an account can not do without and these paths do not have.
func (p Profile) Lacks(paths []string) (missing []string) {
	for _, need := range p.Needs {
		base, _, _ := strings.Cut(need, "[")
		base, _, _ = strings.Cut(base, ".value")
		if !slices.ContainsFunc(paths, func(path string) bool {
			return strings.EqualFold(path, need) || need != base && len(path) >= len(base) && strings.EqualFold(path[:len(base)], base)
		}) {
			missing = append(missing, need)
		}
	}
	return missing
}

// dress makes requests look as the target wants them.
func (p Profile) dress(auth func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		if auth != nil {
			auth(r)
		}
		if p.BareDelete && r.Method == http.MethodDelete {
			r.Header.Del("Accept")
		}
		if p.PluralConfig && strings.HasSuffix(r.URL.Path, "/ServiceProviderConfig") {
			r.URL.Path += "s"
			r.URL.RawPath = ""
		}
	}
}

// Caps is what an account can not, by the target's kind.
func (c *Connector) Caps() connector.Caps { return connector.Caps{NoRemove: c.profile.NoUsersRemoved} }

// Entra's own schemas.
const (
	entraUser  = "urn:ietf:params:scim:schemas:extension:Microsoft:Entra:2.0:User"
	entraGroup = "urn:ietf:params:scim:schemas:extension:Microsoft:Entra:2.0:Group"
)

// complete adds to a User that is to be created what the target wants besides.
func (p Profile) complete(o *scim.Object) {
	if p.NewPassword {
		// 130 bits, and a character of every kind that rules for passwords ask for.
		o.Set("password", rand.Text()+"-a7Z")
	}
	if p.Nicknames {
		o.Set(entraUser, scim.NewObject("mailNickname", nickname(o.String("userName"))))
	}
}

// completeGroup is complete for a group.
func (p Profile) completeGroup(o *scim.Object) {
	if p.Nicknames {
		o.Set("schemas", append(slices.Clone(o.List("schemas")), entraGroup))
		o.Set(entraGroup, scim.NewObject("mailEnabled", false, "mailNickname", nickname(o.String("displayName")), "securityEnabled", true))
	}
}

// nickname is what of a name can be the local part of a mail address.
func nickname(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r)) {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 64)]
}

// fits reports why the target would not take what an account is to have.
func (p Profile) fits(rt *scim.ResourceType, o *scim.Object) error {
	if !p.SingleValues {
		return nil
	}
	for name := range maps.Collect(o.All()) {
		if a := rt.Attribute(name); a != nil && a.MultiValued && a.Name != "schemas" && len(o.List(name)) > 1 {
			return &connector.Error{Class: connector.Invalid, Text: fmt.Sprintf("%s: this target takes one value, and there are %d", name, len(o.List(name)))}
		}
	}
	return nil
}
