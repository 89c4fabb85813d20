package server

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// encoded remembers how the resources that were answered last are written. A Store
// does not change what it has returned, so the same pointer is the same text.
type encoded struct{ slots [8192]atomic.Pointer[writing] }

type writing struct {
	r    *scim.Resource
	text []byte
}

var encodedSeed = maphash.MakeSeed()

func (e *encoded) slot(r *scim.Resource) *atomic.Pointer[writing] {
	return &e.slots[maphash.Comparable(encodedSeed, r)%uint64(len(e.slots))]
}

// get is how a resource is written, nil if that is not remembered.
func (e *encoded) get(r *scim.Resource) []byte {
	if w := e.slot(r).Load(); w != nil && w.r == r {
		return w.text
	}
	return nil
}

func (e *encoded) put(r *scim.Resource, text []byte) { e.slot(r).Store(&writing{r, text}) }
