package configs

import (
	"fmt"
	"strings"
)

// upstreams checks where requests to a service go, and how.
func (k *checker) upstreams(at where, s Service) {
	seen, https := map[Upstream]int{}, 0
	for i, u := range s.Upstream {
		if first, twice := seen[u]; twice && u != "" {
			k.say(at.key("upstream").index(i), fmt.Sprintf("%s stands here twice", u), fmt.Sprintf("keep one; the other is in line %d", k.line(at.key("upstream").index(first))))
		}
		seen[u] = i
		if strings.HasPrefix(string(u), "https:") {
			https++
		}
	}
	switch n := len(s.Upstream); {
	case n > 64:
		k.say(at.key("upstream"), "a service has at most 64 upstreams", "put a load balancer before them")
	case https > 0 && https < n:
		k.say(at.key("upstream"), "some upstreams speak TLS and some do not", "write all with https, or none")
	case https == 0 && n > 0 && k.has(at.key("upstream_tls")):
		k.say(at.key("upstream_tls"), "no upstream speaks TLS", "write https upstreams, or remove the line")
	case https == 0 && s.Protocol == "http2":
		k.say(at.key("protocol"), "http2 is negotiated by TLS, and no upstream speaks that", "write h2c for HTTP/2 without TLS")
	case https > 0 && s.Protocol == "h2c":
		k.say(at.key("protocol"), "h2c is HTTP/2 without TLS, and the upstreams speak TLS", "write http2")
	}
	if len(s.Upstream) == 1 {
		for _, key := range k.among(at, []string{"sticky", "retries"}) {
			k.say(at.key(key), key+" is for several upstreams, and there is one", "remove the line, or add an upstream")
		}
	}
	if t := s.UpstreamTLS; t != nil {
		p := at.key("upstream_tls")
		if k.has(p.key("cert")) != k.has(p.key("key")) {
			k.say(p, "upstream_tls has only one of cert and key", "write both, or none")
		}
		if t.ServerName != "" && !isHost(t.ServerName) {
			k.say(p.key("server_name"), fmt.Sprintf("%q is no host name", t.ServerName), "write one in lower case and ASCII, without a dot at its end")
		}
	}
	k.health(at.key("health"), s.Health)
	k.rewrite(at.key("rewrite"), s)
}

func (k *checker) health(at where, h *Health) {
	if h == nil {
		return
	}
	k.path(at.key("path"), h.Path, false)
	if h.Host != "" && !isHost(h.Host) {
		k.say(at.key("host"), fmt.Sprintf("%q is no host name", h.Host), "write one in lower case and ASCII, without a port")
	}
	if h.Timeout > h.Every {
		k.say(at.key("timeout"), fmt.Sprintf("a question may take longer than the %s to the next", short(h.Every)), "make timeout no longer than every")
	}
	for i, st := range h.Status {
		if st < 100 || st > 599 {
			k.say(at.key("status").index(i), fmt.Sprintf("%d is no status of HTTP", st), "write one such as 200")
		}
	}
}

// rewrite: every path of the service must have one place behind it.
func (k *checker) rewrite(at where, s Service) {
	for key, p := range map[string]string{"strip": s.Rewrite.Strip, "add": s.Rewrite.Add} {
		k.path(at.key(key), p, false)
		if strings.HasSuffix(p, "/") {
			k.say(at.key(key), "the path ends in a slash", "write "+strings.TrimRight(p, "/")+", or remove the line")
		}
	}
	if p := s.Rewrite.Strip; p != "" && s.Path != p && !below(s.Path, p) {
		k.say(at.key("strip"), fmt.Sprintf("not every path of %s begins with %s", s.ID, p), fmt.Sprintf("write strip: %s, or make the service's path longer", strings.TrimRight(s.Path, "/")))
	}
}
