package trace

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// otlpMethod is the method by which OpenTelemetry's collectors take spans
// (https://opentelemetry.io/docs/specs/otlp/).
const otlpMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// otlp speaks OTLP's protobuf.
type otlp struct{ resource, scope []byte }

// The numbers of the fields of opentelemetry.proto.
const (
	otlpResourceSpans = 1 // of ExportTraceServiceRequest
	otlpResource      = 1 // of ResourceSpans
	otlpScopeSpans    = 2
	otlpScope         = 1 // of ScopeSpans
	otlpSpans         = 2
	otlpScopeName     = 1 // of InstrumentationScope
	otlpScopeVersion  = 2
	otlpResourceAttrs = 1 // of Resource

	otlpTraceID    = 1 // of Span
	otlpSpanID     = 2
	otlpParent     = 4
	otlpName       = 5
	otlpKind       = 6
	otlpStart      = 7
	otlpEnd        = 8
	otlpAttributes = 9
	otlpStatus     = 15
	otlpFlags      = 16

	otlpKey      = 1 // of KeyValue
	otlpValue    = 2
	otlpString   = 1 // of AnyValue
	otlpCode     = 3 // of Status
	otlpError    = 2 // of StatusCode
	otlpClient   = 3 // of SpanKind
	flagSampled  = 1
	flagKnown    = 0x100 // whether the parent is elsewhere is told
	flagIsRemote = 0x200
)

func newOTLP(service, node, version string) *otlp {
	attrs := appendAttribute(nil, otlpResourceAttrs, "service.name", service)
	if node != "" {
		attrs = appendAttribute(attrs, otlpResourceAttrs, "service.instance.id", node)
	}
	scope := protowire.AppendString(protowire.AppendTag(nil, otlpScopeName, protowire.BytesType), "legate")
	if version != "" {
		scope = protowire.AppendString(protowire.AppendTag(scope, otlpScopeVersion, protowire.BytesType), version)
	}
	return &otlp{
		resource: protowire.AppendBytes(protowire.AppendTag(nil, otlpResource, protowire.BytesType), attrs),
		scope:    protowire.AppendBytes(protowire.AppendTag(nil, otlpScope, protowire.BytesType), scope),
	}
}

func (o *otlp) encode(dst []byte, s *Span) []byte {
	b := s.encoded[:0]
	b = appendTraceBytes(b, otlpTraceID, &s.Context)
	b = appendIDBytes(b, otlpSpanID, s.Span)
	flags := uint32(flagSampled | flagKnown)
	if s.Parent != 0 {
		b = appendIDBytes(b, otlpParent, s.Parent)
		flags |= flagIsRemote
	}
	b = protowire.AppendTag(b, otlpName, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(operation)+len(s.Host)))
	b = append(append(b, operation...), s.Host...)
	b = protowire.AppendVarint(protowire.AppendTag(b, otlpKind, protowire.VarintType), otlpClient)
	b = protowire.AppendFixed64(protowire.AppendTag(b, otlpStart, protowire.Fixed64Type), uint64(s.Start.UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, otlpEnd, protowire.Fixed64Type), uint64(s.Start.Add(s.Took).UnixNano()))
	for i := range s.Tags {
		b = appendAttribute(b, otlpAttributes, s.Tags[i].Name, s.Tags[i].Value)
	}
	if s.Error {
		b = protowire.AppendVarint(protowire.AppendTag(b, otlpStatus, protowire.BytesType), 2)
		b = protowire.AppendVarint(protowire.AppendTag(b, otlpCode, protowire.VarintType), otlpError)
	}
	b = protowire.AppendFixed32(protowire.AppendTag(b, otlpFlags, protowire.Fixed32Type), flags)
	s.encoded = b
	return protowire.AppendBytes(protowire.AppendTag(dst, otlpSpans, protowire.BytesType), b)
}

// appendAttribute appends a KeyValue whose value is text.
func appendAttribute[T []byte | string](b []byte, number protowire.Number, key string, value T) []byte {
	inner := sizeOf(otlpString, len(value))
	b = protowire.AppendTag(b, number, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(sizeOf(otlpKey, len(key))+sizeOf(otlpValue, inner))) //nolint:gosec // a length
	b = protowire.AppendString(protowire.AppendTag(b, otlpKey, protowire.BytesType), key)
	b = protowire.AppendVarint(protowire.AppendTag(b, otlpValue, protowire.BytesType), uint64(inner)) //nolint:gosec // a length
	b = protowire.AppendVarint(protowire.AppendTag(b, otlpString, protowire.BytesType), uint64(len(value)))
	return append(b, value...)
}

// complete appends the request for spans to what body has.
func (o *otlp) complete(body, spans []byte, _ int) []byte {
	scoped := len(o.scope) + len(spans)
	all := len(o.resource) + sizeOf(otlpScopeSpans, scoped)
	body = protowire.AppendVarint(protowire.AppendTag(body, otlpResourceSpans, protowire.BytesType), uint64(all)) //nolint:gosec // a length
	body = append(body, o.resource...)
	body = protowire.AppendVarint(protowire.AppendTag(body, otlpScopeSpans, protowire.BytesType), uint64(scoped))
	return append(append(body, o.scope...), spans...)
}

func appendBig(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
