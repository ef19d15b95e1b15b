// Package decode turns the text of manifests into config objects: every API version
// of Ambassador's kinds, and the core kinds a gateway needs, as YAML or JSON. It is
// strict in what it reports (a field it does not know is a Problem with file, line
// and column) and lenient in what it takes ("80" for 80, one string for a list). It
// opens no file, and one document never harms another.
package decode

import (
	"cmp"
	"crypto/sha256"

	"legate/config"
)

// Options say how objects are read.
type Options struct {
	// Namespace is given to objects that name none; "" for "default".
	Namespace string
	// Lookup finds the value of a $VARIABLE in a text; os.LookupEnv, or nil for none.
	Lookup func(name string) (string, bool)
}

// Bytes decodes one file's text. file names it in positions.
func Bytes(opts Options, file string, text []byte) []*config.Object {
	return New(opts).File(file, text)
}

// A Decoder remembers the documents it has decoded and decodes only those whose
// text is new, so that one change in a file of ten thousand objects costs one
// decoding. It is for one goroutine.
type Decoder struct {
	opts  Options
	files map[string]*memory
}

// New returns a Decoder that remembers nothing yet.
func New(opts Options) *Decoder {
	opts.Namespace = cmp.Or(opts.Namespace, "default")
	return &Decoder{opts: opts, files: map[string]*memory{}}
}

// A memory holds the documents of one file by their text.
type memory struct {
	read      int // how often the file was read
	documents map[config.Digest]*document
}

// A document is one decoded document.
type document struct {
	line    int // where it began when it was decoded
	objects []*config.Object
	read    int // the read that saw it last
}

// forgetAfter is how many reads a document is remembered without being seen. More
// than one, because an editor may truncate a file before it writes it again.
const forgetAfter = 3

// File decodes text, the whole content of the named file, in the order written.
// The objects are shared with later calls.
func (d *Decoder) File(file string, text []byte) []*config.Object {
	m := d.files[file]
	if m == nil {
		m = &memory{documents: map[config.Digest]*document{}}
		d.files[file] = m
	}
	m.read++
	objects := make([]*config.Object, 0, len(m.documents))
	for c := range chunks(utf8Text(text)) {
		objects = append(objects, m.decode(d.opts, file, c)...)
	}
	for digest, doc := range m.documents {
		if m.read-doc.read > forgetAfter {
			delete(m.documents, digest)
		}
	}
	return objects
}

// Keep forgets every file that is not among files.
func (d *Decoder) Keep(files []string) {
	kept := make(map[string]*memory, len(files))
	for _, f := range files {
		if m := d.files[f]; m != nil {
			kept[f] = m
		}
	}
	d.files = kept
}

// decode returns the objects of c, from memory if its text is known.
func (m *memory) decode(opts Options, file string, c chunk) []*config.Object {
	sum := sha256.Sum256(c.text)
	digest := config.Digest(sum[:len(config.Digest{})])
	doc := m.documents[digest]
	switch {
	case doc == nil:
		r := reading{opts: opts, file: file, chunk: c, digest: digest}
		doc = &document{line: c.line, objects: r.objects()}
		m.documents[digest] = doc
	case doc.line != c.line:
		moved := make([]*config.Object, len(doc.objects))
		for i, o := range doc.objects {
			moved[i] = o.Moved(c.line - doc.line)
		}
		doc = &document{line: c.line, objects: moved}
		m.documents[digest] = doc
	}
	doc.read = m.read
	return doc.objects
}
