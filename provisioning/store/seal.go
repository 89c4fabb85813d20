package store

import (
	"bytes"
	"context"
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
	"sync/atomic"
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
//
// A Sealer may know secrets from before, which open and do not seal: Reseal makes
// them superfluous.
type Sealer struct {
	purpose string
	aeads   atomic.Pointer[[]cipher.AEAD] // the first seals
}

// sealForm is the first byte of sealed values.
const sealForm = 0x01

// NewSealer makes a Sealer of a secret, and of those that were used before it. The
// purpose keeps values of one use from being opened as those of another.
func NewSealer(secret []byte, purpose string, before ...[]byte) (*Sealer, error) {
	s := &Sealer{purpose: purpose}
	if err := s.Rekey(secret, before...); err != nil {
		return nil, err
	}
	return s, nil
}

// Rekey makes the Sealer use other secrets from now on.
func (s *Sealer) Rekey(secret []byte, before ...[]byte) error {
	var aeads []cipher.AEAD
	for _, secret := range append([][]byte{secret}, before...) {
		if len(secret) != SecretSize {
			return fmt.Errorf("store: a sealing secret has %d bytes, not %d", SecretSize, len(secret))
		}
		key, err := hkdf.Key(sha256.New, secret, nil, "gatehouse store seal 1: "+s.purpose, 32)
		if err != nil {
			return fmt.Errorf("store: derive sealing key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return fmt.Errorf("store: make cipher: %w", err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return fmt.Errorf("store: make cipher: %w", err)
		}
		aeads = append(aeads, aead)
	}
	s.aeads.Store(&aeads)
	return nil
}

// Seal encrypts plain for the row with this key. The same twice is sealed differently.
func (s *Sealer) Seal(key, plain []byte) []byte {
	return (*s.aeads.Load())[0].Seal([]byte{sealForm}, nil, plain, key)
}

// Open decrypts what Seal made for this key, or says ErrSeal.
func (s *Sealer) Open(key, sealed []byte) ([]byte, error) {
	plain, _, err := s.open(key, sealed)
	return plain, err
}

// open says too by which of the secrets it could.
func (s *Sealer) open(key, sealed []byte) (plain []byte, by int, err error) {
	if len(sealed) == 0 || sealed[0] != sealForm {
		return nil, 0, ErrSeal
	}
	for by, aead := range *s.aeads.Load() {
		if plain, err := aead.Open(nil, nil, sealed[1:], key); err == nil {
			return plain, by, nil
		}
	}
	return nil, 0, ErrSeal
}

// A Sealed is a table with rows of which a part is sealed.
type Sealed[T any] struct {
	Table *Table[T]
	Key   func(T) []byte   // that the part is authenticated with
	Part  func(*T) *[]byte // an empty one: nothing is sealed in this row
}

// Reseal seals with the secret in use what is sealed with one from before, some rows
// in a transaction, and returns how many it sealed, and how many it could not open:
// those stay as they are. Repeated it does what is left.
func (t Sealed[T]) Reseal(ctx context.Context, st Store, s *Sealer) (done, lost int, err error) {
	const each = 20 // rows in a transaction, with their index entries far below MaxKeys
	for after := ""; ; {
		var n, blind int
		var next string
		err := st.Update(ctx, func(tx Tx) error {
			n, blind, next = 0, 0, ""
			var rows []T
			for row, err := range t.Table.All(tx, after, each) {
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			for _, row := range rows {
				next = t.Table.Key(row)
				part := t.Part(&row)
				if len(*part) == 0 {
					continue
				}
				plain, by, err := s.open(t.Key(row), *part)
				if err != nil {
					blind++
					continue
				}
				if by == 0 {
					continue
				}
				*part = s.Seal(t.Key(row), plain)
				if err := t.Table.Put(tx, row); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			return done, lost, fmt.Errorf("seal %s again: %w", t.Table.Name, err)
		}
		if done, lost, after = done+n, lost+blind, next; next == "" {
			return done, lost, nil
		}
	}
}

// NewSecret makes a secret.
func NewSecret() []byte {
	secret := make([]byte, SecretSize)
	rand.Read(secret)
	return secret
}

// SecretFile returns the secrets in a file, the one in use first. If there is no
// file it makes one with mode 0600: 64 hexadecimal digits and a line feed. Further
// lines are secrets from before. It refuses a file that others may read, or that
// holds anything else. What was sealed with a secret is lost with the file, so it
// belongs into the backup, apart from the database's.
func SecretFile(path string) ([][]byte, error) {
	secrets, err := readSecrets(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets, err
	}
	part, err := writeSecrets(path, [][]byte{NewSecret()})
	if err != nil {
		return nil, err
	}
	defer os.Remove(part)
	// A link does not replace a secret that another process has made meanwhile.
	if err := os.Link(part, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make secret: %w", err)
	}
	return readSecrets(path)
}

// ReplaceSecretFile puts secrets into the place of those in a file, all or nothing.
func ReplaceSecretFile(path string, secrets [][]byte) error {
	part, err := writeSecrets(path, secrets)
	if err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return errors.Join(fmt.Errorf("replace secret: %w", err), os.Remove(part))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("replace secret: %w", err)
	}
	if runtime.GOOS == "windows" { // it can not sync folders
		return dir.Close()
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeSecrets writes a file beside path, and returns its name.
func writeSecrets(path string, secrets [][]byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}
	for _, secret := range secrets {
		_, werr := fmt.Fprintf(f, "%x\n", secret)
		err = errors.Join(err, werr)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("make secret: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func readSecrets(path string) (secrets [][]byte, err error) {
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
	damaged := fmt.Errorf("secret %s does not hold %d hexadecimal digits; restore it from the backup", path, 2*SecretSize)
	for _, line := range bytes.Fields(text) {
		secret, err := hex.DecodeString(string(line))
		if err != nil || len(secret) != SecretSize {
			return nil, damaged
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, damaged
	}
	return secrets, nil
}
