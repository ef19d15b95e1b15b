package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Format is how the access log writes a request.
type Format uint8

// The formats.
const (
	JSON Format = iota
	Text        // Ambassador's default line
)

// AccessLogOptions adjust an access log. The zero value is useful.
type AccessLogOptions struct {
	Format   Format
	Interval time.Duration // longest a line waits to be written; 100 ms if zero
	Limit    int           // bytes that may wait; 8 MiB if zero
	// Failed, if not nil, is told when writing begins to fail, and with nil when
	// it works again. It is called from whoever writes, and must not use the log.
	Failed func(error)
}

const (
	flushAt  = 64 << 10 // waiting bytes that are written without waiting for more
	keepLine = 16 << 10 // the largest line whose buffer is used again: a path may be long, few are
)

// An AccessLog writes one line per request, many lines at a time, from one
// goroutine of its own. A writer that is slow or stuck costs lines, which are
// counted, and never makes a request wait.
type AccessLog struct {
	opts  AccessLogOptions
	path  string // "" where w was handed in
	lines sync.Pool
	wake  chan struct{} // something waits to be written
	full  chan struct{} // enough waits to be written now
	stop  chan struct{}
	ended chan struct{}
	close sync.Once

	mu      sync.Mutex // never held while writing
	waiting []byte
	spare   []byte
	writing int // bytes that the writer holds
	closed  bool

	writer  sync.Mutex // held while writing
	w       io.Writer
	failing bool
	torn    bool // the last write ended within a line

	dropped atomic.Uint64
	failed  atomic.Uint64
}

// NewAccessLog starts a log that writes to w. Close ends it; w stays open.
func NewAccessLog(w io.Writer, opts AccessLogOptions) *AccessLog {
	opts.Interval = cmp.Or(opts.Interval, 100*time.Millisecond)
	opts.Limit = cmp.Or(opts.Limit, 8<<20)
	a := &AccessLog{
		opts:    opts,
		w:       w,
		wake:    make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		waiting: make([]byte, 0, 2*flushAt),
		spare:   make([]byte, 0, 2*flushAt),
	}
	a.lines.New = func() any { return &line{buf: make([]byte, 0, 1024)} }
	go a.run()
	return a
}

// OpenAccessLog starts a log that appends to the file at path, made if need be.
func OpenAccessLog(path string, opts AccessLogOptions) (*AccessLog, error) {
	f, err := openLog(path)
	if err != nil {
		return nil, err
	}
	a := NewAccessLog(f, opts)
	a.path = path
	return a, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640) //nolint:gosec // the operator names the file, and the group may read logs
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

// Append notes one request. It keeps nothing of e and never blocks on the writer.
// Budget: 0 allocs.
func (a *AccessLog) Append(e *Entry) {
	l := a.lines.Get().(*line)
	switch {
	case e.Format != nil:
		l.format(e)
	case a.opts.Format == JSON:
		l.json(e)
	default:
		l.text(e)
	}
	a.take(l.buf)
	if cap(l.buf) <= keepLine {
		a.lines.Put(l)
	}
}

// take puts text with what waits, and wakes the writer when there is a reason to.
func (a *AccessLog) take(text []byte) {
	a.mu.Lock()
	if a.closed || len(a.waiting)+a.writing+len(text) > a.opts.Limit {
		a.mu.Unlock()
		a.dropped.Add(1)
		return
	}
	before := len(a.waiting)
	a.waiting = append(a.waiting, text...)
	after := len(a.waiting)
	a.mu.Unlock()
	if before == 0 {
		signal(a.wake)
	}
	if before < flushAt && after >= flushAt {
		signal(a.full)
	}
}

// signal leaves a note in c unless one is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped returns how many lines were lost: because too many waited, or because
// writing them failed.
func (a *AccessLog) Dropped() uint64 { return a.dropped.Load() }

// Errors returns how many writes failed.
func (a *AccessLog) Errors() uint64 { return a.failed.Load() }

// run writes what waits: soon after the first line, at once when there is much.
// Without requests it sleeps.
func (a *AccessLog) run() {
	defer close(a.ended)
	timer := time.NewTimer(a.opts.Interval)
	defer timer.Stop()
	for {
		select {
		case <-a.wake:
		case <-a.stop:
			a.Flush()
			return
		}
		timer.Reset(a.opts.Interval)
		select {
		case <-timer.C:
		case <-a.full:
		case <-a.stop:
		}
		a.Flush()
	}
}

// Flush writes what waits, and returns when it and all before it is written, or
// lost. It blocks as long as the writer does.
func (a *AccessLog) Flush() {
	a.writer.Lock()
	defer a.writer.Unlock()
	a.mu.Lock()
	text := a.waiting
	a.waiting, a.spare = a.spare[:0], nil
	a.writing = len(text)
	a.mu.Unlock()

	if len(text) > 0 {
		a.write(text)
	}

	if cap(text) > 16*flushAt {
		text = make([]byte, 0, 2*flushAt) // a stuck writer's harvest is not kept
	}
	a.mu.Lock()
	a.spare, a.writing = text[:0], 0
	a.mu.Unlock()
}

// write hands text to the writer. What it does not take is lost and counted: to
// keep it would only lose later lines instead.
func (a *AccessLog) write(text []byte) {
	if a.torn {
		a.torn = false
		if _, err := a.w.Write([]byte{'\n'}); err != nil {
			a.torn = true
		}
	}
	n, err := a.w.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	if err != nil {
		a.failed.Add(1)
		a.dropped.Add(uint64(bytes.Count(text[n:], []byte{'\n'}))) //nolint:gosec // a count
		a.torn = a.torn || n > 0 && text[n-1] != '\n'
	}
	if failing := err != nil; failing != a.failing {
		a.failing = failing
		if a.opts.Failed != nil {
			a.opts.Failed(err)
		}
	}
}

// Reopen writes what waits and opens the file anew, after it was rotated. It does
// nothing for a log without a path. If the file cannot be opened the old one stays.
func (a *AccessLog) Reopen() error {
	if a.path == "" {
		return nil
	}
	a.Flush()
	f, err := openLog(a.path)
	if err != nil {
		return err
	}
	a.writer.Lock()
	old := a.w
	a.w = f
	a.torn = false
	a.writer.Unlock()
	return old.(io.Closer).Close()
}

// Close writes what waits and ends the log; lines that come later are dropped. It
// returns ctx's error if the writer does not take the rest in time.
func (a *AccessLog) Close(ctx context.Context) error {
	a.close.Do(func() {
		a.mu.Lock()
		a.closed = true
		a.mu.Unlock()
		close(a.stop)
	})
	select {
	case <-a.ended:
	case <-ctx.Done():
		return fmt.Errorf("close access log: %w", ctx.Err())
	}
	if a.path == "" {
		return nil
	}
	a.writer.Lock()
	defer a.writer.Unlock()
	if err := a.w.(io.Closer).Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close access log: %w", err)
	}
	return nil
}
