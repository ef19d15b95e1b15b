package certs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Certificates are warned of in the last sixth of their lives, two weeks before their end at
// most, once a day and once more when they have expired; those that were renewed are not.
func TestLookout(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lasting := func(of string, life time.Duration) Validity { return Validity{of, begin, begin.Add(life)} }
	year, quarter, short := lasting("Host shop/year", 365*day), lasting("Host shop/quarter", 90*day), lasting("TLSContext shop/day", day)
	var log bytes.Buffer
	l := NewLookout(slog.New(slog.NewTextHandler(&log, nil)))
	for _, step := range []struct {
		about string
		list  []Validity
		at    time.Duration
		want  []string // one for each line
	}{
		{"all are young", []Validity{year, quarter, short}, time.Hour, nil},
		{"one that lasts a day has less than four hours", []Validity{year, quarter, short}, 20*time.Hour + time.Second, []string{"expires soon and is not renewed\" of=\"TLSContext shop/day\""}},
		{"that was told", []Validity{year, quarter, short}, 21 * time.Hour, nil},
		{"it has expired, which is told at once", []Validity{year, quarter, short}, day + time.Second, []string{"has expired\" of=\"TLSContext shop/day\""}},
		{"that was told, too", []Validity{year, quarter, short}, day + time.Hour, nil},
		{"it was renewed", []Validity{year, quarter, {short.Of, begin.Add(day), begin.Add(2 * day)}}, day + 2*time.Hour, nil},
		{"two names of one Host", []Validity{quarter, quarter}, 76*day + time.Second, []string{"shop/quarter"}},
		{"that was told before", []Validity{year, quarter}, 76*day + time.Minute, nil},
		{"a day later", []Validity{year, quarter}, 77*day + 2*time.Second, []string{"shop/quarter"}},
		{"of a year, too", []Validity{year}, 351 * day, []string{"shop/year"}},
	} {
		log.Reset()
		l.Look(step.list, begin.Add(step.at))
		lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
		if log.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(step.want) {
			t.Fatalf("%s: said %q, want %q", step.about, lines, step.want)
		}
		for i, want := range step.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: said %q, want %q", step.about, lines[i], want)
			}
		}
	}
}
