package gateway

import (
	"encoding/binary"
	"sync"

	"legate/wire"
)

// A webKind says how a gRPC-Web client writes a body: the frames of gRPC as they are,
// or those in base64.
type webKind uint8

const (
	notWeb webKind = iota
	webBinary
	webText
)

// Content types of gRPC-Web.
const (
	typeWeb     = "application/grpc-web"
	typeWebText = "application/grpc-web-text"
)

// webType reads a content type: which kind of gRPC-Web it is, if any, and its suffix,
// such as "+proto". Parameters are of no interest to anyone. Budget: 0 allocs.
func webType(v []byte) (kind webKind, suffix []byte) {
	switch {
	case foldPrefix(v, typeWebText):
		kind, v = webText, v[len(typeWebText):]
	case foldPrefix(v, typeWeb):
		kind, v = webBinary, v[len(typeWeb):]
	default:
		return notWeb, nil
	}
	for i, c := range v {
		if c == ';' || c == ' ' || c == '\t' || c == ',' {
			v = v[:i]
			break
		}
	}
	if len(v) > 0 && v[0] != '+' {
		return notWeb, nil
	}
	return kind, v
}

func foldPrefix(v []byte, prefix string) bool {
	return len(v) >= len(prefix) && wire.EqualFold(v[:len(prefix)], prefix)
}

// webAnswer is the kind in which the client of a request of that kind wants its answer:
// the one that Accept names, or else its own.
func webAnswer(req *wire.Head, kind webKind) webKind {
	for n := 0; ; n++ {
		list, ok := req.Nth(wire.FieldAccept, n)
		if !ok {
			return kind
		}
		for len(list) > 0 {
			var each []byte
			each, list = wire.NextToken(list)
			if wanted, _ := webType(each); wanted != notWeb {
				return wanted
			}
		}
	}
}

// appendWebType appends the content type of an answer.
func appendWebType(out []byte, kind webKind, suffix []byte) []byte {
	if kind == webText {
		out = append(out, typeWebText...)
	} else {
		out = append(out, typeWeb...)
	}
	return append(out, suffix...)
}

// A grpcWeb is the stage that lets clients of gRPC-Web, which cannot read trailers, talk
// to services of gRPC: what lies behind it sees and answers gRPC.
type grpcWeb struct{}

// grpcWeb returns nil where the Module does not ask for it.
func (c *compiler) grpcWeb() Stage {
	if !c.next.edge.grpcWeb {
		return nil
	}
	return grpcWeb{}
}

// Enter makes a request of gRPC-Web one of gRPC. Budget: 0 allocs.
func (grpcWeb) Enter(x *Exchange) Verdict {
	kind, suffix := webType(x.Req.Get(wire.FieldContentType))
	if kind == notWeb {
		return Continue
	}
	w := webStreams.Get().(*webStream) //nolint:forcetypeassert // nothing else is put in
	w.Stream, w.asked, w.wanted = x.stream, kind, webAnswer(x.Req, kind)
	x.stream, x.web = w, w
	start := len(x.arena)
	x.arena = append(append(x.arena, typeGRPC...), suffix...)
	x.ToUp.Set(wire.FieldContentType, x.arena[start:len(x.arena):len(x.arena)])
	x.ToUp.Set(wire.FieldTE, valueTrailers)
	return Continue
}

// Respond makes an answer of gRPC one of gRPC-Web. Any other answer, which tells of
// something between us and the service, is passed on as it is.
func (grpcWeb) Respond(x *Exchange) {
	if x.web != nil {
		x.web.translates = false
	}
	if x.web == nil || x.link == nil || x.worn != nil || !isGRPC(&x.Resp) {
		return
	}
	x.web.translates = true
	x.web.headOnly = x.Resp.NoBody
	suffix := x.Resp.Get(wire.FieldContentType)[len(typeGRPC):]
	if len(suffix) > 0 && suffix[0] != '+' {
		suffix = nil
	}
	start := len(x.arena)
	x.arena = appendWebType(x.arena, x.web.wanted, suffix)
	x.ToClient.Set(wire.FieldContentType, x.arena[start:len(x.arena):len(x.arena)])
}

