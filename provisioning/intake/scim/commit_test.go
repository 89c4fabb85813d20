package scim_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// counted counts the Updates that have begun; while fails is there, none succeeds.
type counted struct {
	store.Store
	begun atomic.Int64
	fails atomic.Pointer[error]
}

func (s *counted) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.begun.Add(1)
	if fails := s.fails.Load(); fails != nil {
		return *fails
	}
	return s.Store.Update(ctx, fn)
}

// commits is the number of the last transaction that the file has, from its two
// meta pages: 16 bytes of header, then 48 bytes before the number.
func (w *world) commits() uint64 {
	w.t.Helper()
	f, err := os.Open(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	var last uint64
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		b := make([]byte, 8)
		if _, err := f.ReadAt(b, at+16+48); err != nil {
			w.t.Fatal(err)
		}
		last = max(last, binary.LittleEndian.Uint64(b))
	}
	return last
}

func TestALoneCreationWaitsForNobodyAndManyAreCommittedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}})
	w.quiet = true
	for i := range 3 {
		before := w.commits()
		w.named(all, fmt.Sprint("lone", i))
		if n := w.commits() - before; n != 1 {
			t.Errorf("a lone creation made %d commits", n)
		}
	}
	// Somebody has the store while 64 come.
	held, open := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.st.Store.Update(t.Context(), func(store.Tx) error { close(held); <-open; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	before, begun := w.commits(), w.st.begun.Load()
	for i := range 64 {
		wg.Go(func() { w.named(all, fmt.Sprint("u", i)) })
	}
	for w.st.begun.Load() < begun+64 {
		time.Sleep(time.Millisecond) // until all are at the gate
	}
	close(open)
	wg.Wait()
	if n := w.commits() - before; n < 1 || n > 8 {
		t.Errorf("64 creations made %d commits", n)
	}
	if n := w.count(); n != 67 {
		t.Errorf("there are %d users", n)
	}
}

func TestSC64_AClientCanWaitForItsTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Mode: client.PersistAndPush})
	var mu sync.Mutex
	var asked []string
	state := "done"
	w.serve(intake.Config{Settle: func(ctx context.Context, c *client.Client, userID string) []intake.Target {
		mu.Lock()
		defer mu.Unlock()
		_, bounded := ctx.Deadline()
		asked = append(asked, fmt.Sprint(c.ID, " ", w.stored(userID).UserName, " ", bounded))
		return []intake.Target{{ID: "crm", State: state}, {ID: "mail", State: "done"}}
	}})
	a := w.do(all, "POST", "/Users", scimtest.User(`"userName":"kim"`), "Prefer", "wait=5").want(t, 201, "")
	if got := a.Header.Get(intake.TargetsHeader); got != "crm=done, mail=done" {
		t.Errorf("the targets are %q", got)
	}
	id := a.obj.String("id")
	state = "pending"
	a = w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"add","path":"title","value":"x"}`), "Prefer", "handling=strict, Wait=5").want(t, 200, "")
	if got := a.Header.Get(intake.TargetsHeader); got != "crm=pending, mail=done" {
		t.Errorf("the targets are %q", got)
	}
	if want := []string{"all kim true", "all kim true"}; !slices.Equal(asked, want) {
		t.Errorf("asked were %v", asked)
	}
	for _, prefer := range []string{"", "wait=0", "wait=x", "return=minimal"} {
		a = w.do(all, "PATCH", "/Users/"+id, scimtest.Patch(`{"op":"replace","path":"title","value":"`+prefer+`."}`), "Prefer", prefer).want(t, 200, "")
		if _, said := a.Header[http.CanonicalHeaderKey(intake.TargetsHeader)]; said || len(asked) != 2 {
			t.Errorf("%q waits: %v", prefer, asked)
		}
	}
	// Asynchronously the outcome comes later, or at once if it is quick.
	a = w.do(all, "POST", "/Users", scimtest.User(`"userName":"lee"`), "Prefer", "respond-async, wait=20").want(t, 201, "")
	if got := a.Header.Get(intake.TargetsHeader); got != "crm=pending, mail=done" {
		t.Errorf("the targets are %q", got)
	}
}
