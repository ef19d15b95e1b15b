package h2

import (
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"legate/wire"
)

// A block says what a field block is the head of.
type block uint8

const (
	requestBlock block = iota
	answerBlock
	trailerBlock
)

// maxTrailerBytes bounds a trailer.
const maxTrailerBytes = 8 << 10

// The pseudo-fields (RFC 9113 §8.3, RFC 8441 §4).
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoPath
	pseudoAuthority
	pseudoProtocol
	pseudoStatus
)

// A decoder turns a connection's field blocks into heads, and judges them. Every block
// of the connection must pass through it, wanted or not: they share a table.
type decoder struct {
	hpack     *hpack.Decoder
	maxBytes  int // of names and values as HTTP/1.1 lines would hold them
	maxFields int
	cookie    []byte // its crumbs, joined

	// Of the block in hand.
	h       *wire.Head
	kind    block
	left    int // bytes that the head may still have
	lines   int
	pseudo  uint8 // those seen
	fields  bool  // a field was seen
	crumbs  bool
	status  int
	method  wire.Span
	scheme  string
	path    wire.Span
	host    wire.Span
	fault   *wire.ProtocolError // the first rule broken
	discard bool
}

// newDecoder makes the decoder of one connection.
func newDecoder(maxBytes, maxFields int) *decoder {
	d := &decoder{}
	d.hpack = hpack.NewDecoder(tableSize, d.field)
	d.limit(maxBytes, maxFields)
	return d
}

// limit sets the limits of the heads to come.
func (d *decoder) limit(maxBytes, maxFields int) {
	d.maxBytes, d.maxFields = maxBytes, min(maxFields, wire.MaxFields)
	d.hpack.SetMaxStringLength(d.maxBlock())
}

// maxBlock is the most bytes that a field block may have: twice the limit of what is
// served, so that who is only somewhat over it is told so.
func (d *decoder) maxBlock() int { return 2 * d.maxBytes }

// decode reads a whole field block into h, which keeps its buffer: fields stand there
// as HTTP/1.1 lines, ready to be copied. With h nil the block is only taken note of.
// What breaks HTTP's rules is the first result, and h then holds what was understood;
// an error means that the connection is lost. Budget: 0 allocs, but for the strings
// that the block brings anew.
func (d *decoder) decode(h *wire.Head, kind block, p []byte) (*wire.ProtocolError, error) {
	d.h, d.kind, d.discard = h, kind, h == nil
	d.left, d.lines, d.pseudo, d.fields, d.crumbs, d.fault = d.maxBytes, 0, 0, false, false, nil
	d.status, d.scheme = 0, ""
	d.method, d.path, d.host = wire.Span{}, wire.Span{}, wire.Span{}
	if kind == trailerBlock {
		d.left = min(d.left, maxTrailerBytes)
	}
	d.cookie = d.cookie[:0]
	d.hpack.SetEmitEnabled(!d.discard)
	if h != nil {
		h.Reset(h.Buffer()[:0])
		h.Major = 2
	}
	_, err := d.hpack.Write(p)
	if err == nil {
		err = d.hpack.Close()
	}
	defer func() { d.h = nil }()
	if errors.Is(err, hpack.ErrStringLength) {
		return nil, &ConnError{http2.ErrCodeEnhanceYourCalm, "a field far over the limit"}
	}
	if err != nil {
		return nil, &ConnError{http2.ErrCodeCompression, "field block cannot be decoded"}
	}
	if d.discard {
		return nil, nil
	}
	d.finish()
	return d.fault, nil
}

// refuse notes the first rule broken. The rest of the block is decoded for the table's
// sake only.
func (d *decoder) refuse(err *wire.ProtocolError) {
	if d.fault == nil {
		d.fault = err
		d.hpack.SetEmitEnabled(false)
	}
}

