package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// Keys order as tuples do, no two tuples share one, and what is no key is refused.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"", "a", "\x00", "\x00\x01", "\x00\xff", "a\x00", "\xff", "a\x00\x01b"} {
		f.Add(s, "b", "a", s)
		f.Add("a", s, s, "")
	}
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string) {
		tuples := [][]string{{a1}, {a1, a2}, {b1}, {b1, b2}, {a1 + a2}, {a1, a2, b1}}
		for _, a := range tuples {
			ka := store.Key(a...)
			if got, err := store.Parts(ka); err != nil || !slices.Equal(got, a) {
				t.Errorf("Parts(Key(%q)) = %q, %v", a, got, err)
			}
			for _, b := range tuples {
				kb := store.Key(b...)
				if bytes.Compare(ka, kb) != slices.Compare(a, b) {
					t.Errorf("Key(%q) and Key(%q) order otherwise than their tuples", a, b)
				}
				begins := len(b) >= len(a) && slices.Equal(a, b[:len(a)])
				if bytes.HasPrefix(kb, ka) != begins {
					t.Errorf("Key(%q) is a prefix of Key(%q): %v", a, b, !begins)
				}
				if inside := bytes.Compare(kb, ka) >= 0 && bytes.Compare(kb, store.End(ka)) < 0; inside != begins {
					t.Errorf("Key(%q) is between Key(%q) and its End: %v", b, a, inside)
				}
			}
		}
		// Whatever Parts accepts, Key makes.
		if parts, err := store.Parts([]byte(a1)); err == nil && string(store.Key(parts...)) != a1 {
			t.Errorf("Parts(%q) = %q, which is the key %q", a1, parts, store.Key(parts...))
		}
	})
}

func TestEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, end string }{{"a", "b"}, {"a\xff", "b"}, {"\x00", "\x01"}, {"a\xff\xff", "b"}} {
		if got := store.End([]byte(c.prefix)); string(got) != c.end {
			t.Errorf("End(%q) = %q, want %q", c.prefix, got, c.end)
		}
	}
	for _, none := range []string{"", "\xff", "\xff\xff"} {
		if got := store.End([]byte(none)); got != nil {
			t.Errorf("End(%q) = %q, want nil", none, got)
		}
	}
	prefix := []byte("ab")
	store.End(prefix)
	if string(prefix) != "ab" {
		t.Errorf("End changed its argument to %q", prefix)
	}
}

func TestPartsRefusesWhatIsNoKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"a", "a\x00", "a\x00\x02", "a\x00\x01b", "\x00\xff"} {
		if parts, err := store.Parts([]byte(key)); err == nil {
			t.Errorf("Parts(%q) = %q", key, parts)
		}
	}
}

type pet struct {
	ID   string   `json:"id"`
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
}

var pets = store.Table[pet]{
	Name:   "pet",
	Key:    func(p pet) string { return p.ID },
	Unique: map[string]func(pet) []string{"name": func(p pet) []string { return []string{p.Name} }},
	Index:  map[string]func(pet) []string{"tag": func(p pet) []string { return p.Tags }},
}

