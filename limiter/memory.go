package limiter

import (
	"context"
	"sync"
	"time"
)

// A Memory is a Store of this process. Counters that have run out make room for others;
// where there are more than it holds, those go whose window ends first.
type Memory struct {
	shards [shardCount]shard
	most   int // counters in a shard
}

const (
	shardCount = 64
	// sampled is how many counters are looked at, in no order, when one is added: those
	// that have run out go. As each addition removes up to that many, the dead stay few.
	sampled = 4
)

// DefaultCounters is how many counters a Memory holds where nothing else is said.
const DefaultCounters = 1 << 20

type shard struct {
	mu      sync.Mutex
	windows map[Key]window
	slides  map[Key]*slide
	_       [64]byte // shards do not share cache lines
}

// A window is a counter of the calendar.
type window struct {
	ends  int64 // in seconds of Unix time
	count int64
}

// NewMemory makes a store of about that many counters; 0 stands for the default.
func NewMemory(counters int) *Memory {
	if counters <= 0 {
		counters = DefaultCounters
	}
	return &Memory{most: max(counters/shardCount, sampled)}
}

// Take never fails. Budget: 0 allocs for counters that are there.
func (m *Memory) Take(_ context.Context, takes []Take, now time.Time, peek bool) error {
	for i := range takes {
		t := &takes[i]
		s := &m.shards[t.Key[0]%shardCount]
		s.mu.Lock()
		if t.Window.Burst > 0 {
			s.slide(t, now, m.most, peek)
		} else {
			s.count(t, now, m.most, peek)
		}
		s.mu.Unlock()
	}
	return nil
}

// Counters returns how many there are, those that have run out included.
func (m *Memory) Counters() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.windows) + len(s.slides)
		s.mu.Unlock()
	}
	return n
}

// count raises a calendar's counter.
func (s *shard) count(t *Take, now time.Time, most int, peek bool) {
	ends := t.Window.begin(now) + int64(t.Window.Unit/time.Second)
	w, ok := s.windows[t.Key]
	if w.ends != ends {
		w = window{ends: ends}
	}
	w.count++
	t.settle(w.count, now)
	if peek {
		return
	}
	if !ok {
		if s.windows == nil {
			s.windows = map[Key]window{}
		}
		s.sweep(now.Unix(), most)
	}
	s.windows[t.Key] = w
}

// sweep removes counters that have run out, and of those that were looked at the one that
// ends first where there are too many.
func (s *shard) sweep(now int64, most int) {
	looked := 0
	var first Key
	var ends int64
	for k, w := range s.windows {
		if w.ends <= now {
			delete(s.windows, k)
		} else if ends == 0 || w.ends < ends {
			first, ends = k, w.ends
		}
		if looked++; looked == sampled {
			break
		}
	}
	if len(s.windows) >= most && ends != 0 {
		delete(s.windows, first)
	}
}

// slide raises a counter that slides, unless the request does not pass.
func (s *shard) slide(t *Take, now time.Time, most int, peek bool) {
	at := now.UnixNano()
	l := s.slides[t.Key]
	if l == nil {
		l = &slide{}
		if !peek {
			if s.slides == nil {
				s.slides = map[Key]*slide{}
			}
			s.sweepSlides(at, most)
			s.slides[t.Key] = l
		}
	}
	l.take(t, at, peek)
}

func (s *shard) sweepSlides(now int64, most int) {
	looked := 0
	var first Key
	var ends int64
	for k, l := range s.slides {
		if l.ends <= now {
			delete(s.slides, k)
		} else if ends == 0 || l.ends < ends {
			first, ends = k, l.ends
		}
		if looked++; looked == sampled {
			break
		}
	}
	if len(s.slides) >= most && ends != 0 {
		delete(s.slides, first)
	}
}
