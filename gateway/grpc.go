package gateway

import (
	"strconv"

	"legate/wire"
)

var (
	nameGRPCStatus  = []byte("grpc-status")
	nameGRPCMessage = []byte("grpc-message")
	typeGRPC        = []byte("application/grpc")
)

// isGRPC reports whether the message that h begins is gRPC's: of its content type,
// and not of a relative's, like application/grpc-web. Budget: 0 allocs.
func isGRPC(h *wire.Head) bool {
	v := h.Get(wire.FieldContentType)
	if len(v) < len(typeGRPC) || !wire.EqualFold(v[:len(typeGRPC)], typeGRPC) {
		return false
	}
	return len(v) == len(typeGRPC) || v[len(typeGRPC)] == '+' || v[len(typeGRPC)] == ';'
}

// asGRPC makes r what a gRPC client understands: its library reads no status of HTTP
// and no body, but fields of gRPC in an answer that is nothing but a head.
func (x *Exchange) asGRPC(r *localReply, contentType []byte) {
	code := grpcStatus(r.status)
	if r.exhausted {
		code = grpcExhausted
	}
	x.ToClient.SetName(nameGRPCStatus, code)
	if r.body != "" {
		start := len(x.arena)
		x.arena = appendGRPCMessage(x.arena, r.body)
		x.ToClient.SetName(nameGRPCMessage, x.arena[start:len(x.arena):len(x.arena)])
	}
	r.status, r.body, r.contentType = 200, "", contentType
}

// grpcStatuses are the codes of gRPC for statuses of HTTP, as Envoy maps them; any
// other is "unknown".
var (
	grpcUnknown   = []byte("2")
	grpcExhausted = []byte("8")
	grpcStatuses  = map[int][]byte{
		400: []byte("13"), // internal
		401: []byte("16"), // unauthenticated
		403: []byte("7"),  // permission denied
		404: []byte("12"), // unimplemented
		429: []byte("14"), // unavailable
		502: []byte("14"),
		503: []byte("14"),
		504: []byte("14"),
	}
)

func grpcStatus(status int) []byte {
	if code := grpcStatuses[status]; code != nil {
		return code
	}
	return grpcUnknown
}

// httpStatuses are the statuses of HTTP for codes of gRPC, as Envoy's outlier detection maps
// them.
var httpStatuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}

// httpStatus is the status that stands for a grpc-status; what is none is a failure.
// Budget: 0 allocs.
func httpStatus(code []byte) int {
	n, err := strconv.Atoi(string(code)) // short: it does not leave the stack
	if err != nil || n < 0 || n >= len(httpStatuses) {
		return 500
	}
	return httpStatuses[n]
}

// appendGRPCMessage appends text as gRPC's HTTP/2 protocol writes it: what is not
// printable ASCII, and the per cent sign itself, as %XX.
func appendGRPCMessage(out []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' || c == '%' {
			out = append(out, '%', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return out
}
