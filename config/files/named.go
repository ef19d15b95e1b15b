package files

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"legate/config"
)

// A Named reads files that objects name, such as certificates that a sidecar renews, and
// sees them change. What it reads stays as it is until it has said, as a config.Source, that
// it has changed. It implements config.NamedFiles.
type Named struct {
	// Rescan is the time between two looks around, 10 s if zero.
	Rescan time.Duration

	look    chan struct{}
	mu      sync.Mutex
	groups  map[string]*group
	changes uint64
}

// A group are files that belong together, as they were looked at last.
type group struct {
	paths    []string
	contents [][]byte
	err      error // why they could not be read
	good     [][]byte
}

// NewNamed returns a Named that knows of no file yet.
func NewNamed() *Named {
	return &Named{look: make(chan struct{}, 1), groups: map[string]*group{}}
}

// Read implements config.NamedFiles.
func (n *Named) Read(check func(contents [][]byte) error, paths ...string) ([][]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := strings.Join(paths, "\x00")
	g := n.groups[key]
	if g == nil {
		g = &group{paths: slices.Clone(paths)}
		g.contents, g.err = config.ReadNamed(g.paths)
		n.groups[key] = g
		n.Reload() // to have it watched
	}
	if g.err != nil {
		return g.good, g.err
	}
	if err := check(g.contents); err != nil {
		return g.good, err
	}
	g.good = g.contents
	return g.good, nil
}

// Changes implements config.NamedFiles.
func (n *Named) Changes() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes
}

// Reload has the files looked at. It does not wait for it.
func (n *Named) Reload() {
	select {
	case n.look <- struct{}{}:
	default: // it will be done anyway
	}
}

// Watch implements config.Source: it has nothing to say but that files have changed, for
// which the World has to be looked at again. To be called once.
func (n *Named) Watch(ctx context.Context, yield func([]*config.Object)) error {
	notify, blind := fsnotify.NewWatcher()
	var events chan fsnotify.Event
	var lost chan error
	if blind == nil {
		defer notify.Close() //nolint:errcheck // nothing was written
		events, lost = notify.Events, notify.Errors
	}
	rescan := time.NewTicker(cmp.Or(n.Rescan, 10*time.Second))
	defer rescan.Stop()
	yield(n.marks(blind))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.look:
		case <-rescan.C:
		case err := <-lost:
			if err == nil {
				continue
			} // most likely events were lost, so nothing is known for certain
		case e := <-events:
			if !n.concerns(e) {
				continue
			}
			settle(ctx, events)
		}
		if blind == nil {
			n.follow(notify)
		}
		if n.changed() {
			yield(n.marks(blind))
		}
	}
}

// marks is what Watch says: another object whenever files have changed.
func (n *Named) marks(blind error) []*config.Object {
	o := &config.Object{}
	binary.BigEndian.PutUint64(o.Digest[:], n.Changes()+1)
	if blind != nil {
		return []*config.Object{o, problem("", "no file can be watched: "+blind.Error(), config.Notice, "changes are seen later")}
	}
	return []*config.Object{o}
}

// changed looks at the files and reports whether any has changed.
func (n *Named) changed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := false
	for _, g := range n.groups {
		contents, err := config.ReadNamed(g.paths)
		if digest(contents, err) != digest(g.contents, g.err) {
			g.contents, g.err, changed = contents, err, true
		}
	}
	if changed {
		n.changes++
	}
	return changed
}

// digest tells what was read, or why nothing was.
func digest(contents [][]byte, err error) (d [sha256.Size]byte) {
	h := sha256.New()
	if err != nil {
		_, _ = io.WriteString(h, err.Error()) // a hash takes all
	}
	for _, c := range contents {
		sum := sha256.Sum256(c)
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(d[:0]))
}

// follow watches the folders in which the files are, and those to which links lead.
func (n *Named) follow(notify *fsnotify.Watcher) {
	wanted := map[string]bool{}
	for _, path := range n.paths() {
		wanted[filepath.Dir(path)] = true
		if t := target(path); t != "" {
			wanted[filepath.Dir(t)] = true
		}
	}
	watched := notify.WatchList()
	for dir := range wanted {
		if !slices.Contains(watched, dir) {
			_ = notify.Add(dir) // one that is not there yet is found by looking around
		}
	}
	for _, dir := range watched {
		if !wanted[dir] {
			_ = notify.Remove(dir) // it may be gone already
		}
	}
}

func (n *Named) paths() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, g := range n.groups {
		all = append(all, g.paths...)
	}
	return all
}

// concerns reports whether e may be about the files: about one of them, about a link of a
// mount on the way, or about what comes and goes beside them.
func (n *Named) concerns(e fsnotify.Event) bool {
	if !e.Has(fsnotify.Write) && !e.Has(fsnotify.Chmod) {
		return true
	}
	name := filepath.Clean(e.Name)
	return slices.ContainsFunc(n.paths(), func(path string) bool { return filepath.Clean(path) == name || target(path) == name })
}
