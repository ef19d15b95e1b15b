package wire

// A Method is a request method; MethodOther stands for one the gateway has no
// opinion on, whose name is in the Head.
type Method uint8

// The methods of RFC 9110 §9 and RFC 5789.
const (
	MethodOther Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	OPTIONS
	PATCH
	TRACE
	CONNECT
)

var methodNames = [...]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}

// String returns the method's name; "" for MethodOther.
func (m Method) String() string { return methodNames[m] }

// Safe reports whether m asks for no action (RFC 9110 §9.2.1).
func (m Method) Safe() bool { return m == GET || m == HEAD || m == OPTIONS || m == TRACE }

// LookupMethod returns the Method named b, which is case-sensitive (RFC 9110
// §9.1), or MethodOther. Budget: 0 allocs.
func LookupMethod(b []byte) Method {
	switch string(b) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "PATCH":
		return PATCH
	case "TRACE":
		return TRACE
	case "CONNECT":
		return CONNECT
	}
	return MethodOther
}
