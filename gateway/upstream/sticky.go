package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
)

// tokenOf is what a sticky cookie says of a member: a keyed hash of its name, so
// that nobody learns the name or makes a cookie for a member that they were not
// sent to.
func (s *Set) tokenOf(name string) string {
	if s.Sticky != ByCookie {
		return ""
	}
	h := hmac.New(sha256.New, s.Key)
	h.Write([]byte("upstream\x00" + name))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

func saltOf(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:])
}

// hashed gives each session the member with the highest mark, so that only the
// sessions of one that leaves move, and only they move back.
func (s *Set) hashed(session string, may func(int, *Member) bool) (*Member, int) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(session)) // it never fails
	of := h.Sum64()
	best, most := -1, uint64(0)
	for i, m := range s.members {
		if mark := mix(of ^ m.salt); may(i, m) && (best < 0 || mark > most) {
			best, most = i, mark
		}
	}
	if best < 0 {
		return nil, -1
	}
	return s.members[best], best
}

// mix spreads each bit of x over all of the result (the finaliser of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
