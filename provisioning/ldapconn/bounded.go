package ldapconn

import (
	"bytes"
	"errors"
	"io"
	"net"
)

// Bounds of one message from a server. A hundred thousand members of one group
// under long names are some 10 MiB.
const (
	maxMessage = 32 << 20 // bytes
	maxDepth   = 64       // of elements within elements
)

var errMessage = errors.New("the directory sent something that is no LDAP message, or is too large")

// bounded hands a message on when it is there whole, is not too large and keeps
// its own lengths. The decoder behind it believes every length that it reads.
type bounded struct {
	net.Conn
	rest []byte
}

func (b *bounded) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		m, err := message(b.Conn)
		if err != nil {
			return 0, err
		}
		b.rest = m
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// message reads one message and not a byte more.
func message(r io.Reader) ([]byte, error) {
	head := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if more := int(head[1]) - 0x80; head[0] != 0x30 || more == 0 || more > 4 {
		return nil, errMessage
	} else if more > 0 {
		head = head[:2+more]
		if _, err := io.ReadFull(r, head[2:]); err != nil {
			return nil, err
		}
	}
	n, _, ok := length(head[1:])
	if !ok || n > maxMessage {
		return nil, errMessage
	}
	// It grows with what comes, not with what is announced.
	buf := bytes.NewBuffer(head)
	if _, err := io.CopyN(buf, r, int64(n)); err != nil {
		return nil, err
	}
	if !wellFormed(buf.Bytes()[len(head):], 0) {
		return nil, errMessage
	}
	return buf.Bytes(), nil
}

// length reads a definite length (X.690, 8.1.3), and says how many bytes it takes.
func length(b []byte) (n, size int, ok bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	if b[0] < 0x80 {
		return int(b[0]), 1, true
	}
	size = int(b[0]) - 0x80
	if size == 0 || size > 4 || len(b) < 1+size {
		return 0, 0, false
	}
	for _, c := range b[1 : 1+size] {
		n = n<<8 | int(c)
	}
	return n, 1 + size, true
}

// wellFormed: the elements fill their place exactly, at every depth.
func wellFormed(b []byte, depth int) bool {
	for len(b) > 0 {
		tag := b[0]
		n, size, ok := length(b[1:])
		// LDAP has no tags of more than one byte.
		if !ok || tag&0x1f == 0x1f || n > len(b)-1-size {
			return false
		}
		if tag&0x20 != 0 && (depth == maxDepth || !wellFormed(b[1+size:1+size+n], depth+1)) {
			return false
		}
		b = b[1+size+n:]
	}
	return true
}
