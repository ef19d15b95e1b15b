package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A callee is grpc-go's test service, as far as it is asked here.
type callee struct {
	testpb.UnimplementedTestServiceServer
	left chan struct{} // told when a call that waited for its end has met it
}

func bytesOf(n int) *testpb.Payload { return &testpb.Payload{Body: make([]byte, n)} }

// UnaryCall answers with as many bytes as are asked for, or with the status that is.
func (s *callee) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if st := in.GetResponseStatus(); st != nil {
		if st.GetMessage() == "wait" {
			<-ctx.Done()
			s.left <- struct{}{}
		}
		return nil, status.Error(codes.Code(st.GetCode()), st.GetMessage())
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-received", fmt.Sprint(len(in.GetPayload().GetBody())))); err != nil {
		return nil, err
	}
	return &testpb.SimpleResponse{Payload: bytesOf(int(in.GetResponseSize()))}, nil
}

// StreamingInputCall answers with the sum of what came.
func (s *callee) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	sum := 0
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(in.GetPayload().GetBody())
	}
}

// StreamingOutputCall answers with a message for each size that is asked for.
func (s *callee) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range in.GetResponseParameters() {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: bytesOf(int(p.GetSize()))}); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall echoes every message at once.
func (s *callee) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if string(in.GetPayload().GetBody()) == "enough" { // before the client has said all
			return status.Error(codes.ResourceExhausted, "enough")
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// serveGRPC starts a gRPC service and returns it with its address.
func serveGRPC(t testing.TB, opts ...grpc.ServerOption) (s *callee, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s = &callee{left: make(chan struct{}, 100)}
	srv := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(16<<20))...)
	testpb.RegisterTestServiceServer(srv, s)
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Stop()
		done.Wait()
	})
	return s, ln.Addr().String()
}

// callGRPC returns a client of the gateway.
func (g *gateway) callGRPC(t testing.TB, secure bool) testpb.TestServiceClient {
	t.Helper()
	addr, creds := g.clear, insecure.NewCredentials()
	if secure {
		addr = g.secure
		creds = credentials.NewTLS(&tls.Config{ServerName: "gate.test", InsecureSkipVerify: true, VerifyConnection: verifyChain})
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

const grpcPrefix = "/grpc.testing.TestService/"

// asIs is what a Mapping of gRPC says beside where it leads.
var asIs = []string{"grpc: true", `rewrite: ""`}

func grpcMapping(name, prefix, addr string, more ...string) string {
	return mapping(name, prefix, addr, append(slices.Clone(asIs), more...)...)
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	pair := authority.issue(t, "grpc.test").pair
	clear, clearAddr := serveGRPC(t)
	sealed, sealedAddr := serveGRPC(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	for _, row := range []struct {
		name    string
		secure  bool // towards the gateway
		service *callee
		addr    string
	}{
		{"in the clear", false, clear, clearAddr},
		{"over TLS", true, sealed, "https://" + sealedAddr},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{manifests: everyone + authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
				grpcMapping("all", "/", row.addr, "timeout_ms: 20000")})
			tryGRPC(t, g, g.callGRPC(t, row.secure), row.service)
		})
	}
}

