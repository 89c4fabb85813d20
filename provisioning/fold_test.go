package provisioning

import (
	"testing"
	"unicode"
)

func TestFoldOfEveryCharacterIsStable(t *testing.T) {
	t.Parallel()
	for r := rune(0); r < 0x20000; r++ { // scripts with cases are below
		s := string(r)
		once := Fold(s)
		if twice := Fold(once); twice != once {
			t.Errorf("%q → %q → %q", s, once, twice)
		}
		if len(once) > 3*len(s) {
			t.Errorf("%q grows to %q", s, once)
		}
		if up := string(unicode.ToUpper(r)); Fold(up) != once && unicode.ToLower(unicode.ToUpper(r)) == r {
			t.Errorf("%q and %q are two", s, up)
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"Bob", "Jose\u0301", "\u1e9e", "\u0390", "a\x00", "\xff", "\u1f80\u0345"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Fold(s)
		if twice := Fold(once); twice != once {
			t.Errorf("%q → %q → %q", s, once, twice)
		}
		if badName(s) == "" && len(once) > 3*MaxName {
			t.Errorf("%q grows to %d bytes", s, len(once))
		}
	})
}
