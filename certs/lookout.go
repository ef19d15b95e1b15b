package certs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A Validity is for how long a certificate is good, and who shows it: "Host shop/web".
type Validity struct {
	Of                  string
	NotBefore, NotAfter time.Time
}

// near returns from when on a certificate that is not renewed yet is to be worried about: in
// the last sixth of its life, which those that renew themselves never reach, and not more than
// two weeks before it ends.
func (v *Validity) near() time.Time {
	return v.NotAfter.Add(-min(v.NotAfter.Sub(v.NotBefore)/6, 14*24*time.Hour))
}

// A Lookout warns of certificates that expire soon, and says when they have. Its methods may
// be called by several goroutines at once.
type Lookout struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[Validity]time.Time // when they were warned of last
}

// NewLookout makes a Lookout that warns in log.
func NewLookout(log *slog.Logger) *Lookout {
	return &Lookout{log: log, told: map[Validity]time.Time{}}
}

// What is near its end is told of once a day, of those that have not changed.
const warnEvery = 24 * time.Hour

// Look warns of those of list that are near their end at now, unless it has today.
func (l *Lookout) Look(list []Validity, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := map[Validity]time.Time{}
	for _, v := range list {
		if _, twice := told[v]; twice || now.Before(v.near()) {
			continue // a Host has it under each of its names
		}
		at, before := l.told[v]
		expired := now.After(v.NotAfter)
		if !before || now.Sub(at) >= warnEvery || expired && !at.After(v.NotAfter) {
			at = now
			l.warn(&v, now, expired)
		}
		told[v] = at
	}
	l.told = told
}

func (l *Lookout) warn(v *Validity, now time.Time, expired bool) {
	if expired {
		l.log.Error("certificate has expired", "of", v.Of, "not_after", v.NotAfter.UTC())
		return
	}
	l.log.Warn("certificate expires soon and is not renewed", "of", v.Of, "not_after", v.NotAfter.UTC(), "left", v.NotAfter.Sub(now).Round(time.Second).String())
}

// lookEvery is how often the clock brings something new.
const lookEvery = time.Minute

// Run looks at what list returns, from time to time until ctx is done.
func (l *Lookout) Run(ctx context.Context, list func() []Validity) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.Look(list(), now)
		case <-ctx.Done():
			return
		}
	}
}
