package h1

import "legate/wire"

// The errors of a body's framing (RFC 9112 §6).
var (
	errTwoLengths     = &wire.ProtocolError{Kind: wire.BadFraming, Text: "more than one Content-Length"}
	errLength         = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Content-Length is not a plain number"}
	errLengthChunked  = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Content-Length beside Transfer-Encoding"}
	errCoding         = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Transfer-Encoding is not chunked alone"}
	errChunkedIn10    = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Transfer-Encoding in HTTP/1.0"}
	errChunkSize      = &wire.ProtocolError{Kind: wire.BadFraming, Text: "malformed chunk size"}
	errChunkEnd       = &wire.ProtocolError{Kind: wire.BadFraming, Text: "chunk does not end where its size says"}
	errChunkExtension = &wire.ProtocolError{Kind: wire.BadFraming, Text: "malformed or oversized chunk extension"}
	errTrailer        = &wire.ProtocolError{Kind: wire.BadFraming, Text: "malformed or oversized trailer"}
)

// requestFraming settles how long the request's body is, in the only way that the
// fields can be read.
func requestFraming(h *wire.Head, allowChunkedLength bool) *wire.ProtocolError {
	length, chunked, err := bodyFields(h, allowChunkedLength)
	if err != nil {
		return err
	}
	switch {
	case chunked:
		h.Length = wire.LengthUnknown
	case length == wire.LengthUnknown:
		h.Length, h.NoBody = 0, true // RFC 9112 §6.3 rule 7
	default:
		h.Length, h.NoBody = length, length == 0
	}
	return nil
}

// bodyFields reads Content-Length and Transfer-Encoding and refuses what two
// readers could understand differently.
func bodyFields(h *wire.Head, allowChunkedLength bool) (length int64, chunked bool, err *wire.ProtocolError) {
	length = wire.LengthUnknown
	if h.Has(wire.FieldTransferEncoding) {
		if h.Minor == 0 {
			return 0, false, errChunkedIn10
		}
		if h.Count(wire.FieldTransferEncoding) != 1 || !wire.EqualFold(h.Get(wire.FieldTransferEncoding), "chunked") {
			return 0, false, errCoding
		}
		if h.Has(wire.FieldContentLength) && !allowChunkedLength {
			return 0, false, errLengthChunked
		}
		return length, true, nil
	}
	if h.Has(wire.FieldContentLength) {
		if h.Count(wire.FieldContentLength) != 1 {
			return 0, false, errTwoLengths
		}
		length, err = parseLength(h.Get(wire.FieldContentLength))
	}
	return length, false, err
}

// parseLength accepts digits only, without leading zeros, up to 2^63-1.
func parseLength(v []byte) (int64, *wire.ProtocolError) {
	if len(v) == 0 || len(v) > 19 || len(v) > 1 && v[0] == '0' {
		return 0, errLength
	}
	var n uint64
	for _, c := range v {
		if !isDigit(c) {
			return 0, errLength
		}
		n = n*10 + uint64(c-'0')
	}
	if n > 1<<63-1 {
		return 0, errLength
	}
	return int64(n), nil
}
