package config

import "time"

// A FailureBreaker says when a service that fails its requests is left alone, and how it
// is tried again. CircuitBreakers trip on numbers; this trips on failures. One that asks
// neither for failures in a row nor for a share of them never trips.
type FailureBreaker struct {
	Consecutive int           // failures in a row that trip it; 0 does not count them
	Ratio       float64       // of failures among requests that trips it, above 0 up to 1; 0 does not look
	MinRequests int           // in Interval, below which Ratio says nothing
	Interval    time.Duration // that failures are remembered for; 0 for ever
	OpenFor     time.Duration // that nothing is sent before it is tried again
	Probes      int           // requests at once that try it, and must succeed for it to close
	Statuses    StatusSet     // of answers that are failures
}

// On reports whether it can trip.
func (b *FailureBreaker) On() bool { return b != nil && (b.Consecutive > 0 || b.Ratio > 0) }

// DefaultBreaker is a FailureBreaker where nothing else is said.
var DefaultBreaker = func() FailureBreaker {
	b := FailureBreaker{MinRequests: 20, Interval: 10 * time.Second, OpenFor: 10 * time.Second, Probes: 1}
	b.Statuses.AddRange(StatusRange{500, 599})
	return b
}()

// DefaultConsecutive is how many failures in a row trip a FailureBreaker that says nothing
// of when it trips.
const DefaultConsecutive = 5

// A StatusSet is some of the statuses from 100 to 599. It can be compared.
type StatusSet [8]uint64

// AddRange adds the statuses of r, as far as there are such.
func (s *StatusSet) AddRange(r StatusRange) {
	for n := max(r.Min, 100); n <= min(r.Max, 599); n++ {
		s[(n-100)/64] |= 1 << ((n - 100) % 64)
	}
}

// Has reports whether status is among them. Budget: 0 allocs.
func (s *StatusSet) Has(status int) bool {
	n := status - 100
	return n >= 0 && n < 500 && s[n/64]&(1<<(n%64)) != 0
}
