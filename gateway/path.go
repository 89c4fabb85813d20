package gateway

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// errPath: the path can be read in more than one way.
var errPath = errors.New("the path can be read in more than one way")

// canonicalPath checks that a request's path, as it came, means one thing to
// everybody who will read it, and returns that: the decoded path. Rules are
// matched against it; the service gets the bytes as they came.
//
// What some server somewhere takes for something else is refused, not repaired:
// dot segments and empty segments, an encoded slash, backslash, percent or NUL,
// path parameters (";"), control characters, segments that end in a dot or a
// space, and what becomes any of these when letters that look alike are made
// the same. An empty last segment (a trailing slash) is no empty segment.
func canonicalPath(u *url.URL) (string, error) {
	raw := u.EscapedPath()
	if u.Opaque != "" || !strings.HasPrefix(raw, "/") || u.Fragment != "" || strings.ContainsAny(raw, "#\\;") {
		return "", errPath
	}
	p, err := url.PathUnescape(raw)
	if err != nil || !utf8.ValidString(p) || !plainPath(p) {
		return "", errPath
	}
	if slashes := strings.Count(p, "/"); slashes != strings.Count(raw, "/") {
		return "", errPath // an encoded slash
	} else if alike := norm.NFKC.String(p); alike != p && (strings.Count(alike, "/") != slashes || !plainPath(alike)) {
		return "", errPath // a full-width dot, a letter that contains a slash
	}
	return p, nil
}

// plainPath reports that nobody reads anything special into a decoded path.
func plainPath(p string) bool {
	for rest := p[1:]; rest != ""; {
		var seg string
		seg, rest, _ = strings.Cut(rest, "/")
		if seg == "" || !plainSegment(seg) {
			return false
		}
	}
	return true
}

// plainSegment is plainPath of one segment.
func plainSegment(seg string) bool {
	if last := seg[len(seg)-1]; last == '.' || last == ' ' {
		return false
	}
	for i, r := range seg {
		switch {
		case r < 0x20 || r >= 0x7f && r < 0xa0, r == '\\', r == ';', r == '#':
			return false
		case r == 0x2044, r == 0x2215, r == 0x29f5, r == 0x29f8, r == 0xfffd:
			return false // slashes that only some make the same
		case r == '%' && i+2 < len(seg) && ishex(seg[i+1]) && ishex(seg[i+2]):
			return false // would decode once more
		}
	}
	return true
}

func ishex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// own reports whether a canonical path is the gateway's own, and what comes
// after the prefix.
func own(path string) (rest string, ok bool) {
	if path == "/.gatehouse" {
		return "", true
	}
	return strings.CutPrefix(path, "/.gatehouse/")
}
