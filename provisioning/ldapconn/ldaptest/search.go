package ldaptest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

// maxRange is how many values of an attribute Active Directory sends at once.
const maxRange = 1500

func (c *call) search() uint16 {
	base := ldapconn.Normal(text(c.op.Children[0]))
	scope := c.op.Children[1].Value.(int64)
	limit := int(c.op.Children[3].Value.(int64))
	filter := c.op.Children[6]
	var want []string
	for _, a := range c.op.Children[7].Children {
		want = append(want, text(a))
	}
	if base == "" && scope == ldap.ScopeBaseObject {
		c.replies = append(c.replies, c.root())
		return 0
	}
	if c.tree[base] == nil {
		return ldap.LDAPResultNoSuchObject
	}
	keys := []string{base}
	if scope != ldap.ScopeBaseObject {
		keys = slices.Sorted(maps.Keys(c.tree))
	}
	var hits []*entry
	for _, key := range keys {
		e := c.tree[key]
		_, parent := ldapconn.Split(e.DN)
		in := key == base
		switch scope {
		case ldap.ScopeSingleLevel:
			in = c.norm(parent) == base
		case ldap.ScopeWholeSubtree:
			in = in || strings.HasSuffix(key, ","+base)
		}
		if in && c.matches(e, filter) {
			hits = append(hits, e)
		}
	}
	if v, ok := c.control[ldap.ControlTypeSyncRequest]; ok && !c.o.AD {
		return c.changes(hits, v)
	}
	if v, ok := c.control[ldap.ControlTypeDirSync]; ok && c.o.AD {
		return c.dirSync(hits, v)
	}
	var code uint16
	if v, ok := c.control[ldap.ControlTypePaging]; ok {
		hits = slices.DeleteFunc(hits, func(e *entry) bool { return c.norm(e.DN) == c.hidden })
		hits = c.page(hits, v)
	} else if len(hits) > c.o.MaxPage {
		hits, code = hits[:c.o.MaxPage], ldap.LDAPResultSizeLimitExceeded
	}
	if limit > 0 && len(hits) > limit {
		hits, code = hits[:limit], ldap.LDAPResultSizeLimitExceeded
	}
	for _, e := range hits {
		c.replies = append(c.replies, c.envelope(c.entry(e, want)))
	}
	return code
}

func (c *call) root() *ber.Packet {
	attrs := map[string][]string{
		"supportedControl": {ldap.ControlTypePaging, ldap.ControlTypeSyncRequest}, "namingContexts": {Suffix}, "supportedExtension": {"1.3.6.1.4.1.1466.20037"},
	}
	if c.o.AD {
		attrs["supportedControl"] = []string{ldap.ControlTypePaging, ldap.ControlTypeDirSync}
		attrs["supportedCapabilities"] = []string{"1.2.840.113556.1.4.800"}
		attrs["dsServiceName"] = []string{"CN=NTDS Settings,CN=DC1"}
		attrs["highestCommittedUSN"] = []string{strconv.Itoa(c.csn)}
	}
	return c.envelope(c.entry(&entry{Entry: Entry{"", attrs}}, []string{"*"}))
}

// page cuts the page out of what was found that a control asks for.
func (c *call) page(hits []*entry, value []byte) []*entry {
	p := ber.DecodePacket(value)
	size, from := int(p.Children[0].Value.(int64)), 0
	if cookie := p.Children[1].Data.String(); cookie != "" {
		from, _ = strconv.Atoi(cookie)
	}
	to, next := min(from+min(size, c.o.MaxPage), len(hits)), ""
	if to < len(hits) {
		next = strconv.Itoa(to)
	}
	c.attach = append(c.attach, control(ldap.ControlTypePaging, sequence(number(0), octets(next))))
	return hits[min(from, len(hits)):to]
}

func control(oid string, value *ber.Packet) *ber.Packet {
	return sequence(octets(oid), octets(string(value.Bytes())))
}

