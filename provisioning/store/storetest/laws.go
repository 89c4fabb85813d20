package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// laws of the contract, in the order in which to read them.
var laws = []law{
	{"AViewIsOneMoment", viewIsOneMoment},
	{"AnUpdateSeesItsOwnWrites", ownWrites},
	{"AnUpdateIsWholeOrNotAtAll", wholeOrNothing},
	{"CountersLoseNothing", counters},
	{"PhantomsAreSeen", phantoms},
	{"WritesAreNotSkewed", writeSkew},
	{"AnErrorMeansNothingHappened", errorMeansNothing},
	{"AFailureDisturbsNobodyElse", failuresAreAlone},
	{"APanicMeansNothingHappened", panicMeansNothing},
	{"LimitsAreExact", limits},
	{"AnExceededLimitCanNotBeHidden", limitsStick},
	{"KeysAndValuesAreAnyBytes", anyBytes},
	{"ScansAreOrderedAndBounded", scans},
	{"PagesMeetWithoutGaps", paging},
	{"AScanDoesNotSeeWritesMadeMeanwhile", scanWhileWriting},
	{"SlicesBelongToTheirHolder", slicesAreCopied},
	{"AViewDoesNotWrite", readOnly},
	{"ATransactionEndsWithItsFunction", deadTx},
	{"AClosedStoreSaysSo", closed},
	{"ACancelledContextStartsNothing", cancelled},
	{"AWatchBeginsWithAGap", watchBegins},
	{"AWatchTellsCommittedChangesUnderItsPrefix", watchTells},
	{"ASlowWatcherHindersNobodyAndMissesNothing", watchSlow},
	{"AWatchEndsWithItsContext", watchEnds},
	{"AStoreIsAMap", model},
	{"ATableIsWhatItsRowsSay", tableModel},
	{"AConflictNamesTheRowAndWritesNothing", conflict},
	{"AUniqueValueHasOneRow", uniqueRace},
	{"ATableCanBeChangedWhileItIsRead", tableWhileReading},
}

