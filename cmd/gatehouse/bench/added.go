package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// piece is how many requests of one kind are sent before those of another: few, so
// that whatever else the machine does falls on all kinds alike.
const piece = 500

// measureAdded prints what session, decision, headers and token add to a request.
// One gateway serves somebody who is signed in and, at a service for anyone, nobody,
// by turns; what is printed is the median of the differences within each turn. The
// service gets more bytes from somebody who is signed in, which costs the kernel
// something whoever writes them, so a third kind is nobody who sends so many.
func measureAdded(ctx context.Context, program, upstream string, turns int) error {
	g, err := startGateway(ctx, program, upstream, "", 10)
	if err != nil {
		return err
	}
	defer g.stop()
	in, err := g.side(ctx, "session, three rules, four headers, JWT")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(g.address)
	anyone := side{name: "a service for anyone", pid: in.pid, address: in.address, host: "open.localhost:" + port, header: http.Header{}, seen: "nobody false"}
	more := anyone
	if more.header, err = filled(ctx, anyone, in); err != nil {
		return err
	}
	more.name = "a service for anyone, and so many bytes"
	sides := []side{anyone, in, more}
	tr := newTransport()
	defer tr.CloseIdleConnections()
	cost := make([][]float64, len(sides))
	for turn := -5; turn < turns; turn++ { // the first warm up
		order := []int{0, 1, 2}
		if turn%2 == 0 {
			slices.Reverse(order)
		}
		for _, i := range order {
			before := cpu(in.pid)
			if _, err := sides[i].loadBy(ctx, tr, "/1k", piece); err != nil {
				return err
			}
			if turn >= 0 {
				cost[i] = append(cost[i], micros(cpu(in.pid)-before, piece))
			}
		}
	}
	fmt.Printf("what it adds to a request that somebody is signed in, %d turns of %d requests each, CPU µs/request\n\n", turns, piece)
	fmt.Printf("%-42s %8s %10s %20s %20s\n", "", "median", "difference", "95 % sure of", "half of the turns")
	for i, s := range sides {
		fmt.Printf("%-42s %8.2f", s.name, median(cost[i]))
		if i > 0 {
			d := make([]float64, turns)
			for turn := range d {
				d[turn] = cost[i][turn] - cost[0][turn]
			}
			slices.Sort(d)
			off := int(math.Sqrt(float64(turns))) // of the ranks between which the median is with 95 %
			span := func(from, to int) string { return fmt.Sprintf("%.2f to %.2f", d[max(from, 0)], d[min(to, turns-1)]) }
			fmt.Printf(" %10.2f %20s %20s", median(d), span(turns/2-off, turns/2+off), span(turns/4, turns-1-turns/4))
		}
		fmt.Println()
	}
	return nil
}

// filled is a header with which the service gets as many bytes from the one side as
// it does from the other.
func filled(ctx context.Context, from, as side) (http.Header, error) {
	want, err := as.received(ctx)
	if err != nil {
		return nil, err
	}
	h := http.Header{"X-Fill": {""}}
	from.header = h
	have, err := from.received(ctx)
	if err != nil {
		return nil, err
	}
	if want < have {
		return nil, fmt.Errorf("the service gets %d bytes from who is signed in, and %d from nobody", want, have)
	}
	h = maps.Clone(h)
	h["X-Fill"] = []string{strings.Repeat("x", want-have)}
	return h, nil
}

// received is how many bytes of header fields the service gets.
func (s side) received(ctx context.Context) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+headPath, nil)
	if err != nil {
		return 0, err
	}
	r.Host, r.Header = s.host, s.header
	resp, err := loopback.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

// headPath is where the service says how many bytes of header fields it got.
const headPath = "/head"

func headSize(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
