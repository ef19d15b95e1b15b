package gateway

import (
	"bytes"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"legate/config"
	"legate/routes"
	"legate/telemetry"
	"legate/wire"
)

// A grpcStats is the stage that counts calls of gRPC by service and method, as the Module
// asks. All routes share it.
type grpcStats struct {
	metrics *telemetry.Metrics
	named   map[string]*telemetry.GRPCMetrics // by path
	others  *telemetry.GRPCMetrics
	timed   bool

	// Where all methods are counted: those that were met, by path. Names come from
	// requests, so only what a service has answered for counts, and their number is bounded.
	all bool
	met atomic.Pointer[map[string]*telemetry.GRPCMetrics]
	mu  sync.Mutex // of who adds to met
}

// compileGRPCStats returns nil where the Module does not ask for counters.
func compileGRPCStats(m *config.Module, metrics *telemetry.Metrics) *grpcStats {
	if m == nil || m.GRPCStats == nil {
		return nil
	}
	wish := m.GRPCStats
	s := &grpcStats{metrics: metrics, named: map[string]*telemetry.GRPCMetrics{}, timed: wish.UpstreamStats, all: wish.AllMethods}
	s.others = s.counters(telemetry.OtherGRPC)
	if !wish.AllMethods {
		for _, service := range wish.Services {
			for _, method := range service.Methods {
				s.named["/"+service.Name+"/"+method] = s.counters(telemetry.GRPCMethod{Service: service.Name, Method: method})
			}
		}
	}
	s.met.Store(&map[string]*telemetry.GRPCMetrics{})
	return s
}

func (s *grpcStats) counters(name telemetry.GRPCMethod) *telemetry.GRPCMetrics {
	c := s.metrics.GRPC(name)
	if s.timed {
		c.Timed()
	}
	return c
}

// stays reports whether a method's counters are still wanted.
func (s *grpcStats) stays(name telemetry.GRPCMethod) bool {
	return s != nil && (s.all || name == telemetry.OtherGRPC || s.named["/"+name.Service+"/"+name.Method] != nil)
}

// grpcStats returns nil for a route whose calls are not counted.
func (c *compiler) grpcStats(r *Route) Stage {
	if c.next.grpcStats == nil || r.Kind != routes.Forward {
		return nil
	}
	return c.next.grpcStats
}

// Enter begins to count a call's messages. Budget: 0 allocs.
func (s *grpcStats) Enter(x *Exchange) Verdict {
	if x.Dry || x.web == nil && !isGRPC(x.Req) {
		return Continue
	}
	c := countedStreams.Get().(*countedStream) //nolint:forcetypeassert // nothing else is put in
	c.Stream, c.status = x.stream, telemetry.NoGRPCStatus
	x.stream, x.counted = c, c
	return Continue
}

// Finish counts the call. Budget: 0 allocs, but for a method's first call.
func (s *grpcStats) Finish(x *Exchange) {
	c := x.counted
	if c == nil {
		return
	}
	method := s.of(x, c.status)
	method.Observe(c.status, c.up.messages, c.down.messages)
	if s.timed && x.headAfter > 0 {
		method.Took(x.gateway.clock().Sub(x.sentAt()))
	}
	x.stream, x.counted = c.Stream, nil
	*c = countedStream{}
	countedStreams.Put(c)
}

// unimplemented is gRPC's status for a method that there is not.
const unimplemented = 12

// of returns the counters of the method that was called.
func (s *grpcStats) of(x *Exchange, status int) *telemetry.GRPCMetrics {
	path := x.Req.Path()
	if c := s.named[string(path)]; c != nil {
		return c
	}
	if !s.all {
		return s.others
	}
	if c := (*s.met.Load())[string(path)]; c != nil {
		return c
	}
	if x.headAfter == 0 || status == unimplemented || status == telemetry.NoGRPCStatus {
		return s.others
	}
	return s.meet(path)
}

// meet gives a method counters of its own, as long as there may be more.
func (s *grpcStats) meet(path []byte) *telemetry.GRPCMetrics {
	service, method, ok := bytes.Cut(bytes.TrimPrefix(path, []byte("/")), []byte("/"))
	if !ok || len(path) > maxMethodName || len(service) == 0 || len(method) == 0 || bytes.IndexByte(method, '/') >= 0 {
		return s.others
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	met := *s.met.Load()
	if c := met[string(path)]; c != nil {
		return c
	}
	if len(met) >= telemetry.MaxGRPCMethods {
		return s.others
	}
	next := make(map[string]*telemetry.GRPCMetrics, len(met)+1)
	maps.Copy(next, met)
	c := s.counters(telemetry.GRPCMethod{Service: string(service), Method: string(method)})
	next[string(path)] = c
	s.met.Store(&next)
	return c
}

// maxMethodName bounds what one name may cost.
const maxMethodName = 256

var countedStreams = sync.Pool{New: func() any { return new(countedStream) }}

// A countedStream counts the messages that go through a stream of gRPC, and reads the
// status that a call ends with.
type countedStream struct {
	wire.Stream
	up, down frames
	status   int
}

// ReadBody reads the request's body. Budget: 0 allocs.
func (c *countedStream) ReadBody(p []byte) (int, error) {
	n, err := c.Stream.ReadBody(p)
	c.up.count(p[:n])
	return n, err
}

// WriteHead writes the answer's head, in which the status of a call may be that has no
// other answer. Budget: 0 allocs.
func (c *countedStream) WriteHead(status int, h *wire.Head, e *wire.Edits, length int64) error {
	if status >= 200 {
		c.read(h)
		for i := range e.Adds() {
			if a := &e.Adds()[i]; a.FieldName() == string(nameGRPCStatus) {
				c.set(a.Value)
			}
		}
	}
	return c.Stream.WriteHead(status, h, e, length)
}

// WriteBody writes a part of the answer. Budget: 0 allocs.
func (c *countedStream) WriteBody(p []byte) (int, error) {
	c.down.count(p)
	return c.Stream.WriteBody(p)
}

// End completes the answer. Budget: 0 allocs.
func (c *countedStream) End(trailer *wire.Head) error {
	c.read(trailer)
	return c.Stream.End(trailer)
}

func (c *countedStream) read(h *wire.Head) {
	if h == nil {
		return
	}
	if v, ok := h.Find(string(nameGRPCStatus)); ok {
		c.set(v)
	}
}

func (c *countedStream) set(status []byte) {
	n, err := strconv.Atoi(string(status)) // short: it does not leave the stack
	if err != nil || n < 0 || n >= telemetry.NoGRPCStatus {
		n = telemetry.NoGRPCStatus
	}
	c.status = n
}

// A frames counts messages in a body that comes in pieces cut anywhere.
type frames struct {
	messages uint64
	head     [frameHead]byte
	n        int    // bytes of head that are there
	left     uint32 // of the message that is passing
}

// count looks at the next piece of the body. Budget: 0 allocs.
func (f *frames) count(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(int64(f.left), int64(len(p)))
			f.left -= uint32(n) //nolint:gosec // at most what is left
			p = p[n:]
			continue
		}
		n := copy(f.head[f.n:], p)
		f.n += n
		p = p[n:]
		if f.n == frameHead {
			f.n = 0
			f.messages++
			f.left = uint32(f.head[1])<<24 | uint32(f.head[2])<<16 | uint32(f.head[3])<<8 | uint32(f.head[4])
		}
	}
}
