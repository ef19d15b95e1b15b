package files

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A scan is what the paths led to, without having read it.
type scan struct {
	roots []root
	// dirs are the folders to watch; true for those whose every entry matters,
	// false for those of which only the names in names do.
	dirs  map[string]bool
	names map[string]bool
	found map[string]bool // files, as a path may lie within another
}

// A root is one of the paths a Source was given.
type root struct {
	path  string
	err   error // why it cannot be read; not nil for one that is gone
	files []file
}

// A file is one manifest, and what tells that it changed.
type file struct {
	path     string
	size     int64
	modified time.Time
	err      error
}

// maxDepth ends the recursion where links lead in circles that leadsBack does not see.
const maxDepth = 32

// equal reports whether t found what s found.
func (s scan) equal(t scan) bool {
	same := func(a, b file) bool {
		return a.path == b.path && a.size == b.size && a.modified.Equal(b.modified) && (a.err == nil) == (b.err == nil)
	}
	return slices.EqualFunc(s.roots, t.roots, func(a, b root) bool {
		return a.path == b.path && (a.err == nil) == (b.err == nil) && slices.EqualFunc(a.files, b.files, same)
	}) && maps.Equal(s.dirs, t.dirs)
}

// scan looks at the paths as they are now.
func (r *reader) scan() scan {
	s := scan{dirs: map[string]bool{}, names: map[string]bool{}, found: map[string]bool{}}
	for _, path := range r.paths {
		s.note(path)
		at := root{path: path}
		switch info, err := os.Stat(path); {
		case err != nil:
			at.err = err
		case info.IsDir():
			s.folder(&at, path, 0)
		default:
			s.add(&at, file{path: path, size: info.Size(), modified: info.ModTime()})
		}
		s.roots = append(s.roots, at)
	}
	return s
}

// note makes path itself watched, and what it is a link to.
func (s *scan) note(path string) {
	for _, p := range []string{path, target(path)} {
		if p == "" {
			continue
		}
		s.names[p] = true
		if dir := filepath.Dir(p); !s.dirs[dir] {
			s.dirs[dir] = false
		}
	}
}

// target returns where links lead from path, "" if nowhere else.
func target(path string) string {
	t, err := filepath.EvalSymlinks(path)
	if err != nil || t == path {
		return ""
	}
	return t
}

// folder adds the manifests below dir, in the order of their names. Hidden entries
// are passed over: that is how a ConfigMap mount keeps its versions.
func (s *scan) folder(at *root, dir string, depth int) {
	s.dirs[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		at.files = append(at.files, file{path: dir, err: err})
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		linked := e.Type()&fs.ModeSymlink != 0
		if !linked && !e.IsDir() && !isManifest(path) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			// Gone since the folder was listed, or a link to nothing.
			if isManifest(path) && linked {
				at.files = append(at.files, file{path: path, err: err})
			}
			continue
		case linked && info.IsDir() && leadsBack(dir, path):
			continue
		case info.IsDir() && depth < maxDepth:
			s.folder(at, path, depth+1)
		case info.Mode().IsRegular() && isManifest(path):
			s.add(at, file{path: path, size: info.Size(), modified: info.ModTime()})
		default:
			continue
		}
		if linked {
			s.note(path)
		}
	}
}

// add adds f to a root, unless an earlier root has it.
func (s *scan) add(at *root, f file) {
	if !s.found[f.path] {
		s.found[f.path] = true
		at.files = append(at.files, f)
	}
}

// leadsBack reports whether link, found in dir, leads to dir or what it lies in.
func leadsBack(dir, link string) bool {
	here, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	there, err := filepath.EvalSymlinks(link)
	return err == nil && strings.HasPrefix(here+string(filepath.Separator), there+string(filepath.Separator))
}

func isManifest(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}
