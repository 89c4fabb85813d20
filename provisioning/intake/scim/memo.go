package scim

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A memo remembers the resources that clients read last, each for one client and
// one state of a user: the Directory hands out the same pointer for as long as
// nothing changes, so there is nothing to be told of.
type memo struct {
	slots [memoSize]atomic.Pointer[remembered]
}

const memoSize = 8192

type remembered struct {
	client string
	user   *provisioning.User
	r      *rfc.Resource
}

var memoSeed = maphash.MakeSeed()

func (m *memo) slot(client, id string) *atomic.Pointer[remembered] {
	return &m.slots[maphash.Comparable(memoSeed, [2]string{client, id})%memoSize]
}

// get is the resource that a client has of a user, nil if it is not remembered.
func (m *memo) get(client string, u *provisioning.User) *rfc.Resource {
	if got := m.slot(client, u.ID).Load(); got != nil && got.user == u && got.client == client {
		return got.r
	}
	return nil
}

func (m *memo) put(client string, u *provisioning.User, r *rfc.Resource) {
	m.slot(client, u.ID).Store(&remembered{client, u, r})
}
