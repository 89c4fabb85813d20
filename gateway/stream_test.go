package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

// lasting are services that go on until they are cut, and what a client does
// to be at them.
var lasting = map[string]struct {
	request string // less host and cookie
	serve   http.HandlerFunc
}{
	"web socket": {"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", func(w http.ResponseWriter, r *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		_ = brw.Flush()
		_, _ = io.Copy(c, brw) // echoes until it is cut
	}},
	"server-sent events": {"GET /events HTTP/1.1\r\n", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
	"download": {"GET /big HTTP/1.1\r\n", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000000")
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
	"upload": {"PUT /quiet HTTP/1.1\r\nContent-Length: 1000000000\r\n", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}},
	"long poll": {"GET /poll HTTP/1.1\r\nConnection: close\r\n", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
}

// stays opens one of lasting as a guest, and returns what is closed when the
// gateway cuts it.
func (f *front) stays(p *guest, host, what string) (cut chan string) {
	f.t.Helper()
	return f.open(p.cookie(host), host, what)
}

// open does that with a line of the head.
func (f *front) open(line, host, what string) (cut chan string) {
	f.t.Helper()
	_, path, _ := strings.Cut(lasting[what].request, " ")
	path, _, _ = strings.Cut(path, " ")
	there := func() int { // of another path one may just be going
		return len(f.streams.of(func(s *stream) bool { return s.path == path }))
	}
	before := there()
	c := f.dial(host)
	f.t.Cleanup(func() { _ = c.Close() })
	request, _, _ := strings.Cut(lasting[what].request, "\r\n")
	_, rest, _ := strings.Cut(lasting[what].request, "\r\n")
	_, _ = io.WriteString(c, request+"\r\nHost: "+f.at(host)+"\r\n"+line+rest+"\r\n")
	if what == "upload" {
		_, _ = io.WriteString(c, "some of it")
	}
	br := bufio.NewReader(c)
	var got strings.Builder
	if what != "long poll" && what != "upload" {
		for !strings.Contains(got.String(), "hello") {
			b, err := br.ReadByte()
			if err != nil {
				f.t.Fatalf("%s: %v after %q", what, err, got.String())
			}
			got.WriteByte(b)
		}
	}
	cut = make(chan string, 1)
	go func() {
		_, _ = io.Copy(&got, br)
		cut <- got.String()
	}()
	eventually(f.t, "the stream is there", func() bool {
		select {
		case said := <-cut:
			f.t.Fatalf("%s: it ended at once: %q", what, said)
		default:
		}
		return there() > before
	})
	return cut
}

// onlyCut waits until a stream is cut, and asserts that another is not.
func (f *front) onlyCut(what string, cut, other chan string) {
	f.t.Helper()
	select {
	case got := <-cut:
		if strings.HasPrefix(got, "HTTP/1.1 200") && strings.HasSuffix(got, "\r\n0\r\n\r\n") {
			f.t.Errorf("%s: cut, and looks complete", what)
		}
	case <-time.After(15 * time.Second):
		f.t.Errorf("%s: was not cut", what)
	}
	if other == nil {
		return
	}
	select {
	case <-other:
		f.t.Errorf("%s: somebody else's was cut too", what)
	default:
	}
}

func TestP19P20_StreamsEndWithTheRightToThem(t *testing.T) {
	t.Parallel()
	ends := map[string]func(f *front, p *guest){
		"sign-out":      func(f *front, p *guest) { p.end() },
		"all sessions":  func(f *front, p *guest) { _, _ = f.sessions.EndUser(t.Context(), p.user.ID, session.ReasonAdmin) },
		"user disabled": func(f *front, p *guest) { p.change(func(u *provisioning.User) { u.Active = false }) },
		"user deleted":  func(f *front, p *guest) { _ = f.dir.Delete(t.Context(), p.user.ID, provisioning.Admin) },
		"group taken": func(f *front, p *guest) {
			p.change(func(u *provisioning.User) { u.Say(provisioning.Admin, "groups", "staff") })
		},
		"session is old": func(f *front, p *guest) { f.offset.Add(int64(9 * time.Hour)) },
		"other rules": func(f *front, p *guest) {
			c := f.c
			c.Policy, _ = authz.Compile(nil, []authz.ServiceRules{{ID: "payroll", Rules: []authz.Rule{{ID: "x", Allow: &authz.Match{Users: []string{"stays"}}}}}, {ID: "wiki"}, {ID: "open"}, {ID: "raw"}})
			next, err := New(c)
			if err != nil {
				t.Error(err)
				return
			}
			next.Recheck("", "")
		},
	}
	for end, happens := range ends {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.echo.does(func(w http.ResponseWriter, r *http.Request) {
				for _, l := range lasting {
					if strings.Contains(l.request, " "+r.URL.Path+" ") {
						l.serve(w, r)
						return
					}
				}
			})
			for what := range lasting {
				if end == "other rules" && what != "web socket" || end == "session is old" && what != "server-sent events" {
					continue // these change the whole front
				}
				goes, stays := f.guest("goes"+strings.ReplaceAll(what, " ", ""), "fin", "staff"), f.guest("stays", "fin")
				var other chan string
				if end != "session is old" {
					other = f.stays(stays, "payroll", what)
				}
				cut := f.stays(goes, "payroll", what)
				happens(f, goes)
				f.onlyCut(what, cut, other)
				_ = f.dir.Delete(t.Context(), stays.user.ID, provisioning.Admin) // control: this one can be cut as well
				if other != nil {
					f.onlyCut(what, other, nil)
				}
			}
		})
	}
}

