package sheet

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatWasJoinedIsSplitAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) string {
			return rapid.StringOfN(rapid.SampledFrom([]rune(`ab;\ ,"é`+"\n")), 1, -1, -1).Draw(t, "value")
		})
		values := rapid.SliceOf(value).Draw(t, "values")
		if got := Split(Join(values)); !slices.Equal(got, values) {
			t.Errorf("%q became %q, then %q", values, Join(values), got)
		}
	})
}

func TestCells(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string][]string{
		"": nil, ";": nil, " a ; b;;": {" a ", " b"}, `a\;b;c`: {"a;b", "c"}, `C:\temp`: {`C:\temp`}, `a\\;b`: {`a\`, "b"}, `a\`: {`a\`},
	} {
		if got := Split(cell); !slices.Equal(got, want) {
			t.Errorf("%q holds %q, want %q", cell, got, want)
		}
	}
	for cell, want := range map[string]string{
		"=1+1": "'=1+1", "+49": "'+49", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "a=b": "a=b", "": "", "é": "é",
	} {
		if got := Harmless(cell); got != want {
			t.Errorf("%q became %q, want %q", cell, got, want)
		}
	}
}
