package h2

import "time"

// Limits bound what one connection may ask of the server. They are never changed once
// given to it; give it new ones instead.
type Limits struct {
	MaxHeadBytes int           // names and values, as HTTP/1.1 would send them
	MaxFields    int           // field lines, the crumbs of a cookie counting as one
	MaxStreams   int           // requests in hand at once
	HeadTimeout  time.Duration // from a head's first frame to its last
	IdleTimeout  time.Duration // without a request
	StreamIdle   time.Duration // of a stream without a byte moving in either direction
	MinBodyRate  int           // bytes per second that a sender must keep up on average, while we wait for it
	BodyGrace    time.Duration // waiting allowed before MinBodyRate counts
	PingAfter    time.Duration // of silence while requests are in hand, before the client is asked whether it is there
	PingTimeout  time.Duration // for its answer
	MaxAge       time.Duration // of a connection, a tenth more or less; 0: it may live for ever
}

// DefaultLimits are Ambassador's where it has one.
func DefaultLimits() Limits {
	return Limits{
		MaxHeadBytes: 60 << 10,
		MaxFields:    100,
		MaxStreams:   128,
		HeadTimeout:  10 * time.Second,
		IdleTimeout:  300 * time.Second,
		StreamIdle:   300 * time.Second,
		MinBodyRate:  240,
		BodyGrace:    10 * time.Second,
		PingAfter:    60 * time.Second,
		PingTimeout:  20 * time.Second,
	}
}
