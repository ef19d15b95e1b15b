package trace

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"legate/format"
	"legate/wire"
)

// zipkinPath is where version 2 of Zipkin's API takes spans.
const zipkinPath = "/api/v2/spans"

// zipkinJSON speaks version 2 of Zipkin's API in JSON
// (https://zipkin.io/zipkin-api/#/default/post_spans).
type zipkinJSON struct{ service string }

func (z zipkinJSON) encode(dst []byte, s *Span) []byte {
	dst = s.Context.AppendTraceID(append(dst, `{"traceId":"`...))
	dst = appendHex(append(dst, `","id":"`...), s.Span)
	if s.Parent != 0 {
		dst = appendHex(append(dst, `","parentId":"`...), s.Parent)
	}
	dst = append(dst, `","kind":"CLIENT","name":"`...)
	dst = format.AppendEscaped(dst, s.Host)
	dst = strconv.AppendInt(append(dst, `","timestamp":`...), s.Start.UnixMicro(), 10)
	dst = strconv.AppendInt(append(dst, `,"duration":`...), max(s.Took.Microseconds(), 1), 10)
	dst = append(dst, `,"localEndpoint":{"serviceName":"`...)
	dst = format.AppendEscaped(dst, z.service)
	dst = append(dst, `"},"tags":{`...)
	for i := range s.Tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = format.AppendEscaped(append(dst, '"'), s.Tags[i].Name)
		dst = format.AppendEscaped(append(dst, `":"`...), s.Tags[i].Value)
		dst = append(dst, '"')
	}
	return append(dst, "}},"...)
}

func (z zipkinJSON) complete(body, spans []byte, _ int) []byte {
	body = append(body[:0], '[')
	return append(append(body, spans[:len(spans)-1]...), ']')
}

func (z zipkinJSON) fields(q *wire.Question, _ int) {
	q.Add(nameContentType, []byte("application/json"))
}

// zipkinProto speaks the same in protobuf, by zipkin.proto.
type zipkinProto struct{ service string }

// The numbers of zipkin.proto's fields.
const (
	zipkinSpans = 1 // of ListOfSpans

	zipkinTraceID   = 1
	zipkinParent    = 2
	zipkinID        = 3
	zipkinKind      = 4
	zipkinName      = 5
	zipkinTimestamp = 6
	zipkinDuration  = 7
	zipkinLocal     = 8
	zipkinTags      = 11

	zipkinService = 1 // of Endpoint
	zipkinClient  = 1 // of Kind
)

func (z zipkinProto) encode(dst []byte, s *Span) []byte {
	b := s.encoded[:0]
	b = appendTraceBytes(b, zipkinTraceID, &s.Context)
	if s.Parent != 0 {
		b = appendIDBytes(b, zipkinParent, s.Parent)
	}
	b = appendIDBytes(b, zipkinID, s.Span)
	b = protowire.AppendVarint(protowire.AppendTag(b, zipkinKind, protowire.VarintType), zipkinClient)
	b = protowire.AppendBytes(protowire.AppendTag(b, zipkinName, protowire.BytesType), s.Host)
	b = protowire.AppendFixed64(protowire.AppendTag(b, zipkinTimestamp, protowire.Fixed64Type), uint64(s.Start.UnixMicro()))
	b = protowire.AppendVarint(protowire.AppendTag(b, zipkinDuration, protowire.VarintType), uint64(max(s.Took.Microseconds(), 1)))
	b = protowire.AppendTag(b, zipkinLocal, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(sizeOf(zipkinService, len(z.service)))) //nolint:gosec // a length
	b = protowire.AppendString(protowire.AppendTag(b, zipkinService, protowire.BytesType), z.service)
	for i := range s.Tags {
		t := &s.Tags[i]
		b = protowire.AppendTag(b, zipkinTags, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeOf(1, len(t.Name))+sizeOf(2, len(t.Value)))) //nolint:gosec // a length
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), t.Name)
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), t.Value)
	}
	s.encoded = b
	return protowire.AppendBytes(protowire.AppendTag(dst, zipkinSpans, protowire.BytesType), b)
}

func (z zipkinProto) complete(body, spans []byte, _ int) []byte { return append(body[:0], spans...) }

func (z zipkinProto) fields(q *wire.Question, _ int) {
	q.Add(nameContentType, []byte("application/x-protobuf"))
}

// sizeOf is how many bytes a field of that number takes whose value has n bytes.
func sizeOf(number protowire.Number, n int) int {
	return protowire.SizeTag(number) + protowire.SizeBytes(n)
}

// appendTraceBytes appends the trace's id as 16 bytes: 8 are not understood everywhere.
func appendTraceBytes(b []byte, number protowire.Number, c *Context) []byte {
	b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.BytesType), 16)
	return appendBig(appendBig(b, c.High), c.Low)
}

func appendIDBytes(b []byte, number protowire.Number, id uint64) []byte {
	return appendBig(protowire.AppendVarint(protowire.AppendTag(b, number, protowire.BytesType), 8), id)
}
