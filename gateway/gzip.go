package gateway

import (
	"slices"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"

	"legate/config"
	"legate/wire"
)

// A gzipper is the stage that compresses answers for clients that take them so.
type gzipper struct {
	config.Gzip
	writers *sync.Pool // of *gzip.Writer
}

// gzip returns nil where the Module does not ask for it.
func (c *compiler) gzip() Stage {
	wish := c.defaults().Gzip
	if wish == nil {
		return nil
	}
	if c.gzipper == nil {
		c.gzipper = &gzipper{Gzip: *wish, writers: gzipWriters[wish.Level-gzip.HuffmanOnly]}
		if c.gzipper.Types == nil {
			c.gzipper.Types = gzipTypes
		}
	}
	return c.gzipper
}

// gzipTypes are the types of content that Envoy compresses if nobody says otherwise.
var gzipTypes = []string{
	"application/javascript", "application/json", "application/xhtml+xml", "image/svg+xml",
	"text/css", "text/html", "text/plain", "text/xml",
}

// gzipWriters are those of each level: one holds a megabyte or so.
var gzipWriters = func() (pools [gzip.BestCompression - gzip.HuffmanOnly + 1]*sync.Pool) {
	for i := range pools {
		pools[i] = &sync.Pool{New: func() any {
			w, _ := gzip.NewWriterLevel(nil, i+gzip.HuffmanOnly) // every level in the array is one
			return w
		}}
	}
	return pools
}()

var valueGzip, valueAcceptEncoding = []byte("gzip"), []byte("Accept-Encoding")

// Enter notes what the client takes. Budget: 0 allocs.
func (g *gzipper) Enter(x *Exchange) Verdict {
	if acceptsGzip(x.Req) {
		z := gzipStreams.Get().(*gzipStream) //nolint:forcetypeassert // nothing else is put in
		z.Stream = x.stream
		x.stream, x.zip = z, z
	}
	if g.RemoveAcceptEncoding {
		x.ToUp.Drop(wire.FieldAcceptEncoding)
	}
	return Continue
}

// Respond decides whether the answer is compressed. Caches are told that it may be,
// also where this client takes none such. Budget: 0 allocs once writers are pooled.
func (g *gzipper) Respond(x *Exchange) {
	if x.zip != nil {
		x.zip.rest()
	}
	status, length, empty := x.shape()
	if !g.compressible(x, status, length) {
		return
	}
	x.ToClient.Add(wire.FieldVary, valueAcceptEncoding)
	if x.zip == nil || empty {
		return
	}
	if tag := x.told(wire.FieldETag); tag != nil && !foldPrefix(tag, "W/") {
		x.ToClient.Unadd(wire.FieldETag)
		x.ToClient.Drop(wire.FieldETag)
	}
	x.ToClient.Set(wire.FieldContentEncoding, valueGzip)
	x.zip.writer, x.zip.pool = g.writers.Get().(*gzip.Writer), g.writers //nolint:forcetypeassert // nothing else is put in
	x.zip.writer.Reset((*gzipBody)(x.zip))
}

// Finish takes the compression away again. Budget: 0 allocs.
func (g *gzipper) Finish(x *Exchange) {
	z := x.zip
	if z == nil {
		return
	}
	x.stream, x.zip = z.Stream, nil
	z.rest()
	*z = gzipStream{}
	gzipStreams.Put(z)
}

// compressible judges an answer, whoever asked for it: a part of a body is left alone,
// as is what is compressed already, short, of a type that does not shrink, or not to be
// changed. That an answer has no body decides nothing here: it speaks for the one it had.
func (g *gzipper) compressible(x *Exchange, status int, length int64) bool {
	if length >= 0 && length < int64(g.MinLength) || status == 101 || status == 206 {
		return false
	}
	if x.told(wire.FieldContentEncoding) != nil || g.DisableOnETag && x.told(wire.FieldETag) != nil || x.toldNoTransform() {
		return false
	}
	kind := x.told(wire.FieldContentType)
	return kind == nil || slices.ContainsFunc(g.Types, func(t string) bool { return isType(kind, t) })
}

