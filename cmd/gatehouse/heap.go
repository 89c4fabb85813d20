package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage there may be before it is collected: as much as fits into room
// beside what is alive; where that is little, spare bytes, or this part of what is
// alive if that is more. Go's own rule, as much as is alive, collects hundreds of
// times in a second while little is alive, and doubles the memory when there are very
// many sessions.
const (
	room      = 96 << 20
	spare     = 20 << 20
	sparePart = 15 // per cent
)

// paceHeap keeps the garbage collector to that until ctx ends, unless GOGC says
// something else.
func paceHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	was := 100
	defer func() { debug.SetGCPercent(was) }()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	for tick, set := time.NewTicker(time.Second), 0; ; {
		metrics.Read(live)
		if per := percent(live[0].Value.Uint64() + live[1].Value.Uint64()); per < set*9/10 || per > set*11/10 {
			old := debug.SetGCPercent(per)
			if set == 0 {
				was = old
			}
			set = per
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// percent is what debug.SetGCPercent takes while this many bytes are alive.
func percent(live uint64) int {
	live = max(live, 1)
	garbage := max(room-min(live, room), spare, live*sparePart/100)
	return int(min(garbage*100/live, 1000))
}
