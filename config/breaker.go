package config

// A Priority is the class of traffic that a circuit breaker is for.
type Priority uint8

// The priorities. All traffic is DefaultPriority unless its Mapping says otherwise.
const (
	DefaultPriority Priority = iota
	HighPriority
)

// A CircuitBreaker is one entry of circuit_breakers: how much of an upstream one class
// of traffic may take at once. Pointers are nil where the author said nothing.
type CircuitBreaker struct {
	Priority           Priority
	MaxConnections     *int
	MaxPendingRequests *int
	MaxRequests        *int
	MaxRetries         *int
}