// isType reports whether value names the content type t, given in lower case, with
// whatever parameters.
func isType(value []byte, t string) bool {
	if !foldPrefix(value, t) {
		return false
	}
	rest := wire.TrimOWS(value[len(t):])
	return len(rest) == 0 || rest[0] == ';'
}

// toldNoTransform reports whether the answer's Cache-Control forbids to change its body.
func (x *Exchange) toldNoTransform() bool {
	value := x.told(wire.FieldCacheControl)
	if value == nil {
		return false
	}
	for n := 0; ; n++ {
		for len(value) > 0 {
			var token []byte
			if token, value = wire.NextToken(value); wire.EqualFold(token, "no-transform") {
				return true
			}
		}
		if x.link == nil || x.ToClient.Drops(wire.FieldCacheControl, nil) {
			return false
		}
		more, ok := x.Resp.Nth(wire.FieldCacheControl, n)
		if !ok {
			return false
		}
		value = more
	}
}

// acceptsGzip reports whether the client likes gzip, or anything, best (RFC 9110
// §12.5.3). Of what it likes equally the first counts. Budget: 0 allocs.
func acceptsGzip(req *wire.Head) bool {
	best, takes := 0.0, false
	for n := 0; ; n++ {
		list, ok := req.Nth(wire.FieldAcceptEncoding, n)
		if !ok {
			return takes
		}
		for len(list) > 0 {
			var each []byte
			each, list = wire.NextToken(list)
			coding, quality := splitQuality(each)
			gzip := wire.EqualFold(coding, "gzip") || string(coding) == "*"
			if quality > best && (gzip || wire.EqualFold(coding, "identity")) {
				best, takes = quality, gzip
			}
		}
	}
}

// splitQuality cuts a weight off an element of a list: 1 where it has none, 0 where it
// has one that makes no sense.
func splitQuality(element []byte) (name []byte, quality float64) {
	for i, c := range element {
		if c != ';' {
			continue
		}
		name = wire.TrimOWS(element[:i])
		weight := wire.TrimOWS(element[i+1:])
		if !foldPrefix(weight, "q=") || len(weight) > len("q=0.000") {
			return name, 0
		}
		q, err := strconv.ParseFloat(string(weight[len("q="):]), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return name, 0
		}
		return name, q
	}
	return element, 1
}

var gzipStreams = sync.Pool{New: func() any { return new(gzipStream) }}

// A gzipStream compresses what is written to a stream, once it has a writer.
type gzipStream struct {
	wire.Stream
	writer  *gzip.Writer
	pool    *sync.Pool
	waiting bool // something was written that the client has not got
}

// rest gives the writer back. Budget: 0 allocs.
func (z *gzipStream) rest() {
	if z.writer != nil {
		z.writer.Reset(nil)
		z.pool.Put(z.writer)
		z.writer = nil
	}
}

// WriteHead says no length: nobody knows it yet.
func (z *gzipStream) WriteHead(status int, h *wire.Head, e *wire.Edits, length int64) error {
	if z.writer != nil && status >= 200 {
		length = wire.LengthUnknown
	}
	return z.Stream.WriteHead(status, h, e, length)
}

// WriteBody compresses a part of the body.
func (z *gzipStream) WriteBody(p []byte) (int, error) {
	if z.writer == nil {
		return z.Stream.WriteBody(p)
	}
	z.waiting = true
	return z.writer.Write(p) //nolint:wrapcheck // because it is the stream's error
}

// Flush lets the client have what was written so far: an event does not wait for the
// next one.
func (z *gzipStream) Flush() error {
	if z.writer != nil && z.waiting {
		z.waiting = false
		if err := z.writer.Flush(); err != nil {
			return err //nolint:wrapcheck // because it is the stream's error
		}
	}
	return z.Stream.Flush()
}

// End completes the body.
func (z *gzipStream) End(trailer *wire.Head) error {
	if z.writer != nil {
		if err := z.writer.Close(); err != nil {
			return err //nolint:wrapcheck // because it is the stream's error
		}
	}
	return z.Stream.End(trailer)
}

// A gzipBody is where the writer of a gzipStream writes to.
type gzipBody gzipStream

func (b *gzipBody) Write(p []byte) (int, error) { return b.Stream.WriteBody(p) }