func (e *env) same(what string, got, want any) {
	e.Helper()
	if d := cmp.Diff(want, got); d != "" {
		e.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func viewIsOneMoment(e *env) {
	s := e.open()
	e.put(s, "a", "1", "b", "1", "c", "1")
	e.view(s, func(tx store.Tx) error {
		first, err := get(tx, "a")
		if err != nil {
			return err
		}
		// Another goroutine, as an engine may bind a transaction to one.
		e.together(1, func(int) error {
			e.update(s, func(tx store.Tx) error {
				return errors.Join(tx.Put([]byte("a"), []byte("2")), tx.Delete([]byte("b")), tx.Put([]byte("d"), []byte("2")), tx.Put([]byte("c"), []byte("2")))
			})
			return nil
		})
		again, err := get(tx, "c")
		if err != nil {
			return err
		}
		all, err := scan(tx, "", "", 0)
		if err != nil {
			return err
		}
		if first == "1" { // the first run of a function that runs again
			e.same("a View sees a later commit", append(all, again), []string{"a", "1", "b", "1", "c", "1", "1"})
		}
		return nil
	})
	e.same("a later View sees it", e.all(s, ""), []string{"a", "2", "c", "2", "d", "2"})
}

func ownWrites(e *env) {
	s := e.open()
	e.put(s, "a", "1", "b", "1", "c", "1")
	e.update(s, func(tx store.Tx) error {
		if err := errors.Join(tx.Put([]byte("b"), []byte("2")), tx.Delete([]byte("c")), tx.Put([]byte("bb"), []byte("2")),
			tx.Put([]byte("0"), []byte("2")), tx.Put([]byte("z"), []byte("2")), tx.Delete([]byte("never"))); err != nil {
			return err
		}
		all, err := scan(tx, "", "", 0)
		if err != nil {
			return err
		}
		e.same("Scan of own writes", all, []string{"0", "2", "a", "1", "b", "2", "bb", "2", "z", "2"})
		for key, want := range map[string]string{"a": "1", "b": "2", "bb": "2", "c": "(none)", "never": "(none)"} {
			got, err := get(tx, key)
			if err != nil {
				return err
			}
			e.same("Get of own write "+key, got, want)
		}
		few, err := scan(tx, "a", "z", 2)
		if err != nil {
			return err
		}
		e.same("limited Scan of own writes", few, []string{"a", "1", "b", "2"})
		return errors.Join(tx.Put([]byte("c"), []byte("3")), tx.Delete([]byte("bb")), tx.Delete([]byte("0")), tx.Put([]byte("0"), []byte("4")))
	})
	e.same("what was committed", e.all(s, ""), []string{"0", "4", "a", "1", "b", "2", "c", "3", "z", "2"})
}

// wholeOrNothing moves money: no View ever sees it on the way.
func wholeOrNothing(e *env) {
	s := e.open()
	const accounts, each = 5, 100
	for i := range accounts {
		e.put(s, "account/"+strconv.Itoa(i), strconv.Itoa(each))
	}
	total := func(tx store.Tx) (sum int, err error) {
		pairs, err := scan(tx, "account/", "account0", 0)
		for i := 1; i < len(pairs); i += 2 {
			n, _ := strconv.Atoi(pairs[i])
			sum += n
		}
		return sum, err
	}
	var stop atomic.Bool
	watching := make(chan error, 1)
	go func() {
		var bad error
		for !stop.Load() && bad == nil {
			bad = s.View(e.ctx, func(tx store.Tx) error {
				sum, err := total(tx)
				if err == nil && sum != accounts*each {
					err = fmt.Errorf("a View saw %d, half of a transaction", sum)
				}
				return err
			})
			runtime.Gosched()
		}
		watching <- bad
	}()
	errs := e.together(8, func(i int) error {
		for n := range 12 {
			from, to := "account/"+strconv.Itoa((i+n)%accounts), "account/"+strconv.Itoa((i*3+n+1)%accounts)
			if from == to {
				continue
			}
			err := s.Update(e.ctx, func(tx store.Tx) error {
				if err := add(tx, from, -1); err != nil {
					return err
				}
				return add(tx, to, 1)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	stop.Store(true)
	if err := errors.Join(append(errs, <-watching)...); err != nil {
		e.Fatalf("%v", err)
	}
}

func add(tx store.Tx, key string, n int) error {
	v, err := get(tx, key)
	if err != nil {
		return err
	}
	have, _ := strconv.Atoi(v)
	return tx.Put([]byte(key), []byte(strconv.Itoa(have+n)))
}

func counters(e *env) {
	s := e.open()
	const workers, rounds = 8, 10
	for round := range rounds {
		meet := e.meeting(workers)
		errs := e.together(workers, func(int) error {
			return s.Update(e.ctx, func(tx store.Tx) error {
				v, err := get(tx, "n")
				if err != nil {
					return err
				}
				if round == 0 {
					meet()
				}
				n, _ := strconv.Atoi(v)
				return tx.Put([]byte("n"), []byte(strconv.Itoa(n+1)))
			})
		})
		if err := errors.Join(errs...); err != nil {
			e.Fatalf("%v", err)
		}
	}
	e.same("the counter", e.all(s, ""), []string{"n", strconv.Itoa(workers * rounds)})
}

// phantoms: two see an empty room and enter it, under different keys.
func phantoms(e *env) {
	s := e.open()
	for round := range 6 {
		room := fmt.Sprintf("room%d/", round)
		// A deletion in the room is a change that the range must show too.
		e.put(s, room+"guest", "")
		if round%2 == 0 {
			e.update(s, func(tx store.Tx) error { return tx.Delete([]byte(room + "guest")) })
		}
		meet, left := e.meeting(2), e.meeting(2)
		errs := e.together(2, func(i int) error {
			if i == 0 {
				defer left()
			}
			return s.Update(e.ctx, func(tx store.Tx) error {
				there, err := scan(tx, room, string(store.End([]byte(room))), 0)
				if err != nil {
					return err
				}
				meet()
				guest := len(there) == 2 && there[0] == room+"guest"
				switch {
				case round%2 == 0 && len(there) == 0:
					return tx.Put([]byte(room+strconv.Itoa(i)), nil)
				case round%2 == 1 && guest && i == 0:
					return tx.Delete([]byte(room + "guest")) // the last one leaves
				case round%2 == 1 && guest:
					left()
					return tx.Put([]byte(room+"stays"), nil) // only while the guest does
				}
				return nil
			})
		})
		if err := errors.Join(errs...); err != nil {
			e.Fatalf("%v", err)
		}
		got := e.all(s, room)
		switch {
		case round%2 == 0 && len(got) != 2:
			e.Fatalf("two transactions each saw an empty range and wrote into it: %q", got)
		case round%2 == 1 && len(got) == 2 && got[0] == room+"stays":
			// Whoever came second should have seen what the first did.
			e.Fatalf("one left because it was alone, another came because it had company: %q", got)
		}
	}
}

// writeSkew: two are on call, each leaves if the other stays.
func writeSkew(e *env) {
	s := e.open()
	for round := range 6 {
		a, b := fmt.Sprintf("%d/a", round), fmt.Sprintf("%d/b", round)
		e.put(s, a, "on", b, "on")
		meet := e.meeting(2)
		errs := e.together(2, func(i int) error {
			return s.Update(e.ctx, func(tx store.Tx) error {
				mine, other := a, b
				if i == 1 {
					mine, other = b, a
				}
				v, err := get(tx, other)
				if err != nil {
					return err
				}
				if _, err := get(tx, mine); err != nil {
					return err
				}
				meet()
				if v != "on" {
					return nil
				}
				return tx.Put([]byte(mine), []byte("off"))
			})
		})
		if err := errors.Join(errs...); err != nil {
			e.Fatalf("%v", err)
		}
		got := e.all(s, fmt.Sprintf("%d/", round))
		if strings.Count(strings.Join(got, " "), "on") != 1 {
			e.Fatalf("each saw the other on call, and both left: %q", got)
		}
	}
}

type fnError struct{ n int }

func (f *fnError) Error() string { return "fn " + strconv.Itoa(f.n) }

func errorMeansNothing(e *env) {
	s := e.open()
	e.put(s, "a", "1", "b", "1")
	want := &fnError{}
	err := s.Update(e.ctx, func(tx store.Tx) error {
		if err := errors.Join(tx.Put([]byte("a"), []byte("2")), tx.Delete([]byte("b")), tx.Put([]byte("c"), []byte("2"))); err != nil {
			return err
		}
		return want
	})
	if err != error(want) {
		e.Fatalf("Update = %v, want the function's error as it is", err)
	}
	e.same("after an error", e.all(s, ""), []string{"a", "1", "b", "1"})
	if err := s.View(e.ctx, func(store.Tx) error { return want }); err != error(want) {
		e.Fatalf("View = %v, want the function's error as it is", err)
	}
}

// failuresAreAlone: whatever an engine does to commit several at once.
func failuresAreAlone(e *env) {
	s := e.open()
	const n = 32
	errs := e.together(n, func(i int) error {
		return s.Update(e.ctx, func(tx store.Tx) error {
			key := fmt.Sprintf("%02d", i)
			if err := errors.Join(tx.Put([]byte(key), nil), tx.Put([]byte(key+"/2"), nil)); err != nil {
				return err
			}
			if i%3 == 0 {
				return &fnError{i}
			}
			return nil
		})
	})
	var want []string
	for i := range n {
		var f *fnError
		switch {
		case i%3 != 0:
			want = append(want, fmt.Sprintf("%02d", i), "", fmt.Sprintf("%02d/2", i), "")
			if errs[i] != nil {
				e.Fatalf("Update %d: %v", i, errs[i])
			}
		case !errors.As(errs[i], &f) || f.n != i:
			e.Fatalf("Update %d = %v, want its own error", i, errs[i])
		}
	}
	e.same("the ones that did not fail", e.all(s, ""), want)
}

func panicMeansNothing(e *env) {
	s := e.open()
	e.put(s, "a", "1")
	for name, end := range map[string]func(){"panic": func() { panic("as the test wants") }, "Goexit": runtime.Goexit} {
		e.together(1, func(int) error {
			defer func() { _ = recover() }()
			return s.Update(e.ctx, func(tx store.Tx) error {
				if err := tx.Put([]byte("a"), []byte(name)); err != nil {
					return err
				}
				end()
				return nil
			})
		})
		e.same("after a "+name, e.all(s, ""), []string{"a", "1"})
	}
	e.put(s, "a", "2") // the store is well
	e.same("afterwards", e.all(s, ""), []string{"a", "2"})
}

func limits(e *env) {
	s := e.open()
	long := func(n int) []byte { return []byte(strings.Repeat("k", n)) }
	big := make([]byte, store.MaxValue)
	many := func(n int) func(store.Tx) error {
		return func(tx store.Tx) error {
			for i := range n {
				if err := tx.Put(fmt.Appendf(nil, "many/%d", i), nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	// Two values, and a third that leaves exactly room bytes of the transaction.
	filled := func(last int) func(store.Tx) error {
		return func(tx store.Tx) error {
			if err := errors.Join(tx.Put([]byte("1"), big[:store.MaxValue-1]), tx.Put([]byte("2"), big[:store.MaxValue-101])); err != nil {
				return err
			}
			return tx.Put([]byte("3"), big[:last])
		}
	}
	for _, c := range []struct {
		name string
		ok   bool
		fn   func(store.Tx) error
	}{
		{"empty key", false, func(tx store.Tx) error { return tx.Put(nil, nil) }},
		{"deleted empty key", false, func(tx store.Tx) error { return tx.Delete([]byte{}) }},
		{"longest key", true, func(tx store.Tx) error { return tx.Put(long(store.MaxKey), nil) }},
		{"longer key", false, func(tx store.Tx) error { return tx.Put(long(store.MaxKey+1), nil) }},
		{"deleted longer key", false, func(tx store.Tx) error { return tx.Delete(long(store.MaxKey + 1)) }},
		{"largest value", true, func(tx store.Tx) error { return tx.Put([]byte("v"), big) }},
		{"larger value", false, func(tx store.Tx) error { return tx.Put([]byte("v"), append(big, 0)) }},
		{"most keys", true, many(store.MaxKeys)},
		{"more keys", false, many(store.MaxKeys + 1)},
		{"one key often", true, func(tx store.Tx) error {
			for range 2 * store.MaxKeys {
				if err := errors.Join(tx.Put([]byte("often"), nil), tx.Delete([]byte("often"))); err != nil {
					return err
				}
			}
			return nil
		}},
		{"more keys with deletions", false, func(tx store.Tx) error {
			if err := many(store.MaxKeys)(tx); err != nil {
				return err
			}
			return tx.Delete([]byte("one more"))
		}},
		{"most bytes", true, filled(99)},
		{"more bytes", false, filled(100)},
		{"bytes written over", true, func(tx store.Tx) error {
			for range 4 {
				if err := tx.Put([]byte("over"), big); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		before := len(e.all(s, ""))
		err := s.Update(e.ctx, c.fn)
		switch {
		case c.ok && err != nil:
			e.Fatalf("%s: %v", c.name, err)
		case !c.ok && !errors.Is(err, store.ErrLimit):
			e.Fatalf("%s: Update = %v, want ErrLimit", c.name, err)
		case !c.ok && len(e.all(s, "")) != before:
			e.Fatalf("%s: refused, and yet something was written", c.name)
		}
	}
	// What can not be written can be asked for: it is not there.
	e.view(s, func(tx store.Tx) error {
		for _, key := range [][]byte{nil, long(40_000)} {
			if _, ok, err := tx.Get(key); ok || err != nil {
				e.Fatalf("Get of a key of %d bytes = %v, %v", len(key), ok, err)
			}
		}
		return nil
	})
}

func limitsStick(e *env) {
	s := e.open()
	err := s.Update(e.ctx, func(tx store.Tx) error {
		if err := tx.Put([]byte("a"), nil); err != nil {
			return err
		}
		if err := tx.Put([]byte("b"), make([]byte, store.MaxValue+1)); !errors.Is(err, store.ErrLimit) {
			e.Fatalf("Put = %v, want ErrLimit", err)
		}
		return nil // as if it had been written
	})
	if !errors.Is(err, store.ErrLimit) {
		e.Fatalf("Update = %v, want the ErrLimit that its function did not return", err)
	}
	e.same("after it", len(e.all(s, "")), 0)
}

func anyBytes(e *env) {
	s := e.open()
	var want []string
	for _, key := range []string{"\x00", "\x00\x00", "\x00\xff", "/../../x", "K", "k", "\u00e9", "e\u0301", "' or 1=1", "\xff", "\xff\xff"} {
		e.put(s, key, key)
		want = append(want, key)
	}
	e.put(s, "empty", "")
	want = append(want, "empty")
	slices.Sort(want)
	var got []string
	pairs := e.all(s, "")
	for i := 0; i < len(pairs); i += 2 {
		got = append(got, pairs[i])
		if pairs[i] != "empty" && pairs[i+1] != pairs[i] {
			e.Fatalf("key %q has value %q", pairs[i], pairs[i+1])
		}
	}
	e.same("keys", got, want)
	e.view(s, func(tx store.Tx) error {
		if v, ok, err := tx.Get([]byte("empty")); err != nil || !ok || len(v) != 0 {
			e.Fatalf("an empty value is %q, %v, %v", v, ok, err)
		}
		return nil
	})
}

func scans(e *env) {
	s := e.open()
	e.put(s, "B", "", "a", "", "aa", "", "b", "", "c", "")
	e.view(s, func(tx store.Tx) error {
		for _, c := range []struct {
			from, to string
			limit    int
			want     string
		}{
			{"", "", 0, "B a aa b c"},
			{"a", "b", 0, "a aa"},
			{"a", "", 0, "a aa b c"},
			{"", "b", 0, "B a aa"},
			{"a0", "bz", 0, "aa b"},
			{"", "", 2, "B a"},
			{"aa", "", 1, "aa"},
			{"a", "b", 9, "a aa"},
			{"c", "a", 0, ""},
			{"a", "a", 0, ""},
			{"d", "", 0, ""},
		} {
			pairs, err := scan(tx, c.from, c.to, c.limit)
			if err != nil {
				return err
			}
			var keys []string
			for i := 0; i < len(pairs); i += 2 {
				keys = append(keys, pairs[i])
			}
			e.same(fmt.Sprintf("Scan(%q, %q, %d)", c.from, c.to, c.limit), strings.Join(keys, " "), c.want)
		}
		return nil
	})
}

func paging(e *env) {
	s := e.open()
	const n = 1000
	for i := 0; i < n; i += store.MaxKeys {
		e.update(s, func(tx store.Tx) error {
			for j := i; j < i+store.MaxKeys; j++ {
				if err := tx.Put(fmt.Appendf(nil, "%04d", j), make([]byte, 200)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var got, want []string
	for from := ""; ; {
		var page []string
		e.view(s, func(tx store.Tx) (err error) {
			page, err = scan(tx, from, "", 7)
			return err
		})
		if len(page) == 0 {
			break
		}
		for i := 0; i < len(page); i += 2 {
			got = append(got, page[i])
		}
		from = page[len(page)-2] + "\x00"
	}
	for i := range n {
		want = append(want, fmt.Sprintf("%04d", i))
	}
	e.same("keys of all pages", got, want)
}

func scanWhileWriting(e *env) {
	s := e.open()
	e.put(s, "a", "1", "b", "1", "c", "1", "d", "1")
	e.update(s, func(tx store.Tx) error {
		if err := tx.Put([]byte("bb"), []byte("own")); err != nil {
			return err
		}
		var seen []string
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			seen = append(seen, string(p.Key), string(p.Val))
			if err := errors.Join(tx.Delete(p.Key), tx.Put(append(p.Key, '+'), []byte("2")), tx.Put([]byte("d"), []byte("3")), tx.Delete([]byte("c"))); err != nil {
				return err
			}
		}
		e.same("seen", seen, []string{"a", "1", "b", "1", "bb", "own", "c", "1", "d", "1"})
		return nil
	})
	e.same("left", e.all(s, ""), []string{"a+", "2", "b+", "2", "bb+", "2", "c+", "2", "d", "3", "d+", "2"})
}

func slicesAreCopied(e *env) {
	s := e.open()
	e.update(s, func(tx store.Tx) error {
		key, val := []byte("key"), []byte("val")
		if err := tx.Put(key, val); err != nil {
			return err
		}
		key[0], val[0] = 'X', 'X'
		return nil
	})
	e.same("what was put", e.all(s, ""), []string{"key", "val"})
	var kept [][]byte
	spoil := func(tx store.Tx) error {
		v, _, err := tx.Get([]byte("key"))
		if err != nil {
			return err
		}
		got := [][]byte{v}
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			got = append(got, p.Key, p.Val)
		}
		for _, b := range got {
			e.same("before it is changed", len(b), 3)
			b[0] = 'Y'
		}
		kept = got
		again, err := scan(tx, "", "", 0)
		if err != nil {
			return err
		}
		e.same("after the caller changed what is theirs", again, []string{"key", "val"})
		return nil
	}
	e.view(s, spoil)
	e.update(s, func(tx store.Tx) error {
		if err := tx.Put([]byte("key"), []byte("val")); err != nil {
			return err
		}
		return spoil(tx)
	})
	e.put(s, "key", "new", "other", "row")
	for _, b := range kept {
		e.same("a slice kept after its transaction", string(b[1:]), map[byte]string{'e': "ey", 'a': "al"}[b[1]])
	}
}

func readOnly(e *env) {
	s := e.open()
	e.put(s, "a", "1")
	e.view(s, func(tx store.Tx) error {
		if err := tx.Put([]byte("a"), []byte("2")); !errors.Is(err, store.ErrReadOnly) {
			e.Fatalf("Put in a View = %v, want ErrReadOnly", err)
		}
		if err := tx.Delete([]byte("a")); !errors.Is(err, store.ErrReadOnly) {
			e.Fatalf("Delete in a View = %v, want ErrReadOnly", err)
		}
		return nil
	})
	e.same("after it", e.all(s, ""), []string{"a", "1"})
}

func deadTx(e *env) {
	s := e.open()
	e.put(s, "a", "1")
	var dead store.Tx
	keep := func(tx store.Tx) error { dead = tx; return nil }
	for _, run := range []func(){func() { e.view(s, keep) }, func() { e.update(s, keep) }} {
		run()
		if _, _, err := dead.Get([]byte("a")); err == nil {
			e.Fatalf("Get works after the transaction")
		}
		if err := dead.Put([]byte("a"), nil); err == nil {
			e.Fatalf("Put works after the transaction")
		}
		if err := dead.Delete([]byte("a")); err == nil {
			e.Fatalf("Delete works after the transaction")
		}
		if _, err := scan(dead, "", "", 0); err == nil {
			e.Fatalf("Scan works after the transaction")
		}
	}
}

func closed(e *env) {
	s := e.open()
	ended := make(chan struct{})
	began := make(chan struct{})
	go func() {
		defer close(ended)
		for key := range s.Watch(e.ctx, nil) {
			if key == nil {
				close(began)
			}
		}
	}()
	e.wait(began, "a watch begins")
	if err := s.Close(); err != nil {
		e.Fatalf("Close: %v", err)
	}
	e.wait(ended, "a watch ends when the store is closed")
	fn := func(store.Tx) error { e.Errorf("a function runs on a closed store"); return nil }
	if err := s.Update(e.ctx, fn); !errors.Is(err, store.ErrClosed) {
		e.Fatalf("Update = %v, want ErrClosed", err)
	}
	if err := s.View(e.ctx, fn); !errors.Is(err, store.ErrClosed) {
		e.Fatalf("View = %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		e.Fatalf("second Close: %v", err)
	}
}

func cancelled(e *env) {
	s := e.open()
	cause := func(run func(context.Context, func(store.Tx) error) error) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		err := run(ctx, func(store.Tx) error { e.Errorf("the function ran"); return nil })
		if !errors.Is(err, context.Canceled) {
			e.Fatalf("it returns %v, want that the context is cancelled", err)
		}
	}
	cause(s.View)
	cause(s.Update)
}

func (e *env) wait(c <-chan struct{}, what string) {
	e.Helper()
	select {
	case <-c:
	case <-time.After(e.patience):
		e.Fatalf("it does not happen: %s", what)
	}
}

// watching runs a Watch in a goroutine and gives what it yields.
func (e *env) watching(ctx context.Context, s store.Store, prefix string) <-chan []byte {
	c := make(chan []byte)
	go func() {
		defer close(c)
		for key := range s.Watch(ctx, []byte(prefix)) {
			select {
			case c <- key:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// recv returns the next key, "" for a gap, "(end)" if there is none.
func (e *env) recv(c <-chan []byte) string {
	e.Helper()
	select {
	case key, ok := <-c:
		if !ok {
			return "(end)"
		}
		return string(key)
	case <-time.After(e.patience):
		e.Fatalf("a watch is silent")
		return ""
	}
}

func (e *env) cancelCtx() (context.Context, context.CancelFunc) { return context.WithCancel(e.ctx) }

func watchBegins(e *env) {
	s := e.open()
	e.put(s, "a", "1")
	ctx, cancel := e.cancelCtx()
	defer cancel()
	select {
	case key, ok := <-e.watching(ctx, s, ""):
		if !ok || key != nil {
			e.Fatalf("a watch begins with %q, want a gap", key)
		}
	case <-time.After(e.patience):
		e.Fatalf("a watch does not begin")
	}
}

func watchTells(e *env) {
	s := e.open()
	e.put(s, "in/gone", "1")
	ctx, cancel := e.cancelCtx()
	defer cancel()
	in, all := e.watching(ctx, s, "in/"), e.watching(ctx, s, "")
	e.same("first", []string{e.recv(in), e.recv(all)}, []string{"", ""})

	_ = s.Update(e.ctx, func(tx store.Tx) error {
		return errors.Join(tx.Put([]byte("in/never"), nil), errors.New("undone"))
	})
	e.put(s, "in", "before the prefix", "in0", "after it", "other", "1")
	e.update(s, func(tx store.Tx) error {
		return errors.Join(tx.Put([]byte("in/a"), nil), tx.Delete([]byte("in/gone")))
	})
	collect := func(c <-chan []byte, last string) (keys []string) {
		for {
			key := e.recv(c)
			keys = append(keys, key)
			if key == last {
				return slices.Compact(slices.Sorted(slices.Values(keys)))
			}
		}
	}
	e.put(s, "in/z", "last")
	e.same("under the prefix", collect(in, "in/z"), []string{"in/a", "in/gone", "in/z"})
	e.same("everywhere", collect(all, "in/z"), []string{"in", "in/a", "in/gone", "in/z", "in0", "other"})
	e.put(s, "in/a", "again")
	e.same("again", e.recv(in), "in/a")
}

// watchSlow: many changes while nobody listens are all told, or a gap is.
func watchSlow(e *env) {
	s := e.open()
	ctx, cancel := e.cancelCtx()
	defer cancel()
	c := e.watching(ctx, s, "")
	e.same("first", e.recv(c), "")
	const txs = 200
	errs := e.together(4, func(i int) error {
		for n := range txs / 4 {
			err := s.Update(e.ctx, func(tx store.Tx) error {
				for k := range store.MaxKeys {
					if err := tx.Put(fmt.Appendf(nil, "%d/%d/%d", i, n, k), nil); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		e.Fatalf("%v", err)
	}
	e.put(s, "last", "")
	told := map[string]bool{}
	for {
		key := e.recv(c)
		if key == "" {
			return // a gap: everything is read again
		}
		told[key] = true
		if key == "last" {
			break
		}
	}
	e.same("keys told, of all that changed", len(told), txs*store.MaxKeys+1)
}

func watchEnds(e *env) {
	s := e.open()
	ctx, cancel := e.cancelCtx()
	c := e.watching(ctx, s, "")
	ended := make(chan struct{})
	e.same("first", e.recv(c), "")
	go func() {
		defer close(ended)
		for range s.Watch(ctx, nil) {
		}
	}()
	cancel()
	e.wait(ended, "a watch ends with its context")
	e.put(s, "a", "1") // nobody is in the way
	stop := 0
	for range s.Watch(e.ctx, nil) {
		stop++
		break
	}
	e.same("a watch that its reader leaves", stop, 1)
}

// model runs random transactions and compares with a map.
func model(e *env) {
	s := e.open()
	key := rapid.SampledFrom([]string{"a", "a\x00", "aa", "b", "B", "\xff", "c", "z"})
	run := 0
	e.forAll(func(r *rapid.T) {
		run++
		prefix := fmt.Sprintf("%06d/", run)
		have := map[string]string{}
		for range rapid.IntRange(1, 4).Draw(r, "transactions") {
			fails := rapid.Bool().Draw(r, "fails")
			type op struct{ Kind, Key, To, Val string }
			ops := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) op {
				return op{rapid.SampledFrom([]string{"put", "delete", "get", "scan"}).Draw(r, "kind"), key.Draw(r, "key"), key.Draw(r, "to"), rapid.StringN(0, 3, 6).Draw(r, "val")}
			}), 0, 8).Draw(r, "ops")
			limit := rapid.IntRange(0, 3).Draw(r, "limit")
			var after map[string]string
			err := s.Update(e.ctx, func(tx store.Tx) error {
				after = map[string]string{}
				for k, v := range have {
					after[k] = v
				}
				for _, o := range ops {
					switch o.Kind {
					case "put":
						if err := tx.Put([]byte(prefix+o.Key), []byte(o.Val)); err != nil {
							return err
						}
						after[o.Key] = o.Val
					case "delete":
						if err := tx.Delete([]byte(prefix + o.Key)); err != nil {
							return err
						}
						delete(after, o.Key)
					case "get":
						v, ok, err := tx.Get([]byte(prefix + o.Key))
						if want, there := after[o.Key]; err != nil || ok != there || string(v) != want {
							r.Fatalf("Get(%q) = %q, %v, %v; want %q, %v", o.Key, v, ok, err, want, there)
						}
					case "scan":
						got, err := scan(tx, prefix+o.Key, prefix+o.To, limit)
						if want := mapScan(after, prefix, o.Key, o.To, limit); err != nil || !slices.Equal(got, want) {
							r.Fatalf("Scan(%q, %q, %d) = %q, %v; want %q", o.Key, o.To, limit, got, err, want)
						}
					}
				}
				if fails {
					return errDiscard
				}
				return nil
			})
			switch {
			case fails && !errors.Is(err, errDiscard) || !fails && err != nil:
				r.Fatalf("Update: %v", err)
			case !fails:
				have = after
			}
			err = s.View(e.ctx, func(tx store.Tx) error {
				got, err := scan(tx, prefix, string(store.End([]byte(prefix))), 0)
				if want := mapScan(have, prefix, "", "", 0); err == nil && !slices.Equal(got, want) {
					r.Fatalf("after a transaction there is %q, want %q", got, want)
				}
				return err
			})
			if err != nil {
				r.Fatalf("View: %v", err)
			}
		}
	})
}

// mapScan is Scan over a map; an empty to is no bound.
func mapScan(m map[string]string, prefix, from, to string, limit int) (pairs []string) {
	var keys []string
	for k := range m {
		if k >= from && (to == "" || k < to) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		if limit > 0 && i == limit {
			break
		}
		pairs = append(pairs, prefix+k, m[k])
	}
	return pairs
}
