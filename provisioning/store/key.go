package store

import (
	"bytes"
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
	return AppendKey(make([]byte, 0, n), parts...)
}

// AppendKey appends a Key.
func AppendKey(key []byte, parts ...string) []byte {
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
	parts := make([]string, 0, 5) // an entry of an index has as many
	var part []byte               // what was read of a part with a 0x00 in it
	for len(key) > 0 {
		i := bytes.IndexByte(key, 0x00)
		if i < 0 || i+1 == len(key) {
			return nil, errKey
		}
		head, mark := key[:i], key[i+1]
		key = key[i+2:]
		switch {
		case mark == 0xFF:
			part = append(append(part, head...), 0x00)
			if len(key) == 0 {
				return nil, errKey
			}
		case mark == 0x01 && part == nil:
			parts = append(parts, string(head))
		case mark == 0x01:
			parts, part = append(parts, string(append(part, head...))), nil
		default:
			return nil, errKey
		}
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
