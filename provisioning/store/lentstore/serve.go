package lentstore

import (
	"context"
	"encoding/gob"
	"errors"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// silence is how long a borrower may say nothing in a transaction. An Update has
// the store's only writer, and whoever has it must go on.
const silence = 5 * time.Second

// A page of a scan has so many pairs, and no more once it has so many bytes.
const (
	pagePairs = 256
	pageBytes = 1 << 20
)

var (
	// errDropped: the borrower's function said no, or the borrower is gone.
	errDropped = errors.New("lentstore: dropped")
	errSilent  = errors.New("lentstore: the transaction was given up, since nothing was heard of it for too long")
)

// Serve lends st to those who connect, until ctx ends or the listener is closed,
// and returns when all connections have ended.
func Serve(ctx context.Context, ln net.Listener, st store.Store) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { lend(ctx, c, st) })
	}
}

// A loan is one connection.
type loan struct {
	enc   *gob.Encoder
	asks  chan ask // what the borrower says; closed when it is gone
	scans []func() (store.Pair, error, bool)
	stops []func()
}

// lend does what one connection asks for.
func lend(ctx context.Context, c net.Conn, st store.Store) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	dec := gob.NewDecoder(c)
	var o opening
	if dec.Decode(&o) != nil {
		return
	}
	l := &loan{enc: gob.NewEncoder(c), asks: make(chan ask)}
	go func() {
		defer cancel() // who is gone waits for nothing
		defer close(l.asks)
		for {
			var q ask
			if dec.Decode(&q) != nil {
				return
			}
			select {
			case l.asks <- q:
			case <-ctx.Done():
				return
			}
		}
	}()
	switch o.What {
	case "view":
		l.over(st.View(ctx, l.transaction))
	case "update":
		l.over(st.Update(ctx, l.transaction))
	case "watch":
		for key := range st.Watch(ctx, o.Prefix) {
			a := answer{What: "told", Pair: store.Pair{Key: key}}
			if key == nil {
				a.What = "gap"
			}
			if l.enc.Encode(a) != nil {
				return
			}
		}
	}
}

func (l *loan) over(err error) {
	a := answer{What: "over"}
	if !errors.Is(err, errDropped) {
		a.fail(err)
	}
	_ = l.enc.Encode(a) // who is gone does not hear it
}

// transaction lets the borrower run its function on tx.
func (l *loan) transaction(tx store.Tx) error {
	defer func() {
		for _, stop := range l.stops {
			stop()
		}
		l.scans, l.stops = nil, nil
	}()
	if err := l.enc.Encode(answer{What: "begin"}); err != nil {
		return errDropped
	}
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		var q ask
		ok := false
		select {
		case q, ok = <-l.asks:
			quiet.Reset(silence)
		case <-quiet.C:
			return errSilent
		}
		switch {
		case !ok || q.What == "drop":
			return errDropped
		case q.What == "commit":
			return nil
		}
		a := l.answer(tx, q)
		a.What = "told"
		if l.enc.Encode(a) != nil {
			return errDropped
		}
	}
}

func (l *loan) answer(tx store.Tx, q ask) (a answer) {
	var err error
	switch q.What {
	case "get":
		a.Pair.Val, a.OK, err = tx.Get(q.Key)
	case "put":
		err = tx.Put(q.Key, q.Val)
	case "delete":
		err = tx.Delete(q.Key)
	case "scan":
		var to []byte
		if q.Bounded {
			to = whole(q.Val)
		}
		next, stop := iter.Pull2(tx.Scan(q.Key, to, q.Limit))
		l.scans, l.stops = append(l.scans, next), append(l.stops, stop)
		a, err = l.page(len(l.scans))
	case "more":
		if q.Scan < 1 || q.Scan > len(l.scans) {
			err = errors.New("lentstore: there is no such scan")
			break
		}
		a, err = l.page(q.Scan)
	default:
		err = errors.New("lentstore: asked for " + q.What)
	}
	a.fail(err)
	return a
}

// page reads on in a scan.
func (l *loan) page(scan int) (a answer, err error) {
	for size := 0; len(a.Page) < pagePairs && size < pageBytes; {
		p, err, ok := l.scans[scan-1]()
		if !ok || err != nil {
			return a, err
		}
		a.Page, size = append(a.Page, p), size+len(p.Key)+len(p.Val)
	}
	a.Scan = scan
	return a, nil
}
