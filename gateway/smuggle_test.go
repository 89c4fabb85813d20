package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// smuggled is a request that hides in the body of another. Where a gateway and
// a service disagree about where a body ends, the service sees it.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: open.test\r\nX-Forwarded-User: forged\r\n\r\n"

// smuggling are bytes on one connection. Each is refused, or read by everybody
// the same way; want is how many requests of ours (to /carrier) may arrive.
var smuggling = []struct{ what, head, body string }{
	{"CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
	{"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", "5c\r\n" + smuggled + "\r\n0\r\n\r\n"},
	{"TE twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n" + smuggled},
	{"TE twice the same", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
	{"TE x, chunked", "Transfer-Encoding: x, chunked", "0\r\n\r\n" + smuggled},
	{"TE chunked, x", "Transfer-Encoding: chunked, identity", "0\r\n\r\n" + smuggled},
	{"TE xchunked", "Transfer-Encoding: xchunked", "0\r\n\r\n" + smuggled},
	{"TE quoted", `Transfer-Encoding: "chunked"`, "0\r\n\r\n" + smuggled},
	{"TE in single quotes", "Transfer-Encoding: 'chunked'", "0\r\n\r\n" + smuggled},
	{"TE upper case", "Transfer-Encoding: CHUNKED", "0\r\n\r\n"},
	{"TE space before colon", "Transfer-Encoding : chunked", "0\r\n\r\n" + smuggled},
	{"TE tab before colon", "Transfer-Encoding\t: chunked", "0\r\n\r\n" + smuggled},
	{"TE tab after colon", "Transfer-Encoding:\tchunked", "0\r\n\r\n"},
	{"TE vertical tab", "Transfer-Encoding:\x0bchunked", "0\r\n\r\n" + smuggled},
	{"TE form feed", "Transfer-Encoding: \x0cchunked", "0\r\n\r\n" + smuggled},
	{"TE NUL", "Transfer-Encoding: chunked\x00", "0\r\n\r\n" + smuggled},
	{"TE folded", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n"},
	{"TE folded from another", "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0", ""},
	{"TE after a bare CR", "X: y\rTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
	{"TE after a bare LF", "X: y\nTransfer-Encoding: chunked", "0\r\n\r\n"},
	{"TE underscore", "Transfer_Encoding: chunked\r\nContent-Length: 0", ""},
	{"TE empty", "Transfer-Encoding: \r\nContent-Length: 0", ""},
	{"TE with a trailing comma", "Transfer-Encoding: chunked,", "0\r\n\r\n" + smuggled},
	{"TE with a parameter", "Transfer-Encoding: chunked;q=1", "0\r\n\r\n" + smuggled},
	{"TE identity", "Transfer-Encoding: identity\r\nContent-Length: 0", ""},
	{"TE gzip, chunked", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n" + smuggled},
	{"CL twice", "Content-Length: 0\r\nContent-Length: 71", smuggled},
	{"CL twice, turned round", "Content-Length: 71\r\nContent-Length: 0", smuggled},
	{"CL list", "Content-Length: 0, 71", smuggled},
	{"CL plus", "Content-Length: +0", smuggled},
	{"CL minus", "Content-Length: -0", smuggled},
	{"CL hex", "Content-Length: 0x0", smuggled},
	{"CL with a space inside", "Content-Length: 0 0", smuggled},
	{"CL space before colon", "Content-Length : 71", smuggled},
	{"CL underscore", "Content_Length: 71\r\nContent-Length: 0", ""},
	{"CL huge", "Content-Length: 18446744073709551616", smuggled},
	{"CL empty", "Content-Length: ", smuggled},
	{"chunk size with 0x", "Transfer-Encoding: chunked", "0x0\r\n\r\n" + smuggled},
	{"chunk size with plus", "Transfer-Encoding: chunked", "+0\r\n\r\n" + smuggled},
	{"chunk size with space", "Transfer-Encoding: chunked", " 0\r\n\r\n" + smuggled},
	{"chunk size with underscore", "Transfer-Encoding: chunked", "0_0\r\n\r\n" + smuggled},
	{"chunk size overflows", "Transfer-Encoding: chunked", "10000000000000000\r\n\r\n" + smuggled},
	{"chunk extension", "Transfer-Encoding: chunked", "1;a=b\r\nx\r\n0;c\r\n\r\n"},
	{"chunk extension with a bare LF", "Transfer-Encoding: chunked", "2;a\nxx\r\n47\r\n0\r\n\r\n" + smuggled},
	{"chunk extension with a bare CR", "Transfer-Encoding: chunked", "2;a\rxx\r\n0\r\n\r\n" + smuggled},
	{"chunk lines end in bare LF", "Transfer-Encoding: chunked", "1\nx\n0\n\n" + smuggled},
	{"chunk without its CR LF", "Transfer-Encoding: chunked", "1\r\nxAB0\r\n\r\n" + smuggled},
	{"chunk that is too long", "Transfer-Encoding: chunked", "1\r\nxyz\r\n0\r\n\r\n" + smuggled},
	{"0 chunk with many zeros", "Transfer-Encoding: chunked", "00000000\r\n\r\n"},
	{"0 chunk without an end", "Transfer-Encoding: chunked", "0\r\n"},
	{"trailer that is a length", "Transfer-Encoding: chunked\r\nTrailer: Content-Length", "0\r\nContent-Length: 71\r\n\r\n"},
	{"trailer that is another request", "Transfer-Encoding: chunked", "0\r\nGET /smuggled HTTP/1.1\r\nHost: open.test\r\n\r\n"},
	{"head ends in bare LF", "Content-Length: 0\n", smuggled},
	{"no colon", "GET /smuggled HTTP/1.1\r\nContent-Length: 0", ""},
	{"space begins a line", " Content-Length: 71\r\nX: y", ""},
	{"Connection names the length", "Connection: Content-Length\r\nContent-Length: 71", strings.Repeat("x", 71)},
	{"Connection names the encoding", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n"},
	{"Expect and CL.TE", "Expect: 100-continue\r\nContent-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
	{"Upgrade with a body", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 71", smuggled},
}

func TestP16_WhatIsSentIsWhatIsSeen(t *testing.T) {
	t.Parallel()
	if len(smuggling) < 50 {
		t.Fatal("too few mutations")
	}
	f := newFront(t)
	for _, tc := range smuggling {
		t.Run(tc.what, func(t *testing.T) {
			before := f.echo.count()
			raw := "POST /carrier HTTP/1.1\r\nHost: " + f.at("open") + "\r\n" + tc.head + "\r\n\r\n" + tc.body
			c := f.dial("open")
			defer c.Close()
			_, _ = io.WriteString(c, raw)
			// What comes after, on the same connection, is a request of its own.
			_, _ = io.WriteString(c, "GET /after HTTP/1.1\r\nHost: "+f.at("open")+"\r\nConnection: close\r\n\r\n")
			answers := 0
			br := bufio.NewReader(c)
			for {
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					break
				}
				if _, err = io.Copy(io.Discard, resp.Body); err != nil {
					break
				}
				if resp.StatusCode >= 200 && resp.StatusCode < 300 {
					answers++
				}
			}
			// N answers for N requests that the service saw whole. The hidden
			// one came as a request of its own or not at all, so that it met
			// every check that any request meets.
			whole := 0
			for _, s := range f.echo.all()[before:] {
				if !s.Broken {
					whole++
				}
			}
			if whole != answers {
				t.Errorf("%d answers, the service saw %d requests: %+v", answers, whole, f.echo.all()[before:])
			}
			for _, s := range f.echo.all()[before:] {
				if strings.Contains(strings.Join(s.Header["X-Forwarded-User"], ""), "forged") {
					t.Errorf("a hidden request got past the wall: %+v", s)
				}
				if s.Host != f.at("open") || s.Header.Get("X-Forwarded-For") != "127.0.0.1" {
					t.Errorf("a request came that the gateway did not make: %+v", s)
				}
				if len(s.Header["Content-Length"]) > 1 || s.Header["Transfer-Encoding"] != nil {
					t.Errorf("framing was left to be read twice: %+v", s)
				}
			}
		})
	}
	// Control: two on one connection are two.
	before := f.echo.count()
	c := f.dial("open")
	defer c.Close()
	_, _ = io.WriteString(c, "POST /carrier HTTP/1.1\r\nHost: "+f.at("open")+"\r\nContent-Length: 3\r\n\r\nabcGET /after HTTP/1.1\r\nHost: "+f.at("open")+"\r\nConnection: close\r\n\r\n")
	all, _ := io.ReadAll(c)
	if n := bytes.Count(all, []byte("HTTP/1.1 200 OK")); n != 2 || f.echo.count() != before+2 {
		t.Errorf("%d answers, %d seen", n, f.echo.count()-before)
	}
	// And what framed the bodies that the service was sent is spelled one way.
	for line := range strings.SplitSeq(f.echo.bytes(), "\n") {
		if low := strings.ToLower(line); strings.HasPrefix(low, "transfer-encoding:") && low != "transfer-encoding: chunked\r" {
			t.Errorf("the service got %q", line)
		}
	}
}

func TestP18_HTTP2IsBounded(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	f.passed(f.h2(t, f.request(nil, "GET", "open", "/", nil)))

	t.Run("rapid reset", func(t *testing.T) {
		c := f.h2conn(t, "open")
		go func() {
			for id := uint32(1); id < 6000; id += 2 {
				b := c.block(":method", "GET", ":scheme", "https", ":authority", f.at("open"), ":path", "/reset")
				if c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndHeaders: true, EndStream: true}) != nil {
					return
				}
				if c.fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
		}()
		most := 0
		for {
			if n := len(f.streams.of(everything)); n > most {
				most = n
			}
			_ = c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.fr.ReadFrame(); err != nil {
				break
			}
		}
		if most > 101 {
			t.Errorf("%d requests at once on one connection", most)
		}
		eventually(t, "every one of them has ended", func() bool { return len(f.streams.of(everything)) == 0 })
		f.passed(f.h2(t, f.request(nil, "GET", "open", "/", nil)))
	})
	t.Run("CONTINUATION flood", func(t *testing.T) {
		c := f.h2conn(t, "open")
		b := c.block(":method", "GET", ":scheme", "https", ":authority", f.at("open"), ":path", "/flood")
		_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b, EndStream: true})
		fill := c.block("x-fill", strings.Repeat("y", 8000))
		sent := 0
		for ; sent < 10000 && c.fr.WriteContinuation(1, false, fill) == nil; sent++ {
		}
		if sent == 10000 {
			t.Error("80 MB of header were taken")
		}
		if got := c.status(1); got != "gone" && got != "431" {
			t.Errorf("status %q", got)
		}
	})
	t.Run("large header", func(t *testing.T) {
		c := f.h2conn(t, "open")
		b := c.block(":method", "GET", ":scheme", "https", ":authority", f.at("open"), ":path", "/big", "x-big", strings.Repeat("z", 60<<10))
		_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:16000], EndStream: true})
		for rest := b[16000:]; len(rest) > 0; {
			n := min(16000, len(rest))
			_ = c.fr.WriteContinuation(1, n == len(rest), rest[:n])
			rest = rest[n:]
		}
		if got := c.status(1); got != "431" && got != "gone" && got != "" {
			t.Errorf("status %q", got)
		}
	})
	t.Run("what only HTTP/1 has", func(t *testing.T) {
		for _, more := range [][]string{{"connection", "x-forwarded-user"}, {"transfer-encoding", "chunked"}, {"upgrade", "h2c"}, {"X-Upper", "1"}, {"x-crlf", "a\r\nb: c"}, {"x-nul", "a\x00"}, {"host", "payroll.test"}, {":path", "/again"}, {"te", "gzip"}} {
			before := f.echo.count()
			c := f.h2conn(t, "open")
			c.head(1, f.at("open"), "/h2", more...)
			if got := c.status(1); got == "200" {
				s := f.echo.all()[before]
				if s.Header["X-Crlf"] != nil || s.Host != f.at("open") || s.Header["Upgrade"] != nil || s.Header.Get("Te") == "gzip" || s.URI != "/h2" {
					t.Errorf("%q: the service got %+v", more, s)
				}
			}
		}
	})
	t.Run("settings and pings", func(t *testing.T) {
		c := f.h2conn(t, "open")
		go func() {
			for range 5000 {
				if c.fr.WriteSettings() != nil || c.fr.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
			_ = c.c.Close()
		}()
		// Nobody reads the answers: the connection ends, the others go on.
		for range 5 {
			f.passed(f.h2(t, f.request(nil, "GET", "open", "/", nil)))
		}
		_ = c.c.Close()
	})
	if s := f.server.HTTP2; s.MaxConcurrentStreams != 100 {
		t.Errorf("%d streams", s.MaxConcurrentStreams)
	}
}
