//go:build !race

package limiter

import (
	"runtime"
	"testing"
	"time"
)

// A million live counters take less than 200 MB. The race detector would keep more about them than they are,
// and take a minute for it.
func TestAllocsOfAMillion(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := NewMemory(1 << 21)
	w := Window{Rate: 10, Unit: time.Hour}
	var takes [1]Take
	for i := range uint64(1_000_000) {
		takes[0] = Take{Key: spread(i), Window: w}
		m.Take(0, takes[:], noon, false)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if mb := int64(after.HeapAlloc-before.HeapAlloc) >> 20; mb > 200 || m.Counters() != 1_000_000 {
		t.Errorf("%d counters take %d MiB", m.Counters(), mb)
	} else {
		t.Logf("a million counters take %d MiB", mb)
	}
}
