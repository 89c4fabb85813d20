package ldapconn

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// A Conn is a connection that is bound. It is one goroutine's.
type Conn struct {
	ldap   *ldap.Conn
	used   bool // it was idle: the server may have closed it
	wrote  bool // something may have been changed over it, since it was taken
	expire *time.Timer
}

func (c *Conn) close() { _ = c.ldap.Close() }

// PageSize is how many entries are asked for at once.
const PageSize = 500

// A Query is a search below a base.
type Query struct {
	Base   string
	Filter string   // empty: everything
	Attrs  []string // none: all that users have set
	Limit  int      // 0: all; otherwise at most so many, and more is no error
	Object bool     // the base alone
	// Controls besides.
	Controls []ldap.Control
}

func (q Query) request() *ldap.SearchRequest {
	scope := ldap.ScopeWholeSubtree
	if q.Object {
		scope = ldap.ScopeBaseObject
	}
	filter := q.Filter
	if filter == "" {
		filter = "(objectClass=*)"
	}
	return ldap.NewSearchRequest(q.Base, scope, ldap.NeverDerefAliases, q.Limit, 0, false, filter, q.Attrs, slices.Clone(q.Controls))
}

// Search returns the entries that a query finds. Use [Conn.Pages] where they may
// be many. References to other servers are not followed.
func (c *Conn) Search(q Query) ([]*ldap.Entry, error) {
	res, err := c.ldap.Search(q.request())
	if Code(err) == ldap.LDAPResultSizeLimitExceeded && q.Limit > 0 && res != nil {
		err = nil
	}
	if err != nil {
		return nil, classify("search", err, false)
	}
	return res.Entries, nil
}

// Pages yields the entries that a query finds, a page at a time (RFC 2696). It
// stops at the first error: what was yielded then is not all there is.
func (c *Conn) Pages(q Query) iter.Seq2[*ldap.Entry, error] {
	return func(yield func(*ldap.Entry, error) bool) {
		req := q.request()
		paging := ldap.NewControlPaging(PageSize)
		req.Controls = append(req.Controls, paging)
		for {
			res, err := c.ldap.Search(req)
			if err != nil {
				yield(nil, classify("search", err, false))
				return
			}
			for _, e := range res.Entries {
				if !yield(e, nil) {
					return
				}
			}
			next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
			if !ok || len(next.Cookie) == 0 {
				return
			}
			paging.SetCookie(next.Cookie)
		}
	}
}

// Add makes an entry.
func (c *Conn) Add(r *ldap.AddRequest) error {
	c.wrote = true
	return classify("add", c.ldap.Add(r), true)
}

// Modify changes an entry; no changes: nothing is sent.
func (c *Conn) Modify(r *ldap.ModifyRequest) error {
	if len(r.Changes) == 0 {
		return nil
	}
	c.wrote = true
	return classify("modify", c.ldap.Modify(r), true)
}

// Rename gives an entry another relative name and, if superior is not empty,
// another place. The old name's value goes from the entry.
func (c *Conn) Rename(dn, rdn, superior string) error {
	c.wrote = true
	return classify("rename", c.ldap.ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, superior)), true)
}

// Delete removes an entry.
func (c *Conn) Delete(dn string) error {
	c.wrote = true
	return classify("delete", c.ldap.Del(ldap.NewDelRequest(dn, nil)), true)
}

// WhoAmI is what the server says we are bound as (RFC 4532); empty: anonymous,
// or it does not say.
func (c *Conn) WhoAmI() string {
	res, err := c.ldap.WhoAmI(nil)
	if err != nil {
		return ""
	}
	return res.AuthzID
}

// Root reads the server's own entry (RFC 4512, 5.1).
func (c *Conn) Root() (Root, error) {
	list, err := c.Search(Query{Object: true, Attrs: []string{"supportedControl", "supportedExtension", "supportedCapabilities", "namingContexts", "dsServiceName", "highestCommittedUSN", "vendorName", "vendorVersion"}})
	if err != nil {
		return Root{}, err
	}
	if len(list) != 1 {
		return Root{}, Errorf(connector.Route, "the server does not describe itself")
	}
	e := list[0]
	return Root{
		Controls: e.GetAttributeValues("supportedControl"), Contexts: e.GetAttributeValues("namingContexts"),
		ActiveDirectory: slices.Contains(e.GetAttributeValues("supportedCapabilities"), oidActiveDirectory),
		Server:          e.GetAttributeValue("dsServiceName"), USN: e.GetAttributeValue("highestCommittedUSN"),
		Vendor: strings.TrimSpace(e.GetAttributeValue("vendorName") + " " + e.GetAttributeValue("vendorVersion")),
	}, nil
}

// oidActiveDirectory is the capability LDAP_CAP_ACTIVE_DIRECTORY_OID.
const oidActiveDirectory = "1.2.840.113556.1.4.800"

// A Root is what a server says of itself.
type Root struct {
	Controls, Contexts []string // OIDs; names of the trees that it has
	ActiveDirectory    bool
	Server, USN        string // Active Directory: which controller, and its count of changes
	Vendor             string
}

// Can reports that the server knows a control.
func (r Root) Can(control string) bool { return slices.Contains(r.Controls, control) }

// Changes is what happened since a cookie.
type Changes struct {
	Cookie []byte
	// Changed are the IDs of entries that were added or changed, Deleted of those
	// that do not match any more, or are gone.
	Changed, Deleted []string
	// Present, if not nil, are the IDs of entries that did not change: whatever is
	// in neither of the three is gone too.
	Present map[string]bool
}

