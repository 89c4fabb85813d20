package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A walk is a query that is asked page by page.
type walk struct {
	who, endpoint, filter, sort string
	count                       int
}

// bound is what a cursor is good for. The count is aside, because it has an error of its own.
func (w walk) bound() []byte {
	data, _ := json.Marshal([]string{w.who, w.endpoint, w.filter, w.sort}) // strings can always be encoded
	return data
}

var errCursor = scim.Errorf(http.StatusBadRequest, scim.InvalidCursor,
	"this is no cursor of this query: begin with an empty cursor and repeat everything else as it was")

// A sealer makes cursors (RFC 9865): encrypted, because a position may hold a
// name, and authenticated together with the walk that they belong to.
type sealer struct{ cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	if len(key) == 0 {
		key = []byte(rand.Text())
	}
	sum := sha256.Sum256(append([]byte("scim cursor\n"), key...))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return sealer{}, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{a}, err
}

func (s sealer) close(position string, w walk, now time.Time) string {
	head := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	head = binary.BigEndian.AppendUint32(head, uint32(w.count))
	return base64.RawURLEncoding.EncodeToString(s.Seal(nil, nil, append(head, position...), w.bound()))
}

// open gives the position in a cursor that was made for the same walk, not before oldest.
func (s sealer) open(cursor string, w walk, oldest time.Time) (string, error) {
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", errCursor
	}
	if data, err = s.Open(nil, nil, data, w.bound()); err != nil || len(data) < 12 {
		return "", errCursor
	}
	switch {
	case int64(binary.BigEndian.Uint64(data)) < oldest.Unix():
		return "", scim.Errorf(http.StatusBadRequest, scim.ExpiredCursor, "the cursor is too old: begin again with an empty one")
	case int64(binary.BigEndian.Uint32(data[8:])) != int64(w.count):
		return "", scim.Errorf(http.StatusBadRequest, scim.InvalidCount, "the count must be the one that the walk began with")
	}
	return string(data[12:]), nil
}

// Bounds of what is remembered of walks by number.
const (
	maxWalks    = 10_000
	walkTimeout = 10 * time.Minute
)

// walks remembers where pages that were asked for by number ended, so that the
// next one goes on there and not at a number that means somebody else since
// others were deleted. Where nothing is remembered the Store counts.
//
// Two walks of one client with the same query can not be told apart. So of the
// positions at which they wait the earliest is kept until all have gone on: then
// somebody may be seen twice, but nobody is left out.
type walks struct {
	mu  sync.Mutex
	at  map[stop]*ended
	old []stop // in the order in which they were first put
}

type stop struct {
	walk
	start int
}

type ended struct {
	position string
	waiting  int // how many ended a page here and did not ask for the next one yet
	until    time.Time
}

func (ws *walks) put(w walk, start int, position string, now time.Time, earlier func(a, b string) bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.at == nil {
		ws.at = map[stop]*ended{}
	}
	k := stop{w, start}
	e, ok := ws.at[k]
	switch {
	case !ok:
		if len(ws.old) >= maxWalks {
			ws.forget(now)
		}
		e = &ended{position: position}
		ws.at[k] = e
		ws.old = append(ws.old, k)
	case e.waiting == 0 || !now.Before(e.until):
		e.position, e.waiting = position, 0
	case earlier != nil && earlier(position, e.position):
		e.position = position
	}
	e.waiting++
	e.until = now.Add(walkTimeout)
}

func (ws *walks) take(w walk, start int, now time.Time) (position string, ok bool) {
	if start == 1 {
		return "", false
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	e, ok := ws.at[stop{w, start}]
	if !ok || !now.Before(e.until) {
		return "", false
	}
	e.waiting = max(e.waiting-1, 0)
	return e.position, true
}

// forget drops what is too old, or else the older half.
func (ws *walks) forget(now time.Time) {
	keep := ws.old[:0]
	for i, k := range ws.old {
		if now.Before(ws.at[k].until) && i >= maxWalks/2 {
			keep = append(keep, k)
		} else {
			delete(ws.at, k)
		}
	}
	ws.old = keep
}
