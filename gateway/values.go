package gateway

import (
	"cmp"
	"strconv"
	"time"

	"legate/decision"
	"legate/format"
	"legate/wire"
)

// render returns what f makes of x, kept as long as x. Budget: 0 allocs.
func (x *Exchange) render(f *format.Format) []byte {
	x.text = f.Append(x.text[:0], x)
	return x.keep(x.text)
}

// keep copies b into x's memory. Budget: 0 allocs.
func (x *Exchange) keep(b []byte) []byte {
	start := len(x.arena)
	x.arena = append(x.arena, b...)
	return x.arena[start:len(x.arena):len(x.arena)]
}

// AppendCommand appends what one command of a format stands for in x: as far as it is
// known by now. It makes an Exchange a format.Source. Budget: 0 allocs.
func (x *Exchange) AppendCommand(dst []byte, c *format.Command) ([]byte, bool) {
	if x.recording && x.keptEarly {
		if early := x.Snap.logEarly; c.Slot < len(early) && early[c.Slot] == c {
			v := x.early[c.Slot]
			return append(dst, v...), v != nil
		}
	}
	switch c.Op {
	case format.Req:
		return appendField(dst, c, x.requestField)
	case format.Resp:
		return appendField(dst, c, x.answerField)
	case format.Trailer:
		return x.appendTrailer(dst, c)
	case format.GRPCStatus, format.GRPCStatusNumber:
		return x.appendGRPCStatus(dst, c)
	case format.StartTime:
		return c.AppendTime(dst, x.Now), true
	case format.Protocol:
		return appendProtocol(dst, x.Req)
	case format.ResponseCode:
		return strconv.AppendInt(dst, int64(x.answerStatus()), 10), true
	case format.ResponseCodeDetails:
		return appendString(dst, x.details())
	case format.ResponseFlags:
		return append(dst, responseFlag(&x.Decision)...), true
	case format.BytesReceived:
		return strconv.AppendInt(dst, x.stream.BytesIn(), 10), true
	case format.BytesSent:
		return strconv.AppendInt(dst, x.stream.BytesOut(), 10), true
	case format.Duration, format.RequestDuration, format.ResponseDuration, format.ResponseTxDuration:
		return x.appendDuration(dst, c.Op)
	case format.DynamicMetadata:
		return x.appendMetadata(dst, c.Arg)
	case format.LocalReplyBody:
		return appendString(dst, x.reply.body)
	default:
		return x.appendRoute(dst, c)
	}
}

// appendRoute appends what one command says of the route and its upstream, or else of
// the connection.
func (x *Exchange) appendRoute(dst []byte, c *format.Command) ([]byte, bool) {
	switch c.Op {
	case format.RouteName:
		return appendString(dst, x.Route.name)
	case format.UpstreamHost:
		return appendString(dst, x.endpoint)
	case format.UpstreamCluster:
		return appendString(dst, x.Route.upstreamName)
	case format.UpstreamLocalAddress:
		if x.link == nil || !x.link.Local().IsValid() {
			return dst, false
		}
		return x.link.Local().AppendTo(dst), true
	case format.UpstreamTransportFailureReason:
		if x.Decision.Err == nil || !isBadTLS(x.Decision.Reason()) {
			return dst, false
		}
		return appendString(dst, x.Decision.Err.Error())
	case format.UpstreamRequestAttemptCount:
		if x.upstream == nil {
			return append(dst, '0'), true
		}
		return strconv.AppendInt(dst, int64(x.retries+1), 10), true
	default:
		return appendConnection(dst, c, x.peer, x.Client, x.Snap)
	}
}

// isBadTLS reports whether r is what Envoy calls a failure of the transport's security.
func isBadTLS(r decision.Reason) bool {
	return r == decision.TLSFailed || r == decision.UpstreamNotAllowed || r == decision.SVIDMissing
}

// answerStatus is the status that the client gets, 0 for none yet.
func (x *Exchange) answerStatus() int {
	switch {
	case x.Decision.Status > 0 || x.recording:
		return int(x.Decision.Status)
	case x.relayed:
		return cmp.Or(x.status, x.Resp.Status)
	}
	return x.reply.status
}

// details is why the answer is as it is: "via_upstream", or our reason.
func (x *Exchange) details() string {
	switch r := x.Decision.Reason(); {
	case r != decision.None:
		return r.String()
	case x.relayed:
		return "via_upstream"
	}
	return ""
}

// responseFlag is Envoy's flag for what happened, "-" for nothing amiss.
func responseFlag(rec *decision.Record) string {
	if r := rec.Reason(); r != decision.None && r.Flag() != "" {
		return r.Flag()
	}
	return "-"
}

func appendString(dst []byte, s string) ([]byte, bool) { return append(dst, s...), s != "" }

// appendProtocol appends the version of HTTP that the client speaks.
func appendProtocol(dst []byte, req *wire.Head) ([]byte, bool) {
	switch {
	case req.Major >= 2:
		return strconv.AppendUint(append(dst, "HTTP/"...), uint64(req.Major), 10), true
	case req.Major == 1 && req.Minor == 0:
		return append(dst, "HTTP/1.0"...), true
	case req.Major == 1:
		return append(dst, "HTTP/1.1"...), true
	}
	return dst, false
}