func number(n int64) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, n, "")
}

// entry is a SearchResultEntry with the attributes that are wanted.
func (c *call) entry(e *entry, want []string) *ber.Packet {
	list := sequence()
	add := func(name string, values []string) {
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range values {
			set.AppendChild(octets(v))
		}
		list.AppendChild(sequence(octets(name), set))
	}
	all := len(want) == 0 || slices.Contains(want, "*")
	for _, name := range slices.Sorted(maps.Keys(e.Attrs)) {
		values := e.Attrs[name]
		for _, w := range want {
			from := 0
			if base, r, ok := strings.Cut(strings.ToLower(w), ";range="); ok && base == name && c.o.AD {
				lo, _, _ := strings.Cut(r, "-")
				from, _ = strconv.Atoi(lo)
			} else if !strings.EqualFold(w, name) {
				continue
			}
			if all && from == 0 {
				break
			}
			c.values(add, name, values, from)
		}
		if all {
			c.values(add, name, values, 0)
		}
	}
	operational := map[string]string{"entryUUID": e.id.String(), "modifyTimestamp": stamp(e.csn)}
	if c.o.AD {
		guid := e.id
		operational = map[string]string{"objectGUID": swapped(guid), "uSNChanged": strconv.Itoa(e.csn), "whenChanged": stamp(e.csn)}
	}
	for name, v := range operational {
		asked := slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, name) || w == "+" })
		if e.DN != "" && (asked || all && (c.o.AD || len(want) == 0)) {
			add(name, []string{v})
		}
	}
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	op.AppendChild(octets(e.DN))
	op.AppendChild(list)
	return op
}

// values sends an attribute; Active Directory only so many values at once.
func (c *call) values(add func(string, []string), name string, values []string, from int) {
	if !c.o.AD || from == 0 && len(values) <= maxRange {
		add(name, values)
		return
	}
	if from >= len(values) {
		return
	}
	to, end := min(from+maxRange, len(values)), "*"
	if to < len(values) {
		end = strconv.Itoa(to - 1)
	}
	add(fmt.Sprintf("%s;range=%d-%s", name, from, end), values[from:to])
}

func stamp(csn int) string { return fmt.Sprintf("2026110100%02d%02d", csn/60%60, csn%60) + "Z" }

func swapped(u uuid.UUID) string {
	return string([]byte{u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]})
}

func (c *call) matches(e *entry, f *ber.Packet) bool {
	switch f.Tag {
	case ldap.FilterAnd:
		return !slices.ContainsFunc(f.Children, func(p *ber.Packet) bool { return !c.matches(e, p) })
	case ldap.FilterOr:
		return slices.ContainsFunc(f.Children, func(p *ber.Packet) bool { return c.matches(e, p) })
	case ldap.FilterNot:
		return !c.matches(e, f.Children[0])
	case ldap.FilterPresent:
		name := strings.ToLower(f.Data.String())
		return name == "objectclass" || len(e.Attrs[name]) > 0
	case ldap.FilterEqualityMatch, ldap.FilterGreaterOrEqual:
		name, v := strings.ToLower(text(f.Children[0])), text(f.Children[1])
		switch name {
		case "entryuuid":
			return !c.o.AD && e.id.String() == v
		case "objectguid":
			return c.o.AD && swapped(e.id) == v
		case "usnchanged":
			n, _ := strconv.Atoi(v)
			return e.csn >= n
		case "modifytimestamp", "whenchanged":
			return stamp(e.csn) >= v
		}
		return c.has(name, e.Attrs[name], v)
	case ldap.FilterSubstrings:
		name := strings.ToLower(text(f.Children[0]))
		return slices.ContainsFunc(e.Attrs[name], func(v string) bool { return substrings(strings.ToLower(v), f.Children[1].Children) })
	}
	return false
}

