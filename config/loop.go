package config

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// A Loop turns what sources yield into Worlds. It waits until every source has
// spoken, and later until a burst of changes is over, so that a half-written
// folder or a rollout becomes one World and not twenty.
type Loop struct {
	Sources []Source
	Options Options
	// Quiet is how long nothing may change before a World is made, 50 ms if zero;
	// Max is the longest a change waits for that, 1 s if zero. A change that comes after
	// at least four times Quiet without any is most likely alone, and waits for a fifth of it.
	Quiet, Max time.Duration
	// Apply gets every new World, one at a time, and returns what of it is not served
	// as written. Before it serves w it may tell instead what of w would not be: if that
	// is because objects have just been changed, it gets a World to serve instead, with
	// their last good versions, until there is none. A World that equals the last is not
	// handed on. Changes that arrive meanwhile wait.
	Apply func(w World, instead Instead) []Problem
	// Merged, if not nil, is told how long it took to make a World of objects.
	Merged func(time.Duration)
	// Failed, if not nil, is told of a source that ended after it had yielded. Its
	// last set stays in force.
	Failed func(error)
}

// Instead returns another World than the last, and whether there is one.
type Instead func(problems []Problem) (World, bool)

// An arrival is a source's new set, or its end.
type arrival struct {
	source int
	set    []*Object
	ended  bool
	err    error
}

// Run works until ctx is done, then returns nil. It returns an error if a source
// ends before it yielded its first set, as no whole World can be made then. All
// that it started has ended when it returns.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	arrivals := make(chan arrival)
	for i, s := range l.Sources {
		watchers.Go(func() { watch(ctx, i, s, arrivals) })
	}
	return l.collect(ctx, arrivals)
}

// watch passes on what s yields, and how it ends.
func watch(ctx context.Context, i int, s Source, to chan<- arrival) {
	send := func(a arrival) {
		select {
		case to <- a:
		case <-ctx.Done():
		}
	}
	err := s.Watch(ctx, func(set []*Object) { send(arrival{source: i, set: set}) })
	send(arrival{source: i, ended: true, err: err})
}

func (l *Loop) collect(ctx context.Context, arrivals <-chan arrival) error {
	quiet, longest := cmp.Or(l.Quiet, 50*time.Millisecond), cmp.Or(l.Max, time.Second)
	kept := keeper{opts: l.Options}
	g := gathering{sets: make([][]*Object, len(l.Sources)), heard: make([]bool, len(l.Sources)), silent: len(l.Sources)}
	var since time.Time // of the oldest change not yet applied; zero for none
	var last time.Time  // when a set came last
	due := time.NewTimer(0)
	defer due.Stop()
	if g.silent > 0 {
		due.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-arrivals:
			if a.ended {
				if err := l.ended(ctx, a, g.heard[a.source]); err != nil {
					return err
				}
				continue
			}
			first := g.take(a)
			now := time.Now()
			alone := since.IsZero() && now.Sub(last) >= 4*quiet
			last = now
			if g.silent > 0 {
				continue
			}
			if first { // whole at last: nobody gains from waiting
				due.Reset(0)
				continue
			}
			if since.IsZero() {
				since = now
			}
			wait := quiet
			if alone {
				wait = quiet / 5
			}
			due.Reset(min(wait, since.Add(longest).Sub(now)))
		case <-due.C:
			since = time.Time{}
			if g.changed() {
				l.apply(&kept, g.sets)
			}
		}
	}
}

// apply makes the World of sets and hands it on.
func (l *Loop) apply(kept *keeper, sets [][]*Object) {
	begun := time.Now()
	s := kept.survey(sets)
	w := s.world()
	if l.Merged != nil {
		l.Merged(time.Since(begun))
	}
	s.learn(l.Apply(w, s.offer))
}

// ended judges the end of a source that has yielded before, or has not.
func (l *Loop) ended(ctx context.Context, a arrival, heard bool) error {
	switch {
	case ctx.Err() != nil:
		return nil
	case !heard && a.err == nil:
		return fmt.Errorf("source %d ended without yielding anything", a.source)
	case !heard:
		return a.err
	case a.err != nil && l.Failed != nil:
		l.Failed(a.err)
	}
	return nil
}

// A gathering is what the sources said last, and what was made of it.
type gathering struct {
	sets    [][]*Object
	heard   []bool
	silent  int // sources not heard of yet
	applied [][]*Object
	once    bool // applied means something
}

// take notes a source's set and reports whether it was the last source to be heard of.
func (g *gathering) take(a arrival) bool {
	g.sets[a.source] = a.set
	if g.heard[a.source] {
		return false
	}
	g.heard[a.source] = true
	g.silent--
	return g.silent == 0
}

// changed reports whether the sets differ from those last applied, and takes them
// as applied. Comparing the sets compares the Worlds, as the options never change.
func (g *gathering) changed() bool {
	differ := !g.once
	for i := range g.sets {
		differ = differ || !sameSet(g.sets[i], g.applied[i])
	}
	if differ {
		g.applied = append(g.applied[:0], g.sets...)
		g.once = true
	}
	return differ
}