// appendDuration appends milliseconds: of the whole, until the request was complete,
// until the answer began, and from there on.
func (x *Exchange) appendDuration(dst []byte, op format.Op) ([]byte, bool) {
	var d time.Duration
	known := x.recording
	switch began := x.sentAt().Sub(x.Now) + x.headAfter; op {
	case format.Duration:
		d = x.took
	case format.RequestDuration:
		d = time.Duration(x.finished.Load())
		known = d > 0
	case format.ResponseDuration:
		d, known = began, x.headAfter > 0
	default:
		d, known = x.took-began, known && x.headAfter > 0
	}
	if !known {
		return dst, false
	}
	return strconv.AppendInt(dst, max(d, 0).Milliseconds(), 10), true
}

// appendField appends the first line of the header that c names, or else of its
// alternative.
func appendField(dst []byte, c *format.Command, find func(*format.Field) ([]byte, bool)) ([]byte, bool) {
	value, ok := find(&c.Name)
	if !ok && c.Alt.Name != "" {
		value, ok = find(&c.Alt)
	}
	return append(dst, value...), ok
}

// requestField returns a header of the request as the service gets it.
func (x *Exchange) requestField(f *format.Field) ([]byte, bool) {
	if f.Name[0] == ':' || f.ID == wire.FieldHost {
		return x.pseudoField(f.Name)
	}
	return field(x.Req, &x.ToUp, f)
}

// pseudoField returns what stands in the start line of the request as the service gets
// it.
func (x *Exchange) pseudoField(name string) ([]byte, bool) {
	switch name {
	case ":method":
		return x.Req.MethodName(), len(x.Req.MethodName()) > 0
	case ":authority", "host":
		if x.ToUp.Host != nil {
			return x.ToUp.Host, true
		}
		return x.Req.Host(), len(x.Req.Host()) > 0
	case ":scheme":
		if sent, ok := field(x.Req, &x.ToUp, &fieldXFP); ok {
			return sent, true
		}
		return valueHTTP, true
	case ":path":
		if x.ToUp.Path != nil {
			return x.withQuery(x.ToUp.Path), true
		}
		return x.pathAndQuery(), len(x.Req.Path()) > 0
	}
	return nil, false
}

var fieldXFP = format.Field{ID: wire.FieldXForwardedProto, Name: "x-forwarded-proto"}

// answerField returns a header of the answer as the client gets it.
func (x *Exchange) answerField(f *format.Field) ([]byte, bool) {
	if f.Name == ":status" {
		return x.appendInt(int64(x.answerStatus())), true
	}
	if !x.relayed {
		return field(nil, &x.ToClient, f)
	}
	return field(&x.Resp, &x.ToClient, f)
}

// field returns the first line of a name in h, which may be nil, after e.
func field(h *wire.Head, e *wire.Edits, f *format.Field) ([]byte, bool) {
	if h != nil && f.ID != wire.FieldOther && h.Has(f.ID) && !e.Drops(f.ID, nil) {
		return h.Get(f.ID), true
	}
	if h != nil && f.ID == wire.FieldOther {
		if v, ok := h.Find(f.Name); ok && !dropsName(e, f.Name) {
			return v, true
		}
	}
	for i := range e.Adds() {
		if a := &e.Adds()[i]; a.ID == f.ID && (f.ID != wire.FieldOther || string(a.Name) == f.Name) {
			return a.Value, true
		}
	}
	return nil, false
}

// dropsName reports whether e removes a name that has no number.
func dropsName(e *wire.Edits, name string) bool {
	var lower [64]byte // an array, so that nothing is allocated
	if len(name) > len(lower) {
		return e.Drops(wire.FieldOther, []byte(name))
	}
	return e.Drops(wire.FieldOther, lower[:copy(lower[:], name)])
}

func (x *Exchange) appendTrailer(dst []byte, c *format.Command) ([]byte, bool) {
	if x.link == nil || !x.relayed {
		return dst, false
	}
	trailer := x.link.Trailer()
	if trailer == nil {
		return dst, false
	}
	value, ok := trailer.Find(c.Name.Name)
	if !ok && c.Alt.Name != "" {
		value, ok = trailer.Find(c.Alt.Name)
	}
	return append(dst, value...), ok
}

// appendGRPCStatus appends how a call of gRPC ended, by the trailer or, where there is
// no more than a head, by that.
func (x *Exchange) appendGRPCStatus(dst []byte, c *format.Command) ([]byte, bool) {
	var code []byte
	var ok bool
	if x.link != nil && x.relayed {
		if trailer := x.link.Trailer(); trailer != nil {
			code, ok = trailer.Find("grpc-status")
		}
	}
	if !ok {
		if code, ok = x.answerField(&fieldGRPCStatus); !ok {
			return dst, false
		}
	}
	n, err := strconv.ParseUint(string(code), 10, 31)
	if err != nil {
		return dst, false
	}
	names := &grpcCamel
	if c.Arg == "SNAKE_STRING" {
		names = &grpcSnake
	}
	if c.Op == format.GRPCStatusNumber || c.Arg == "NUMBER" || n >= uint64(len(names)) {
		return strconv.AppendUint(dst, n, 10), true
	}
	return append(dst, names[n]...), true
}

var fieldGRPCStatus = format.Field{Name: "grpc-status"}

// The codes of gRPC as Envoy writes them.
var (
	grpcCamel = [...]string{"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
		"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"}
	grpcSnake = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}
)
