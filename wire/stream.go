package wire

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"
)

// A Handler decides and answers requests; engines read and write them.
type Handler interface {
	// Serve answers req on s. The head is valid until Serve returns; the engine then
	// finishes the message and goes on with the next.
	Serve(s Stream, req *Head)

	// Refuse answers a request that the engine could not accept. req holds what was
	// understood of it, perhaps nothing. The connection closes afterwards.
	Refuse(s Stream, req *Head, err *ProtocolError)
}

// A Peer is what is known of a stream's connection.
type Peer struct {
	Remote   netip.AddrPort // the client, by the PROXY header where one is read
	Physical netip.AddrPort // the other end of the socket
	Local    netip.AddrPort
	Listener int        // index given to the engine by its owner
	TLS      *TLSInfo   // nil on cleartext
	Conn     uint64     // number of the connection, unique in the process
	Proxy    *ProxyInfo // nil where no PROXY header was read
}

// A ProxyInfo is what a PROXY header says beside the client's address.
type ProxyInfo struct {
	Destination netip.AddrPort // what the client connected to; invalid where it is not told
	VPCEndpoint string         // the AWS VPC endpoint that it came through; "" for none
}

// A TLSInfo is what is kept of a connection's handshake.
type TLSInfo struct {
	Version, Cipher uint16 // as crypto/tls numbers them
	ServerName      string // asked for by the client; "" for none
	Protocol        string // agreed on by ALPN; "" for none
	Resumed         bool
	Chain           []*x509.Certificate // of the client, leaf first; nil for none

	facts clientFacts
}

// NewTLSInfo keeps of a handshake what requests need: a connection rests for long, and
// all of its state would rest with it.
func NewTLSInfo(secure *tls.Conn) *TLSInfo {
	state := secure.ConnectionState()
	return &TLSInfo{
		Version:    state.Version,
		Cipher:     state.CipherSuite,
		ServerName: state.ServerName,
		Protocol:   state.NegotiatedProtocol,
		Resumed:    state.DidResume,
		Chain:      state.PeerCertificates,
	}
}

// MaxUnwanted is how much of a request's body that nobody reads is read and dropped to keep
// its connection.
const MaxUnwanted = 256 << 10

// A Stream is one request and its answer on some engine. ReadBody may run in one
// goroutine while another writes the answer; nothing else is concurrent.
type Stream interface {
	// Peer describes the connection. It is valid as long as the stream.
	Peer() *Peer

	// Start returns when the request began to arrive.
	Start() time.Time

	// ReadBody reads the request's body. io.EOF follows the last byte; a
	// *ProtocolError means broken framing, any other error that the client is gone or
	// too slow.
	ReadBody(p []byte) (int, error)

	// Ready reports whether the rest of the request's body is at hand: reading it to
	// its end does not wait.
	Ready() bool

	// Trailer returns the request's trailer after ReadBody said io.EOF; nil without one.
	Trailer() *Head

	// WriteHead writes an answer's head: the lines of h that e does not remove, and
	// those e adds. h may be nil. length is the body's, or LengthUnknown. A 1xx status
	// writes an interim answer, and more heads follow. Nothing is sent before Flush,
	// End or a full buffer.
	WriteHead(status int, h *Head, e *Edits, length int64) error

	// WriteBody writes a part of the answer's body.
	WriteBody(p []byte) (int, error)

	// Flush sends what was written so far.
	Flush() error

	// End completes the answer and sends it. trailer may be nil.
	End(trailer *Head) error

	// Abort ends the stream without completing the answer, so that the client sees
	// that it is not whole.
	Abort()

	// CloseAfter makes this the connection's last exchange.
	CloseAfter()

	// Gone reports whether the client has closed its side or the connection broke.
	Gone() bool

	// StopReading makes a ReadBody that waits, now or later, return an error. The
	// connection closes after the answer.
	StopReading()

	// SetIdle sets how long the stream may rest without a byte moving; 0 is for ever.
	SetIdle(d time.Duration)

	// BytesIn and BytesOut count what the body's parts were, without framing.
	BytesIn() int64
	BytesOut() int64

	// Tunnel answers 101 with h and e, or 200 to an extended CONNECT, then carries bytes
	// both ways between the client and up until both have ended. A *TunnelError says what
	// ended it before.
	Tunnel(h *Head, e *Edits, up Link) error
}

// A Link carries one exchange to an endpoint and back. WriteBody may run in one
// goroutine while another reads the answer; nothing else is concurrent.
type Link interface {
	// WriteHead writes the request's head: the lines of req that e does not remove and
	// those e adds, for a body of that length or LengthUnknown. Nothing is sent before
	// Flush, EndRequest or a full buffer.
	WriteHead(req *Head, e *Edits, length int64) error

	// Takes reports whether the endpoint has said that it takes n bytes of the
	// request's body now: writing them does not wait for its consent.
	Takes(n int) bool

	// WriteBody writes a part of the request's body.
	WriteBody(p []byte) (int, error)

	// Flush sends what was written so far.
	Flush() error

	// EndRequest completes the request, which is sent then or by the next ReadHead.
	// trailer may be nil.
	EndRequest(trailer *Head) error

	// ReadHead reads the next head of the answer: any number of 1xx, then the final
	// one. resp is valid until Release. io.EOF and reset errors mean that the endpoint
	// closed; ErrRefused and ErrRemoteReset that it ended this exchange only;
	// os.ErrDeadlineExceeded that by has passed; a *ProtocolError that the answer is
	// malformed. tick may be nil.
	ReadHead(resp *Head, by time.Time, tick Tick) error

	// ReadBody reads the answer's body; io.EOF follows the last byte.
	ReadBody(p []byte, by time.Time, tick Tick) (int, error)

	// Wake has the tick of whoever waits for the answer asked at once. Anyone may call it.
	Wake()

	// Buffered returns how many bytes of the answer, framing included, are at hand.
	Buffered() int

	// Rest takes, without copying, what is left of the answer's body if all of it is at
	// hand. It is valid until Release.
	Rest() ([]byte, bool)

	// Done reports whether the answer's body has been read whole.
	Done() bool

	// Trailer returns the answer's trailer after ReadBody said io.EOF; nil without one.
	Trailer() *Head

	// Reused reports whether the connection carried an exchange before this one.
	Reused() bool

	// Untouched reports that the endpoint cannot have acted on any byte of this
	// request, so that sending it again elsewhere is right. Of a request whose method
	// asks for no action it is enough that nothing shows that it was seen.
	Untouched() bool

	// Endpoint returns the address in use, and Local our side's.
	Endpoint() string
	Local() netip.AddrPort

	// Abort breaks the exchange, and the connection if that carries no other: whoever
	// waits on it returns.
	Abort()

	// Release gives the connection back: kept for the next exchange if both messages
	// were complete and both sides agree, closed otherwise.
	Release()
}

// A Tunneler is a Link that can give its bytes away after a 101: first those that
// are buffered. Until Release, which closes the connection, they are the Duplex's.
type Tunneler interface {
	// Tunnel makes the answer's head invalid.
	Tunnel() Duplex
}
