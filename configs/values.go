package configs

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Some is one value, or a list of at least one.
type Some[T any] []T

func (Some[T]) some() {}

// A File is the path of a file: relative to the folder of the configuration as
// written, absolute or relative to the working directory once it is loaded.
type File string

// A Folder is the path of a folder, as File is that of a file. It need not be
// there when the configuration is read.
type Folder string

// An LDAPAddress is the server of a directory: "ldaps://ldap.example", "ldap://127.0.0.1:3389".
type LDAPAddress string

// An Upstream is where a service is: "http://10.0.0.7:8080", "https://wiki.internal",
// "unix:///run/wiki.sock".
type Upstream string

// URL of the upstream.
func (a Upstream) URL() *url.URL {
	u, err := url.Parse(string(a))
	if err != nil {
		return &url.URL{}
	}
	return u
}

// URL of the address.
func (a LDAPAddress) URL() *url.URL {
	u, err := url.Parse(string(a))
	if err != nil {
		return &url.URL{}
	}
	return u
}

// A Listen is a host and a port: ":443", "127.0.0.1:9090", "[::1]:8443"; a Unix
// socket: "unix:/run/gatehouse.sock"; or one that systemd has opened: "systemd",
// "systemd:NAME".
type Listen string

// A Size is a number of bytes: 512, 32KiB, 1MiB, 2GiB.
type Size int64

// A Date is a day: 2027-01-31. It holds until its end in UTC; the zero Date has none.
type Date struct{ time.Time }

// End is the moment after the day, zero for no day.
func (d Date) End() time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return d.AddDate(0, 0, 1)
}

// A Store names an engine and what it opens: "bolt:/var/lib/gatehouse/gatehouse.db".
type Store string

// Bolt is the path of the file of the engine bolt.
func (s Store) Bolt() string { return strings.TrimPrefix(string(s), "bolt:") }

// A problem is a Mistake before it has a place.
type problem struct{ what, cure string }

// A kind is a type whose values are written as one word.
type kind struct {
	what  string // "a duration such as 30m"
	form  string // a regular expression for editors; empty: none
	parse func(d *decoder, s string) (any, *problem)
}

// kinds are the types that are written as one word, besides text, numbers and
// yes or no.
var kinds = map[reflect.Type]kind{
	reflect.TypeFor[time.Duration](): {"a duration such as 30m, 8h or 90d", `^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$`, duration},
	reflect.TypeFor[*url.URL]():      {"an address such as https://host.example/path", `^https?://`, address},
	reflect.TypeFor[LDAPAddress]():   {"the address of a directory such as ldaps://ldap.example", `^ldaps?://`, ldapAddress},
	reflect.TypeFor[Upstream]():      {"the address of a service such as http://10.0.0.7:8080", `^(https?://|unix:///)`, upstreamAddress},
	reflect.TypeFor[netip.Prefix]():  {"a network such as 10.0.0.0/8, or one address", `^[0-9a-fA-F:.]+(/[0-9]+)?$`, network},
	reflect.TypeFor[Listen]():        {"an address to listen at such as :443 or 127.0.0.1:9090", `^(.*:[0-9]+|unix:/.+|systemd(:.+)?)$`, listen},
	reflect.TypeFor[Size]():          {"a size such as 512KiB or 1MiB", `^[0-9]+(B|KiB|MiB|GiB)?$`, size},
	reflect.TypeFor[File]():          {"the path of a file", "", file},
	reflect.TypeFor[Folder]():        {"the path of a folder", "", folder},
	reflect.TypeFor[Date]():          {"a day such as 2027-01-31", `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`, date},
	reflect.TypeFor[Store]():         {"an engine and its file such as bolt:./data/gatehouse.db", `^bolt:.+$`, storeURL},
}

var days = regexp.MustCompile(`^([0-9]{1,6})d`)

// Duration reads a duration as the configuration has it: 30m, 8h, 90d.
func Duration(s string) (time.Duration, error) {
	d, p := duration(nil, s)
	if p != nil {
		return 0, errors.New(p.what + " — " + p.cure)
	}
	return d.(time.Duration), nil
}

