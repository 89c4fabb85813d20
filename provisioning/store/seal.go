package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// SecretSize is how many bytes a Sealer's secret has.
const SecretSize = 32

// ErrSeal: what should be opened was not sealed with this secret, for this
// purpose and key.
var ErrSeal = errors.New("store: sealed with another secret, for another row, or damaged")

// A Sealer encrypts values that must not be read in a copy of the database:
// AES-256-GCM under a key that HKDF-SHA-256 derives from a secret for one purpose.
// The row's key is authenticated with the value, so that a value moved to another
// row does not open. A sealed value is
//
//	0x01 · nonce (12 random bytes) · ciphertext · tag (16 bytes)
//
// One secret and purpose seals at most 2^32 values, as nonces are random.
type Sealer struct{ aead cipher.AEAD }

// sealForm is the first byte of sealed values.
const sealForm = 0x01

// NewSealer makes a Sealer. The purpose keeps values of one use from being opened
// as those of another.
func NewSealer(secret []byte, purpose string) (*Sealer, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("store: a sealing secret has %d bytes, not %d", SecretSize, len(secret))
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse store seal 1: "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("store: derive sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("store: make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("store: make cipher: %w", err)
	}
	return &Sealer{aead}, nil
}

// Seal encrypts plain for the row with this key. The same twice is sealed differently.
func (s *Sealer) Seal(key, plain []byte) []byte {
	return s.aead.Seal([]byte{sealForm}, nil, plain, key)
}

// Open decrypts what Seal made for this key, or says ErrSeal.
func (s *Sealer) Open(key, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealForm {
		return nil, ErrSeal
	}
	plain, err := s.aead.Open(nil, nil, sealed[1:], key)
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}

// SecretFile returns the secret in a file, which it makes with mode 0600 if there
// is none: 64 hexadecimal digits and a line feed. It refuses a file that others
// may read, or that holds anything else. What was sealed with a secret is lost with
// the file, so it belongs into the backup, apart from the database's.
func SecretFile(path string) ([]byte, error) {
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret = make([]byte, SecretSize)
	rand.Read(secret)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "%x\n", secret)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	// A link does not replace a secret that another process has made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return readSecret(path)
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode()&0o077 != 0 {
		return nil, fmt.Errorf("secret %s may be read by others (mode %04o); run chmod 600 %s, and make another if somebody may have", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(secret) != SecretSize {
		return nil, fmt.Errorf("secret %s does not hold %d hexadecimal digits; restore it from the backup", path, 2*SecretSize)
	}
	return secret, nil
}