// tryGRPC makes every kind of call.
func tryGRPC(t *testing.T, g *gateway, c testpb.TestServiceClient, s *callee) {
	t.Helper()
	ctx := t.Context()
	for _, size := range []int{0, 1, 1000, 100_000, 4 << 20} {
		var trailer metadata.MD
		out, err := c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: int32(size), Payload: bytesOf(size)}, grpc.Trailer(&trailer))
		if err != nil || len(out.GetPayload().GetBody()) != size || !slices.Equal(trailer.Get("x-received"), []string{fmt.Sprint(size)}) {
			t.Errorf("a call of %d bytes: got %d bytes, %v %v", size, len(out.GetPayload().GetBody()), err, trailer)
		}
	}
	_, err := c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "größer than 100%"}})
	if st := status.Convert(err); st.Code() != codes.FailedPrecondition || st.Message() != "größer than 100%" {
		t.Errorf("a failure: got %v", err)
	}
	if _, err := c.UnimplementedCall(ctx, &testpb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call that is not there: got %v", err)
	}

	up, err := c.StreamingInputCall(ctx)
	must(t, err)
	for range 100 {
		must(t, up.Send(&testpb.StreamingInputCallRequest{Payload: bytesOf(10_000)}))
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 1_000_000 {
		t.Errorf("messages up: got %v %v", sum, err)
	}

	down, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{ResponseParameters: slices.Repeat([]*testpb.ResponseParameters{{Size: 10_000}}, 100)})
	must(t, err)
	n := 0
	for ; ; n++ {
		if _, err = down.Recv(); err != nil {
			break
		}
	}
	if n != 100 || !errors.Is(err, io.EOF) {
		t.Errorf("messages down: got %d, %v", n, err)
	}
	tryDuplex(t, c)

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	wait := &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 1, Message: "wait"}}
	// The deadline travels, so two clocks keep it: where the service's runs out first, it
	// resets the stream, and the client hears of that before its own has.
	if _, err := c.UnaryCall(short, wait); status.Code(err) != codes.DeadlineExceeded && !(status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "remote reset")) {
		t.Errorf("a deadline: got %v", err)
	}
	<-s.left // the service has learnt of it
	given, giveUp := context.WithCancel(ctx)
	time.AfterFunc(50*time.Millisecond, giveUp)
	if _, err := c.UnaryCall(given, wait); status.Code(err) != codes.Canceled {
		t.Errorf("a call that is given up: got %v", err)
	}
	<-s.left
	g.log.next(t, 0, func(r *record) bool { return r.Reason == "client_gone" })
}

// tryDuplex holds a conversation, each message of which waits for the other's.
func tryDuplex(t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
	both, err := c.FullDuplexCall(t.Context())
	must(t, err)
	for i := range 100 {
		text := fmt.Sprint("message ", i)
		must(t, both.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(text)}}))
		if in, err := both.Recv(); err != nil || string(in.GetPayload().GetBody()) != text {
			t.Fatalf("got %v %v, want %q", in, err, text)
		}
	}
	must(t, both.CloseSend())
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at its end: got %v", err)
	}

	both, err = c.FullDuplexCall(t.Context())
	must(t, err)
	must(t, both.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte("enough")}}))
	if _, err := both.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an answer before the request's end: got %v", err)
	}
}

// Ten thousand messages on one stream while the configuration changes: none is lost, and
// other calls come through as well.
func TestGRPCReload(t *testing.T) {
	t.Parallel()
	_, addr := serveGRPC(t)
	manifests := func(n int) string {
		return everyone + grpcMapping("all", "/", addr, "timeout_ms: 20000", fmt.Sprintf(`add_response_headers: {x-gen: "%d"}`, n))
	}
	g := start(t, setup{args: []string{"--log-level", "warn"}, manifests: manifests(0)})
	c := g.callGRPC(t, false)
	both, err := c.FullDuplexCall(t.Context())
	must(t, err)
	var stop atomic.Bool
	var beside sync.WaitGroup
	beside.Go(func() {
		for n := 1; !stop.Load(); n++ {
			g.write(manifests(n))
			time.Sleep(10 * time.Millisecond)
		}
	})
	beside.Go(func() {
		for !stop.Load() {
			if _, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseSize: 100}); err != nil {
				t.Errorf("a call beside: %v", err)
				return
			}
		}
	})
	const messages = 10_000
	before := g.generation()
	beside.Go(func() {
		for i := range messages {
			if err := both.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: fmt.Append(nil, i)}}); err != nil {
				t.Errorf("message %d: %v", i, err)
				return
			}
		}
	})
	for i := range messages {
		in, err := both.Recv()
		if err != nil || string(in.GetPayload().GetBody()) != fmt.Sprint(i) {
			t.Fatalf("message %d: got %v %v", i, in, err)
		}
	}
	eventually(t, patience(10*time.Second), "the configuration changes", func() bool { return g.generation() > before+2 })
	must(t, both.CloseSend())
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at its end: got %v", err)
	}
	stop.Store(true)
	beside.Wait()
}

