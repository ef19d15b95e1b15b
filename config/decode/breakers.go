package decode

import (
	"math"

	"legate/config"
)

// circuitBreakers reads circuit_breakers, nil if missing.
func (f *fields) circuitBreakers() []config.CircuitBreaker {
	list := f.objects("circuit_breakers")
	if list == nil {
		return nil
	}
	breakers := make([]config.CircuitBreaker, 0, len(list))
	for _, sub := range list {
		breakers = append(breakers, sub.circuitBreaker())
	}
	return breakers
}

func (f *fields) circuitBreaker() config.CircuitBreaker {
	b := config.CircuitBreaker{
		MaxConnections:     f.number("max_connections", 0, math.MaxInt32),
		MaxPendingRequests: f.number("max_pending_requests", 0, math.MaxInt32),
		MaxRequests:        f.number("max_requests", 0, math.MaxInt32),
		MaxRetries:         f.number("max_retries", 0, math.MaxInt32),
	}
	if f.oneOf("priority", "default", "high") == "high" {
		b.Priority = config.HighPriority
	}
	f.finish(nil)
	return b
}
