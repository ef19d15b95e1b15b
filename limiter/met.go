package limiter

import (
	"sync"
	"time"
)

// A met remembers limits that were met, until something passes again. A nil one remembers none.
type met struct {
	shards [metShards]metShard
	most   int // in a shard
}

type metShard struct {
	mu    sync.Mutex
	until map[Key]metUntil
	_     [64]byte // shards do not share cache lines
}

// A metUntil is when something passes again, if the limit is still what it was.
type metUntil struct{ at, rate int64 }

const (
	metShards = 16
	// metBytes is about what one of them takes.
	metBytes = 64
)

func newMet(bytes int) *met {
	return &met{most: max(bytes/metBytes/metShards, 1)}
}

// over settles t if nothing passes by what is remembered. Budget: 0 allocs.
func (m *met) over(t *Take, now time.Time) bool {
	if m == nil {
		return false
	}
	s := &m.shards[t.Key[0]%metShards]
	s.mu.Lock()
	u, ok := s.until[t.Key]
	s.mu.Unlock()
	left := time.Duration(u.at - now.UnixNano())
	if !ok || left <= 0 || u.rate != t.Window.Rate {
		return false
	}
	t.Over, t.Remaining, t.RetryAfter = true, 0, left
	return true
}

// note remembers that t is over.
func (m *met) note(t *Take, now time.Time) {
	if m == nil {
		return
	}
	at := now.UnixNano()
	s := &m.shards[t.Key[0]%metShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = map[Key]metUntil{}
	}
	if _, there := s.until[t.Key]; !there {
		s.sweep(at, m.most)
	}
	s.until[t.Key] = metUntil{at + int64(t.RetryAfter), t.Window.Rate}
}

// sweep makes room for one: a few that have run out go, or else any.
func (s *metShard) sweep(now int64, most int) {
	looked := 0
	for k, u := range s.until {
		if u.at <= now || len(s.until) >= most {
			delete(s.until, k)
		}
		if looked++; looked == sampled {
			return
		}
	}
}
