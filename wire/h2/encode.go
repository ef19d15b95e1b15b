package h2

import (
	"strconv"

	"legate/wire"
)

// How blocks are encoded: indices of the static table (RFC 7541 appendix A) and
// literals that enter no table. So an encoder has no state, heads of one connection
// are written in any order, and nothing that a client sends can be guessed from the
// size of a table's use.

// Indices of pseudo-fields in the static table.
const (
	indexAuthority = 1
	indexMethod    = 2    // GET; POST follows
	indexPath      = 4    // "/"; "/index.html" follows
	indexScheme    = 6    // http; https follows
	indexStatus    = 8    // 200, and then those of statusIndex
	literal        = 0x00 // without indexing, RFC 7541 §6.2.2
	neverIndexed   = 0x10 // RFC 7541 §6.2.3
	indexed        = 0x80 // RFC 7541 §6.1
)

// fieldIndex is where the static table has a known name; 0 for nowhere.
var fieldIndex = [wire.NumFields]uint8{
	wire.FieldAccept:             19,
	wire.FieldAcceptEncoding:     16,
	wire.FieldAcceptLanguage:     17,
	wire.FieldAuthorization:      23,
	wire.FieldCacheControl:       24,
	wire.FieldContentEncoding:    26,
	wire.FieldContentLength:      28,
	wire.FieldContentType:        31,
	wire.FieldCookie:             32,
	wire.FieldDate:               33,
	wire.FieldETag:               34,
	wire.FieldExpect:             35,
	wire.FieldExpires:            36,
	wire.FieldHost:               38,
	wire.FieldIfModifiedSince:    40,
	wire.FieldIfNoneMatch:        41,
	wire.FieldLastModified:       44,
	wire.FieldLocation:           46,
	wire.FieldProxyAuthenticate:  48,
	wire.FieldProxyAuthorization: 49,
	wire.FieldRange:              50,
	wire.FieldReferer:            51,
	wire.FieldRetryAfter:         53,
	wire.FieldServer:             54,
	wire.FieldSetCookie:          55,
	wire.FieldTransferEncoding:   57,
	wire.FieldUserAgent:          58,
	wire.FieldVary:               59,
	wire.FieldVia:                60,
	wire.FieldWWWAuthenticate:    61,
}

// secret are fields that no table on the way may remember.
const secret = wire.FieldSet(1<<wire.FieldAuthorization | 1<<wire.FieldCookie | 1<<wire.FieldSetCookie | 1<<wire.FieldProxyAuthorization)

// notCarried are the fields that no HTTP/2 head has: RFC 9113 §8.2.2, and those that
// pseudo-fields and framing say instead.
const notCarried = wire.HopByHop | 1<<wire.FieldHost

// appendInteger appends n with a prefix of bits, whose other bits are flags (RFC 7541
// §5.1).
func appendInteger(out []byte, flags byte, bits uint, n int) []byte {
	limit := 1<<bits - 1
	if n < limit {
		return append(out, flags|byte(n)) //nolint:gosec // below 2^bits
	}
	out = append(out, flags|byte(limit)) //nolint:gosec // below 2^bits
	for n -= limit; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n)) //nolint:gosec // below 0x80
}

// appendString appends a string as it is: Huffman coding saves a third of the bytes
// and costs more time than they do.
func appendString[S []byte | string](out []byte, s S) []byte {
	return append(appendInteger(out, 0, 7, len(s)), s...)
}

// appendPseudo appends a pseudo-field by the index of its name.
func appendPseudo[S []byte | string](out []byte, index byte, value S) []byte {
	return appendString(append(out, literal|index), value)
}

// appendField appends one field.
func appendField[S []byte | string](out []byte, id wire.Field, name S, value []byte) []byte {
	flags := byte(literal)
	if id != wire.FieldOther && secret.Has(id) {
		flags = neverIndexed
	}
	if i := fieldIndex[id]; i != 0 {
		out = appendInteger(out, flags, 4, int(i))
	} else {
		out = appendString(append(out, flags), name)
	}
	return appendString(out, value)
}

