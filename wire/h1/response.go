package h1

import "legate/wire"

// parseResponse reads the answer head buf, complete with its empty line, into h.
// head tells that the request was a HEAD. Budget: 0 allocs.
func parseResponse(h *wire.Head, buf []byte, head bool, lim *Limits) *wire.ProtocolError {
	h.Reset(buf)
	at, err := parseStatusLine(h, buf)
	if err != nil {
		return err
	}
	if err := parseFields(h, buf, at, lim.MaxFields); err != nil {
		return err
	}
	if err := responseFraming(h, head); err != nil {
		return err
	}
	return connectionOptions(h)
}

// parseStatusLine reads "HTTP/1.x SP 3DIGIT [SP reason] CRLF" (RFC 9112 §4). The
// reason means nothing and may be missing with its space, as many servers send it.
func parseStatusLine(h *wire.Head, buf []byte) (int, *wire.ProtocolError) {
	const form = "HTTP/1.1 200"
	if len(buf) < len(form)+2 || string(buf[:5]) != "HTTP/" || buf[6] != '.' || buf[8] != ' ' ||
		!isDigit(buf[5]) || !isDigit(buf[7]) || !isDigit(buf[9]) || !isDigit(buf[10]) || !isDigit(buf[11]) {
		return 0, errStatusLine
	}
	h.Major, h.Minor = buf[5]-'0', buf[7]-'0'
	if h.Major != 1 {
		return 0, errVersion
	}
	h.Status = int(buf[9]-'0')*100 + int(buf[10]-'0')*10 + int(buf[11]-'0')
	if h.Status < 100 || h.Status > 599 {
		return 0, errStatusLine
	}
	i := len(form)
	if buf[i] != ' ' && buf[i] != '\r' {
		return 0, errStatusLine
	}
	for class[buf[i]]&isValue != 0 {
		i++
	}
	if buf[i] != '\r' || buf[i+1] != '\n' {
		return 0, errStatusLine
	}
	return i + 2, nil
}

// responseFraming settles how long the answer's body is (RFC 9112 §6.3).
func responseFraming(h *wire.Head, head bool) *wire.ProtocolError {
	length, chunked, err := bodyFields(h, false)
	if err != nil {
		return err
	}
	h.Length = length
	switch {
	case head || h.Status < 200 || h.Status == 204 || h.Status == 304:
		h.NoBody = true
		if chunked {
			h.Length = wire.LengthUnknown
		}
	case chunked:
	case length == 0:
		h.NoBody = true
	}
	return nil
}

// framed reports whether the end of h's body is known without the connection's end.
func framed(h *wire.Head) bool {
	return h.NoBody || h.Length >= 0 || h.Has(wire.FieldTransferEncoding)
}