// duration reads what time.ParseDuration reads, and days of 24 hours in front.
func duration(_ *decoder, s string) (any, *problem) {
	var sum time.Duration
	rest := s
	if m := days.FindStringSubmatch(s); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n > 36500 {
			return nil, &problem{fmt.Sprintf("%s is longer than a hundred years", s), "write a shorter duration"}
		}
		sum, rest = time.Duration(n)*24*time.Hour, s[len(m[0]):]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return nil, &problem{fmt.Sprintf("%q is no duration", s), "write a number with its unit: 90s, 30m, 8h or 90d"}
		}
		if d < 0 || d > math.MaxInt64-sum {
			return nil, &problem{fmt.Sprintf("%q is no duration that can pass", s), "write one that is more than zero"}
		}
		sum += d
	}
	if sum == 0 {
		return nil, &problem{"a duration of zero means nothing here", "write one that is more than zero, or remove the line"}
	}
	return sum, nil
}

func date(_ *decoder, s string) (any, *problem) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return nil, &problem{fmt.Sprintf("%q is no day", s), "write year, month and day: 2027-01-31"}
	}
	return Date{t}, nil
}

// address reads an absolute http or https URL without user, query or fragment.
func address(_ *decoder, s string) (any, *problem) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, &problem{fmt.Sprintf("%q is no address", hideUser(s)), "write it in full, as in https://host.example/path"}
	case u.User != nil:
		return nil, &problem{"an address with a user name or a password in it", "remove what stands before the @; secrets belong into a file or a variable"}
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, &problem{fmt.Sprintf("%q is no http or https address", s), "write it in full, as in https://host.example/path"}
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return nil, &problem{fmt.Sprintf("%q has a fragment, which is never sent", s), "remove the # and what follows"}
	case u.Port() != "" && !isPort(u.Port()):
		return nil, &problem{fmt.Sprintf("%q has a port that does not exist", s), "write a port from 1 to 65535"}
	}
	if u.String() != s {
		// Whoever compares an issuer byte for byte gets what is written here.
		return nil, &problem{fmt.Sprintf("%q is an unusual way to write an address", s), "write " + u.String()}
	}
	return u, nil
}

// upstreamAddress reads http, https or unix, and nothing behind the host or the path of
// the socket.
func upstreamAddress(d *decoder, s string) (any, *problem) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path, ok = strings.CutPrefix(path, "//"); !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsAny(path, "%?#\x00") || len(path) > 100 {
			return nil, &problem{fmt.Sprintf("%q is no path of a socket", s), "write unix:// and an absolute path of at most 100 bytes, as in unix:///run/wiki.sock"}
		}
		return Upstream(s), nil
	}
	v, p := address(d, s)
	if p != nil {
		return nil, p
	}
	if u, _ := v.(*url.URL); strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery {
		return nil, &problem{"an upstream has no path and no query: requests keep the path they came with", fmt.Sprintf("write %s://%s; rewrite gives the service another path", u.Scheme, u.Host)}
	}
	return Upstream(strings.TrimSuffix(s, "/")), nil
}

// ldapAddress reads ldap:// or ldaps:// and a host, and nothing behind it.
func ldapAddress(_ *decoder, s string) (any, *problem) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Hostname() == "":
		return nil, &problem{fmt.Sprintf("%q is no address of a directory", hideUser(s)), "write it as in ldaps://ldap.example"}
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, &problem{"the address of a directory has more than a host in it", fmt.Sprintf("write %s://%s; what is read there goes in base and filter", u.Scheme, u.Host)}
	case u.Port() != "" && !isPort(u.Port()):
		return nil, &problem{fmt.Sprintf("%q has a port that does not exist", s), "write a port from 1 to 65535"}
	}
	return LDAPAddress(s), nil
}

// hideUser takes what may be a password out of something that should have been
// an address.
func hideUser(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func network(_ *decoder, s string) (any, *problem) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, &problem{fmt.Sprintf("%q is no network", s), "write one such as 10.0.0.0/8 or 2001:db8::/32, or one address"}
	}
	if p != p.Masked() {
		return nil, &problem{fmt.Sprintf("%s has bits beyond its length", s), fmt.Sprintf("write %s for the network or %s for the one address", p.Masked(), p.Addr())}
	}
	return p, nil
}

