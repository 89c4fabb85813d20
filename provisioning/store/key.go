package store

import (
	"errors"
	"strings"
)

// Key encodes a tuple so that bytes order as tuples do and no part can be
// mistaken for two: 0x00 in a part becomes 0x00 0xFF, each part ends in 0x00 0x01.
func Key(parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += len(p) + strings.Count(p, "\x00") + 2
	}
	key := make([]byte, 0, n)
	for _, p := range parts {
		for {
			head, tail, found := strings.Cut(p, "\x00")
			key = append(key, head...)
			if !found {
				break
			}
			key = append(key, 0x00, 0xFF)
			p = tail
		}
		key = append(key, 0x00, 0x01)
	}
	return key
}

// Parts decodes a Key. It refuses every byte string that Key does not make.
func Parts(key []byte) ([]string, error) {
	var parts []string
	var part []byte
	open := false // bytes were read that no terminator has ended
	for i := 0; i < len(key); i++ {
		if key[i] != 0x00 {
			part, open = append(part, key[i]), true
			continue
		}
		if i++; i == len(key) {
			return nil, errKey
		}
		switch key[i] {
		case 0x01:
			parts, part, open = append(parts, string(part)), part[:0], false
		case 0xFF:
			part, open = append(part, 0x00), true
		default:
			return nil, errKey
		}
	}
	if open {
		return nil, errKey
	}
	return parts, nil
}

var errKey = errors.New("store: key is not a tuple")

// End is the first key after all that begin with prefix (nil: none).
func End(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
