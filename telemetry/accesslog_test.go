package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A pipe is a writer that a test can look into, block and break.
type pipe struct {
	mu     sync.Mutex
	got    bytes.Buffer
	writes int
	err    error
	take   int           // bytes taken before err
	gate   chan struct{} // not nil: a write waits until it is closed
}

func (p *pipe) Write(text []byte) (int, error) {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	if p.err != nil {
		n := min(p.take, len(text))
		p.got.Write(text[:n])
		return n, p.err
	}
	return p.got.Write(text)
}

func (p *pipe) lines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Count(p.got.Bytes(), []byte{'\n'})
}

func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func TestLinesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pipe
		a := NewAccessLog(&p, AccessLogOptions{})
		for range 10 {
			a.Append(served())
		}
		synctest.Wait()
		if p.lines() != 0 {
			t.Errorf("%d lines were written at once, want them to wait", p.lines())
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if p.lines() != 10 || p.writes != 1 {
			t.Errorf("got %d lines in %d writes, want 10 in 1", p.lines(), p.writes)
		}
		a.Append(served())
		if err := a.Close(t.Context()); err != nil || p.lines() != 11 {
			t.Errorf("Close: %v and %d lines, want nil and 11", err, p.lines())
		}
		a.Append(served())
		if a.Dropped() != 1 {
			t.Errorf("after Close %d lines are dropped, want 1", a.Dropped())
		}
	})
}

func TestMuchIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pipe
		a := NewAccessLog(&p, AccessLogOptions{Interval: time.Hour})
		for range 300 {
			a.Append(served())
		}
		synctest.Wait()
		if p.lines() == 0 {
			t.Error("100 KiB still wait")
		}
		_ = a.Close(t.Context())
		if p.lines() != 300 {
			t.Errorf("got %d lines, want 300", p.lines())
		}
	})
}

func TestStuckWriterCostsLinesNotRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipe{gate: make(chan struct{})}
		a := NewAccessLog(&p, AccessLogOptions{Limit: 10_000})
		for range 1000 {
			a.Append(served())
			time.Sleep(time.Millisecond)
		}
		if a.Dropped() == 0 {
			t.Error("nothing was dropped")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close of a stuck log: %v, want deadline exceeded", err)
		}
		close(p.gate)
		if err := a.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if got := p.lines() + int(a.Dropped()); got != 1000 {
			t.Errorf("%d lines written and %d dropped, want 1000 in all", p.lines(), a.Dropped())
		}
		if p.got.Len() > 10_000 {
			t.Errorf("%d bytes waited, want at most 10000", p.got.Len())
		}
	})
}

func TestFailureIsToldOncePerTransition(t *testing.T) {
	var told []error
	p := &pipe{err: errors.New("disk full"), take: 7}
	a := NewAccessLog(p, AccessLogOptions{Interval: time.Hour, Failed: func(err error) { told = append(told, err) }})
	for range 3 {
		a.Append(served())
		a.Flush()
	}
	p.set(func() { p.err = nil })
	for range 2 {
		a.Append(served())
		a.Flush()
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("told %v, want the error and then nil", told)
	}
	if a.Errors() != 3 || a.Dropped() != 3 {
		t.Errorf("%d errors and %d dropped, want 3 and 3", a.Errors(), a.Dropped())
	}
	lines := strings.Split(strings.TrimSuffix(p.got.String(), "\n"), "\n")
	if want := strings.TrimSuffix(render(served(), JSON), "\n"); lines[len(lines)-1] != want || lines[len(lines)-2] != want {
		t.Errorf("whole lines do not stand alone: %q", lines)
	}
}

func TestShortWriteIsAFailure(t *testing.T) {
	a := NewAccessLog(shortWriter{}, AccessLogOptions{Interval: time.Hour})
	a.Append(served())
	a.Flush()
	if a.Errors() != 1 || a.Dropped() != 1 {
		t.Errorf("%d errors and %d dropped, want 1 and 1", a.Errors(), a.Dropped())
	}
	_ = a.Close(t.Context())
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestReopenFollowsRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	a, err := OpenAccessLog(path, AccessLogOptions{Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	a.Append(served())
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := a.Reopen(); err != nil {
		t.Fatal(err)
	}
	a.Append(refused())
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{path + ".1": render(served(), JSON), path: render(refused(), JSON)} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %v, got %s want %s", filepath.Base(file), err, got, want)
		}
	}
	if err := a.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestAppendFromManySidesKeepsLinesWhole(t *testing.T) {
	var p pipe
	a := NewAccessLog(&p, AccessLogOptions{Interval: time.Millisecond})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				a.Append(served())
			}
		})
	}
	all.Wait()
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := render(served(), JSON)
	if got := strings.ReplaceAll(p.got.String(), want, ""); got != "" || p.lines() != 4000 {
		t.Errorf("%d lines, and between them %.100q", p.lines(), got)
	}
}

func TestAllocsAppend(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	a := NewAccessLog(io.Discard, AccessLogOptions{Interval: time.Hour})
	defer a.Close(t.Context())
	e := served()
	for range 3 {
		a.Append(e)
		a.Flush() // both buffers and a line are there now
	}
	if n := testing.AllocsPerRun(100, func() { a.Append(e) }); n != 0 {
		t.Errorf("Append allocates %v times, want 0", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, format := range []struct {
		name string
		Format
	}{{"json", JSON}, {"text", Text}} {
		b.Run(format.name, func(b *testing.B) {
			a := NewAccessLog(io.Discard, AccessLogOptions{Format: format.Format})
			defer a.Close(b.Context())
			e := served()
			b.ReportAllocs()
			for b.Loop() {
				a.Append(e)
			}
		})
	}
	b.Run("json/parallel", func(b *testing.B) {
		a := NewAccessLog(io.Discard, AccessLogOptions{})
		defer a.Close(b.Context())
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for e := served(); pb.Next(); {
				a.Append(e)
			}
		})
	})
}
