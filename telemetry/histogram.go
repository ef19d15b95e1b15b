package telemetry

import (
	"math"
	"sync/atomic"
	"time"
)

// bounds are the upper ends of the latency buckets.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// A histogram counts durations by bucket. Its zero value is empty.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // the last one is beyond all bounds
	sum     atomic.Int64                   // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// snapshot returns what Prometheus wants: count, sum in seconds, and how many
// observations were at most each bound.
func (h *histogram) snapshot() (count uint64, sum float64, atMost map[float64]uint64) {
	atMost = make(map[float64]uint64, len(bounds))
	for i, bound := range bounds {
		count += h.buckets[i].Load()
		atMost[bound.Seconds()] = count
	}
	count += h.buckets[len(bounds)].Load()
	return count, float64(h.sum.Load()) / float64(time.Second), atMost
}

// merged returns the sum of histograms, of which some may be nil; nil if all are.
func merged(list ...*histogram) *histogram {
	var sum *histogram
	for _, h := range list {
		if h == nil {
			continue
		}
		if sum == nil {
			sum = &histogram{}
		}
		for i := range h.buckets {
			sum.buckets[i].Add(h.buckets[i].Load())
		}
		sum.sum.Add(h.sum.Load())
	}
	return sum
}

// lazily returns the value behind p, made by the first who needs it.
func lazily[T any](p *atomic.Pointer[T]) *T {
	if v := p.Load(); v != nil {
		return v
	}
	p.CompareAndSwap(nil, new(T))
	return p.Load()
}

// classes are the values of the label code_class, by the status' first digit.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// A byClass counts by class of status.
type byClass [len(classes)]atomic.Uint64

// classOf returns the index of status' class; 0 where nothing was sent.
func classOf(status int) int {
	if c := status / 100; c > 0 && c < len(classes) {
		return c
	}
	return 0
}

// A Gauge is a number that goes up and down. Its zero value is 0.
type Gauge struct {
	n atomic.Int64
	_ [56]byte // alone in its cache line: every core writes these
}

// Add changes g by n. Budget: 0 allocs.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Value returns g's number.
func (g *Gauge) Value() int64 { return g.n.Load() }

// A Counter is a number that goes up. Its zero value is 0.
type Counter struct{ n atomic.Uint64 }

// Add counts one more. Budget: 0 allocs.
func (c *Counter) Add() { c.n.Add(1) }

// AddN counts n more. Budget: 0 allocs.
func (c *Counter) AddN(n uint64) { c.n.Add(n) }

// Value returns the count.
func (c *Counter) Value() uint64 { return c.n.Load() }

// A floatGauge is a Gauge that is set.
type floatGauge struct{ bits atomic.Uint64 }

func (g *floatGauge) set(v float64)  { g.bits.Store(math.Float64bits(v)) }
func (g *floatGauge) value() float64 { return math.Float64frombits(g.bits.Load()) }
