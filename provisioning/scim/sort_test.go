package scim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// Where an order does not decide, age does, and the id only after it.
func TestSC40_AgeDecidesAmongEquals(t *testing.T) {
	t.Parallel()
	rt := scim.UserType()
	var all []*scim.Resource
	for i, id := range []string{"z", "b", "a", "y"} {
		r := &scim.Resource{Object: *scim.NewObject("userName", id, "title", "same")}
		at := time.Date(2026, 1, 1, 0, 0, min(i, 2), 0, time.UTC) // a and y are of the same age
		rt.Stamp(r, id, at, at, "1")
		all = append([]*scim.Resource{r}, all...)
	}
	for _, by := range []string{"", "title"} {
		for _, order := range []string{"", "descending"} {
			o, err := rt.Sort(by, order)
			if err != nil {
				t.Fatal(err)
			}
			got, after := "", ""
			for range 5 {
				p, err := scim.Query{Sort: o, After: after, Count: 1}.Cut(all)
				if err != nil || p.Total != 4 {
					t.Fatal(p, err)
				}
				got += fmt.Sprint(p.Resources[0].ID())
				if after = p.Next; after == "" {
					break
				}
			}
			if got != "zbay" {
				t.Errorf("by %q %s: %s", by, order, got)
			}
		}
	}
	if _, err := (scim.Query{After: "x", Count: 1}).Cut(all); scim.AsError(err).Type != scim.InvalidCursor {
		t.Error(err)
	}
}
