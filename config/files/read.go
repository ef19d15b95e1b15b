package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"legate/config"
	"legate/config/decode"
)

// maxSize is the largest file that is read. A cluster of ten thousand Mappings
// fits into 2 MiB.
const maxSize = 64 << 20

var errTooLarge = fmt.Errorf("is larger than %d MiB", maxSize>>20)

// A reader reads the files of a scan, and remembers what they held.
type reader struct {
	paths   []string
	decoder *decode.Decoder
	held    map[string]held // by the path given
}

// A held is what was last read below one path, by file.
type held struct {
	files   []string
	objects map[string][]*config.Object
}

func newReader(paths []string, opts decode.Options) *reader {
	r := &reader{decoder: decode.New(opts), held: map[string]held{}}
	for _, p := range paths {
		r.paths = append(r.paths, filepath.Clean(p))
	}
	return r
}

// exist returns an error if one of the paths does not exist or cannot be looked at.
func (r *reader) exist() error {
	for _, p := range r.paths {
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("read objects: %w", err)
		}
	}
	return nil
}

// read returns the objects of every file that s found, in order. A path or a file
// that cannot be read any more keeps the objects it had: nobody deleted them.
func (r *reader) read(s scan) []*config.Object {
	var objects []*config.Object
	var files []string
	for _, at := range s.roots {
		before := r.held[at.path]
		if at.err != nil {
			for _, f := range before.files {
				objects = append(objects, before.objects[f]...)
			}
			files = append(files, before.files...)
			objects = append(objects, problem(at.path, reason(at.err), config.ObjectDropped, "what it held before is kept"))
			continue
		}
		now := held{objects: map[string][]*config.Object{}}
		for _, f := range at.files {
			found, err := r.file(f)
			if err != nil {
				found = before.objects[f.path]
			}
			now.files = append(now.files, f.path)
			now.objects[f.path] = found
			objects = append(objects, found...)
			if err != nil {
				objects = append(objects, problem(f.path, reason(err), config.ObjectDropped, "what it held before is kept"))
			}
		}
		files = append(files, now.files...)
		r.held[at.path] = now
	}
	r.decoder.Keep(files)
	return objects
}

// file reads and decodes one file.
func (r *reader) file(f file) ([]*config.Object, error) {
	switch {
	case f.err != nil:
		return nil, f.err
	case f.size > maxSize:
		return nil, errTooLarge
	}
	in, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	text := make([]byte, 0, min(f.size, maxSize)+512)
	text, err = readAll(text, io.LimitReader(in, maxSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxSize:
		return nil, errTooLarge // it has grown since
	}
	return r.decoder.File(f.path, text), nil
}

// readAll reads to the end, into text and beyond.
func readAll(text []byte, from io.Reader) ([]byte, error) {
	for {
		n, err := from.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
	}
}

// reason words an error for a message that names the file already.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return "cannot be read: " + err.Error()
}

// problem is the Problem of a whole file or folder.
func problem(path, msg string, effect config.Effect, instead string) *config.Object {
	sum := sha256.Sum256([]byte(msg))
	return &config.Object{
		Meta:     config.Meta{File: path},
		Digest:   config.Digest(sum[:len(config.Digest{})]),
		Problems: []config.Problem{{Ref: config.Ref{File: path}, Msg: msg, Effect: effect, Instead: instead}},
	}
}
