package limiter

import (
	"sync"
	"time"
)

// A Memory is a Store of this process. Counters that have run out make room for others;
// where there are more than it holds, those go whose window ends first. So do those that slide
// where they remember more than it has room for.
type Memory struct {
	windows [shardCount]windows
	slides  [shardCount]slides
	most    int // counters in a shard
}

const (
	shardCount = 64
	// sampled is how many counters are looked at, in no order, when one that slides is added:
	// those that have run out go. As each addition removes up to that many, the dead stay few.
	sampled = 4
	// passagesEach is how many passages there is room for, for each counter that there may be. Some
	// remember more, most less.
	passagesEach = 4
)

// DefaultCounters is how many counters a Memory holds where nothing else is said.
const DefaultCounters = 1 << 20

// A slides is counters that slide.
type slides struct {
	mu       sync.Mutex
	byKey    map[Key]*slide
	passages int      // that all of them have room for
	_        [40]byte // shards do not share cache lines
}

// NewMemory makes a store of about that many counters; 0 stands for the default.
func NewMemory(counters int) *Memory {
	if counters <= 0 {
		counters = DefaultCounters
	}
	return &Memory{most: max(counters/shardCount, sampled)}
}

// Take never fails. Budget: 0 allocs for counters that are there.
func (m *Memory) Take(_ time.Duration, takes []Take, now time.Time, peek bool) error {
	for i := range takes {
		t := &takes[i]
		shard := t.Key[0] % shardCount
		if t.Window.Burst > 0 {
			m.slides[shard].take(t, now, m.most, peek)
		} else {
			m.windows[shard].take(t, now, m.most, peek)
		}
	}
	return nil
}

// Counters returns how many there are, those that have run out included.
func (m *Memory) Counters() int {
	n := 0
	for i := range shardCount {
		n += m.windows[i].counters() + m.slides[i].counters()
	}
	return n
}

func (s *slides) counters() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byKey)
}

// take raises a counter, unless the request does not pass.
func (s *slides) take(t *Take, now time.Time, most int, peek bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now.UnixNano()
	l := s.byKey[t.Key]
	if l == nil {
		l = &slide{}
		if !peek {
			if s.byKey == nil {
				s.byKey = map[Key]*slide{}
			}
			s.sweep(at, most)
			s.byKey[t.Key] = l
		}
	}
	room := cap(l.passed)
	l.take(t, at, peek)
	s.passages += cap(l.passed) - room
	for s.passages > passagesEach*max(most, maxPassages) {
		s.sweep(at, len(s.byKey))
	}
}

// sweep removes counters that have run out, and of those that were looked at the one that
// ends first where there are too many.
func (s *slides) sweep(now int64, most int) {
	looked := 0
	var first Key
	var ends int64
	for k, l := range s.byKey {
		if l.ends <= now {
			s.remove(k)
		} else if ends == 0 || l.ends < ends {
			first, ends = k, l.ends
		}
		if looked++; looked == sampled {
			break
		}
	}
	if len(s.byKey) >= most && ends != 0 {
		s.remove(first)
	}
}

func (s *slides) remove(k Key) {
	s.passages -= cap(s.byKey[k].passed)
	delete(s.byKey, k)
}
