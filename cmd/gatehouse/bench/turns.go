package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// piece is how many requests of one kind are sent before those of another: few, so
// that whatever else the machine does falls on all kinds alike.
const piece = 500

// byTurns prints what a request costs at each side, and how much more than at the
// first: the median of the differences within each turn, in which a few requests are
// sent to each.
func byTurns(ctx context.Context, title string, sides []side, turns int) error {
	tr := newTransport()
	defer tr.CloseIdleConnections()
	cost := make([][]float64, len(sides))
	for turn := -5; turn < turns; turn++ { // the first warm up
		for k := range sides {
			at := k
			if turn%2 == 0 {
				at = len(sides) - 1 - k
			}
			before := cpu(sides[at].pid)
			if _, err := sides[at].loadBy(ctx, tr, "/1k", piece); err != nil {
				return err
			}
			if turn >= 0 {
				cost[at] = append(cost[at], micros(cpu(sides[at].pid)-before, piece))
			}
		}
	}
	fmt.Printf("%s, %d turns of %d requests each, CPU µs/request\n\n", title, turns, piece)
	fmt.Printf("%-52s %8s %10s %20s %20s\n", "", "median", "difference", "95 % sure of", "half of the turns")
	for i, s := range sides {
		fmt.Printf("%-52s %8.2f", s.name, median(cost[i]))
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
	fmt.Println()
	return nil
}

// measureAdded prints what session, decision, headers and token add to a request.
// One gateway serves somebody who is signed in and, at a service for anyone, nobody.
// The service gets more bytes from somebody who is signed in, which costs the kernel
// something whoever writes them, so a third side is nobody who sends so many.
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
	anyone := g.anyone("a service for anyone")
	more := anyone
	bytes := 0
	if more.header, bytes, err = filled(ctx, anyone, in); err != nil {
		return err
	}
	more.name = fmt.Sprintf("a service for anyone, and %d bytes more", bytes)
	return byTurns(ctx, "what being signed in adds to a request", []side{anyone, in, more}, turns)
}

// measureVersions prints what requests cost with several programs.
func measureVersions(ctx context.Context, programs []string, upstream string, turns int) error {
	var passed, asked []side
	for _, program := range programs {
		g, err := startGateway(ctx, program, upstream, "", 10)
		if err != nil {
			return err
		}
		defer g.stop()
		s, err := g.side(ctx, program)
		if err != nil {
			return err
		}
		passed = append(passed, s)
		s, stop, err := startAsked(ctx, program, upstream, program)
		if err != nil {
			return err
		}
		defer stop()
		asked = append(asked, s)
	}
	if err := byTurns(ctx, "a request of somebody who is signed in", passed, turns); err != nil {
		return err
	}
	return byTurns(ctx, "an answer to another proxy's question", asked, turns)
}

// filled is a header with which the service gets as many bytes from the one side as
// it does from the other, and how many more those are than without it.
func filled(ctx context.Context, from, as side) (h http.Header, more int, err error) {
	want, err := as.received(ctx)
	if err != nil {
		return nil, 0, err
	}
	have, err := from.received(ctx)
	if err != nil {
		return nil, 0, err
	}
	const name = "X-Fill"
	more = want - have
	return http.Header{name: {strings.Repeat("x", more-headSize(http.Header{name: {""}}))}}, more, nil
}

// received is how many bytes of header fields the service gets.
func (s side) received(ctx context.Context) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+headPath, nil)
	if err != nil {
		return 0, err
	}
	r.Host = s.host
	if s.header != nil {
		r.Header = s.header
	}
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
