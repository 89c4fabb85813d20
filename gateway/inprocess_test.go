package gateway

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"testing"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// late is a store that tells nobody of changes after the first news.
type late struct{ store.Store }

func (s late) Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for key := range s.Store.Watch(ctx, prefix) {
			if key == nil && !yield(nil) {
				return
			}
		}
	}
}

func TestWhatSomebodyChangesAboutThemselvesIsSeenByTheirNextRequest(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(f *front, c *Config) {
		dir, err := provisioning.New(provisioning.Config{Store: late{f.st}, UserStores: []string{"primary"}, Now: f.now})
		if err != nil {
			t.Fatal(err)
		}
		c.Directory = dir
		c.Services[3] = Service{ID: "raw", Title: "In process", Host: "raw.test", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who := authz.SubjectFrom(r.Context())
			if r.Method == http.MethodPost {
				_, _, err := dir.Change(r.Context(), who.ID, provisioning.Self, func(u *provisioning.User) error {
					u.Consent(provisioning.Consent{To: "service:raw", Attribute: "mail", Said: authz.Given})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			fmt.Fprint(w, who.Consents["service:raw"]["mail"])
		})}
	})
	alice := f.guest("alice")
	if a := f.ask(alice, "GET", "raw", "/"); a.body != "" {
		t.Fatalf("before she said anything: %q", a.body)
	}
	f.ask(alice, "POST", "raw", "/", "Origin: http://"+f.at("raw"), "Content-Length: 0")
	if a := f.ask(alice, "GET", "raw", "/"); a.body != authz.Given {
		t.Errorf("after she agreed: %q", a.body)
	}
}
