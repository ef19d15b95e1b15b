package config

import "time"

// A LogService is Ambassador's LogService: a collector that is told, by Envoy's access
// log service, of every request or of every TCP connection.
type LogService struct {
	Meta
	Service       string // [scheme://]host[:port]
	TCP           bool   // it is told of connections of TCPMappings, not of requests
	Headers       []LoggedHeader
	FlushInterval time.Duration // longest an entry waits
	FlushBytes    int           // of waiting entries, from which on they are sent at once
	StatsName     string
}

// A LoggedHeader is a header whose value a LogService is told.
type LoggedHeader struct {
	Name                       string // in lower case
	Request, Response, Trailer bool   // where it is looked for
}