func listen(_ *decoder, s string) (any, *problem) {
	if s == "systemd" || strings.HasPrefix(s, "systemd:") {
		return Listen(s), nil
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || len(path) > 100 {
			return nil, &problem{fmt.Sprintf("%q is no path of a socket", s), "write unix: and an absolute path of at most 100 bytes"}
		}
		return Listen(s), nil
	}
	i := strings.LastIndexByte(s, ':')
	cure := "write a host and a port, as in 127.0.0.1:9090, or :443 for all addresses"
	if i < 0 {
		return nil, &problem{fmt.Sprintf("%q is no address to listen at", s), cure}
	}
	host, port := s[:i], s[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, &problem{fmt.Sprintf("%q has no port from 1 to 65535", s), cure}
	}
	if bare, ok := strings.CutPrefix(host, "["); ok {
		bare, ok = strings.CutSuffix(bare, "]")
		if _, err := netip.ParseAddr(bare); !ok || err != nil {
			return nil, &problem{fmt.Sprintf("%q is no address to listen at", s), cure}
		}
	} else if host != "" && !isHost(host) {
		return nil, &problem{fmt.Sprintf("%q is no address to listen at", s), cure}
	}
	return Listen(s), nil
}

func size(_ *decoder, s string) (any, *problem) {
	digits := strings.TrimRight(s, "BKMGi")
	shift, ok := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 32)
	if !ok || err != nil || n <= 0 {
		return nil, &problem{fmt.Sprintf("%q is no size", s), "write a whole number of bytes with B, KiB, MiB or GiB"}
	}
	return Size(n << shift), nil
}

func file(d *decoder, s string) (any, *problem) {
	if strings.ContainsRune(s, 0) {
		return nil, &problem{"a path with a zero byte in it", "write the path of a file"}
	}
	f := d.resolve(s)
	if _, p := d.regular(f); p != nil {
		return nil, p
	}
	return File(f), nil
}

func folder(d *decoder, s string) (any, *problem) {
	if strings.ContainsRune(s, 0) {
		return nil, &problem{"a path with a zero byte in it", "write the path of a folder"}
	}
	return Folder(d.resolve(s)), nil
}

func storeURL(d *decoder, s string) (any, *problem) {
	engine, path, ok := strings.Cut(s, ":")
	switch {
	case ok && engine == "etcd":
		return nil, &problem{"the store etcd is not built yet", "write bolt: and the path of a file"}
	case !ok || engine != "bolt" || path == "" || strings.ContainsRune(path, 0):
		return nil, &problem{fmt.Sprintf("%q is no store", s), "write bolt: and the path of a file, as in bolt:./data/gatehouse.db"}
	}
	return Store("bolt:" + d.resolve(path)), nil
}

// resolve finds a path from the folder of the configuration.
func (d *decoder) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

var (
	hostForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	idForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	attrForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

func isHost(s string) bool { return len(s) <= 253 && hostForm.MatchString(s) }

// isLoopback reports whether a host can only be this machine.
func isLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// These types can be written as one word instead of a mapping.

type worded interface{ word(s string) *problem }

func (m *Mapped) word(s string) *problem  { m.From = s; return nil }
func (h *Header) word(s string) *problem  { h.Attribute = s; return nil }
func (r *Release) word(s string) *problem { r.Attribute = s; return nil }
func (h *Headers) word(s string) *problem { h.Preset = s; return nil }

func (t *TLS) word(s string) *problem {
	if s != "proxy" {
		return &problem{fmt.Sprintf("tls is %q", s), "write the word proxy, or cert and key"}
	}
	t.Proxy = true
	return nil
}

func (a *Auth) word(s string) *problem {
	if s != "none" {
		return &problem{fmt.Sprintf("auth is %q", hideWord(s)), "write bearer, basic, header, oauth2 or mtls, or the word none"}
	}
	a.None = true
	return nil
}

// hideWord keeps what may be a token out of a message.
func hideWord(s string) string {
	if s == "bearer" || s == "basic" {
		return s
	}
	return "…"
}
