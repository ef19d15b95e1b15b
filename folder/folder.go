// Package folder keeps what must outlive the process in files, each of which is written
// whole or not at all, by one process at a time. Several processes may share a folder, of
// several machines too where the file system locks for all of them.
package folder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A Folder is such a folder. Its methods may be called by several goroutines at once.
type Folder struct{ dir string }

// New returns the folder at dir. Nothing is looked at or made before it is needed.
func New(dir string) *Folder { return &Folder{dir} }

// String returns where it is.
func (f *Folder) String() string { return f.dir }

// Update has change make what is kept under a namespace and a name of what is there, nil
// for nothing, while no other process does. What is equal is not written again. If it
// cannot be written the error says why, and what was there stays; change has seen that
// wherever it could be read. It waits for others until the end of ctx.
func (f *Folder) Update(ctx context.Context, namespace, name string, change func(kept []byte) ([]byte, error)) error {
	path := filepath.Join(f.dir, url.PathEscape(namespace)+"_"+url.PathEscape(name)+".json")
	unlock, locked := Lock(ctx, path+".lock")
	if locked == nil {
		defer unlock()
	}
	kept, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		kept = nil
	case err != nil:
		return fmt.Errorf("read what is kept: %w", err)
	}
	next, err := change(kept)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case bytes.Equal(next, kept):
		return nil
	case locked != nil: // what is kept can be read without, as it is only ever whole
		return locked
	}
	return write(path, next)
}

// lockPause is how long it takes until a lock that somebody else has is tried again.
const lockPause = 10 * time.Millisecond

// Lock takes the lock that the file at path stands for, made with its folder if need be, and
// waits for whoever has it until the end of ctx. It ends with unlock, or with the process,
// however that ends.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // whatever it says, the lock is gone
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		select {
		case <-time.After(lockPause):
			continue
		case <-ctx.Done():
			err = errors.New("another process does not let go of it")
		}
		break
	}
	_ = file.Close() // nothing was written to it
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// write replaces the file at path by one that holds text, readable for its owner only. A
// crash leaves the one or the other.
func write(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, ".new-*") // for its owner only
	if err != nil {
		return fmt.Errorf("write what is kept: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name()) // what cannot be removed is overlooked: its name is nobody's
			err = fmt.Errorf("write what is kept: %w", err)
		}
	}()
	if _, err = file.Write(text); err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	return settle(dir)
}

// settle sees to it that a folder's entries survive a loss of power.
func settle(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