func TestP19_WebSocketsNeedASessionAndOurOrigin(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	ws := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"}
	f.refused(f.ask(nil, "GET", "wiki", "/ws", ws...), 401, ReasonSignIn)
	for _, origin := range []string{"http://evil.test", "http://open.test:" + f.port, "null", "http://wiki.test", "https://wiki.test:" + f.port, "http://wiki.test:" + f.port + ".evil.test", ""} {
		f.refused(f.ask(alice, "GET", "wiki", "/ws", append(ws, "Origin: "+origin)...), 403, ReasonCrossSite)
	}
	f.refused(f.ask(alice, "GET", "wiki", "/ws", append(ws, "Origin: http://"+f.at("wiki"), "Origin: http://evil.test")...), 403, ReasonCrossSite)
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
	f.echo.does(lasting["web socket"].serve)
	a, err := f.tryRaw("wiki", "GET /ws HTTP/1.1\r\nHost: "+f.at("wiki")+"\r\n"+alice.cookie("wiki")+strings.Join(ws, "\r\n")+"\r\nOrigin: http://"+f.at("wiki")+"\r\n\r\n")
	if a.Response == nil || a.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("%v, %v", a, err)
	}
}

func TestAStreamThatBeginsWhileItsRightEndsIsCut(t *testing.T) {
	t.Parallel()
	// The session ends after it was looked up and before the stream is there.
	f := newFront(t)
	alice := f.guest("alice")
	alice.cookie("wiki")
	f.passed(f.ask(alice, "GET", "wiki", "/"))
	v := &visit{g: f.g, service: f.g.services["wiki"], turn: f.streams.turn.Load(), path: "/", host: "wiki.test"}
	v.r = f.request(alice, "GET", "wiki", "/", nil)
	if err := v.recall(); err != nil || v.session == nil {
		t.Fatalf("%v", err)
	}
	alice.end()
	time.Sleep(50 * time.Millisecond) // the look at all streams that End causes is over: this one has to notice by itself
	rec := newRecorder()
	v.w = &reply{ResponseWriter: rec}
	v.pass()
	if a := rec.answer(); a.StatusCode != 401 || a.code() != ReasonRevoked {
		t.Errorf("%d %q", a.StatusCode, a.code())
	}
	if n := f.echo.count(); n != 1 {
		t.Errorf("%d requests reached the service", n)
	}
}

