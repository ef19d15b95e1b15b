// Package files is the source of objects that reads manifests from files and
// folders, and sees them change. It decodes nothing itself and serves nothing.
package files

import (
	"cmp"
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"legate/config"
	"legate/config/decode"
)

// A Source reads the given files, and in the given folders every .yaml, .yml and
// .json file. A change is seen at once where the file system tells of it, and
// otherwise at the next look around.
type Source struct {
	// Rescan is the time between two looks around, 10 s if zero.
	Rescan time.Duration

	reader *reader
	reload chan struct{}
}

// New returns a Source of paths. It reads nothing yet.
func New(paths []string, opts decode.Options) *Source {
	return &Source{reader: newReader(paths, opts), reload: make(chan struct{}, 1)}
}

// Read reads paths once. It fails if one of them does not exist; a file that
// cannot be read is a Problem.
func Read(paths []string, opts decode.Options) ([]*config.Object, error) {
	r := newReader(paths, opts)
	if err := r.exist(); err != nil {
		return nil, err
	}
	return r.read(r.scan()), nil
}

// Reload makes Watch read everything again. It does not wait for it.
func (s *Source) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // one is pending already
	}
}

// pauseTime is how long after a change the next one is waited for before reading: a
// file is truncated, then written. The loop that gathers sources waits longer, for
// bursts over many files.
const pauseTime = 10 * time.Millisecond

// Watch implements config.Source. It fails if a path does not exist at the start;
// one that vanishes later keeps what it held. To be called once.
func (s *Source) Watch(ctx context.Context, yield func([]*config.Object)) error {
	if err := s.reader.exist(); err != nil {
		return err
	}
	w := watch{reader: s.reader}
	var events chan fsnotify.Event
	var lost chan error
	if w.notify, w.blind = fsnotify.NewWatcher(); w.blind == nil {
		defer w.notify.Close() //nolint:errcheck // nothing was written
		events, lost = w.notify.Events, w.notify.Errors
	}
	yield(w.refresh())

	rescan := time.NewTicker(cmp.Or(s.Rescan, 10*time.Second))
	defer rescan.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.reload:
			yield(w.refresh())
		case <-rescan.C:
			if w.changed() {
				yield(w.refresh())
			}
		case err := <-lost:
			if err != nil { // most likely events were lost, so nothing is known for certain
				yield(w.refresh())
			}
		case e := <-events:
			if w.concerns(e) {
				settle(ctx, events)
				yield(w.refresh())
			}
		}
	}
}

// List returns the files that Read reads, in its order. It fails if one of paths does not
// exist.
func List(paths []string) ([]string, error) {
	r := newReader(paths, decode.Options{})
	if err := r.exist(); err != nil {
		return nil, err
	}
	var list []string
	for _, at := range r.scan().roots {
		for _, f := range at.files {
			if f.err == nil && f.size <= maxSize {
				list = append(list, f.path)
			}
		}
	}
	return list, nil
}
