package als

import (
	"net/netip"
	"time"

	"legate/wire"
)

// An Entry is what a log service is told of one request, or of one TCP connection. The
// views need to be valid only during Append. What is empty or zero is left out.
type Entry struct {
	Start    time.Time
	Duration time.Duration

	// When something happened, from Start on; 0 for never.
	Received       time.Duration // the request's last byte
	Sent           time.Duration // the first byte to the upstream
	SentAll        time.Duration // the last byte to the upstream
	Answered       time.Duration // the upstream's first byte
	AnsweredAll    time.Duration // the upstream's last byte
	Began, Replied time.Duration // the first and the last byte to the client

	Client, Peer, Local netip.AddrPort // Peer is the other end of the socket
	Endpoint            netip.AddrPort
	From                netip.AddrPort // our end of the connection to Endpoint
	TLS                 *wire.TLSInfo  // nil on cleartext
	ServerCert          *wire.CertFacts

	Upstream, Route string
	Flag            string // Envoy's
	Failure         string // why TLS to the upstream failed
	Details         string // why the answer is as it is
	Attempts        int
	RequestID       []byte
	BytesIn         int64
	BytesOut        int64

	// Of requests only.
	Major, Minor                       uint8
	Method                             wire.Method
	Scheme, Authority                  []byte
	Path, OriginalPath                 []byte // a query is not told
	UserAgent, Referer, ForwardedFor   []byte
	Status                             int
	RequestValues, AnswerValues, Tails []Value // of the headers that are asked for; Tails are the trailer's
}

// A Value is that of a header.
type Value struct {
	Name  string
	Value []byte
}

// Reset forgets e and keeps its memory.
func (e *Entry) Reset() {
	*e = Entry{RequestValues: e.RequestValues[:0], AnswerValues: e.AnswerValues[:0], Tails: e.Tails[:0]}
}
