package main

import "testing"

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
