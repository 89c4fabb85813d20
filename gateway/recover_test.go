package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A code of the machine is not used up by a store that can not let anybody in by it,
// whichever of its writes that refuses.
func TestA09R04_ACodeThatTheStoreRefusesIsGoodForTheNextTry(t *testing.T) {
	t.Parallel()
	for works := range 2 { // of the store's transactions
		t.Run(fmt.Sprint("after ", works), func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			code, _, err := f.sessions.OfferRecovery(t.Context(), func(store.Tx) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			spend := func() answer {
				return f.post("gate", "/.gatehouse/recover", url.Values{"code": {code}}.Encode(), "")
			}
			f.st.failAfter(works)
			first := spend()
			f.st.fails.Store(nil)
			if first.StatusCode == http.StatusOK {
				if len(first.Header["Set-Cookie"]) == 0 {
					t.Error("who came in has no session")
				}
				return
			}
			if first.StatusCode != http.StatusServiceUnavailable || first.Header["Set-Cookie"] != nil {
				t.Errorf("%d, Set-Cookie %q", first.StatusCode, first.Header["Set-Cookie"])
			}
			if again := spend(); again.StatusCode != http.StatusOK || len(again.Header["Set-Cookie"]) == 0 {
				t.Errorf("again: %d, Set-Cookie %q", again.StatusCode, again.Header["Set-Cookie"])
			}
		})
	}
}