// field takes one field from the decoder.
func (d *decoder) field(f hpack.HeaderField) {
	if d.discard || d.fault != nil {
		return
	}
	d.left -= len(f.Name) + len(f.Value) + len(": \r\n")
	if d.left < 0 {
		d.refuse(errHeadTooLarge)
		return
	}
	if f.Name != "" && f.Name[0] == ':' {
		d.pseudoField(f.Name, f.Value)
		return
	}
	d.fields = true
	if !all(f.Name, isName) {
		d.refuse(errFieldName)
		return
	}
	value := trim(f.Value)
	if value != "" && !all(value, isValue) {
		d.refuse(errFieldValue)
		return
	}
	d.regular(f.Name, value)
}

// regular adds a field's line. The crumbs that Cookie may come in are one line to
// everyone else (RFC 9113 §8.2.3).
func (d *decoder) regular(name, value string) {
	if name == "cookie" && d.kind == requestBlock {
		if d.crumbs {
			d.cookie = append(d.cookie, "; "...)
		}
		d.cookie = append(d.cookie, value...)
		d.crumbs = true
		return
	}
	if d.lines++; d.lines > d.maxFields || !d.h.AppendLine(name, value) {
		d.refuse(errTooManyLines)
	}
}

// pseudoField takes a field whose name begins with a colon.
func (d *decoder) pseudoField(name, value string) {
	p := d.lookupPseudo(name)
	switch {
	case p == 0:
		d.refuse(errPseudoUnknown)
		return
	case d.fields:
		d.refuse(errPseudoLate)
		return
	case d.pseudo&p != 0:
		d.refuse(errPseudoTwice)
		return
	}
	d.pseudo |= p
	d.takePseudo(p, value)
}

// lookupPseudo returns the pseudo-field that may stand in this kind of block, 0 for
// none.
func (d *decoder) lookupPseudo(name string) uint8 {
	if d.kind == answerBlock && name == ":status" {
		return pseudoStatus
	}
	if d.kind != requestBlock {
		return 0
	}
	switch name {
	case ":method":
		return pseudoMethod
	case ":scheme":
		return pseudoScheme
	case ":path":
		return pseudoPath
	case ":authority":
		return pseudoAuthority
	case ":protocol":
		return pseudoProtocol
	}
	return 0
}

// takePseudo checks a pseudo-field's value and notes it.
func (d *decoder) takePseudo(p uint8, value string) {
	switch p {
	case pseudoMethod:
		if !all(value, isToken) {
			d.refuse(errMethod)
			return
		}
		d.method = d.h.AppendString(value)
	case pseudoScheme:
		if !all(value, isToken) {
			d.refuse(errScheme)
			return
		}
		d.scheme = value
	case pseudoPath:
		if !all(value, isTarget) {
			d.refuse(errTarget)
			return
		}
		d.path = d.h.AppendString(value)
	case pseudoAuthority:
		d.host = d.h.AppendString(value)
		if !wire.ValidAuthority(d.h.At(d.host)) {
			d.refuse(errAuthority)
		}
	case pseudoProtocol:
		if !all(value, isToken) {
			d.refuse(errProtocol)
			return
		}
		d.h.AppendLine("upgrade", value)
	case pseudoStatus:
		d.status = parseStatus(value)
		if d.status == 0 {
			d.refuse(errStatus)
		}
	}
}

