package config

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a Source that does what a test says.
type script struct {
	steps chan func(yield func([]*Object)) error
}

func newScript() *script { return &script{steps: make(chan func(func([]*Object)) error)} }

func (s *script) Watch(ctx context.Context, yield func([]*Object)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case step, ok := <-s.steps:
			if !ok {
				return nil
			}
			if err := step(yield); err != nil {
				return err
			}
		}
	}
}

// say makes s yield one Mapping of the given name and text.
func (s *script) say(name string, text byte) {
	o := mappingAt(name, "x", 1)
	if text > 0 {
		o.Digest = Digest{text, name[0]}
	}
	s.steps <- func(yield func([]*Object)) error { yield([]*Object{o}); return nil }
	synctest.Wait()
}

func (s *script) fail(err error) {
	s.steps <- func(func([]*Object)) error { return err }
	synctest.Wait()
}

// A running is a Loop at work in a bubble, and the Worlds it made.
type running struct {
	sync.Mutex
	worlds []string
	failed []error
	result error
	ended  bool
}

func runLoop(t *testing.T, l *Loop, sources ...*script) (*running, context.CancelFunc) {
	t.Helper()
	r := &running{}
	for _, s := range sources {
		l.Sources = append(l.Sources, s)
	}
	l.Apply = func(w World, _ Instead) []Problem {
		r.Lock()
		defer r.Unlock()
		r.worlds = append(r.worlds, mappings(w))
		return w.Problems
	}
	l.Failed = func(err error) {
		r.Lock()
		defer r.Unlock()
		r.failed = append(r.failed, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		err := l.Run(ctx)
		r.Lock()
		defer r.Unlock()
		r.result, r.ended = err, true
	}()
	synctest.Wait()
	return r, cancel
}

// expect waits for a while and then compares the Worlds made so far.
func (r *running) expect(t *testing.T, after time.Duration, want ...string) {
	t.Helper()
	if after > 0 {
		time.Sleep(after) // the bubble's clock: nobody waits
	}
	synctest.Wait()
	r.Lock()
	defer r.Unlock()
	if len(r.worlds) != len(want) {
		t.Fatalf("made the Worlds %q, want %q", r.worlds, want)
	}
	for i := range want {
		if r.worlds[i] != want[i] {
			t.Fatalf("made the Worlds %q, want %q", r.worlds, want)
		}
	}
}

func TestLoopWaitsForEverySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newScript(), newScript()
		r, cancel := runLoop(t, &Loop{}, a, b)
		defer cancel()
		a.say("a", 1)
		r.expect(t, time.Hour)
		b.say("b", 1)
		r.expect(t, 0, "a.x:1 b.x:1")
	})
}

func TestLoopWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newScript()
		r, cancel := runLoop(t, &Loop{}, a)
		defer cancel()
		a.say("a", 1)
		r.expect(t, 0, "a.x:1")
		a.say("b", 1)
		r.expect(t, 49*time.Millisecond, "a.x:1")
		a.say("c", 1)
		r.expect(t, 49*time.Millisecond, "a.x:1")
		r.expect(t, 2*time.Millisecond, "a.x:1", "c.x:1")
	})
}

// A change that comes out of the blue is most likely the only one.
func TestLoopWaitsLessForOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newScript()
		r, cancel := runLoop(t, &Loop{}, a)
		defer cancel()
		a.say("a", 1)
		r.expect(t, 199*time.Millisecond, "a.x:1")
		a.say("b", 1) // there was one just before
		r.expect(t, 49*time.Millisecond, "a.x:1")
		r.expect(t, 151*time.Millisecond, "a.x:1", "b.x:1")
		a.say("c", 1)
		r.expect(t, 9*time.Millisecond, "a.x:1", "b.x:1")
		r.expect(t, 2*time.Millisecond, "a.x:1", "b.x:1", "c.x:1")
		a.say("d", 1) // it was not alone after all
		r.expect(t, 49*time.Millisecond, "a.x:1", "b.x:1", "c.x:1")
		r.expect(t, 201*time.Millisecond, "a.x:1", "b.x:1", "c.x:1", "d.x:1")
		a.say("e", 1)
		a.say("f", 1) // and here neither is
		r.expect(t, 49*time.Millisecond, "a.x:1", "b.x:1", "c.x:1", "d.x:1")
		r.expect(t, 2*time.Millisecond, "a.x:1", "b.x:1", "c.x:1", "d.x:1", "f.x:1")
	})
}

func TestLoopWaitsNoLongerThanMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newScript()
		r, cancel := runLoop(t, &Loop{Quiet: 100 * time.Millisecond, Max: 250 * time.Millisecond}, a)
		defer cancel()
		a.say("a", 1)
		for i := range byte(3) {
			a.say("b", i+1)
			r.expect(t, 80*time.Millisecond, "a.x:1")
		}
		a.say("c", 1) // 240 ms after the first
		r.expect(t, 11*time.Millisecond, "a.x:1", "c.x:1")
	})
}

func TestLoopSkipsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newScript()
		r, cancel := runLoop(t, &Loop{}, a)
		defer cancel()
		a.say("a", 1)
		a.say("a", 1)
		r.expect(t, time.Second, "a.x:1")
		a.say("a", 2)
		a.say("a", 1) // there and back within the quiet time
		r.expect(t, time.Second, "a.x:1")
		a.say("a", 2)
		r.expect(t, time.Second, "a.x:1", "a.x:1")
		a.say("a", 0) // no digest: nobody knows
		r.expect(t, time.Second, "a.x:1", "a.x:1", "a.x:1")
		a.say("a", 0)
		r.expect(t, time.Second, "a.x:1", "a.x:1", "a.x:1", "a.x:1")
	})
}

func TestLoopKeepsWhatAFailedSourceSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newScript(), newScript()
		r, cancel := runLoop(t, &Loop{}, a, b)
		a.say("a", 1)
		b.say("b", 1)
		a.fail(errors.New("gone"))
		b.say("c", 1)
		r.expect(t, time.Second, "a.x:1 b.x:1", "a.x:1 c.x:1")
		if len(r.failed) != 1 || r.failed[0].Error() != "gone" {
			t.Errorf("failed with %v, want gone", r.failed)
		}
		close(b.steps) // a source may also just end
		synctest.Wait()
		if r.ended || len(r.failed) != 1 {
			t.Errorf("ended %v, failed with %v", r.ended, r.failed)
		}
		cancel()
		synctest.Wait()
		if !r.ended || r.result != nil {
			t.Errorf("after its end: ended %v, %v", r.ended, r.result)
		}
	})
}

func TestLoopCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newScript(), newScript()
		r, cancel := runLoop(t, &Loop{}, a, b)
		defer cancel()
		gone := errors.New("gone")
		a.fail(gone)
		if !r.ended || !errors.Is(r.result, gone) {
			t.Errorf("ended %v with %v, want gone", r.ended, r.result)
		}
		a, b = newScript(), newScript()
		r, cancel = runLoop(t, &Loop{}, a, b)
		defer cancel()
		close(b.steps)
		synctest.Wait()
		if !r.ended || r.result == nil {
			t.Errorf("ended %v with %v, want an error: it never yielded", r.ended, r.result)
		}
	})
}

func TestLoopWithoutSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cancel := runLoop(t, &Loop{})
		defer cancel()
		r.expect(t, 0, "")
	})
}