// ErrStale: changes since that cookie can not be told; everything has to be read.
var ErrStale = Errorf(connector.Invalid, "the directory can not say what changed since then")

// Sync asks what changed since a cookie by RFC 4533 (syncrepl), refreshOnly; an
// empty cookie: everything is told as changed. An ID is an entryUUID.
func (c *Conn) Sync(ctx context.Context, q Query, cookie []byte) (Changes, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.Attrs = []string{"1.1"}
	out := Changes{Cookie: cookie}
	present := false
	r := c.ldap.Syncrepl(ctx, q.request(), 64, ldap.SyncRequestModeRefreshOnly, cookie, false)
	done := false
	for r.Next() {
		for _, ctl := range r.Controls() {
			switch s := ctl.(type) {
			case *ldap.ControlSyncState:
				id := s.EntryUUID.String()
				switch s.State {
				case ldap.SyncStateDelete:
					out.Deleted = append(out.Deleted, id)
				case ldap.SyncStatePresent:
					out.see(id)
				default:
					out.Changed = append(out.Changed, id)
				}
			case *ldap.ControlSyncInfo:
				switch {
				case s.SyncIdSet != nil:
					for _, id := range s.SyncIdSet.SyncUUIDs {
						if s.SyncIdSet.RefreshDeletes {
							out.Deleted = append(out.Deleted, id.String())
						} else {
							out.see(id.String())
						}
					}
				case s.RefreshPresent != nil:
					present = true
				}
			case *ldap.ControlSyncDone:
				done = true
				if len(s.Cookie) > 0 {
					out.Cookie = s.Cookie
				}
				present = present || !s.RefreshDeletes
			}
		}
	}
	if err := r.Err(); err != nil {
		if code := Code(err); code == ldap.LDAPResultSyncRefreshRequired || code == ldap.LDAPResultUnwillingToPerform && len(cookie) > 0 {
			return Changes{}, ErrStale
		}
		return Changes{}, classify("search for changes", err, false)
	}
	if !done {
		return Changes{}, Errorf(connector.Transient, "the directory broke off while it told what changed")
	}
	// Without a cookie everything was told, and a present phase says nothing more.
	if present && len(cookie) > 0 {
		if out.Present == nil {
			out.Present = map[string]bool{}
		}
	} else {
		out.Present = nil
	}
	return out, nil
}

func (c *Changes) see(id string) {
	if c.Present == nil {
		c.Present = map[string]bool{}
	}
	c.Present[id] = true
}

// Flags of DirSync: only what the bind may read, with that right alone
// (LDAP_DIRSYNC_OBJECT_SECURITY).
const dirSyncObjectSecurity = 1

// DirSync asks Active Directory what changed since a cookie (MS-ADTS,
// 3.1.1.3.4.1.3). The base has to be a naming context. An ID is an objectGUID.
func (c *Conn) DirSync(q Query, cookie []byte) (Changes, error) {
	out := Changes{Cookie: cookie}
	q.Attrs = []string{"objectGUID", "isDeleted"}
	for {
		req := q.request()
		res, err := c.ldap.DirSync(req, dirSyncObjectSecurity, 0, out.Cookie)
		if err != nil {
			return Changes{}, classify("search for changes", err, false)
		}
		for _, e := range res.Entries {
			id := ID(e, ActiveDirectory)
			switch {
			case id == "":
			case strings.EqualFold(Value(e, "isDeleted"), "TRUE"):
				out.Deleted = append(out.Deleted, id)
			default:
				out.Changed = append(out.Changed, id)
			}
		}
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypeDirSync).(*ldap.ControlDirSync)
		if !ok || len(next.Cookie) == 0 {
			return Changes{}, Errorf(connector.Route, "the directory does not answer to DirSync")
		}
		out.Cookie = next.Cookie
		if next.Flags == 0 { // no more
			return out, nil
		}
	}
}

// All are the values of an attribute of an entry that was read, also where Active
// Directory sent only the first ones (MS-ADTS, 3.1.1.3.1.3.3).
func (c *Conn) All(e *ldap.Entry, attr string) ([]string, error) {
	all := Values(e, attr)
	for from, more := rangeOf(e, attr); more; {
		all = append(all, from.values...)
		if from.last {
			break
		}
		want := fmt.Sprintf("%s;range=%d-*", attr, from.next)
		list, err := c.Search(Query{Base: e.DN, Object: true, Attrs: []string{want}})
		if err != nil {
			return nil, err
		}
		if len(list) != 1 {
			return nil, Errorf(connector.Transient, "an entry went away while its values were read")
		}
		next := from.next
		if from, more = rangeOf(list[0], attr); more && !from.last && from.next <= next {
			return nil, Errorf(connector.Route, "the directory sends the same values again")
		}
		if !more {
			return nil, Errorf(connector.Transient, "the values of an entry changed while they were read")
		}
	}
	return all, nil
}

// ranged is a part of the values of an attribute.
type ranged struct {
	values []string
	next   int
	last   bool
}

// rangeOf finds attr;range=0-1499 in an entry.
func rangeOf(e *ldap.Entry, attr string) (r ranged, ok bool) {
	for _, a := range e.Attributes {
		base, span, is := strings.Cut(strings.ToLower(a.Name), ";range=")
		if !is || base != strings.ToLower(attr) {
			continue
		}
		_, end, _ := strings.Cut(span, "-")
		r.values, r.last = a.Values, end == "*"
		n, err := strconv.Atoi(end)
		r.next = n + 1
		return r, r.last || err == nil
	}
	return r, false
}
