package wire

import "strconv"

// A Kind says what rule of the protocol was broken.
type Kind uint8

// The kinds of protocol errors.
const (
	BadSyntax    Kind = iota // start line or field malformed
	BadAuthority             // Host missing, doubled, invalid, contradicting
	BadTarget                // request target malformed
	BadFraming               // the body's length is ambiguous or malformed
	LineTooLong              // start line over the limit
	HeadTooLarge             // head over the limit
	TooManyLines             // too many field lines
	HeadTooSlow              // head not complete in time
	BodyTooSlow              // body under the minimum rate
	BadVersion               // a version that is not served
	BadMethod                // a method that is not served
	StrayProxy               // a PROXY header where none is read
)

var kindNames = [...]string{
	"syntax", "authority", "target", "framing", "line too long", "head too large",
	"too many fields", "head too slow", "body too slow", "version", "method", "PROXY header",
}

var kindStatus = [...]int{400, 400, 400, 400, 414, 431, 431, 408, 408, 505, 501, 400}

// A ProtocolError is a message that cannot be accepted as it is. Text is for
// operators; it never holds bytes of the message.
type ProtocolError struct {
	Kind Kind
	Text string
}

// Error returns the kind and the text.
func (e *ProtocolError) Error() string { return kindNames[e.Kind] + ": " + e.Text }

// Status returns the status that a server answers such a request with.
func (e *ProtocolError) Status() int { return kindStatus[e.Kind] }

// String names the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}
