package h1

import (
	"strconv"

	"legate/wire"
)

// statusLines are ready for every status; unknown ones have no reason.
var statusLines = func() (t [500][]byte) {
	for i := range t {
		status := i + 100
		t[i] = []byte("HTTP/1.1 " + strconv.Itoa(status) + " " + reasonPhrases[status] + "\r\n")
	}
	return t
}()

// reasonPhrases are those of the IANA registry.
var reasonPhrases = map[int]string{
	100: "Continue", 101: "Switching Protocols", 102: "Processing", 103: "Early Hints",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	418: "I'm a teapot", 421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked",
	424: "Failed Dependency", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required",
	429: "Too Many Requests", 431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
}

func statusLine(status int) []byte {
	if status < 100 || status > 599 {
		status = 500
	}
	return statusLines[status-100]
}

// appendFields appends the lines of h that may travel on and that e does not
// remove, and then those that e adds. Neighbouring lines that stand in the buffer as
// they are to be sent are copied as one. Budget: 0 allocs.
func appendFields(out []byte, h *wire.Head, e *wire.Edits) []byte {
	if h != nil {
		out = h.AppendLines(out, wire.HopByHop|1<<wire.FieldHost, e)
	}
	if e == nil {
		return out
	}
	for i := range e.Adds() {
		a := &e.Adds()[i]
		if a.ID != wire.FieldOther {
			out = append(out, a.ID.String()...)
		} else {
			out = append(out, a.Name...)
		}
		out = append(out, ':', ' ')
		out = append(out, a.Value...)
		out = append(out, '\r', '\n')
	}
	if e.Upgrade != nil {
		out = append(out, "connection: upgrade\r\nupgrade: "...)
		out = append(out, e.Upgrade...)
		out = append(out, '\r', '\n')
	}
	return out
}

// spell gives the names in a head the spelling that e asks for.
func spell(head []byte, e *wire.Edits) {
	if e != nil && e.Casing != nil {
		e.Casing.Spell(head)
	}
}

// appendTrailer appends the trailer's fields that may come late.
func appendTrailer(out []byte, trailer *wire.Head) []byte {
	if trailer == nil {
		return out
	}
	return trailer.AppendLines(out, wire.NotInTrailer, nil)
}

func appendInt(out []byte, n int64) []byte { return strconv.AppendInt(out, n, 10) }

func appendChunkSize(out []byte, n int) []byte {
	out = strconv.AppendInt(out, int64(n), 16)
	return append(out, '\r', '\n')
}
