package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// NamedFiles reads the files that objects name by their paths, such as certificates that
// another process renews. It is for several goroutines.
type NamedFiles interface {
	// Read reads what belongs together: all of paths, in their order. check judges the
	// contents. Where a file cannot be read, or check fails, Read returns that error, and
	// beside it the contents of the last time when all was well: nil if that never was. They
	// are the caller's to read, not to change.
	Read(check func(contents [][]byte) error, paths ...string) ([][]byte, error)
	// Changes counts how often what was read has changed since.
	Changes() uint64
}

// A Disk reads files as they are now and remembers nothing, for who does not serve.
type Disk struct{}

// Read implements NamedFiles.
func (Disk) Read(check func(contents [][]byte) error, paths ...string) ([][]byte, error) {
	contents, err := ReadNamed(paths)
	if err == nil {
		err = check(contents)
	}
	if err != nil {
		return nil, err
	}
	return contents, nil
}

// Changes implements NamedFiles.
func (Disk) Changes() uint64 { return 0 }

// maxNamed is the largest file that is read: a bundle of all authorities of the world has
// a quarter of a megabyte, and a large revocation list some.
const maxNamed = 16 << 20

// ReadNamed reads the files at paths. Its errors name the file.
func ReadNamed(paths []string) ([][]byte, error) {
	contents := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if contents[i], err = readNamed(path); err != nil {
			if at, ok := errors.AsType[*fs.PathError](err); ok {
				err = at.Err
			}
			return nil, fmt.Errorf("%s cannot be read: %w", path, err)
		}
	}
	return contents, nil
}

var (
	errNotRegular = errors.New("it is no regular file")
	errTooLong    = fmt.Errorf("it is larger than %d MiB", maxNamed>>20)
)

func readNamed(path string) ([]byte, error) {
	// Opening a pipe would wait for who writes to it.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // because nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxNamed+1))
	if err == nil && len(text) > maxNamed {
		return nil, errTooLong
	}
	return text, err
}
