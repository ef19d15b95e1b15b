package trace

// A Sampling says which requests are traced, in percent.
type Sampling struct {
	Client  uint32 // of those that carry x-client-trace-id
	Random  uint32 // of all others
	Overall uint32 // of those that were picked
}

// The mark is the digit of a request's id in which Envoys tell each other whether the
// request is traced, and why: the version of its UUID.
const (
	markAt   = 14
	idLength = 36

	markNone    = '4'
	markSampled = '9'
	markForced  = 'a'
	markClient  = 'b'
)

// Decide judges a request by its id, by whether it carries x-client-trace-id, and whether
// it carries x-envoy-force-trace. draw is a random number. What was decided about the
// request elsewhere counts. mark is the digit that Mark writes, 0 for none: then the id is
// no UUID, and says nothing. Budget: 0 allocs.
func (s *Sampling) Decide(id []byte, client, forced bool, draw uint32) (traced bool, mark byte) {
	share, ok := shareOf(id)
	if !ok {
		return false, 0
	}
	uuid := len(id) == idLength
	if uuid {
		mark = id[markAt]
	}
	switch {
	case uuid && (mark == markSampled || mark == markForced || mark == markClient):
		traced = true
	case client && draw%100 < s.Client:
		traced, mark = true, markClient
	case forced:
		traced, mark = true, markForced
	case share < 100*s.Random:
		traced, mark = true, markSampled
	}
	if traced && share >= 100*s.Overall {
		traced, mark = false, markNone
	}
	if !uuid {
		mark = 0
	}
	return traced, mark
}

// Mark writes what was decided into an id, and reports whether that changes it.
func Mark(id []byte, mark byte) bool {
	if mark == 0 || len(id) != idLength || id[markAt] == mark {
		return false
	}
	id[markAt] = mark
	return true
}

// Marked reports whether id has that mark already, or can have none.
func Marked(id []byte, mark byte) bool {
	return mark == 0 || len(id) != idLength || id[markAt] == mark
}

// shareOf draws a number below 10,000 from an id, the same one at every gateway that the
// request comes by. It fails for ids that do not begin as a UUID does.
func shareOf(id []byte) (share uint32, ok bool) {
	if len(id) < 8 {
		return 0, false
	}
	n, ok := parseHex(id[:8])
	return uint32(n % 10_000), ok
}
