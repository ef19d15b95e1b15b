package h1

import "time"

// Limits bound what one connection may ask of the engine. They are never changed
// once given to an engine; give it new ones instead.
type Limits struct {
	MaxHeadBytes int           // start line and fields
	MaxFields    int           // field lines
	HeadTimeout  time.Duration // from a head's first byte to its last
	IdleTimeout  time.Duration // between two requests
	StreamIdle   time.Duration // without a byte moving in either direction
	MinBodyRate  int           // bytes per second that a sender must keep up on average, while we wait for it
	BodyGrace    time.Duration // waiting allowed before MinBodyRate counts

	AllowChunkedLength bool // Content-Length beside chunked is dropped instead of refused
}

// DefaultLimits are Ambassador's where it has one.
func DefaultLimits() Limits {
	return Limits{
		MaxHeadBytes: 60 << 10,
		MaxFields:    100,
		HeadTimeout:  10 * time.Second,
		IdleTimeout:  300 * time.Second,
		StreamIdle:   300 * time.Second,
		MinBodyRate:  240,
		BodyGrace:    10 * time.Second,
	}
}

// maxInterim is how many 1xx answers one exchange may have, so that an endpoint
// cannot keep a request for ever.
const maxInterim = 16

// maxTrailerBytes bounds a trailer, and maxChunkLine a chunk's size line with its
// extensions.
const (
	maxTrailerBytes = 8 << 10
	maxChunkLine    = 1 << 10
)