func substrings(v string, parts []*ber.Packet) bool {
	for _, p := range parts {
		s := strings.ToLower(p.Data.String())
		switch p.Tag {
		case ldap.FilterSubstringsInitial:
			if !strings.HasPrefix(v, s) {
				return false
			}
			v = v[len(s):]
		case ldap.FilterSubstringsFinal:
			if !strings.HasSuffix(v, s) {
				return false
			}
		default:
			_, rest, ok := strings.Cut(v, s)
			if !ok {
				return false
			}
			v = rest
		}
	}
	return true
}

// changes answers a search by RFC 4533. A cookie is a count of changes.
func (c *call) changes(hits []*entry, value []byte) uint16 {
	since := 0
	for _, p := range ber.DecodePacket(value).Children {
		if p.Tag == ber.TagOctetString {
			n, err := strconv.Atoi(p.Data.String())
			if err != nil || n > c.csn {
				return ldap.LDAPResultSyncRefreshRequired
			}
			since = n
		}
	}
	info := func(deletes bool, ids []uuid.UUID) {
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, id := range ids {
			set.AppendChild(octets(string(id[:])))
		}
		v := ber.Encode(ber.ClassContext, ber.TypeConstructed, ber.Tag(ldap.SyncInfoSyncIdSet), nil, "")
		v.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, deletes, ""))
		v.AppendChild(set)
		op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationIntermediateResponse, nil, "")
		oid := ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, ldap.ControlTypeSyncInfo, "")
		val := ber.NewString(ber.ClassContext, ber.TypePrimitive, 1, string(v.Bytes()), "")
		op.AppendChild(oid)
		op.AppendChild(val)
		c.replies = append(c.replies, c.envelope(op))
	}
	var still, gone []uuid.UUID
	for _, e := range hits {
		if since > 0 && e.csn <= since {
			still = append(still, e.id)
			continue
		}
		state := sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(ldap.SyncStateAdd), ""), octets(string(e.id[:])))
		c.replies = append(c.replies, c.envelope(c.entry(e, []string{"1.1"}), control(ldap.ControlTypeSyncState, state)))
	}
	for _, t := range c.gone {
		if t.csn > since {
			gone = append(gone, t.id)
		}
	}
	deletes := since > 0 && !c.present
	if deletes && len(gone) > 0 {
		info(true, gone)
	} else if since > 0 && c.present {
		info(false, still)
	}
	done := sequence(octets(strconv.Itoa(c.csn)))
	if deletes {
		done.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, ""))
	}
	c.attach = append(c.attach, control(ldap.ControlTypeSyncDone, done))
	return 0
}

// dirSync answers a search by the control of MS-ADTS 3.1.1.3.4.1.3, two changes
// at a time so that whoever asks has to go on asking.
func (c *call) dirSync(hits []*entry, value []byte) uint16 {
	since, _ := strconv.Atoi(ber.DecodePacket(value).Children[2].Data.String())
	type change struct {
		csn int
		e   *entry
	}
	var all []change
	for _, e := range hits {
		all = append(all, change{e.csn, e})
	}
	for _, t := range c.gone {
		all = append(all, change{t.csn, &entry{id: t.id, Entry: Entry{"CN=deleted", map[string][]string{"isdeleted": {"TRUE"}}}}})
	}
	all = slices.DeleteFunc(all, func(ch change) bool { return ch.csn <= since })
	slices.SortFunc(all, func(a, b change) int { return a.csn - b.csn })
	more, upTo := int64(0), c.csn
	if len(all) > 2 {
		all, more = all[:2], 1
		upTo = all[1].csn
	}
	for _, ch := range all {
		c.replies = append(c.replies, c.envelope(c.entry(ch.e, []string{"objectGUID", "isDeleted"})))
	}
	c.attach = append(c.attach, control(ldap.ControlTypeDirSync, sequence(number(more), number(0), octets(strconv.Itoa(upTo)))))
	return 0
}
