package main

import "runtime"

// spare is how much larger the garbage collector takes the heap to be than it is.
const spare = 32 << 20

// spareHeap makes the garbage collector run seldom while the heap is small: it runs
// when the heap has doubled, which for some MiB is hundreds of times in a second
// under load, and every run costs. The bytes are never touched, so no memory stands
// behind them; what it costs is up to as much garbage. It is for as long as keep
// was not called.
func spareHeap() (keep func()) {
	b := make([]byte, spare)
	return func() { runtime.KeepAlive(b) }
}
