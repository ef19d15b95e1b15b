// Package telemetry tells what happened: one access-log line and a few counters
// for every request, made from the record the stages left. It decides nothing,
// and it never writes a cookie or a token, and a query string only
// in a format whose author asks for it.
package telemetry

import (
	"net/netip"
	"time"

	"legate/decision"
	"legate/format"
)

// An Entry is what the access log says of one request. The views need to be valid
// only during Append. What is empty or zero is left out of the line.
type Entry struct {
	Start        time.Time
	Duration     time.Duration
	UpstreamTime time.Duration // until the upstream's head; 0 if it was not asked

	Method, Host, Path []byte // as the client sent them; a query after Path is not written
	RequestID, TraceID []byte
	UserAgent, XFF     []byte // written in the text format only
	Major, Minor       uint8  // of the client's HTTP version
	TCP                bool   // a connection whose bytes are carried as they are, and no request
	Record             *decision.Record
	Route, Upstream    string
	Endpoint           string
	TLS                string // "TLSv1.3"; "" for cleartext
	Sub                string // who asked, once verified
	BytesIn, BytesOut  int64  // of the bodies
	ClientIP           netip.Addr
	VPCEndpoint        string // AWS's name of the endpoint that the connection came through
	Generation         uint64
	Retries            int

	// Format, where it is not nil, is written instead, of what Source says.
	Format *format.Format
	Source format.Source
}