func TestStreamsAreCutWhenTimeAloneEndsTheirRight(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		streams := &Streams{}
		c := f.c
		c.Streams = streams
		c.Policy, _ = authz.Compile(nil, []authz.ServiceRules{{ID: "open", Rules: []authz.Rule{{ID: "till-six", Allow: &authz.Match{Anyone: true, When: `request.now < timestamp("` + start.Add(time.Hour).UTC().Format(time.RFC3339) + `")`}}}}, {ID: "wiki"}, {ID: "raw"}, {ID: "payroll"}})
		c.Now = time.Now
		g, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		held, drop := context.WithCancelCause(ctx)
		streams.add(&stream{service: "open", method: "GET", path: "/", from: netip.MustParseAddr("127.0.0.1"), cancel: drop, reply: &reply{ResponseWriter: newRecorder()}})
		done := make(chan struct{})
		go func() { defer close(done); g.ticks(ctx) }()
		time.Sleep(time.Hour - time.Second)
		if held.Err() != nil {
			t.Error("cut too early")
		}
		<-held.Done()
		if late := time.Since(start) - time.Hour; late > 5*time.Second || context.Cause(held) != errCut {
			t.Errorf("cut %s late: %v", late, context.Cause(held))
		}
		cancel()
		<-done
	})
}

func TestP26_SlowClientsAreCut(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	if s := f.server; s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > 5*time.Second || s.IdleTimeout <= 0 || s.IdleTimeout > time.Minute || s.MaxHeaderBytes != 32<<10 || s.HTTP2.MaxConcurrentStreams != 100 {
		t.Errorf("the server's limits are %+v", s)
	}
	alice := f.guest("alice")
	short := Server(f.server.Handler, 32<<10, f.c.Log)
	short.ReadHeaderTimeout, short.IdleTimeout = 100*time.Millisecond, 100*time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = short.Serve(ln) }()
	t.Cleanup(func() { _ = short.Close() })
	for what, sent := range map[string]string{
		"nothing":               "",
		"half a head":           "GET /public/x HTTP/1.1\r\nHost: wiki.test\r\nX-",
		"idle after an answer":  "GET /public/x HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
		"a body for us":         "POST /.gatehouse/login HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 100\r\n\r\nx",
		"a body that is nobody": "POST / HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 100\r\n\r\nx",
	} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, sent)
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: the connection was kept", what)
		}
	}
	// Many that are slow do not keep the others out.
	for range 500 {
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: wiki.test\r\n")
	}
	for range 20 {
		f.passed(f.ask(alice, "GET", "wiki", "/"))
	}
}

func TestP26_ABodyThatStandsStillIsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		code string
		st   int
	}{{fmt.Errorf("%w for 1m", errStalled), ReasonBodyTimeout, 408}, {io.ErrUnexpectedEOF, ReasonUpstream, 502}} {
		f := newFront(t)
		rec := newRecorder()
		v := &visit{g: f.g, w: &reply{ResponseWriter: rec}, r: f.request(nil, "PUT", "open", "/", strings.NewReader("x")), who: f.g.anonymous}
		v.broken(nil, v.r, tc.err)
		if a := rec.answer(); a.StatusCode != tc.st || a.code() != tc.code {
			t.Errorf("%v: %d %q", tc.err, a.StatusCode, a.code())
		}
	}
	// The body's own clock: it is asked for each read, and taken off at the end.
	f := newFront(t)
	deadlines := make(chan time.Time, 10)
	w := &deadlineWriter{newRecorder(), deadlines}
	b := patient{io.NopCloser(strings.NewReader("abc")), http.NewResponseController(w), t.Context(), true}
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	first := <-deadlines
	if left := time.Until(first); left <= 0 || left > stall {
		t.Errorf("a read has %s", left)
	}
	var last time.Time
	for last = first; len(deadlines) > 0; {
		last = <-deadlines
	}
	if !last.IsZero() {
		t.Error("the deadline outlives the body")
	}
	// Somebody who sends slowly but steadily is served.
	alice := f.guest("alice")
	c := f.dial("wiki")
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: "+f.at("wiki")+"\r\n"+alice.cookie("wiki")+"Content-Length: 5\r\n\r\n")
	for _, b := range "hello" {
		_, _ = io.WriteString(c, string(b))
		time.Sleep(5 * time.Millisecond)
	}
	if a, err := readAnswer(bufio.NewReader(c), "POST"); err != nil || f.passed(a).Body != "hello" {
		t.Errorf("%v %v", a, err)
	}
}

