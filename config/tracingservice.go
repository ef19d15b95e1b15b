package config

// A TracingService is Ambassador's TracingService: a collector of spans, which requests
// have one, and how it is told of them.
type TracingService struct {
	Meta
	Service     string // [scheme://]host[:port]
	Driver      TraceDriver
	Endpoint    string // path on the collector; "" for the driver's
	Hostname    string // the authority that the collector is asked by; "" for the service's
	Protobuf    bool   // Zipkin's spans as protobuf instead of JSON
	ShortIDs    bool   // trace ids of 64 bits
	ServiceName string // "" for "ambassador"
	Propagation []TraceHeaders
	Sampling    TraceSampling
	Tags        []TraceTag
	StatsName   string
}

// A TraceDriver is a protocol of collectors.
type TraceDriver uint8

// The drivers.
const (
	Zipkin        TraceDriver = iota // version 2 of its API
	OpenTelemetry                    // OTLP over gRPC
	Datadog                          // version 0.4 of its agent's API
)

// TraceHeaders are the headers by which a request tells what trace it belongs to.
type TraceHeaders uint8

// The headers.
const (
	B3             TraceHeaders = iota // x-b3-traceid and its like
	W3CTrace                           // traceparent and tracestate
	DatadogHeaders                     // x-datadog-trace-id and its like
)

// TraceSampling says which requests are traced, in percent: of those that carry
// x-client-trace-id, of all others, and of those that either picks.
type TraceSampling struct{ Client, Random, Overall int }

// A TraceTag is a tag of every span. Its value is Value, or that of a header of the
// request with Value where it has none; without a value there is no tag.
type TraceTag struct {
	Name, Value string
	Header      string // in lower case; "" for none
}
