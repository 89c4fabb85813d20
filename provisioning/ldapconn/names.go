package ldapconn

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"
)

// A Dialect is what directories differ in.
type Dialect int

// The zero Dialect is that of the RFCs, as OpenLDAP speaks it.
const (
	RFC Dialect = iota
	ActiveDirectory
)

// IDAttribute holds what an entry keeps for ever, whatever it is called.
func (d Dialect) IDAttribute() string {
	if d == ActiveDirectory {
		return "objectGUID"
	}
	return "entryUUID"
}

// ID of an entry in lower-case text, as administration tools show it; empty: the
// server did not send it.
func ID(e *ldap.Entry, d Dialect) string {
	raw := e.GetRawAttributeValue(d.IDAttribute())
	if d == ActiveDirectory {
		if len(raw) != 16 {
			return ""
		}
		return uuid.UUID(swapped(raw)).String()
	}
	u, err := uuid.ParseBytes(raw)
	if err != nil {
		return ""
	}
	return u.String()
}

// ByID is the filter that finds one entry; not ok: that is no ID.
func (d Dialect) ByID(id string) (filter string, ok bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.String() != id {
		return "", false
	}
	if d == ActiveDirectory {
		b := swapped(u[:])
		return Equal(d.IDAttribute(), string(b[:])), true
	}
	return Equal(d.IDAttribute(), id), true
}

// swapped changes between the order of bytes in which Active Directory keeps a
// GUID and the one in which it is written (MS-DTYP, 2.3.4).
func swapped(b []byte) (out [16]byte) {
	binary.BigEndian.PutUint32(out[0:], binary.LittleEndian.Uint32(b[0:]))
	binary.BigEndian.PutUint16(out[4:], binary.LittleEndian.Uint16(b[4:]))
	binary.BigEndian.PutUint16(out[6:], binary.LittleEndian.Uint16(b[6:]))
	copy(out[8:], b[8:])
	return out
}

// Equal is the filter (attr=value). attr is a name of the configuration, value
// may be anything (RFC 4515).
func Equal(attr, value string) string { return "(" + attr + "=" + EscapeFilter(value) + ")" }

// And is the filter that all of some filters hold; without any of them it is empty.
func And(filters ...string) string { return join("&", filters) }

// Or is the filter that one of some filters holds.
func Or(filters ...string) string { return join("|", filters) }

func join(op string, filters []string) string {
	some := slices.DeleteFunc(slices.Clone(filters), func(f string) bool { return f == "" })
	if len(some) < 2 {
		return strings.Join(some, "")
	}
	return "(" + op + strings.Join(some, "") + ")"
}

// EscapeFilter makes any text the value of a filter. Whatever is not a plain
// letter, digit, or one of a few marks is written as its bytes.
func EscapeFilter(s string) string {
	return escape(s, func(r rune) bool { return strings.ContainsRune(" @._-+/:,", r) })
}

// EscapeDN makes any text the value of a relative distinguished name (RFC 4514).
func EscapeDN(s string) string {
	out := escape(s, func(r rune) bool { return strings.ContainsRune(" @._-/:()*'!?$%&", r) })
	if strings.HasPrefix(out, " ") {
		out = `\20` + out[1:]
	}
	if strings.HasSuffix(out, " ") {
		out = out[:len(out)-1] + `\20`
	}
	return out
}

func escape(s string, plain func(rune) bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if valid := r != utf8.RuneError || n > 1; valid && (unicode.IsLetter(r) || unicode.IsDigit(r) || plain(r)) {
			b.WriteString(s[i : i+n])
		} else {
			for _, c := range []byte(s[i : i+n]) {
				b.WriteString(`\` + hex.EncodeToString([]byte{c}))
			}
		}
		i += n
	}
	return b.String()
}

// RDN is the relative distinguished name attr=value.
func RDN(attr, value string) string { return attr + "=" + EscapeDN(value) }

// Split takes a distinguished name apart: its relative name and its parent, each
// as it was written.
func Split(dn string) (rdn, parent string) {
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',', ';':
			return dn[:i], strings.TrimLeft(dn[i+1:], " ")
		}
	}
	return dn, ""
}

// CheckDN reports why a text is no distinguished name.
func CheckDN(dn string) error {
	if strings.TrimSpace(dn) == "" {
		return fmt.Errorf("it is empty")
	}
	_, err := ldap.ParseDN(dn)
	return err
}

// CheckFilter reports why a text is no filter.
func CheckFilter(filter string) error {
	_, err := ldap.CompileFilter(filter)
	return err
}

var attribute = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,127}(;[A-Za-z0-9-]{1,64})*$`)

// IsAttribute: the text can be the name of an attribute, with options such as ;lang-de.
func IsAttribute(name string) bool { return attribute.MatchString(name) }

// Normal is a distinguished name in one spelling, to compare with and to be a
// key; a text that is none is its own.
func Normal(dn string) string {
	p, err := ldap.ParseDN(dn)
	if err != nil {
		return dn
	}
	var b strings.Builder
	for i, r := range p.RDNs {
		if i > 0 {
			b.WriteByte(',')
		}
		var parts []string
		for _, a := range r.Attributes {
			parts = append(parts, strings.ToLower(a.Type)+"="+EscapeDN(strings.Join(strings.Fields(strings.ToLower(a.Value)), " ")))
		}
		slices.Sort(parts)
		b.WriteString(strings.Join(parts, "+"))
	}
	return b.String()
}

// Below reports that a distinguished name is below a base, or is it.
func Below(dn, base string) bool {
	d, b := Normal(dn), Normal(base)
	return d == b || strings.HasSuffix(d, ","+b) && !strings.HasSuffix(strings.TrimSuffix(d, ","+b), `\`)
}

// Values of an attribute, whatever the case in which the server writes its name.
func Values(e *ldap.Entry, attr string) []string { return e.GetEqualFoldAttributeValues(attr) }

// Value is the first of Values, or empty.
func Value(e *ldap.Entry, attr string) string { return e.GetEqualFoldAttributeValue(attr) }