// parseStatus reads three digits; 0 for anything else, and for 101, which HTTP/2 does
// not have (RFC 9113 §8.6).
func parseStatus(s string) int {
	if len(s) != 3 {
		return 0
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	if n < 100 || n == 101 || n > 599 {
		return 0
	}
	return n
}

// finish judges the block as a whole and completes the head.
func (d *decoder) finish() {
	if d.fault == nil {
		d.joinCookie()
	}
	switch d.kind {
	case requestBlock:
		d.finishRequest()
	case answerBlock:
		if d.pseudo&pseudoStatus == 0 && d.fault == nil {
			d.fault = errPseudoMissing
		}
		d.h.Status = d.status
		d.connectionFields()
		d.length()
	case trailerBlock:
		d.connectionFields()
	}
}

func (d *decoder) joinCookie() {
	if !d.crumbs {
		return
	}
	name := d.h.AppendString("cookie")
	d.h.AppendString(": ")
	value := d.h.Append(d.cookie)
	d.h.AppendString("\r\n")
	if d.lines++; d.lines > d.maxFields || !d.h.AddSpan(name, value) {
		d.fault = errTooManyLines
	}
	if cap(d.cookie) > maxTrailerBytes { // as long cookies are rare
		d.cookie = nil
	}
}

// finishRequest completes a request's head as far as it was understood.
func (d *decoder) finishRequest() {
	h := d.h
	if d.method.Len > 0 {
		h.SetMethod(d.method)
	}
	if d.path.Len > 0 {
		path, query, hasQuery := wire.SplitTarget(h.At(d.path), d.path.Off)
		h.SetTarget(d.path, path, query, hasQuery)
	}
	if d.fault == nil {
		d.fault = d.checkPseudo()
	}
	if d.fault == nil {
		d.fault = d.authority()
	}
	d.connectionFields()
	d.length()
}

// checkPseudo judges a request's pseudo-fields together (RFC 9113 §8.3.1, RFC 8441 §4).
// An extended CONNECT becomes the request that asks for the same in HTTP/1.1: a GET
// with an upgrade.
func (d *decoder) checkPseudo() *wire.ProtocolError {
	h := d.h
	connect, extended := h.Method() == wire.CONNECT, d.pseudo&pseudoProtocol != 0
	switch {
	case d.pseudo&pseudoMethod == 0:
		return errPseudoMissing
	case connect && !extended:
		return errConnect
	case extended && !connect:
		return errProtocol
	case d.pseudo&pseudoScheme == 0, d.pseudo&pseudoPath == 0, extended && d.pseudo&pseudoAuthority == 0:
		return errPseudoMissing
	}
	target := h.Target()
	if target[0] != '/' && !(len(target) == 1 && target[0] == '*' && h.Method() == wire.OPTIONS) {
		return errTarget
	}
	if extended {
		h.SetMethod(h.AppendString("GET"))
		h.UpgradeTo = true
	}
	return nil
}

// authority demands one valid authority (RFC 9113 §8.3.1): that of :authority, which a
// Host may repeat, or else of Host.
func (d *decoder) authority() *wire.ProtocolError {
	h := d.h
	if h.Count(wire.FieldHost) > 1 {
		return errTwoHosts
	}
	sent := h.Get(wire.FieldHost)
	if h.Has(wire.FieldHost) && !wire.ValidAuthority(sent) {
		return errAuthority
	}
	if d.pseudo&pseudoAuthority == 0 {
		if !h.Has(wire.FieldHost) {
			return errNoAuthority
		}
		h.SetHost(h.SpanOf(wire.FieldHost))
		return nil
	}
	h.SetHost(d.host)
	port := "80"
	if d.scheme == "https" {
		port = "443"
	}
	if h.Has(wire.FieldHost) && !wire.SameAuthority(sent, h.Host(), port) {
		return errHostDisagrees
	}
	return nil
}

// connectionFields refuses what belongs to HTTP/1.1 connections (RFC 9113 §8.2.2).
func (d *decoder) connectionFields() {
	h := d.h
	upgrades := 0
	if d.pseudo&pseudoProtocol != 0 {
		upgrades = 1 // our own
	}
	switch {
	case d.fault != nil:
	case h.Has(wire.FieldConnection), h.Has(wire.FieldProxyConnection), h.Has(wire.FieldKeepAlive),
		h.Has(wire.FieldTransferEncoding), h.Has(wire.FieldUpgrade) && h.Count(wire.FieldUpgrade) > upgrades:
		d.fault = errConnectionField
	case h.Has(wire.FieldTE):
		for n := 0; ; n++ {
			v, ok := h.Nth(wire.FieldTE, n)
			if !ok {
				return
			}
			if !wire.EqualFold(v, "trailers") {
				d.fault = errTE
			}
		}
	}
}

// length reads Content-Length.
func (d *decoder) length() {
	h := d.h
	if d.fault != nil || !h.Has(wire.FieldContentLength) {
		return
	}
	if h.Count(wire.FieldContentLength) > 1 {
		d.fault = errTwoLengths
		return
	}
	h.Length, d.fault = parseLength(h.Get(wire.FieldContentLength))
	if d.fault != nil {
		h.Length = wire.LengthUnknown
	}
}
