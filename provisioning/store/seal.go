package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrSealed: a sealed value was not made with this key for this row.
var ErrSealed = errors.New("store: sealed value can not be opened: another key, another row, or changed")

// A Sealer keeps secrets unreadable in the store: AES-256-GCM under a key
// derived (HKDF, RFC 5869) from a secret that is not in the store. What is
// sealed opens under its own row's key only, so two rows can not be exchanged.
type Sealer struct{ aead cipher.AEAD }

// NewSealer makes a Sealer from a secret of at least 16 bytes.
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < 16 {
		return nil, errors.New("store: the key that seals secrets must have at least 16 bytes")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse store seal v1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Sealer{aead}, err
}

// Seal makes plain unreadable, for the row with this key.
func (s *Sealer) Seal(row, plain []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, plain, row), nil
}

// Open reads what Seal made for the same row; ErrSealed otherwise.
func (s *Sealer) Open(row, sealed []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, row)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// KeyFile reads the secret in a file, or makes the file, for its owner alone,
// with a random one of 256 bits.
func KeyFile(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		var b [32]byte
		rand.Read(b[:])
		text := base64.RawStdEncoding.EncodeToString(b[:])
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = f.WriteString(text + "\n")
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return nil, errors.Join(err, os.Remove(path))
		}
		return []byte(text), nil
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("store: key file %s can be read by others — chmod 600 it", path)
	}
	return []byte(strings.TrimSpace(string(raw))), nil
}