// Finish takes the translation away again. Budget: 0 allocs.
func (grpcWeb) Finish(x *Exchange) {
	w := x.web
	if w == nil {
		return
	}
	x.stream, x.web = w.Stream, nil
	wire.Medium.Put(w.out)
	*w = webStream{}
	webStreams.Put(w)
}

var webStreams = sync.Pool{New: func() any { return new(webStream) }}

// A webStream is a stream of gRPC-Web that looks like one of gRPC.
type webStream struct {
	wire.Stream
	asked, wanted webKind
	translates    bool // the answer is gRPC's
	headOnly      bool // and has no body, so that what would trail is in its head

	in   unbase64
	out  []byte // lent; where text is made
	enc  rebase64
	last [quantum]byte // the digits that end a piece of text
}

// ReadBody reads the frames of the request. Budget: 0 allocs.
func (w *webStream) ReadBody(p []byte) (int, error) {
	if w.asked != webText {
		return w.Stream.ReadBody(p)
	}
	return w.in.read(w.Stream, p)
}

// WriteHead writes the answer's head. Its length is known only where there is no body:
// what trails will be in the body.
func (w *webStream) WriteHead(status int, h *wire.Head, e *wire.Edits, length int64) error {
	if w.translates && !w.headOnly && status >= 200 {
		length = wire.LengthUnknown
	}
	return w.Stream.WriteHead(status, h, e, length)
}

// WriteBody writes frames of the answer. Budget: 0 allocs.
func (w *webStream) WriteBody(p []byte) (int, error) {
	if !w.translates || w.wanted != webText {
		return w.Stream.WriteBody(p)
	}
	if w.out == nil {
		w.out = wire.Medium.Get()
	}
	for rest := p; len(rest) > 0; {
		n, taken := w.enc.encode(w.out, rest)
		rest = rest[taken:]
		if n == 0 {
			break // so little that it waits for more
		}
		if _, err := w.Stream.WriteBody(w.out[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush sends what was written: a client that waits for a message must get all of it.
func (w *webStream) Flush() error {
	if err := w.pad(); err != nil {
		return err
	}
	return w.Stream.Flush()
}

// pad completes text that stands in the middle of four digits.
func (w *webStream) pad() error {
	n := w.enc.end(w.last[:])
	if n == 0 {
		return nil
	}
	_, err := w.Stream.WriteBody(w.last[:n])
	return err
}

// trailerFrame marks a frame that holds the trailer, as lines of HTTP/1.1.
const trailerFrame = 0x80

// frameHead is how long a frame's head is: a flag, and the length of what follows.
const frameHead = 5

// trailerOmitted are the names that concern a trailer's framing.
const trailerOmitted = wire.HopByHop | 1<<wire.FieldHost

// End completes the answer with its trailer as the body's last frame.
func (w *webStream) End(trailer *wire.Head) error {
	if !w.translates {
		return w.Stream.End(trailer)
	}
	if trailer != nil && !w.headOnly {
		b := wire.Small.Get()
		frame := trailer.AppendLines(append(b[:0], trailerFrame, 0, 0, 0, 0), trailerOmitted, nil)
		binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-frameHead)) //nolint:gosec // trailers are bounded far below 4 GiB
		_, err := w.WriteBody(frame)
		wire.Small.Put(b)
		if err != nil {
			return err
		}
	}
	if err := w.pad(); err != nil {
		return err
	}
	return w.Stream.End(nil)
}

// grpcReplyType is the content type of an answer of our own to a request of gRPC or of
// gRPC-Web, nil for any other request.
func (x *Exchange) grpcReplyType() []byte {
	if isGRPC(x.Req) {
		return typeGRPC
	}
	if !x.Snap.edge.grpcWeb {
		return nil
	}
	kind, suffix := webType(x.Req.Get(wire.FieldContentType))
	if kind == notWeb {
		return nil
	}
	start := len(x.arena)
	x.arena = appendWebType(x.arena, webAnswer(x.Req, kind), suffix)
	return x.arena[start:len(x.arena):len(x.arena)]
}
