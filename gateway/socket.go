package gateway

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// A socket is the connection of a client that speaks WebSocket, the one protocol
// that may take a connection over. It follows the frames that the service sends
// (RFC 6455 section 5.2), so that a last one of ours comes between two of them.
type socket struct {
	net.Conn
	mu     sync.Mutex
	head   []byte // of the frame that has begun, as far as it has come
	left   uint64 // bytes of its payload that are still to come
	closed bool   // the service, or we, said the last word
}

func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.Conn.Write(p)
	s.follow(p[:n])
	return n, err
}

// follow takes note of bytes on their way to the client.
func (s *socket) follow(p []byte) {
	for len(p) > 0 {
		if s.left > 0 {
			n := min(s.left, uint64(len(p)))
			s.left -= n
			p = p[n:]
			continue
		}
		s.head, p = append(s.head, p[0]), p[1:]
		if len(s.head) < 2 {
			continue
		}
		size := 2
		length := uint64(s.head[1] & 0x7f)
		switch length {
		case 126:
			size += 2
		case 127:
			size += 8
		}
		ext := size
		if s.head[1]&0x80 != 0 {
			size += 4 // a mask, which services do not use
		}
		if len(s.head) < size {
			continue
		}
		switch length {
		case 126:
			length = uint64(binary.BigEndian.Uint16(s.head[2:ext]))
		case 127:
			length = binary.BigEndian.Uint64(s.head[2:ext])
		}
		s.closed = s.closed || s.head[0]&0x0f == opClose
		s.left, s.head = length, s.head[:0]
	}
}

const (
	opClose = 0x8
	// policyViolation is the status for an endpoint whose right has ended (RFC 6455
	// section 7.4.1).
	policyViolation = 1008
	// parting is how long a client has to take the last word.
	parting = 50 * time.Millisecond
)

// goodbye sends a close frame with the status 1008 and a reason, unless it would
// stand within another frame or the client takes nothing.
func (s *socket) goodbye(reason string) {
	if !s.mu.TryLock() {
		return // a write that does not get on
	}
	defer s.mu.Unlock()
	if s.closed || s.left > 0 || len(s.head) > 0 {
		return
	}
	s.closed = true
	reason = reason[:min(len(reason), 123)]
	frame := binary.BigEndian.AppendUint16([]byte{0x80 | opClose, byte(2 + len(reason))}, policyViolation)
	_ = s.SetWriteDeadline(time.Now().Add(parting))
	_, _ = s.Conn.Write(append(frame, reason...)) // it is closed next, whatever comes of this
}
