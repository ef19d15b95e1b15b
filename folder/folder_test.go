package folder

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// set keeps text, whatever is there, and returns what was.
func set(t testing.TB, f *Folder, name, text string) (was string, err error) {
	t.Helper()
	err = f.Update(t.Context(), "shop", name, func(kept []byte) ([]byte, error) {
		was = string(kept)
		return []byte(text), nil
	})
	return was, err
}

func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	for i, c := range []struct{ name, text, was string }{
		{"keys", "one", ""}, {"keys", "two", "one"}, {"keys", "two", "two"}, {"other", "three", ""}, {"../../keys", "four", ""}, {"keys", "", "two"}, {"keys", "five", ""},
	} {
		if was, err := set(t, New(dir), c.name, c.text); err != nil || was != c.was { // each time as after a restart
			t.Errorf("%d: %s: was %q, want %q; %v", i, c.name, was, c.was, err)
		}
	}
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && path != filepath.Dir(dir) {
			t.Errorf("%s has mode %v: others may look", path, info.Mode())
		}
		if strings.HasPrefix(d.Name(), ".new-") || !d.IsDir() && filepath.Dir(path) != dir {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What is wrong with a change leaves what there is.
func TestChangeFails(t *testing.T) {
	f := New(t.TempDir())
	if _, err := set(t, f, "keys", "one"); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := f.Update(t.Context(), "shop", "keys", func([]byte) ([]byte, error) { return []byte("two"), broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if was, err := set(t, f, "keys", "one"); was != "one" || err != nil {
		t.Errorf("%q is kept, %v", was, err)
	}
}

// Processes that change one file at once lose nothing of each other's.
func TestProcessesTakeTurns(t *testing.T) {
	const processes, times = 4, 25
	count := func(kept []byte) ([]byte, error) {
		n, err := strconv.Atoi("0" + string(kept))
		return strconv.AppendInt(nil, int64(n+1), 10), err
	}
	if dir := os.Getenv("LEGATE_TEST_FOLDER"); dir != "" {
		for range times {
			if err := New(dir).Update(t.Context(), "shop", "count", count); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir := t.TempDir()
	var running sync.WaitGroup
	for range processes {
		running.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesTakeTurns$")
			cmd.Env = append(os.Environ(), "LEGATE_TEST_FOLDER="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	running.Wait()
	if was, err := set(t, New(dir), "count", ""); err != nil || was != strconv.Itoa(processes*times) {
		t.Errorf("counted %q, want %d; %v", was, processes*times, err)
	}
}

// Where another process has the lock what is kept can be read, and not written.
func TestLockIsHeld(t *testing.T) {
	f := New(t.TempDir())
	if _, err := set(t, f, "keys", "one"); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(t.Context(), filepath.Join(f.dir, "shop_keys.json.lock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var seen string
	err = f.Update(ctx, "shop", "keys", func(kept []byte) ([]byte, error) { seen = string(kept); return []byte("two"), nil })
	if err == nil || !strings.Contains(err.Error(), "another process does not let go of it") || seen != "one" {
		t.Errorf("saw %q, %v", seen, err)
	}
	if err := f.Update(ctx, "shop", "keys", func(kept []byte) ([]byte, error) { return kept, nil }); err != nil {
		t.Errorf("nothing was to be written: %v", err)
	}
	unlock()
	if was, err := set(t, f, "keys", "three"); was != "one" || err != nil {
		t.Errorf("then %q is kept, %v", was, err)
	}
}

// A disk that is full or must not be written to is named, and what was kept stays and can
// be read.
func TestDiskRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, to mount disks")
		}
		t.Skip("needs root, to mount disks")
	}
	for _, c := range []struct {
		name   string
		refuse func(dir string) error
		want   error
	}{
		{"full", func(dir string) error {
			err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 64<<10), 0o600)
			if errors.Is(err, syscall.ENOSPC) {
				return nil
			}
			return errors.Join(err, errors.New("there is room left"))
		}, syscall.ENOSPC},
		{"read-only", func(dir string) error {
			return syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		}, syscall.EROFS},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
				t.Fatal("mount: ", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error("unmount: ", err)
				}
			})
			f := New(dir)
			if _, err := set(t, f, "keys", "one"); err != nil {
				t.Fatal(err)
			}
			if err := c.refuse(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if was, err := set(t, f, "keys", strings.Repeat("two", 5000)); was != "one" || !errors.Is(err, c.want) {
					t.Errorf("%q was kept, %v; want %v", was, err, c.want)
				}
			}
		})
	}
}

// A path that is no folder is named, and nothing is kept there.
func TestNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if was, err := set(t, New(filepath.Join(file, "state")), "keys", "one"); was != "" || !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%q was kept, %v", was, err)
		}
	}
}
