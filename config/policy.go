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

// Limits are what an upstream is asked to bear at once.
type Limits struct{ Connections, Pending, Requests, Retries int64 }

// DefaultLimits are those where nothing else is said.
var DefaultLimits = Limits{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3}

// CircuitBreakers are the limits for requests of either priority.
type CircuitBreakers struct{ Default, High Limits }

// A Priority says which limits count for a Mapping's requests.
type Priority uint8

// The priorities.
const (
	DefaultPriority Priority = iota
	HighPriority
)

// Of returns the limits for requests of priority p.
func (c *CircuitBreakers) Of(p Priority) Limits {
	if p == HighPriority {
		return c.High
	}
	return c.Default
}

// A RetryOn says what has a request sent again.
type RetryOn uint8

// The values of retry_on.
const (
	RetryServerErrors   RetryOn = iota // any 5xx, or no answer
	RetryGatewayErrors                 // 502, 503 and 504, or no answer
	RetryConnectFailure                // no connection
	RetryConflict                      // 409
	RetryRefusedStream                 // HTTP/2's REFUSED_STREAM
	RetryStatusCodes                   // those that a trusted caller names in the request
)

// A RetryPolicy says when a request is sent again, and how often.
type RetryPolicy struct {
	On            RetryOn
	Times         int           // beside the first
	PerTryTimeout time.Duration // 0 for none
}

// A HealthCheck is one way of asking endpoints how they are. Either HTTP or GRPC is there.
type HealthCheck struct {
	Timeout, Interval time.Duration

	HealthyThreshold, UnhealthyThreshold int // results in a row that change the verdict

	HTTP *HTTPCheck
	GRPC *GRPCCheck
}

// An HTTPCheck asks by GET.
type HTTPCheck struct {
	Path, Hostname string
	Add            []HeaderAdd
	Remove         []string
	Expected       []StatusRange
}

// A StatusRange is the statuses from Min to Max, both included.
type StatusRange struct{ Min, Max int }

// A GRPCCheck asks by gRPC's health protocol.
type GRPCCheck struct {
	Service   string // whose health is asked for
	Authority string
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
