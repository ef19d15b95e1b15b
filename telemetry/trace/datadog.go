package trace

import (
	"encoding/binary"
	"math"
	"strconv"

	"legate/wire"
)

// datadogPath is where version 0.4 of the API of Datadog's agent takes traces.
const datadogPath = "/v0.4/traces"

// datadog speaks version 0.4 of the API of Datadog's agent in MessagePack: a list of
// traces, each a list of spans. Every request is a trace with one span here.
type datadog struct{ service, version string }

// The first bytes of MessagePack's values (https://github.com/msgpack/msgpack).
const (
	packMap    = 0x80 // with the number of members, up to 15
	packList   = 0x90 // the same
	packText   = 0xa0 // with the length, up to 31
	packText8  = 0xd9
	packText16 = 0xda
	packMap16  = 0xde
	packList32 = 0xdd
	packFloat  = 0xcb
	packUint64 = 0xcf
	packInt64  = 0xd3
)

func (d datadog) encode(dst []byte, s *Span) []byte {
	dst = append(dst, packList|1, packMap|12)
	dst = appendPacked(appendPacked(dst, "service"), d.service)
	dst = appendPacked(appendPacked(dst, "name"), "envoy.proxy")
	dst = appendPacked(dst, "resource")
	dst = append(append(appendPackedLen(dst, len(operation)+len(s.Host)), operation...), s.Host...)
	dst = appendPacked(appendPacked(dst, "type"), "web")
	dst = appendPackedID(appendPacked(dst, "trace_id"), s.Low)
	dst = appendPackedID(appendPacked(dst, "span_id"), s.Span)
	dst = appendPackedID(appendPacked(dst, "parent_id"), s.Parent)
	dst = appendPackedInt(appendPacked(dst, "start"), s.Start.UnixNano())
	dst = appendPackedInt(appendPacked(dst, "duration"), max(s.Took.Nanoseconds(), 1))
	dst = append(appendPacked(dst, "error"), packed(s.Error))
	dst = d.meta(appendPacked(dst, "meta"), s)
	dst = append(appendPacked(dst, "metrics"), packMap|2)
	dst = appendPackedFloat(appendPacked(dst, "_sampling_priority_v1"), 1)
	return appendPackedFloat(appendPacked(dst, "_top_level"), 1)
}

// meta appends the tags.
func (d datadog) meta(dst []byte, s *Span) []byte {
	n := len(s.Tags)
	if s.High != 0 {
		n++
	}
	dst = binary.BigEndian.AppendUint16(append(dst, packMap16), uint16(n)) //nolint:gosec // because tags are few
	for i := range s.Tags {
		dst = appendPacked(appendPacked(dst, s.Tags[i].Name), s.Tags[i].Value)
	}
	if s.High != 0 {
		dst = appendHex(append(appendPacked(dst, "_dd.p.tid"), packText|16), s.High)
	}
	return dst
}

func packed(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// appendPacked appends a text of less than 64 KiB.
func appendPacked[T []byte | string](dst []byte, text T) []byte {
	text = text[:min(len(text), math.MaxUint16)]
	return append(appendPackedLen(dst, len(text)), text...)
}

func appendPackedLen(dst []byte, n int) []byte {
	switch {
	case n < 32:
		return append(dst, packText|byte(n)) //nolint:gosec // because it is below 32
	case n <= math.MaxUint8:
		return append(dst, packText8, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(dst, packText16), uint16(n)) //nolint:gosec // because appendPacked cuts
}

func appendPackedID(dst []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, packUint64), id)
}

func appendPackedInt(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, packInt64), uint64(n)) //nolint:gosec // because its bits are what is wanted
}

func appendPackedFloat(dst []byte, x float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, packFloat), math.Float64bits(x))
}

func (d datadog) complete(body, spans []byte, n int) []byte {
	body = binary.BigEndian.AppendUint32(append(body[:0], packList32), uint32(n)) //nolint:gosec // because a batch is bounded
	return append(body, spans...)
}

func (d datadog) fields(q *wire.Question, n int) {
	q.Add(nameContentType, []byte("application/msgpack"))
	q.Add([]byte("datadog-meta-lang"), []byte("go"))
	q.Add([]byte("datadog-meta-tracer-version"), []byte(d.version))
	q.Add([]byte("x-datadog-trace-count"), strconv.AppendInt(nil, int64(n), 10))
}
