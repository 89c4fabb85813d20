package session

import (
	"net/http"
	"net/textproto"
	"strings"
)

// A Cookie says how our cookies look on this gateway. The zero Cookie is that
// of a gateway behind https.
type Cookie struct {
	// Insecure is for plain http on loopback names: there the name has no
	// __Host- prefix, which browsers refuse without Secure, and bears the port,
	// since browsers do not tell ports apart.
	Insecure bool
	Port     string
}

// Name of a cookie of ours, from its purpose; empty purpose: the session.
func (c Cookie) Name(purpose string) string {
	name := "gatehouse"
	if c.Insecure {
		name += "-" + c.Port
	} else {
		name = "__Host-" + name
	}
	if purpose != "" {
		name += "-" + purpose
	}
	return name
}

// Ours reports whether a cookie of this name is the gateway's, on whatever
// port: never sent to a service, never accepted from one.
func Ours(name string) bool {
	name = strings.ToLower(name)
	name = strings.TrimPrefix(name, "__host-")
	name = strings.TrimPrefix(name, "__secure-")
	return name == "gatehouse" || strings.HasPrefix(name, "gatehouse-") || strings.HasPrefix(name, "gatehouse_")
}

// Make a cookie of ours: for this host alone, never for scripts. It lives as
// long as the browser runs, or ends at once if value is empty.
func (c Cookie) Make(purpose, value string) *http.Cookie {
	ck := &http.Cookie{
		Name: c.Name(purpose), Value: value, Path: "/",
		Secure: !c.Insecure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		ck.MaxAge = -1
	}
	return ck
}

// only returns the value of the cookie of this name, if there is exactly one.
// Whatever else it may be, what is no key of ours is nobody's.
func only(name string, r *http.Request) (value string, err error) {
	n := 0
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			of, v, _ := strings.Cut(textproto.TrimString(pair), "=")
			if textproto.TrimString(of) == name {
				value = v
				n++
			}
		}
	}
	switch n {
	case 0:
		return "", ErrNone
	case 1:
		return value, nil
	}
	return "", ErrAmbiguous
}
