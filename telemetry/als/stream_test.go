package als

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	service "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"

	"legate/config"
	"legate/telemetry"
	"legate/telemetry/relay"
	"legate/upstream"
	"legate/wire"
)

// patient is how long a test waits for what must come.
const patient = 20 * time.Second

// A collector is a real log service. It ends every call after a number of messages.
type collector struct {
	service.UnimplementedAccessLogServiceServer
	messages chan *service.StreamAccessLogsMessage
	ended    chan struct{}
	after    int // messages after which it ends a call; 0 for never
}

func (c *collector) StreamAccessLogs(s grpc.ClientStreamingServer[service.StreamAccessLogsMessage, service.StreamAccessLogsResponse]) error {
	for n := 1; ; n++ {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			c.ended <- struct{}{}
			return s.SendAndClose(&service.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		c.messages <- m
		if n == c.after {
			return s.SendAndClose(&service.StreamAccessLogsResponse{})
		}
	}
}

func (c *collector) next(t *testing.T) *service.StreamAccessLogsMessage {
	t.Helper()
	select {
	case m := <-c.messages:
		return m
	case <-time.After(patient):
		t.Fatal("no message")
		return nil
	}
}

// serve serves a log service on a port of its own.
func serve(t *testing.T, after int) (*collector, *grpc.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{messages: make(chan *service.StreamAccessLogsMessage, 100), ended: make(chan struct{}, 10), after: after}
	s := grpc.NewServer()
	service.RegisterAccessLogServiceServer(s, c)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	t.Cleanup(func() { s.Stop(); done.Wait() })
	return c, s, ln.Addr().String()
}

// reach opens calls to addr as the gateway does.
type reach struct{ *upstream.Upstream }

func (r reach) Open() (wire.Link, error) {
	link, _, err := r.Upstream.Open(time.Now(), upstream.Choice{})
	return link, err
}

func to(t *testing.T, addr string) reach {
	t.Helper()
	opts := upstream.Options{Now: time.Now}
	resolver, err := upstream.NewResolver(opts)
	if err != nil {
		t.Fatal(err)
	}
	spec, problems := upstream.NewSpecs(nil, &config.World{}, opts).OfCollector(&config.Meta{Name: "log"}, addr, "", true)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	u := upstream.New(spec, resolver)
	u.Start()
	t.Cleanup(func() { u.Retire(); resolver.Close() })
	return reach{u}
}

func start(t *testing.T, s Settings, addr string) *Log {
	t.Helper()
	l := New(s, to(t, addr), relay.Options{Counts: relay.Counts{Sent: new(telemetry.Counter), Failed: new(telemetry.Counter), Dropped: new(telemetry.Counter)}})
	l.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

// A log is one call, whose first message says whose it is; it ends in order.
func TestStream(t *testing.T) {
	t.Parallel()
	c, _, addr := serve(t, 0)
	l := start(t, Settings{Name: "log", Node: "pod-1", Cluster: "ambassador-default", Version: "1.2", Authority: "log:1", FlushAt: 1}, addr)
	l.Append(full())
	first := c.next(t)
	id := first.Identifier
	if id.GetLogName() != "log" || id.GetNode().GetId() != "pod-1" || id.GetNode().GetCluster() != "ambassador-default" || id.GetNode().GetUserAgentName() != "legate" || id.GetNode().GetUserAgentVersion() != "1.2" {
		t.Errorf("identified as %v", id)
	}
	if logs := first.GetHttpLogs().GetLogEntry(); len(logs) != 1 || logs[0].Request.Path != "/orders/7" {
		t.Errorf("told of %v", logs)
	}
	l.Append(full())
	if second := c.next(t); second.Identifier != nil || len(second.GetHttpLogs().GetLogEntry()) != 1 {
		t.Errorf("then told of %v", second)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-c.ended:
	case <-time.After(patient):
		t.Error("the call did not end in order")
	}
}

// Entries that come together travel together, be they many.
func TestStreamBatches(t *testing.T) {
	t.Parallel()
	c, _, addr := serve(t, 0)
	l := start(t, Settings{Name: "log", TCP: true, Interval: time.Hour, FlushAt: 1 << 20}, addr)
	const many = 3000 // more than the windows of a call and its connection take at once
	for range many {
		l.Append(full())
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	n := 0
	for n < many {
		n += len(c.next(t).GetTcpLogs().GetLogEntry())
	}
	if n != many {
		t.Errorf("told of %d, want %d", n, many)
	}
}

// A service that ends a call gets another one. What is on its way meanwhile may be lost.
func TestStreamAgain(t *testing.T) {
	t.Parallel()
	c, _, addr := serve(t, 1)
	l := start(t, Settings{Name: "log", FlushAt: 1}, addr)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patient)
	for calls := 0; calls < 3; {
		select {
		case <-tick.C:
			l.Append(full())
		case m := <-c.messages:
			calls++
			if m.Identifier.GetLogName() != "log" {
				t.Errorf("a call begins with %v", m)
			}
		case <-limit:
			t.Fatalf("%d calls", calls)
		}
	}
}

// A service that comes back is told again, and what came meanwhile is counted.
func TestStreamGone(t *testing.T) {
	t.Parallel()
	c, s, addr := serve(t, 0)
	l := start(t, Settings{Name: "log", FlushAt: 1}, addr)
	l.Append(full())
	c.next(t)
	s.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patient)
	failed := l.relay.Counts().Failed
	for failed.Value() == 0 {
		select {
		case <-tick.C:
			l.Append(full())
		case <-limit:
			t.Fatal("nothing is lost, although nobody is there")
		}
	}
}
