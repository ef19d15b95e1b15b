package gateway

import (
	"errors"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errBusy          = errors.New("as many requests are served as may be at once")
	errShortOfMemory = errors.New("memory is short")
	errLate          = errors.New("requests wait for longer than they may")
	errLeft          = errors.New("the client left while its request was held")
)

var nameLocalOverloaded = []byte("x-envoy-local-overloaded")

// A memoryGuard knows whether what is in use comes so close to the limit that the
// collector could do nothing but collect.
type memoryGuard struct {
	short atomic.Bool
	limit int64
	log   *slog.Logger
	used  func() int64
	stop  chan struct{}
	done  sync.WaitGroup
}

// Memory is short from shortFrom of the limit on, and suffices again below enoughBelow. It
// is looked at every memoryEvery; while it is short, the collector is asked each
// collectEvery what is in use, as it has little to do of itself while nobody is served.
const (
	shortFrom    = 0.90
	enoughBelow  = 0.80
	memoryEvery  = 100 * time.Millisecond
	collectEvery = 5 // times memoryEvery
)

// watchMemory begins to look after memory; end ends it.
func watchMemory(limit int64, log *slog.Logger) *memoryGuard {
	m := &memoryGuard{limit: limit, log: log, used: memoryInUse(), stop: make(chan struct{})}
	m.done.Go(m.watch)
	return m
}

func (m *memoryGuard) end() {
	if m != nil {
		close(m.stop)
		m.done.Wait()
	}
}

func (m *memoryGuard) watch() {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		if m.short.Load() && n%collectEvery == 0 {
			runtime.GC()
		}
		m.judge(m.used())
	}
}

// judge compares what is in use with the limit.
func (m *memoryGuard) judge(used int64) {
	share := float64(used) / float64(m.limit)
	switch short := m.short.Load(); {
	case !short && share >= shortFrom:
		m.short.Store(true)
		m.log.Warn("memory is short: requests are refused", "used", used, "limit", m.limit)
	case short && share < enoughBelow:
		m.short.Store(false)
		m.log.Info("memory suffices again", "used", used, "limit", m.limit)
	}
}

// memoryInUse returns what tells how much memory cannot be had back: what the last
// collection left of the heap, and all that is no heap. Garbage does not count: the
// collector has it when it needs it.
func memoryInUse() func() int64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	return func() int64 {
		metrics.Read(samples)
		n := samples[0].Value.Uint64() + samples[1].Value.Uint64()
		for _, s := range samples[2:] {
			n -= s.Value.Uint64()
		}
		return int64(n) //nolint:gosec // because no machine has so much
	}
}
