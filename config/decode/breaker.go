package decode

import (
	"math"
	"strconv"
	"strings"
	"time"

	"legate/config"
)

// failureBreaker reads when a service is left alone, nil if nothing is said.
func (f *fields) failureBreaker() *config.FailureBreaker {
	s := f.object("failure_breaker")
	if s == nil {
		return nil
	}
	b := config.DefaultBreaker
	for _, n := range []struct {
		name string
		lo   int
		to   *int
	}{
		{"consecutive_failures", 0, &b.Consecutive}, {"min_requests", 1, &b.MinRequests}, {"half_open_requests", 1, &b.Probes},
	} {
		if v := s.number(n.name, n.lo, math.MaxInt32); v != nil {
			*n.to = *v
		}
	}
	b.Ratio = s.share("failure_ratio")
	if !s.has("consecutive_failures") && b.Ratio == 0 {
		b.Consecutive = config.DefaultConsecutive
	}
	if d := s.duration("interval"); d != nil {
		b.Interval = *d
	}
	if d := s.duration("open_for"); d != nil {
		b.OpenFor = max(*d, time.Millisecond)
	}
	s.statuses("statuses", &b.Statuses)
	s.finish(nil)
	return &b
}

// share returns a part of the whole, 0 if it is missing.
func (f *fields) share(name string) float64 {
	e := f.value(name)
	if e == nil {
		return 0
	}
	s, ok := f.scalar(e)
	if !ok {
		return 0
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(x >= 0 && x <= 1) {
		f.wrong(e, "a number from 0 to 1")
		return 0
	}
	return x
}

// statuses reads a list of statuses like 502 and classes like 5xx, and leaves set as it
// is if it is missing.
func (f *fields) statuses(name string, set *config.StatusSet) {
	list := f.listOf(name)
	if list == nil {
		return
	}
	*set = config.StatusSet{}
	for _, s := range list {
		class, isClass := strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), "xx")
		n, err := strconv.Atoi(class)
		r := config.StatusRange{Min: n, Max: n}
		if isClass {
			r = config.StatusRange{Min: 100 * n, Max: 100*n + 99}
		}
		if err != nil || r.Min < 100 || r.Max > 599 {
			f.wrong(f.find(name), `a list of statuses like 502, or of classes like "5xx"`)
			return
		}
		set.AddRange(r)
	}
}
