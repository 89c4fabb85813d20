package main

import (
	"testing"
	"testing/fstest"
)

func TestTheLeastLimitOfAControlGroupCounts(t *testing.T) {
	v2 := "0::/system.slice/gatehouse.service\n"
	v1 := "5:devices:/x\n4:memory:/docker/abc\n0::/\n"
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"nothing":            {"", nil, 0},
		"a unit":             {v2, map[string]string{"system.slice/gatehouse.service/memory.max": "134217728\n"}, 128 << 20},
		"what is above it":   {v2, map[string]string{"system.slice/gatehouse.service/memory.max": "max\n", "system.slice/memory.max": "67108864\n"}, 64 << 20},
		"a container":        {"0::/\n", map[string]string{"memory.max": "1048576\n"}, 1 << 20},
		"version 1":          {v1, map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/docker/abc/memory.limit_in_bytes": "2097152\n"}, 2 << 20},
		"its container":      {v1, map[string]string{"memory/memory.limit_in_bytes": "2097152\n"}, 2 << 20},
		"version 1, without": {v1, map[string]string{"memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"not a number":       {v2, map[string]string{"system.slice/gatehouse.service/memory.max": "-1"}, 0},
		"not a group":        {"what is this\n0::/../../etc\n", map[string]string{"memory.max": "max"}, 0},
	} {
		root := fstest.MapFS{"proc/self/cgroup": {Data: []byte(c.groups)}}
		for file, text := range c.files {
			root["sys/fs/cgroup/"+file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestGarbageFillsTheRoomBesideWhatIsAlive(t *testing.T) {
	for _, c := range []struct {
		live  uint64
		total uint64 // MiB before it is collected, at most
	}{{0, 1}, {1 << 20, 11}, {16 << 20, 96}, {60 << 20, 96}, {90 << 20, 110}, {400 << 20, 460}} {
		per := percent(c.live)
		total := c.live + c.live*uint64(per)/100
		if total > c.total<<20 || total+total/50+1<<20 < c.total<<20 {
			t.Errorf("%d MiB are alive: %d %%, so %d MiB, not %d", c.live>>20, per, total>>20, c.total)
		}
	}
}