func open(t *testing.T) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func update(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// The stored form of a table, byte for byte: databases outlive the program.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	s := open(t)
	update(t, s, func(tx store.Tx) error {
		return pets.Put(tx, pet{ID: "1", Name: "R\x00x", Tags: []string{"old", "old"}})
	})
	update(t, s, func(tx store.Tx) error {
		return pets.Put(tx, pet{ID: "1", Name: "R\x00x", Tags: []string{"big", "brown"}})
	})
	got := map[string]string{}
	err := s.View(t.Context(), func(tx store.Tx) error {
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			got[string(p.Key)] = string(p.Val)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"pet\x00\x01r\x00\x011\x00\x01":                         `{"v":1,"row":{"id":"1","name":"R\u0000x","tags":["big","brown"]}}`,
		"pet\x00\x01u\x00\x01name\x00\x01R\x00\xffx\x00\x01":    "1",
		"pet\x00\x01i\x00\x01tag\x00\x01big\x00\x011\x00\x01":   "",
		"pet\x00\x01i\x00\x01tag\x00\x01brown\x00\x011\x00\x01": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if key, ok := pets.KeyOf([]byte("pet\x00\x01r\x00\x011\x00\x01")); !ok || key != "1" {
		t.Errorf("KeyOf = %q, %v", key, ok)
	}
	for raw := range got {
		_, ok := pets.KeyOf([]byte(raw))
		if under := bytes.HasPrefix([]byte(raw), pets.Prefix()); ok != under || ok != strings.Contains(raw, "\x01r\x00") {
			t.Errorf("KeyOf(%q) = %v, under Prefix %v", raw, ok, under)
		}
	}
}

func TestRowsThatCanNotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, c := range map[string]struct {
		row     string
		damaged bool
		says    string
	}{
		"a later form":  {`{"v":2,"row":{"id":"1"}}`, false, "later version"},
		"another shape": {`{"v":1,"row":[]}`, true, "can not be read"},
		"no form":       {`{"id":"1"}`, true, "can not be read"},
		"no JSON":       {`{"v":1,`, true, "can not be read"},
		"nothing":       {``, true, "can not be read"},
		"a later shape": {`{"v":3,"rows":[1]}`, false, "later version"},
	} {
		update(t, s, func(tx store.Tx) error { return tx.Put(store.Key("pet", "r", "1"), []byte(c.row)) })
		for _, err := range []error{
			s.View(t.Context(), func(tx store.Tx) error { _, _, err := pets.Get(tx, "1"); return err }),
			s.Update(t.Context(), func(tx store.Tx) error { return pets.Put(tx, pet{ID: "1"}) }),
			s.Update(t.Context(), func(tx store.Tx) error { return pets.Delete(tx, "1") }),
			s.View(t.Context(), func(tx store.Tx) error {
				for _, err := range pets.All(tx, "", 0) {
					return err
				}
				return nil
			}),
		} {
			if err == nil || errors.Is(err, store.ErrDamaged) != c.damaged || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestAnIndexThatNamesNoRowIsDamage(t *testing.T) {
	t.Parallel()
	s := open(t)
	update(t, s, func(tx store.Tx) error { return pets.Put(tx, pet{ID: "1", Name: "Rex", Tags: []string{"x"}}) })
	update(t, s, func(tx store.Tx) error { return tx.Delete(store.Key("pet", "r", "1")) })
	err := s.View(t.Context(), func(tx store.Tx) error {
		if _, _, err := pets.Lookup(tx, "name", "Rex"); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Lookup: %v", err)
		}
		for _, err := range pets.Find(tx, "tag", "x", "", 0) {
			return err
		}
		return nil
	})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Find: %v", err)
	}
}

func TestATableRefusesWhatItDoesNotHave(t *testing.T) {
	t.Parallel()
	s := open(t)
	update(t, s, func(tx store.Tx) error {
		if err := pets.Put(tx, pet{Name: "nobody"}); err == nil {
			t.Error("a row without a key is put")
		}
		if _, _, err := pets.Lookup(tx, "tag", "x"); err == nil {
			t.Error("Lookup in a plain index")
		}
		found := false
		for _, err := range pets.Find(tx, "name", "x", "", 0) {
			found = err != nil
		}
		if !found {
			t.Error("Find in a unique index says nothing")
		}
		return nil
	})
}

func sealer(t *testing.T, secret []byte, purpose string) *store.Sealer {
	t.Helper()
	s, err := store.NewSealer(secret, purpose)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestD05_SealedValuesOpenInTheirOwnRowOnly(t *testing.T) {
	t.Parallel()
	secret, other := make([]byte, store.SecretSize), make([]byte, store.SecretSize)
	rand.Read(secret)
	rand.Read(other)
	s := sealer(t, secret, "tokens")
	kim, lee := store.Key("token", "r", "kim"), store.Key("token", "r", "lee")
	a, b := s.Seal(kim, []byte("kim's")), s.Seal(lee, []byte("lee's"))
	if bytes.Contains(a, []byte("kim's")) || bytes.Equal(a, s.Seal(kim, []byte("kim's"))) {
		t.Error("a sealed value shows what it is")
	}
	if got, err := sealer(t, secret, "tokens").Open(kim, a); err != nil || string(got) != "kim's" {
		t.Errorf("the control: %q, %v", got, err)
	}
	refused := map[string]func() ([]byte, error){
		"swapped":         func() ([]byte, error) { return s.Open(kim, b) },
		"another secret":  func() ([]byte, error) { return sealer(t, other, "tokens").Open(kim, a) },
		"another purpose": func() ([]byte, error) { return sealer(t, secret, "cookies").Open(kim, a) },
		"nothing":         func() ([]byte, error) { return s.Open(kim, nil) },
		"cut short":       func() ([]byte, error) { return s.Open(kim, a[:len(a)-1]) },
		"one byte":        func() ([]byte, error) { return s.Open(kim, a[:1]) },
	}
	for i := range a {
		refused["byte changed"] = func() ([]byte, error) { c := bytes.Clone(a); c[i] ^= 1; return s.Open(kim, c) }
		for name, open := range refused {
			if got, err := open(); !errors.Is(err, store.ErrSeal) || got != nil {
				t.Errorf("%s (%d): %q, %v", name, i, got, err)
			}
		}
	}
	if _, err := store.NewSealer(secret[1:], ""); err == nil {
		t.Error("a short secret is taken")
	}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	secret, err := store.SecretFile(path)
	if err != nil || len(secret) != 1 || len(secret[0]) != store.SecretSize {
		t.Fatal(secret, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if again, err := store.SecretFile(path); err != nil || len(again) != 1 || !bytes.Equal(again[0], secret[0]) {
		t.Errorf("the second time it is another: %v", err)
	}
	other := store.NewSecret()
	if err := store.ReplaceSecretFile(path, append([][]byte{other}, secret...)); err != nil {
		t.Fatal(err)
	}
	if both, err := store.SecretFile(path); err != nil || len(both) != 2 || !bytes.Equal(both[0], other) || !bytes.Equal(both[1], secret[0]) {
		t.Errorf("after another came before it: %x, %v", both, err)
	}
	if list, err := os.ReadDir(filepath.Dir(path)); err != nil || len(list) != 1 {
		t.Errorf("beside the secret is %v, %v", list, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := store.SecretFile(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("one that others may read: %v", err)
	}
	for _, bad := range []string{"", "00", "not hexadecimal", fmt.Sprintf("%x\n00\n", other)} {
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(bad), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.SecretFile(path); err == nil {
			t.Errorf("the secret %q is taken", bad)
		}
		if after, _ := os.ReadFile(path); string(after) != bad {
			t.Errorf("the file %q was replaced", bad)
		}
	}
}
