package gateway

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// routes finds the service for a host and path. A service has a whole host or
// part of one; the longest path prefix wins, and a prefix ends at a slash.
type routes struct {
	hosts map[string][]*service // longest prefix first
}

func newRoutes(services []*service) (routes, error) {
	r := routes{hosts: map[string][]*service{}}
	for _, s := range services {
		list := r.hosts[s.Host]
		at := 0
		for at < len(list) && len(list[at].Path) >= len(s.Path) {
			if list[at].Path == s.Path {
				return r, fmt.Errorf("services %s and %s are at the same address %s%s", list[at].ID, s.ID, s.Host, s.Path)
			}
			at++
		}
		list = append(list, nil)
		copy(list[at+1:], list[at:])
		list[at] = s
		r.hosts[s.Host] = list
	}
	return r, nil
}

// match returns the service, or nil; known says whether the host has any.
func (r routes) match(host, path string) (s *service, known bool) {
	list, known := r.hosts[host]
	for _, s := range list {
		if under(path, s.Path) {
			return s, true
		}
	}
	return nil, known
}

// page returns the service that is a page of ours below /.gatehouse/, or nil.
func (r routes) page(host, path string) *service {
	if _, ok := own(path); !ok {
		return nil
	}
	for _, s := range r.hosts[host] {
		if _, ok := own(s.Path); ok && under(path, s.Path) {
			return s
		}
	}
	return nil
}

// under reports whether path is prefix or below it.
func under(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// canonicalHost is a Host header as it is compared: lower case, without the
// port. It is empty if it is not a plain name or address: with user info, a
// trailing dot, or characters that no host name has.
func canonicalHost(h string) string {
	// What has no colon has no port, and what ends in no digit either is no
	// address. Asking would cost an error each time.
	if strings.Contains(h, ":") {
		if host, port, err := net.SplitHostPort(h); err == nil {
			if port == "" || strings.Trim(port, "0123456789") != "" {
				return ""
			}
			h = host
		} else if strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]") {
			h = h[1 : len(h)-1]
		}
	}
	if h == "" {
		return ""
	}
	if last := h[len(h)-1]; strings.Contains(h, ":") || '0' <= last && last <= '9' {
		if a, err := netip.ParseAddr(h); err == nil {
			return a.String()
		}
	}
	h = strings.ToLower(h)
	for i := range len(h) {
		c := h[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return ""
		}
	}
	if strings.HasSuffix(h, ".") || strings.HasPrefix(h, ".") || strings.Contains(h, "..") {
		return ""
	}
	return h
}

func (v *visit) peer() netip.Addr {
	return peer(v.r.RemoteAddr, v.r.Header["X-Forwarded-For"], v.g.c.TrustedProxies)
}

// peer is the address of whoever sent the request: the right-most one in
// X-Forwarded-For that is not a trusted proxy, and only as far as the chain of
// trusted proxies reaches. Something unreadable in it ends the chain: the last
// trusted hop is then the peer, so that garbage never widens what is trusted.
func peer(remote string, forwarded []string, trusted []netip.Prefix) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	at := ap.Addr().Unmap().WithZone("")
	if len(forwarded) == 0 || !within(at, trusted) {
		return at
	}
	for _, line := range slices.Backward(forwarded) {
		for {
			comma := strings.LastIndexByte(line, ',')
			hop, err := netip.ParseAddr(strings.TrimSpace(line[comma+1:]))
			if err != nil {
				return at
			}
			if at = hop.Unmap().WithZone(""); !within(at, trusted) {
				return at
			}
			if comma < 0 {
				break
			}
			line = line[:comma]
		}
	}
	return at
}

func within(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
