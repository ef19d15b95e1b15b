package config

import "time"

// A RateLimitService is Ambassador's RateLimitService: who says which requests are too
// many.
type RateLimitService struct {
	Meta
	Service           string // [scheme://]host[:port]
	BuiltIn           bool   // it stands for the gateway's own limits; nothing is called
	Broken            string // what is wrong with it; "" for nothing. Nothing is limited then
	Domain            string // "" for the default
	Timeout           time.Duration
	FailureModeDeny   bool // requests do not pass where nobody can be asked
	TLSContext        string
	OriginateTLS      bool
	StatsName         string
	ResourceExhausted bool // what clients of gRPC are told, instead of unavailable
}
