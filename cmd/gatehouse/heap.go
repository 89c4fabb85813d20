package main

import (
	"context"
	"io/fs"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
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
// something else; and to what the system lets the process have, which may change,
// unless GOMEMLIMIT does.
func paceHeap(ctx context.Context) {
	per, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1)
	debug.SetGCPercent(per)
	defer debug.SetGCPercent(per)
	defer debug.SetMemoryLimit(limit)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	collected := make(chan struct{}, 1)
	pace := func() { // at once, or where suddenly more is alive much more garbage gathers
		runtime.AddCleanup(&sentinel{}, note, collected)
		metrics.Read(live)
		if now := percent(live[0].Value.Uint64() + live[1].Value.Uint64()); now < per*9/10 || now > per*11/10 {
			debug.SetGCPercent(now)
			per = now
		}
	}
	most := int64(0)
	confine := func() {
		now := memoryLimit(os.DirFS("/"))
		if now == most {
			return
		}
		if most = now; now == 0 {
			debug.SetMemoryLimit(limit)
		} else {
			debug.SetMemoryLimit(now - now/10) // the rest is for what the runtime does not count
		}
	}
	if os.Getenv("GOGC") == "" {
		pace()
	}
	var tick <-chan time.Time // never, unless it is ours to say
	if os.Getenv("GOMEMLIMIT") == "" {
		confine()
		t := time.NewTicker(time.Second)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected: // never, unless the first pace was ours to say
			pace()
		case <-tick:
			confine()
		}
	}
}

// A sentinel is garbage from the beginning, so that its cleanup tells of the next
// collection. It is too large to share its memory with something that is alive.
type sentinel [32]byte

func note(collected chan struct{}) { collected <- struct{}{} }

// percent is what debug.SetGCPercent takes while this many bytes are alive.
func percent(live uint64) int {
	live = max(live, 1)
	garbage := max(room-min(live, room), spare, live*sparePart/100)
	return int(min(garbage*100/live, 1000))
}

// memoryLimit is how many bytes the control groups of this process let it have, of
// either version of them; 0: as many as there are. A container sees its own group
// where the root would be, so each folder up to there counts.
func memoryLimit(root fs.FS) int64 {
	var least int64
	groups, _ := fs.ReadFile(root, "proc/self/cgroup") // where there are none, there is no limit
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, group
		if len(part) != 3 {
			continue
		}
		top, file := "sys/fs/cgroup", "memory.max"
		switch {
		case part[1] == "memory":
			top, file = top+"/memory", "memory.limit_in_bytes"
		case part[1] != "":
			continue
		}
		for dir := path.Join(top, part[2]); len(dir) >= len(top); dir = path.Dir(dir) {
			raw, _ := fs.ReadFile(root, path.Join(dir, file))
			n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
			if err == nil && n > 0 && n < noLimit && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return least
}

// noLimit is less than what version 1 writes where there is none.
const noLimit = 1 << 60
