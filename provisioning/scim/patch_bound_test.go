package scim_test

import (
	"fmt"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// Operations and values that are each within bounds must not be slow together.
func TestC08_WorkOfAPatchIsBounded(t *testing.T) {
	t.Parallel()
	var values []any
	for i := range 5000 {
		values = append(values, scim.NewObject("value", fmt.Sprintf("v%d", i), "type", "work"))
	}
	r, err := scim.UserType().New(scim.NewObject("schemas", []any{scim.UserURN}, "userName", "a", "emails", values))
	if err != nil {
		t.Fatal(err)
	}
	ops := func(n int) (p scim.Patch) {
		for range n {
			p.Operations = append(p.Operations, scim.Operation{Op: "remove", Path: `emails[value co "x" or value co "y"]`})
		}
		return p
	}
	if _, err := scim.UserType().Patch(r, ops(50)); err != nil {
		t.Errorf("50 operations on 5,000 values: %v", err)
	}
	_, err = scim.UserType().Patch(r, ops(scim.MaxOperations))
	if e := scim.AsError(err); err == nil || e.Status != 413 {
		t.Errorf("%d operations on 5,000 values: %v", scim.MaxOperations, err)
	}
	if len(r.List("emails")) != 5000 {
		t.Error("a refused patch changed the resource")
	}
}
