package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
)

// A namedWatch is a Named that watches.
type namedWatch struct {
	*Named
	t      *testing.T
	yields chan struct{}
}

func watchNamed(t *testing.T, rescan time.Duration) *namedWatch {
	t.Helper()
	n := &namedWatch{NewNamed(), t, make(chan struct{}, 1)}
	n.Rescan = rescan
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var last config.Digest
	go func() {
		done <- n.Watch(ctx, func(objects []*config.Object) {
			if len(objects) != 1 || objects[0].Digest == last || objects[0].Value != nil {
				t.Errorf("yields %d objects, the first %v after %v", len(objects), objects[0].Digest, last)
			}
			last = objects[0].Digest
			select {
			case n.yields <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return n
}

// until reads paths after each change, until what there is to read is want.
func (n *namedWatch) until(want string, paths ...string) {
	n.t.Helper()
	limit := time.After(10 * time.Second)
	for {
		got := n.says(paths...)
		if got == want {
			return
		}
		select {
		case <-n.yields:
		case <-limit:
			n.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

var errUnlike = errors.New("unlike")

// says reads paths, whose contents must be alike, as "content", or as "content!error".
func (n *namedWatch) says(paths ...string) string {
	contents, err := n.Read(func(c [][]byte) error {
		if len(slices.CompactFunc(slices.Clone(c), func(a, b []byte) bool { return string(a) == string(b) })) > 1 {
			return errUnlike
		}
		return nil
	}, paths...)
	said := "nothing"
	if contents != nil {
		said = string(contents[0])
	}
	if err != nil {
		_, what, _ := strings.Cut(err.Error(), ": ")
		if what == "" {
			what = err.Error()
		}
		said += "!" + what
	}
	return said
}

func TestNamed(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, "1", dir, "cert"), write(t, "1", dir, "key")
	n := watchNamed(t, time.Hour)
	n.until("1", cert, key)
	write(t, "2", dir, "cert") // half of a renewal
	n.until("1!unlike", cert, key)
	write(t, "2", dir, "key")
	n.until("2", cert, key)
	if err := os.Rename(write(t, "3", dir, "next"), cert); err != nil {
		t.Fatal(err)
	}
	n.until("2!unlike", cert, key)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	n.until("2!no such file or directory", cert, key)
	write(t, "3", dir, "key")
	n.until("3", cert, key)
	if got := n.says(filepath.Join(dir, "absent")); got != "nothing!no such file or directory" {
		t.Errorf("a file that never was: %q", got)
	}
	n.until("nothing!it is no regular file", dir)
	write(t, "late", dir, "absent")
	n.until("late", filepath.Join(dir, "absent"))
}

// What was read stays as it is until it has been said that it has changed.
func TestNamedKeepsStill(t *testing.T) {
	path := write(t, "1", t.TempDir(), "cert")
	n := &namedWatch{Named: NewNamed(), t: t}
	if got := n.says(path); got != "1" {
		t.Fatal(got)
	}
	write(t, "2", path)
	if got := n.says(path); got != "1" || n.Changes() != 0 {
		t.Errorf("got %q after %d changes", got, n.Changes())
	}
	if !n.changed() || n.changed() || n.says(path) != "2" || n.Changes() != 1 {
		t.Errorf("looked at: %q after %d changes", n.says(path), n.Changes())
	}
}

// A volume is mounted as links through "..data", which is swapped as a whole.
func TestNamedInMounts(t *testing.T) {
	dir := t.TempDir()
	link := func(to, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []string{"1", "2", "3"} {
		write(t, v, dir, "..v"+v, "cert")
		write(t, v, dir, "..v"+v, "key")
	}
	link("..v1", "..data")
	link("..data/cert", "cert")
	link("..data/key", "key")
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	n := watchNamed(t, time.Hour)
	n.until("1", cert, key)
	link("..v2", "..data")
	n.until("2", cert, key)
	link("..v3", "..data")
	n.until("3", cert, key)
}

// Where nothing tells of changes they are seen by looking around, or when that is asked for.
func TestNamedLooksAround(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "later", "cert") // whose folder cannot be watched yet
	n := watchNamed(t, 20*time.Millisecond)
	n.until("nothing!no such file or directory", path)
	write(t, "1", path)
	n.until("1", path)

	outside := filepath.Join(t.TempDir(), "same")
	n = watchNamed(t, time.Hour)
	n.until("1", path)
	if err := os.Link(path, outside); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	write(t, "2", outside)
	n.Reload()
	n.until("2", path)
}
