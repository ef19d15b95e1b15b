package config

import "time"

// A BalancePolicy says how an endpoint is chosen for a request.
type BalancePolicy uint8

// The policies of load_balancer.
const (
	RoundRobin BalancePolicy = iota
	LeastRequest
	RingHash
	Maglev
)

// A LoadBalancer is how the endpoints of a Mapping share its requests. With the
// policies that hash exactly one of Cookie, Header and SourceIP is there, with the
// others none.
type LoadBalancer struct {
	Policy   BalancePolicy
	Cookie   *HashCookie
	Header   string
	SourceIP bool
}

// A HashCookie keeps a client at one endpoint. A client without one gets it if there
// is a TTL.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration // 0 for the length of a session; nil gives no cookie
}

// A DNSType says what the addresses of a name are.
type DNSType uint8

// The types. StrictDNS takes every address for an endpoint; LogicalDNS takes a name
// for one endpoint, whose address may change with every look-up.
const (
	StrictDNS DNSType = iota
	LogicalDNS
)

// A Keepalive is how TCP looks after connections that rest. 0 leaves it to the default.
type Keepalive struct {
	Idle, Interval time.Duration
	Probes         int
}
