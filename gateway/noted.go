package gateway

import (
	"net/netip"

	"legate/format"
	"legate/wire"
)

// A noted is what those who are told of requests want to know of the upstream's answer,
// noted before its connection is given back.
type noted struct {
	grpcStatus, grpcMessage []byte
	local                   netip.AddrPort // our end of the connection
	headers                 []notedHeader
}

// A notedHeader is a header of the answer, or of its trailer, that a LogService is told.
type notedHeader struct {
	service int // index in Snapshot.logServices
	name    string
	value   []byte
	trailer bool
}

// keepEarly notes what the access log and collectors will want to know of the upstream's
// answer, before its connection is given back. Budget: 0 allocs.
func (x *Exchange) keepEarly() {
	s := x.Snap
	if x.keptEarly || len(s.logEarly) == 0 && s.tracing == nil && len(s.logServices) == 0 {
		return
	}
	x.early = x.early[:0]
	for _, c := range s.logEarly {
		var ok bool
		if x.text, ok = x.AppendCommand(x.text[:0], c); !ok {
			x.early = append(x.early, nil)
			continue
		}
		x.early = append(x.early, x.keep(x.text))
	}
	x.note()
	x.keptEarly = true
}

// note notes what collectors are told of the answer. Budget: 0 allocs.
func (x *Exchange) note() {
	n := &x.noted
	n.grpcStatus, n.grpcMessage, n.local, n.headers = nil, nil, netip.AddrPort{}, n.headers[:0]
	var trailer *wire.Head
	if x.link != nil {
		n.local = x.link.Local()
		if x.relayed {
			trailer = x.link.Trailer()
		}
	}
	if x.trace.Sampled && isGRPC(x.Req) {
		n.grpcStatus = x.noteLast(trailer, &fieldGRPCStatus)
		n.grpcMessage = x.noteLast(trailer, &fieldGRPCMessage)
	}
	for i, l := range x.Snap.logServices {
		for j := range l.headers {
			h := &l.headers[j]
			if value, ok := x.answerField(&h.field); ok && h.Response {
				x.noteHeader(i, h, value, false)
			}
			if trailer == nil || !h.Trailer {
				continue
			}
			if value, ok := trailer.Find(h.Name); ok {
				x.noteHeader(i, h, value, true)
			}
		}
	}
}

// noteLast notes a field of the trailer, or of the answer's head where there is no more
// than that.
func (x *Exchange) noteLast(trailer *wire.Head, f *format.Field) []byte {
	if trailer != nil {
		if value, ok := trailer.Find(f.Name); ok {
			return x.keep(value)
		}
	}
	value, _ := x.answerField(f)
	return x.keep(value)
}

func (x *Exchange) noteHeader(service int, h *loggedHeader, value []byte, trailer bool) {
	if h.Hidden {
		value = valueRedacted
	}
	x.noted.headers = append(x.noted.headers, notedHeader{service, h.Name, x.keep(value), trailer})
}

var valueRedacted = []byte("[redacted]")
