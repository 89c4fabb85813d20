package scim

import (
	"net/http"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

var errMayNotCreate = rfc.Errorf(http.StatusForbidden, "", "this client may neither create nor delete users")

// always are members that every client sees, and that no client writes.
func always(name string) bool {
	switch name {
	case "schemas", "id", "meta", "groups":
		return true
	}
	return false
}

// seen is what a client may see of a user's resource.
func seen(c *client.Client, r *rfc.Resource) *rfc.Resource {
	if c.Read == nil {
		return r
	}
	out := r.Clone()
	for name := range r.All() {
		if !c.Reads(name) && !always(name) {
			out.Delete(name)
		}
	}
	return out
}

// withUnseen is what a client made of what it sees of cur, with all else as it was.
// Of what it does not see it can say what that is to be, if it may write it: that
// somebody is not active any more is never lost.
func withUnseen(c *client.Client, cur, next *rfc.Resource) *rfc.Resource {
	if c.Read == nil {
		return next
	}
	next = next.Clone()
	for name, v := range cur.All() {
		if !c.Reads(name) && !always(name) && next.Get(name) == nil {
			next.Set(name, v)
		}
	}
	return next
}

// written refuses a change of what a client may not write.
func written(c *client.Client, cur, next *rfc.Resource) error {
	if c.Write == nil {
		return nil
	}
	for _, r := range []*rfc.Resource{cur, next} {
		for name := range r.All() {
			if c.Writes(name) || always(name) {
				continue
			}
			if !rfc.NewObject("v", cur.Get(name)).Equal(rfc.NewObject("v", next.Get(name))) {
				return rfc.Errorf(http.StatusForbidden, "", "this client may not write %s", name)
			}
		}
	}
	return nil
}
