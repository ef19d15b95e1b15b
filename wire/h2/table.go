package h2

import "slices"

// A table finds the streams that are open by their ids. There are few of them, and
// they are looked up for every frame: a scan of small integers beats a map.
type table struct {
	ids     []uint32
	streams []*stream
}

func (t *table) find(id uint32) *stream {
	for i, have := range t.ids {
		if have == id {
			return t.streams[i]
		}
	}
	return nil
}

func (t *table) add(s *stream) {
	t.ids = append(t.ids, s.id)
	t.streams = append(t.streams, s)
}

func (t *table) remove(s *stream) bool {
	for i, have := range t.streams {
		if have != s {
			continue
		}
		last := len(t.ids) - 1
		t.ids[i], t.streams[i] = t.ids[last], t.streams[last]
		t.ids, t.streams[last] = t.ids[:last], nil
		t.streams = t.streams[:last]
		return true
	}
	return false
}

func (t *table) len() int { return len(t.ids) }

// How a stream ended, for frames that come after.
type ending uint8

const (
	forgotten   ending = iota // long ago
	never                     // it was never opened
	completed                 // both sides said all they had to say
	resetByThem               // they reset it
	resetByUs                 // we did; what comes was under way
)

// A history remembers how the last streams ended.
type history struct {
	ids  [64]uint32
	ends [64]ending
	n    int
}

func (h *history) note(id uint32, how ending) {
	i := slices.Index(h.ids[:], id)
	if i < 0 {
		i = h.n % len(h.ids)
		h.n++
	}
	h.ids[i], h.ends[i] = id, how
}

// of says how the stream with that id, which is not open, ended.
func (h *history) of(id uint32) ending {
	for i, have := range h.ids {
		if have == id {
			return h.ends[i]
		}
	}
	if h.n <= len(h.ids) {
		return never
	}
	return forgotten
}