// appendFields appends the fields of h that HTTP/2 carries and that e does not remove,
// and then those that e adds. Either may be nil. Budget: 0 allocs.
func appendFields(out []byte, h *wire.Head, e *wire.Edits) []byte {
	if h != nil {
		for i := range h.Len() {
			id, name, value := h.Line(i)
			if id != wire.FieldOther && notCarried.Has(id) || e != nil && e.Drops(id, name) {
				continue
			}
			out = appendField(out, id, name, value)
		}
	}
	if e == nil {
		return out
	}
	for i := range e.Adds() {
		a := &e.Adds()[i]
		if a.ID != wire.FieldOther {
			out = appendField(out, a.ID, a.ID.String(), a.Value)
		} else {
			out = appendField(out, a.ID, a.Name, a.Value)
		}
	}
	return out
}

// appendTrailer appends the fields of a trailer that may come late. Budget: 0 allocs.
func appendTrailer(out []byte, trailer *wire.Head) []byte {
	for i := range trailer.Len() {
		if id, name, value := trailer.Line(i); id == wire.FieldOther || !wire.NotInTrailer.Has(id) {
			out = appendField(out, id, name, value)
		}
	}
	return out
}

// appendLength appends Content-Length.
func appendLength(out []byte, n int64) []byte {
	var digits [20]byte
	return appendField(out, wire.FieldContentLength, "", strconv.AppendInt(digits[:0], n, 10))
}

// appendStatus appends :status. Budget: 0 allocs.
func appendStatus(out []byte, status int) []byte {
	switch status {
	case 200:
		return append(out, indexed|indexStatus)
	case 204:
		return append(out, indexed|indexStatus+1)
	case 206:
		return append(out, indexed|indexStatus+2)
	case 304:
		return append(out, indexed|indexStatus+3)
	case 400:
		return append(out, indexed|indexStatus+4)
	case 404:
		return append(out, indexed|indexStatus+5)
	case 500:
		return append(out, indexed|indexStatus+6)
	}
	if status < 100 || status > 599 {
		return append(out, indexed|indexStatus+6)
	}
	return append(out, literal|indexStatus, 3, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// appendAnswer appends the block of an answer's head: the fields of h that e does not
// remove, and those e adds. length is the body's, or LengthUnknown. Budget: 0 allocs.
func appendAnswer(out []byte, status int, h *wire.Head, e *wire.Edits, length int64) []byte {
	out = appendFields(appendStatus(out, status), h, e)
	if length >= 0 && status >= 200 && status != 204 { // RFC 9110 §8.6: no length there
		out = appendLength(out, length)
	}
	return out
}

// appendRequest appends the block of a request's head. secure says that the connection
// is. length is the body's, or LengthUnknown. Budget: 0 allocs.
func appendRequest(out []byte, req *wire.Head, e *wire.Edits, secure bool, length int64) []byte {
	switch req.Method() {
	case wire.GET:
		out = append(out, indexed|indexMethod)
	case wire.POST:
		out = append(out, indexed|indexMethod+1)
	default:
		out = appendPseudo(out, indexMethod, req.MethodName())
	}
	if secure {
		out = append(out, indexed|indexScheme+1)
	} else {
		out = append(out, indexed|indexScheme)
	}
	out = appendTarget(out, req, e)
	host := req.Host()
	if e != nil && e.Host != nil {
		host = e.Host
	}
	out = appendPseudo(out, indexAuthority, host)
	out = appendFields(out, req, e)
	if length > 0 || length == 0 && req.Has(wire.FieldContentLength) {
		out = appendLength(out, length)
	}
	return out
}

// appendTarget appends :path.
func appendTarget(out []byte, req *wire.Head, e *wire.Edits) []byte {
	path := req.Path()
	query, hasQuery := req.Query()
	if e != nil && e.Path != nil {
		path = e.Path
		if e.HasQuery {
			query, hasQuery = e.Query, e.Query != nil
		}
	}
	if !hasQuery {
		return appendPseudo(out, indexPath, path)
	}
	out = appendInteger(append(out, literal|indexPath), 0, 7, len(path)+1+len(query))
	return append(append(append(out, path...), '?'), query...)
}
