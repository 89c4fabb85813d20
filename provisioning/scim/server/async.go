package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// asyncEvent is the event that says how an asynchronous request ended (RFC 9967 section 2.5.1.3).
const asyncEvent = "urn:ietf:params:scim:event:misc:asyncresp"

// eventTimeout is how long a completion can be asked for.
const eventTimeout = time.Hour

// later are requests that were answered before they were carried out, and
// what became of them.
type later struct {
	mu      sync.Mutex
	running sync.WaitGroup
	under   int // way
	byTxn   map[string]*deferred
	old     []string
}

type deferred struct {
	who   string
	sets  []*scim.Object // nil: under way
	bulk  bool
	until time.Time
}

// work is a change that can be carried out at once or later.
type work struct {
	method, uri string // uri: what it is about, below Base
	bulk        bool
	do          func(context.Context) (reply, error)
}

// async carries out a change: before it answers, or, if the client prefers that
// (RFC 7240, RFC 9967 section 2.5.1.1), after it, when it takes longer than the client
// wants to wait. With more requests under way than Async it is done at once.
func (s *Server) async(w http.ResponseWriter, r *http.Request, do work) (reply, error) {
	wait, wanted := preference(r.Header.Values("Prefer"))
	if !wanted || s.Async == 0 || !s.later.begin(s.Async) {
		return do.do(r.Context())
	}
	type outcome struct {
		rep reply
		err error
	}
	ctx := context.WithoutCancel(r.Context())
	txn := rand.Text()
	ended := make(chan outcome, 1)
	s.later.put(txn, &deferred{who: s.Who(ctx), bulk: do.bulk}, s.Now())
	go func() {
		defer s.later.running.Done()
		rep, err := safely(ctx, do)
		s.later.finish(txn, s.completions(txn, do, rep, err), s.Now())
		ended <- outcome{rep, err}
	}()
	if wait > 0 { // who does not want to wait is not answered by chance
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case o := <-ended:
			return o.rep, o.err
		case <-timer.C:
		}
	}
	w.Header().Set("Set-Txn", txn)
	w.Header().Set("Preference-Applied", "respond-async")
	return reply{status: http.StatusAccepted, location: s.Base + "/Events/" + txn}, nil
}

// safely is what net/http does for a request: a panic ends that request and no other.
func safely(ctx context.Context, do work) (rep reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do.do(ctx)
}

// maxWait is the longest that a client can have us wait before 202.
const maxWait = 30 * time.Second

// preference reads respond-async and wait, in seconds, from Prefer headers.
func preference(headers []string) (wait time.Duration, async bool) {
	for _, h := range headers {
		for p := range strings.SplitSeq(h, ",") {
			p, _, _ = strings.Cut(p, ";")
			name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				async = true
			case "wait":
				if n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(v), `"`)); err == nil && n > 0 {
					wait = min(time.Duration(min(n, 1000))*time.Second, maxWait)
				}
			}
		}
	}
	return wait, async
}

// Drain waits for requests that were answered before they were carried out.
func (s *Server) Drain() { s.later.running.Wait() }

func (l *later) begin(limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.under >= limit {
		return false
	}
	l.under++
	l.running.Add(1)
	return true
}

func (l *later) put(txn string, d *deferred, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byTxn == nil {
		l.byTxn = map[string]*deferred{}
	}
	keep := l.old[:0]
	for i, t := range l.old {
		if old := l.byTxn[t]; old.sets == nil || now.Before(old.until) && i >= len(l.old)-maxWalks {
			keep = append(keep, t)
		} else {
			delete(l.byTxn, t)
		}
	}
	l.old = append(keep, txn)
	l.byTxn[txn] = d
}

func (l *later) finish(txn string, sets []*scim.Object, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under--
	l.byTxn[txn].sets, l.byTxn[txn].until = sets, now.Add(eventTimeout)
}

func (l *later) get(txn, who string, now time.Time) (deferred, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.byTxn[txn]
	if !ok || d.who != who || d.sets != nil && !now.Before(d.until) {
		return deferred{}, false
	}
	return *d, true
}

// completions are the claims of the events that say how a request ended: one,
// or one for each operation of a bulk.
func (s *Server) completions(txn string, do work, rep reply, err error) []*scim.Object {
	event := func(txn, uri string, outcome *scim.Object) *scim.Object {
		return scim.NewObject(
			"jti", rand.Text(), "iss", s.Base, "iat", int(s.Now().Unix()), "txn", txn,
			"sub_id", scim.NewObject("format", "scim", "uri", uri),
			"events", scim.NewObject(asyncEvent, outcome),
		)
	}
	if err == nil && do.bulk {
		var sets []*scim.Object
		for i, o := range rep.operations {
			if o != nil {
				sets = append(sets, event(txn+":"+strconv.Itoa(i), strings.TrimPrefix(o.String("location"), s.Base), o))
			}
		}
		return sets
	}
	o := scim.NewObject("method", do.method, "status", strconv.Itoa(rep.status))
	uri := do.uri
	if rep.tag != "" {
		o.Set("version", rep.tag)
	}
	if rep.location != "" {
		o.Set("location", rep.location)
		uri = strings.TrimPrefix(rep.location, s.Base)
	}
	if err != nil {
		e := scim.AsError(err)
		o.Set("status", strconv.Itoa(e.Status))
		o.Set("response", e.Object())
		if e.Status >= 500 {
			s.Log.Error("scim asynchronous request failed", "method", do.method, "uri", do.uri, "error", err)
		}
	}
	return []*scim.Object{event(txn, uri, o)}
}

// event answers with the security event token of a request's completion: a JWT,
// signed if the Config can sign, else as it stands, since the client has it from us
// over an authenticated connection (RFC 8417 section 2). Those of a bulk come
// as a poll would bring them (RFC 8936 section 2.4).
func (s *Server) event(w http.ResponseWriter, r *http.Request, txn string) (reply, error) {
	if err := allow(w, r, http.MethodGet); err != nil {
		return reply{}, err
	}
	d, ok := s.later.get(txn, s.Who(r.Context()), s.Now())
	switch {
	case !ok:
		return reply{}, scim.NotFound(txn)
	case d.sets == nil:
		w.Header().Set("Set-Txn", txn)
		w.Header().Set("Retry-After", "1")
		return reply{status: http.StatusAccepted}, nil
	}
	sets := scim.NewObject()
	for _, claims := range d.sets {
		token, err := s.token(claims.AppendJSON(nil))
		if err != nil {
			return reply{}, err
		}
		if !d.bulk {
			return reply{status: http.StatusOK, kind: "application/secevent+jwt", body: []byte(token)}, nil
		}
		sets.Set(claims.String("jti"), token)
	}
	return reply{status: http.StatusOK, kind: "application/json", body: scim.NewObject("sets", sets).AppendJSON(nil)}, nil
}

func (s *Server) token(claims []byte) (string, error) {
	if s.Sign != nil {
		return s.Sign(claims)
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"typ":"secevent+jwt","alg":"none"}`)) + "." + enc.EncodeToString(claims) + ".", nil
}
