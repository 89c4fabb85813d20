package configs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// callers checks the programs that a service takes, and the rules that name them.
func (k *checker) callers(at where, s Service) {
	section := at.key("callers")
	unique(k, section, s.Callers, func(c Caller) string { return c.ID })
	for i, c := range s.Callers {
		k.caller(section.index(i), c)
	}
	if s.KeepAuthorization && (s.Tokens || len(s.Callers) > 0) {
		k.say(at.key("keep_authorization"), "the service would get the credentials of programs, and could use them itself", "remove the line")
	}
	for i, r := range s.Access {
		p := at.key("access").index(i)
		for key, m := range map[string]*Match{"allow": r.Allow, "deny": r.Deny} {
			if m == nil {
				continue
			}
			for j, name := range m.Callers {
				k.callerNamed(p.key(key).key("callers").index(j), name, s)
			}
		}
	}
}

var callerForm = regexp.MustCompile(`^(token:)?[a-z0-9*]([a-z0-9*-]{0,62}[a-z0-9*])?$`)

// callerNamed checks a name in a rule: with a star it may fit what is to come, else
// it must be there.
func (k *checker) callerNamed(at where, name string, s Service) {
	_, token := strings.CutPrefix(name, "token:")
	switch {
	case name == "":
	case !callerForm.MatchString(name):
		k.say(at, fmt.Sprintf("%q can not be the name of a caller", name), "write token:NAME, the id of one of the service's callers, or * for all")
	case token && !s.Tokens:
		k.say(at, fmt.Sprintf("%s takes no service tokens", s.ID), "add tokens: true to the service")
	case !token && !strings.Contains(name, "*"):
		k.refer(at, "caller", name, ids(s.Callers, func(c Caller) string { return c.ID }), "callers of the service, or write token:"+name)
	case !s.Tokens && len(s.Callers) == 0:
		k.say(at, fmt.Sprintf("%s takes no programs", s.ID), "add tokens: true or callers to the service")
	}
}

func (k *checker) caller(at where, c Caller) {
	k.secureURL(at.key("issuer"), c.Issuer, c.InsecureHTTP)
	k.secureURL(at.key("keys"), c.Keys, c.InsecureHTTP)
	if c.Keys != nil {
		k.allowed(at.key("keys"), c.Keys)
	} else {
		k.allowed(at.key("issuer"), c.Issuer)
	}
	if c.ID == "token" {
		k.say(at.key("id"), "programs with service tokens are called so", "choose another")
	}
	for i, name := range c.Subjects {
		if name != "" && strings.Trim(name, "*") == "" {
			k.say(at.key("subjects").index(i), "everything that the issuer knows would be let in, people too", "write what begins the names of the programs that are meant")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		k.attributeName(at.key("attributes").key(name), name)
		if c.Attributes[name] == "" {
			k.say(at.key("attributes").key(name), "no claim is named", "write the name of a claim of the JWT")
		}
	}
	k.skew(at, c.Skew)
}