// A service whose connections grow old at once says goodbye all the time: no call is lost.
func TestGRPCGoAway(t *testing.T) {
	t.Parallel()
	_, addr := serveGRPC(t, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 30 * time.Millisecond, MaxConnectionAgeGrace: 10 * time.Second}))
	g := start(t, setup{args: []string{"--log-level", "warn"}, manifests: everyone + grpcMapping("all", "/", addr, "timeout_ms: 20000")})
	var calls sync.WaitGroup
	var made atomic.Int64
	end := time.Now().Add(2 * time.Second)
	for range 8 {
		c := g.callGRPC(t, false)
		calls.Go(func() {
			for time.Now().Before(end) {
				if _, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseSize: 1000, Payload: bytesOf(1000)}); err != nil {
					t.Errorf("after %d calls: %v", made.Load(), err)
					return
				}
				made.Add(1)
			}
		})
	}
	calls.Wait()
	if made.Load() < 100 {
		t.Errorf("only %d calls were made", made.Load())
	}
}

// Connections are made as an endpoint's streams run out.
func TestGRPCOneStream(t *testing.T) {
	t.Parallel()
	_, addr := serveGRPC(t, grpc.MaxConcurrentStreams(1))
	g := start(t, setup{manifests: everyone + grpcMapping("all", "/", addr, "timeout_ms: 20000")})
	const talks = 10
	var open []grpc.BidiStreamingClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]
	c := g.callGRPC(t, false)
	for range talks {
		both, err := c.FullDuplexCall(t.Context())
		must(t, err)
		must(t, both.Send(&testpb.StreamingOutputCallRequest{Payload: bytesOf(10)}))
		if _, err := both.Recv(); err != nil {
			t.Fatal(err)
		}
		open = append(open, both)
	}
	if _, text := g.operator("/metrics"); !strings.Contains(text, fmt.Sprintf(`state="active",upstream="%s"} %d`, label(addr), talks)) {
		t.Errorf("want %d connections to be in use:\n%s", talks, text)
	}
	for _, both := range open {
		must(t, both.CloseSend())
		if _, err := both.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	eventually(t, patience(5*time.Second), "the connections rest", func() bool {
		_, text := g.operator("/metrics")
		return strings.Contains(text, fmt.Sprintf(`state="idle",upstream="%s"} %d`, label(addr), talks))
	})
}

// label is an address as the label of an upstream.
func label(addr string) string { return strings.NewReplacer(".", "_", ":", "_").Replace(addr) }

// A Mapping's timeout counts from the request's end: it ends a call that has been made,
// and no conversation. What does not speak HTTP/2 is said to.
func TestGRPCFailures(t *testing.T) {
	t.Parallel()
	s, addr := serveGRPC(t)
	plainTLS := serveTLS(t, "grpc.test", echoHandler("no HTTP/2"))
	g := start(t, setup{manifests: everyone +
		grpcMapping("all", grpcPrefix, addr, "timeout_ms: 300") +
		grpcMapping("h1", "/h1/", echo(t, "no HTTP/2")) +
		grpcMapping("h1-tls", "/h1-tls/", "https://"+plainTLS)})
	c := g.callGRPC(t, false)
	_, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Message: "wait"}})
	if st := status.Convert(err); st.Code() != codes.Unavailable || st.Message() != "upstream request timeout" {
		t.Errorf("got %v", err)
	}
	<-s.left
	g.log.next(t, 0, func(r *record) bool { return r.verdict == verdict{"proxy", "upstream_timeout", 200} })
	both, err := c.FullDuplexCall(t.Context())
	must(t, err)
	for range 2 {
		must(t, both.Send(&testpb.StreamingOutputCallRequest{Payload: bytesOf(10)}))
		if _, err := both.Recv(); err != nil {
			t.Errorf("a conversation was cut: %v", err)
		}
		time.Sleep(400 * time.Millisecond) // past the timeout
	}
	for _, target := range []string{"/h1/", "/h1-tls/"} {
		a := g.send(t, request{target: target})
		if want := (verdict{"proxy", "upstream_not_http2", 503}); g.verdict(t, a) != want {
			t.Errorf("%s: got %v, want %v", target, g.verdict(t, a), want)
		}
	}
}
