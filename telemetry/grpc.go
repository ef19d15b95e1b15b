package telemetry

import (
	"maps"
	"strconv"
	"sync/atomic"
	"time"
)

// A GRPCMethod names a method of a gRPC service: "shop.Orders", "Get".
type GRPCMethod struct{ Service, Method string }

// OtherGRPC stands for all methods that are not counted by name.
var OtherGRPC = GRPCMethod{"other", "other"}

// MaxGRPCMethods is how many methods are counted by name: names come from requests,
// where a configuration asks for all of them.
const MaxGRPCMethods = 1000

// A GRPCMetrics counts the calls of one method.
type GRPCMetrics struct {
	statuses            [len(grpcCodes)]atomic.Uint64
	requests, responses atomic.Uint64 // messages
	latency             atomic.Pointer[histogram]
}

// grpcCodes are the labels of gRPC's status codes; the last stands for a call that has
// none, or one that does not exist.
var grpcCodes = func() (names [18]string) {
	for code := range names {
		names[code] = strconv.Itoa(code)
	}
	names[len(names)-1] = none
	return names
}()

// NoGRPCStatus is the status of a call that ended without one.
const NoGRPCStatus = len(grpcCodes) - 1

// GRPC returns the counters of a method, the same ones every time until KeepGRPC drops
// them. When there are MaxGRPCMethods of them, further ones are counted together.
func (m *Metrics) GRPC(name GRPCMethod) *GRPCMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.grpc[name]; c != nil {
		return c
	}
	if len(m.grpc) >= MaxGRPCMethods {
		name = OtherGRPC
	}
	c := m.grpc[name]
	if c == nil {
		c = &GRPCMetrics{}
		m.grpc[name] = c
	}
	return c
}

// KeepGRPC drops the counters of every method that is not to stay.
func (m *Metrics) KeepGRPC(stays func(GRPCMethod) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.grpc, func(name GRPCMethod, _ *GRPCMetrics) bool { return !stays(name) })
}

// Timed has the method's times shown, even while there are none.
func (c *GRPCMetrics) Timed() { lazily(&c.latency) }

// Observe counts a call that ended with a status code, and its messages. Budget: 0 allocs.
func (c *GRPCMetrics) Observe(status int, requests, responses uint64) {
	if status < 0 || status > NoGRPCStatus {
		status = NoGRPCStatus
	}
	c.statuses[status].Add(1)
	c.requests.Add(requests)
	c.responses.Add(responses)
}

// Took notes how long the upstream took for a call. Budget: 0 allocs but for the first.
func (c *GRPCMetrics) Took(d time.Duration) { lazily(&c.latency).observe(d) }

func (c *GRPCMetrics) collect(name GRPCMethod, out sink) {
	for code := range c.statuses {
		if n := c.statuses[code].Load(); n > 0 || code == 0 {
			out.counter(grpcRequestsDesc, n, name.Service, name.Method, grpcCodes[code])
		}
	}
	out.counter(grpcMessagesDesc, c.requests.Load(), name.Service, name.Method, "request")
	out.counter(grpcMessagesDesc, c.responses.Load(), name.Service, name.Method, "response")
	out.histogram(grpcDurationDesc, c.latency.Load(), name.Service, name.Method)
}
