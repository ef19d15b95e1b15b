package files

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"legate/config"
)

// A watch knows which folders to be told about. Files are watched through their
// folders, since editors and ConfigMap mounts replace files instead of writing them.
type watch struct {
	reader *reader
	notify *fsnotify.Watcher
	blind  error // why there is no notify: a node may be out of them
	last   scan
	failed map[string]error // folders that cannot be watched
}

// refresh reads everything, after making sure that no later change goes unseen.
func (w *watch) refresh() []*config.Object {
	for {
		w.last = w.reader.scan()
		// A file made before its folder was watched is seen by scanning again.
		if !w.follow() {
			break
		}
	}
	objects := w.reader.read(w.last)
	if w.blind != nil {
		objects = append(objects, problem("", "no file can be watched: "+w.blind.Error(), config.Notice, "changes are seen later"))
	}
	for _, dir := range slices.Sorted(maps.Keys(w.failed)) {
		objects = append(objects, problem(dir, "cannot be watched: "+w.failed[dir].Error(), config.Notice, "changes are seen later"))
	}
	return objects
}

// follow watches the folders of the last scan, and reports whether one is new.
func (w *watch) follow() bool {
	if w.blind != nil {
		return false
	}
	added := false
	watched := w.notify.WatchList()
	failed := map[string]error{}
	for dir := range w.last.dirs {
		if slices.Contains(watched, dir) {
			continue
		}
		if err := w.notify.Add(dir); err != nil {
			failed[dir] = err
		} else {
			added = true
		}
	}
	w.failed = failed
	for _, dir := range watched {
		if _, ok := w.last.dirs[dir]; !ok {
			_ = w.notify.Remove(dir) // it may be gone already
		}
	}
	return added
}

// changed looks around and reports whether anything differs from the last scan.
func (w *watch) changed() bool { return !w.reader.scan().equal(w.last) }

// concerns reports whether e may change what is read. Of a folder that is only
// watched for the sake of one file, most events do not.
func (w *watch) concerns(e fsnotify.Event) bool {
	e.Name = filepath.Clean(e.Name) // in the present folder it is told as "./name"
	switch {
	case w.last.names[e.Name]:
		return e.Op != fsnotify.Chmod
	case e.Op == fsnotify.Chmod, e.Op == fsnotify.Write && !isManifest(e.Name):
		return false // such as somebody's log beside the manifests
	case w.last.dirs[filepath.Dir(e.Name)]:
		return true
	}
	// The links of a ConfigMap mount: "..data", "..2026_01_02_15_04_05.1234".
	return strings.HasPrefix(filepath.Base(e.Name), "..")
}

// settle takes further events until there are none for a moment, or too many.
func settle(ctx context.Context, events <-chan fsnotify.Event) {
	end := time.NewTimer(10 * pauseTime)
	defer end.Stop()
	pause := time.NewTimer(pauseTime)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-pause.C:
			return
		case <-events:
			pause.Reset(pauseTime)
		}
	}
}
