package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
)

func user(name, external string) *scim.Resource {
	r := &scim.Resource{}
	r.Set("schemas", []any{scim.UserURN})
	r.Set("userName", name)
	if external != "" {
		r.Set("externalId", external)
	}
	return r
}

func always(*scim.Resource) error { return nil }

// Whatever happened before, an index finds what looking at everything finds.
func TestIndexesAgreeWithAScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		s := memstore.New(scim.UserType(), nil)
		names, externals := rapid.SampledFrom([]string{"a", "A", "b", "c", "ß", "SS"}), rapid.SampledFrom([]string{"", "x", "X"})
		type row struct{ id, name, external string }
		var model []row
		taken := func(name, id string) bool {
			return slices.ContainsFunc(model, func(r row) bool { return r.id != id && scim.Fold(r.name) == scim.Fold(name) })
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			name, external := names.Draw(t, "name"), externals.Draw(t, "external")
			kind := rapid.IntRange(0, 2).Draw(t, "kind")
			if len(model) == 0 {
				kind = 0
			}
			switch kind {
			case 0:
				r, err := s.Create(ctx, user(name, external))
				if (err != nil) != taken(name, "") {
					t.Fatalf("create %q: %v among %v", name, err, model)
				}
				if err == nil {
					model = append(model, row{r.ID(), name, external})
				}
			case 1:
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				_, err := s.Change(ctx, model[i].id, func(*scim.Resource) (*scim.Resource, error) {
					next := user(name, external)
					next.Set("id", model[i].id)
					return next, nil
				})
				if (err != nil) != taken(name, model[i].id) {
					t.Fatalf("rename to %q: %v among %v", name, err, model)
				}
				if err == nil {
					model[i].name, model[i].external = name, external
				}
			case 2:
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				if err := s.Delete(ctx, model[i].id, always); err != nil {
					t.Fatal(err)
				}
				model = slices.Delete(model, i, i+1)
			}
			for _, text := range []string{`userName eq "a"`, `userName eq "SS"`, `externalId eq "x"`, `externalId eq "x" and userName eq "b"`, `userName pr`} {
				f, err := scim.UserType().Filter(text)
				if err != nil {
					t.Fatal(err)
				}
				page, err := s.List(ctx, scim.Query{Filter: f, Start: 1, Count: 100})
				if err != nil {
					t.Fatal(err)
				}
				var got, want []string
				for _, r := range page.Resources {
					got = append(got, r.ID())
				}
				for _, r := range model {
					if f.Match(&user(r.name, r.external).Object) {
						want = append(want, r.id)
					}
				}
				if !slices.Equal(got, want) || page.Total != len(want) {
					t.Fatalf("%s finds %v (of %d), want %v among %v", text, got, page.Total, want, model)
				}
			}
		}
	})
}

func TestRefusedChangeAndDeletionLeaveTheResource(t *testing.T) {
	t.Parallel()
	s := memstore.New(scim.UserType(), nil)
	made, err := s.Create(t.Context(), user("a", ""))
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	if _, err := s.Change(t.Context(), made.ID(), func(*scim.Resource) (*scim.Resource, error) { return nil, no }); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if err := s.Delete(t.Context(), made.ID(), func(*scim.Resource) error { return no }); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if got, err := s.Get(t.Context(), made.ID()); err != nil || got != made {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := s.Get(t.Context(), "nobody"); scim.AsError(err).Status != 404 {
		t.Errorf("got %v", err)
	}
}

// Those who read see whole resources, whoever writes meanwhile.
func TestReadersAndWritersAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := memstore.New(scim.UserType(), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				name := fmt.Sprintf("u%d-%d", i, j)
				r, err := s.Create(context.Background(), user(name, name))
				if err != nil {
					t.Error(err)
					return
				}
				page, err := s.List(context.Background(), scim.Query{Start: 1, Count: 1000})
				if err != nil || page.Total != len(page.Resources) {
					t.Errorf("a list of %d has %d: %v", page.Total, len(page.Resources), err)
				}
				for _, r := range page.Resources {
					if r.String("userName") != r.ExternalID() {
						t.Errorf("a resource that is half of two: %s", r.AppendJSON(nil))
					}
				}
				if j%2 == 0 {
					if err := s.Delete(context.Background(), r.ID(), always); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if page, _ := s.List(t.Context(), scim.Query{}); page.Total != 200 {
		t.Errorf("%d are left, want 200", page.Total)
	}
}
