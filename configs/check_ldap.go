package configs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// ldapServer wants TLS where a password goes over a network.
func (k *checker) ldapServer(at where, s LDAPServer) {
	if s.URL == "" {
		return
	}
	u := s.URL.URL()
	bind, secret := k.has(at.key("bind")), k.has(at.key("password"))
	switch {
	case bind != secret:
		k.say(at, "server has only one of bind and password", "write both, or neither to read what anybody may read")
	case u.Scheme == "ldaps" && s.StartTLS:
		k.say(at.key("start_tls"), "ldaps is TLS already", "remove the line, or write an ldap address")
	case u.Scheme == "ldap" && !s.StartTLS && bind && !s.InsecurePlain && !isLoopback(u.Hostname()):
		k.say(at.key("url"), "the password would go over the network in the clear", "write an ldaps address, or add start_tls: true")
	}
	k.allowed(at.key("url"), u)
}

var (
	ldapName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	ldapEntry = regexp.MustCompile(`^\s*[A-Za-z0-9.-]+\s*=.`)
)

// ldapNames checks names of attributes and classes.
func (k *checker) ldapNames(at where, names map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if n := names[key]; n != "" && !ldapName.MatchString(n) {
			k.say(at.key(key), fmt.Sprintf("%q is no name of an attribute or class of a directory", n), "write one such as uid")
		}
	}
}

// ldapEntries checks distinguished names; whether they can be read is seen when they are used.
func (k *checker) ldapEntries(at where, names map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if n := names[key]; n != "" && !ldapEntry.MatchString(n) {
			k.say(at.key(key), fmt.Sprintf("%q is no distinguished name", n), "write one such as ou=people,dc=uni,dc=example")
		}
	}
}

func (k *checker) ldapTarget(at where, l LDAPTarget) {
	k.ldapServer(at.key("server"), l.Server)
	k.ldapEntries(at, map[string]string{"base": l.Base})
	k.ldapNames(at, map[string]string{"naming": l.Naming, "user_name": l.UserName, "external_id": l.ExternalID})
	for i, c := range l.Classes {
		k.ldapNames(at.key("classes").index(i), map[string]string{"": c})
	}
	ad := l.Kind == "active-directory"
	if ad && l.Server.URL != "" && l.Server.URL.URL().Scheme == "ldap" && !l.Server.StartTLS {
		k.say(at.key("server").key("url"), "Active Directory takes passwords over TLS alone, and has no account without one", "write an ldaps address, or add start_tls: true")
	}
	if !ad && l.UPNSuffix != "" {
		k.say(at.key("upn_suffix"), "only Active Directory has user principal names", "remove the line, or write kind: active-directory")
	}
	d, off := l.Disable, at.key("disable")
	k.ldapNames(off, map[string]string{"attribute": d.Attribute})
	k.ldapEntries(off, map[string]string{"move_to": d.MoveTo})
	switch {
	case !k.has(off):
	case k.has(off.key("attribute")) == k.has(off.key("move_to")):
		k.exactlyOne(off, "disable", "attribute", "move_to")
	case k.has(off.key("attribute")) && d.Off == "":
		k.say(off.key("attribute"), "nothing says which value disables", "add off, such as off: \"000001010000Z\" of pwdAccountLockedTime")
	}
	if g := l.Groups; g != nil {
		k.ldapEntries(at.key("groups"), map[string]string{"base": g.Base, "placeholder": g.Placeholder})
		k.ldapNames(at.key("groups"), map[string]string{"external_id": g.ExternalID})
	}
}

func (k *checker) ldapSource(at where, l LDAPSource) {
	k.ldapServer(at.key("server"), l.Server)
	k.ldapEntries(at, map[string]string{"base": l.Base})
	for name, m := range l.Attributes {
		p := at.key("attributes").key(name)
		k.mapped(p, name, m)
		if m.Ask {
			k.say(p.key("ask"), "people of a directory are not there to be asked", "remove the line")
		}
		if m.Absent == "keep" {
			k.say(p.key("absent"), "what an entry has not is taken back: a directory tells all of it", "remove the line")
		}
	}
	if g := l.Groups; g != nil {
		k.ldapEntries(at.key("groups"), map[string]string{"base": g.Base})
		k.ldapNames(at.key("groups"), map[string]string{"name": g.Name, "member": g.Member})
	}
	switch ad := l.Kind == "active-directory"; {
	case ad && l.Changes == "syncrepl":
		k.say(at.key("changes"), "Active Directory does not know syncrepl", "write dirsync, or auto")
	case !ad && l.Changes == "dirsync":
		k.say(at.key("changes"), "only Active Directory knows dirsync", "write syncrepl, or auto")
	}
	if l.FullEvery < l.Every {
		k.say(at.key("every"), "everything would be read more often than what changed", "make every no longer than full_every")
	}
	if l.Links != nil {
		k.linkedTo(at.key("links").key("identity_provider"), l.Links.IdentityProvider)
	}
}
