package configs

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// hidden is how a secret looks to everybody who does not ask for its value.
const hidden = "…"

// maxSecret is how large a file with a secret may be, in bytes.
const maxSecret = 64 << 10

// A Secret is a value that is never shown: `{file: PATH}` or `{env: NAME}`, and
// only in the demo the text itself. Every way of printing it, in whatever it is
// part of, gives "…"; only Value gives it away. The zero Secret is none.
type Secret struct {
	value *string // a pointer, so that even a print past every method shows an address
}

// Value is the secret itself; without the line end of its file.
func (s Secret) Value() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Key is the secret as a key of 32 bytes: it is those, or 64 hexadecimal digits.
func (s Secret) Key() (key []byte, ok bool) {
	const size = 32
	if key, err := hex.DecodeString(s.Value()); err == nil && len(key) == size {
		return key, true
	}
	return []byte(s.Value()), len(s.Value()) == size
}

// IsZero reports that there is none.
func (s Secret) IsZero() bool { return s.value == nil }

// Format prints "…" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

func (Secret) String() string { return hidden }

// MarshalText is what JSON, XML and YAML encoders write.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue is what slog writes.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// secretSource is where a Secret is kept.
type secretSource struct {
	// File that holds it, relative to the folder of the configuration, readable by its owner and group alone.
	File File `yaml:"file"`
	// Env is the environment variable that holds it.
	Env string `yaml:"env"`
}

// secret reads what is kept elsewhere; at is where the mistake would be.
func (d *decoder) secret(src secretSource, at where) (Secret, *problem) {
	var value, from string
	switch {
	case (src.File == "") == (src.Env == ""):
		return Secret{}, &problem{"a secret has exactly one of file and env", "write { file: PATH } or { env: NAME }"}
	case d.skip:
	case src.File != "":
		from = "the file " + string(src.File)
		info, p := d.regular(string(src.File))
		if p != nil {
			return Secret{}, p
		}
		if info.Size() > maxSecret {
			return Secret{}, &problem{from + " is too large for a secret", "name a file of at most 64 KiB"}
		}
		b, err := os.ReadFile(string(src.File))
		if err != nil {
			return Secret{}, &problem{from + " can not be read: " + reason(err), "let the gateway's user read it"}
		}
		if perm := info.Mode().Perm(); perm&0o137 != 0 {
			d.surprise(at, fmt.Sprintf("%s has mode %#o, so others than its owner and group can use it", from, perm), "chmod 0640 or less")
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	default:
		from = "the variable " + src.Env
		value = os.Getenv(src.Env)
	}
	if value == "" && !d.skip {
		return Secret{}, &problem{from + " is empty or not there", "put the secret into it"}
	}
	return Secret{&value}, nil
}
