package upstream

import (
	"net/url"
	"strings"
)

// A Rewrite is another path at the service than before the gateway: Strip is
// taken from the front of each path, and Add put there. Both are decoded, begin
// with a slash and do not end with one, or are empty.
type Rewrite struct{ Strip, Add string }

// Zero: nothing is rewritten.
func (w Rewrite) Zero() bool { return w == Rewrite{} }

// Target is the path for the service, escaped, of an escaped path that is below
// Strip. As many segments are taken as Strip has: a canonical path has neither
// empty ones nor a slash in disguise, so they are those of Strip, however they
// are escaped.
func (w Rewrite) Target(escaped string) string {
	for range strings.Count(w.Strip, "/") {
		rest := escaped[min(1, len(escaped)):]
		escaped = ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			escaped = rest[i:]
		}
	}
	if escaped = (&url.URL{Path: w.Add}).EscapedPath() + escaped; escaped == "" {
		return "/"
	}
	return escaped
}

// Back is the path before the gateway of a path at the service; a path that is
// not below Add is nowhere before the gateway, and stays.
func (w Rewrite) Back(path string) string {
	rest, ok := below(path, w.Add)
	if !ok {
		return path
	}
	return w.Strip + rest
}

func below(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// Location is the value of a Location header before the gateway. origin is how
// browsers have the service ("https://wiki.example"), and at the host and port by
// which the service may name itself.
func (w Rewrite) Location(location, origin, at string) string {
	u, err := url.Parse(location)
	if err != nil || u.Opaque != "" || u.User != nil {
		return location
	}
	ours := origin[strings.Index(origin, "://")+len("://"):]
	switch {
	case u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, "/"):
		return w.back(u)
	case u.Host != "" && (strings.EqualFold(u.Host, ours) || strings.EqualFold(u.Host, at)):
		u.Scheme, u.Host = "", ""
		if u.Path == "" {
			u.Path = "/"
		}
		return origin + w.back(u)
	}
	return location
}

// back is the rest of an address, from its path on.
func (w Rewrite) back(u *url.URL) string {
	escaped := w.Back(u.EscapedPath())
	if escaped == "" {
		escaped = "/"
	}
	if u.RawQuery != "" {
		escaped += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		escaped += "#" + u.EscapedFragment()
	}
	return escaped
}

// Cookie is a Set-Cookie line before the gateway: a Path below Add is mapped
// back, and one that Add is below becomes Strip, so that it reaches no other
// service of the host.
func (w Rewrite) Cookie(line string) string {
	parts := strings.Split(line, ";")
	for i, p := range parts[1:] {
		name, path, _ := strings.Cut(p, "=")
		path = strings.TrimSpace(path)
		if !strings.EqualFold(strings.TrimSpace(name), "path") || !strings.HasPrefix(path, "/") {
			continue
		}
		if _, wider := below(w.Add, strings.TrimSuffix(path, "/")); wider {
			path = w.Strip
		} else {
			path = w.Back(path)
		}
		if path == "" {
			path = "/"
		}
		parts[i+1] = " Path=" + path
	}
	return strings.Join(parts, ";")
}
