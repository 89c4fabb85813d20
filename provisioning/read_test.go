package provisioning

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What readUser makes of a row is what encoding/json makes of it; also of a row in
// which a byte is another, unless it leaves that to encoding/json.
func TestRowsAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z"\\<>{}\[\],:]{0,12}`))
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 4_000_000_000_000).Draw(t, "ms")).UTC()
	})
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		r := userRow{
			ID: text.Draw(t, "id"), Store: text.Draw(t, "store"), UserName: text.Draw(t, "name"), ExternalID: text.Draw(t, "external"),
			Version: rapid.Uint64().Draw(t, "version"), Active: rapid.Bool().Draw(t, "active"), Created: when.Draw(t, "created"), Modified: when.Draw(t, "modified"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "attributes") {
			var claims []Claim
			for range rapid.IntRange(1, 3).Draw(t, "claims") {
				claims = append(claims, Claim{Source: Source(text.Draw(t, "source")), Values: rapid.SliceOfN(text, 1, 3).Draw(t, "values"), At: when.Draw(t, "at")})
			}
			if r.Attributes == nil {
				r.Attributes = map[string][]Claim{}
			}
			r.Attributes[text.Draw(t, "attribute")] = claims
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := readUser(raw); ok {
			read++
			same(t, raw, got)
		} else if r.Version < 1e18 {
			t.Fatalf("not read: %s", raw)
		}
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "where")
		raw[i] = rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte(`"\,:{}[] 0`))).Draw(t, "what")
		if got, ok := readUser(raw); ok {
			same(t, raw, got)
		}
	})
	if read == 0 {
		t.Error("no row was read")
	}
	if _, ok := readUser([]byte(`{}`)); ok {
		t.Error("an empty row is read")
	}
	rapid.Check(t, func(t *rapid.T) {
		r := tallyRow{Store: text.Draw(t, "store"), Part: rapid.Byte().Draw(t, "part"), Users: rapid.IntRange(0, 1<<40).Draw(t, "users")}
		raw, err := json.Marshal(r)
		if got, ok := readTally(raw); err != nil || !ok || got != r {
			t.Fatalf("%s: %+v, %v, %v", raw, got, ok, err)
		}
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "where")] = rapid.SampledFrom([]byte(`"\,:{} 0`)).Draw(t, "what")
		if got, ok := readTally(raw); ok {
			same(t, raw, got)
		}
	})
}

func same[T any](t *rapid.T, raw []byte, got T) {
	var want T
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatalf("%s is no row: %v", raw, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: %s", raw, diff)
	}
}
