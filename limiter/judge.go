package limiter

import (
	"time"

	"legate/config"
)

// Rules are the descriptors of one route with the table that limits them.
type Rules struct {
	Table       *Table
	Descriptors []Descriptor
}

// A Judgement is what limits say of one request. It is kept with the request and used
// again for others.
type Judgement struct {
	Limits []*Limit // that the request counts in, one for each descriptor that has one
	Takes  []Take   // what came of each

	values [][]byte
	names  []byte
}

// Reset forgets the request and keeps the memory.
func (j *Judgement) Reset() {
	clear(j.values)
	j.Limits, j.Takes, j.values, j.names = j.Limits[:0], j.Takes[:0], j.values[:0], j.names[:0]
}

// Find chooses the limits for a request. Two descriptors of one counter count once.
// Budget: 0 allocs once j has grown.
func (r *Rules) Find(j *Judgement, s Source) {
	j.Reset()
	for i := range r.Descriptors {
		d := &r.Descriptors[i]
		values, whole := d.values(j.values[:0], s)
		j.values = values
		if !whole {
			continue
		}
		l, depth := r.Table.find(d, values)
		if l == nil {
			continue
		}
		begin := len(j.names)
		j.names = d.appendName(j.names, r.Table.Domain, values[:depth])
		name := j.names[begin:len(j.names):len(j.names)]
		key := keyOf(name, &l.Window)
		if j.has(key) {
			continue
		}
		j.Limits = append(j.Limits, l)
		j.Takes = append(j.Takes, Take{Key: key, Name: name, Window: l.Window})
	}
}

func (j *Judgement) has(k Key) bool {
	for i := range j.Takes {
		if j.Takes[i].Key == k {
			return true
		}
	}
	return false
}

// Take counts the request in the limits that were found. Budget: 0 allocs with a Memory.
func (j *Judgement) Take(s Store, patience time.Duration, now time.Time, peek bool) error {
	if len(j.Takes) == 0 {
		return nil
	}
	return s.Take(patience, j.Takes, now, peek)
}

// Refused returns the place of the limit that refuses the request: of those that enforce
// and are over, the one for which it takes longest until something passes again. -1 is none.
func (j *Judgement) Refused() int { return j.worst(false) }

// Worst returns the place of the limit to tell of: one that refuses, or else one that is
// over and only logs. -1 is none.
func (j *Judgement) Worst() int {
	if i := j.worst(false); i >= 0 {
		return i
	}
	return j.worst(true)
}

func (j *Judgement) worst(logOnly bool) int {
	worst := -1
	for i := range j.Takes {
		t := &j.Takes[i]
		if t.Over && j.Limits[i].LogOnly == logOnly && (worst < 0 || t.RetryAfter > j.Takes[worst].RetryAfter) {
			worst = i
		}
	}
	return worst
}

// Matches reports whether requests with descriptor d can count in some limit, and notes
// in reached which those are.
func (t *Table) Matches(d *Descriptor, reached map[*Limit]bool) bool {
	any := false
	for _, l := range t.Limits {
		if l.fits(d, t.exact) {
			reached[l], any = true, true
		}
	}
	return any
}

// fits reports whether l's pattern matches some request with descriptor d.
func (l *Limit) fits(d *Descriptor, exact bool) bool {
	n := len(l.source.Pattern)
	if n > len(d.Entries) || exact && n != len(d.Entries) {
		return false
	}
	for i, alternatives := range l.source.Pattern {
		fits := false
		for _, m := range alternatives {
			e := &d.Entries[i]
			fits = fits || m.Key == e.Key && (m.Value == "" || m.Value == "*" || e.Value == nil || string(e.Value) == m.Value)
		}
		if !fits {
			return false
		}
	}
	return true
}

// Unmatched returns Problems of the limits that are not among those that descriptors reach.
func (t *Table) Unmatched(reached map[*Limit]bool) []config.Problem {
	var problems []config.Problem
	for _, l := range t.Limits {
		if reached[l] {
			continue
		}
		problems = append(problems, l.Problem("no Mapping and no default_labels give a request such labels", "the limit never matches"))
	}
	return problems
}
