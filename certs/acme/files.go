package acme

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/caddyserver/certmagic"

	"legate/folder"
)

// Files is a storage in a folder, which several processes may share. Its locks are the file
// system's: the lock of a process that dies is free at once, whatever clocks say.
type Files struct {
	certmagic.Storage // but for locks
	dir               string

	mu    sync.Mutex
	locks map[string]func()
}

var _ certmagic.Storage = (*Files)(nil)

// NewFiles returns a storage in dir. Nothing is made before something is stored.
func NewFiles(dir string) *Files {
	return &Files{Storage: &certmagic.FileStorage{Path: dir}, dir: dir, locks: map[string]func(){}}
}

// Lock implements certmagic.Locker: it waits until nobody has the lock.
func (f *Files) Lock(ctx context.Context, name string) error {
	unlock, err := folder.Lock(ctx, filepath.Join(f.dir, "locks", certmagic.StorageKeys.Safe(name)+".lock"))
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.locks[name] = unlock
	f.mu.Unlock()
	return nil
}

// Unlock implements certmagic.Locker.
func (f *Files) Unlock(_ context.Context, name string) error {
	f.mu.Lock()
	unlock := f.locks[name]
	delete(f.locks, name)
	f.mu.Unlock()
	if unlock == nil {
		return fmt.Errorf("lock %s is not held", name)
	}
	unlock()
	return nil
}