type deadlineWriter struct {
	*recorder
	set chan time.Time
}

func (w *deadlineWriter) SetReadDeadline(t time.Time) error { w.set <- t; return nil }

func TestSessionsOfRemovedProvidersEndStreams(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.echo.does(lasting["server-sent events"].serve)
	alice := f.signIn(f.guest("alice").user, session.Session{Provider: "partner", AuthTime: f.now()})
	cut := f.stays(alice, "wiki", "server-sent events")
	c := f.c
	c.Providers = c.Providers[:1]
	next, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	next.Recheck("", "")
	f.onlyCut("a stream of a provider that is gone", cut, nil)
}

func TestP20_StreamsOverHTTP2AreCut(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		for _, l := range lasting {
			if strings.Contains(l.request, " "+r.URL.Path+" ") {
				l.serve(w, r)
			}
		}
	})
	c := f.client()
	defer c.CloseIdleConnections()
	alice, other := f.guest("alice"), f.guest("other")
	open := func(p *guest) io.ReadCloser {
		t.Helper()
		resp, err := c.Do(f.request(p, "GET", "wiki", "/events", nil))
		if err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, 5); resp.ProtoMajor != 2 || resp.StatusCode != 200 {
			t.Fatalf("%s %d", resp.Proto, resp.StatusCode)
		} else if _, err := io.ReadFull(resp.Body, b); err != nil {
			t.Fatal(err)
		}
		return resp.Body
	}
	mine, theirs := open(alice), open(other)
	defer mine.Close()
	defer theirs.Close()
	// An upload that has begun and does not go on.
	body, more := io.Pipe()
	defer more.Close()
	answered := make(chan answer, 1)
	go func() {
		resp, err := c.Do(f.request(alice, "PUT", "wiki", "/quiet", body))
		if err != nil {
			answered <- answer{}
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- answer{resp, string(b)}
	}()
	_, _ = io.WriteString(more, "some of it")
	eventually(t, "three streams are there", func() bool { return len(f.streams.of(everything)) == 3 })
	alice.end()
	if _, err := io.ReadAll(mine); err == nil {
		t.Error("a stream that was cut looks complete")
	}
	if a := <-answered; a.Response != nil {
		f.refused(a, 401, ReasonRevoked)
	}
	eventually(t, "only the other's is left", func() bool { return len(f.streams.of(everything)) == 1 })
}

// Cutting ends the server's look at the connection, and so the context of every
// request that would come by it: it is closed with the answer.
func TestAConnectionIsNotUsedAfterACut(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	alice.cookie("raw")
	silent := func(c net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, c) }
	f.rawUp.Store(&silent)
	answered := make(chan answer, 1)
	go func() { answered <- f.ask(alice, "GET", "raw", "/") }()
	eventually(t, "the request is under way", func() bool { return len(f.streams.of(everything)) == 1 })
	f.g.c.Streams.of(everything)[0].cut(ReasonRevoked)
	a := <-answered
	f.refused(a, 401, ReasonRevoked)
	if !a.Close {
		t.Error("the connection is kept")
	}
	f.rawSays("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if b := f.ask(alice, "GET", "raw", "/"); b.body != "ok" || b.Close {
		t.Errorf("without a cut: %d %q, closed %t", b.StatusCode, b.body, b.Close)
	}
}
