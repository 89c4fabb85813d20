package scim

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// TestB09_AClientIsToldThatItsChangeIsHeld: what is held is neither success nor an
// error that a client gives up on.
func TestB09_AClientIsToldThatItsChangeIsHeld(t *testing.T) {
	t.Parallel()
	g := guard.New(guard.Config{})
	held := g.Refuse(guard.Act{Scope: guard.Source("scim:hr"), Kind: guard.Removal, Subject: "u1"}, guard.Answer{Text: "case 1"})
	if held.Reason() != guard.ReasonHeld {
		t.Fatalf("the reason is %s", held.Reason())
	}
	var e *rfc.Error
	if err := answer(fmt.Errorf("change user u1: %w", held), "u1"); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || e.Detail != guard.Reasons[guard.ReasonHeld] {
		t.Errorf("the client is told %+v", err)
	}
	if err := answer(errors.New("else"), "u1"); errors.As(err, &e) && e.Status == http.StatusTooManyRequests {
		t.Error("so is a client whose change failed for another reason")
	}
}
