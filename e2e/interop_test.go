package e2e

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Each case of the gRPC project's interoperability tests that needs nobody's cloud,
// and a method that it calls; none where the client may give up before a call leaves
// it.
var interopCases = []struct{ name, method string }{
	{"empty_unary", "EmptyCall"},
	{"large_unary", "UnaryCall"},
	{"client_streaming", "StreamingInputCall"},
	{"server_streaming", "StreamingOutputCall"},
	{"ping_pong", "FullDuplexCall"},
	{"empty_stream", "FullDuplexCall"},
	{"timeout_on_sleeping_server", ""},
	{"cancel_after_begin", ""},
	{"cancel_after_first_response", "FullDuplexCall"},
	{"status_code_and_message", "UnaryCall"},
	{"special_status_message", "UnaryCall"},
	{"custom_metadata", "UnaryCall"},
	{"unimplemented_method", "UnimplementedCall"},
	{"unimplemented_service", "UnimplementedCall"},
}

// grpc-go's own client and server find nothing amiss with the gateway between them,
// and every call leaves a record that says HTTP/2.
func TestInteroperabilityOfGRPC(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	cert, up := authority.issue(t, "gate.test"), authority.issue(t, "127.0.0.1")
	plain := companion(t, "grpc-interop-server")
	secure := companion(t, "grpc-interop-server", "-cert", file("up.crt", up.cert), "-key", file("up.key", up.key))
	g := start(t, setup{manifests: cert.secret("cert") + tlsHost("all", "*", "cert", route) +
		mapping("plain", "/", plain, "grpc: true") +
		mapping("secure", "/", "https://"+secure, "grpc: true", "headers: {x-upstream: tls}")})
	ca := file("ca.crt", authority.pem())

	for _, c := range []struct {
		name, addr string
		flags      []string
		tls        string // as the record says
		upstream   string
	}{
		{"cleartext to cleartext", g.clear, nil, "", plain},
		{"TLS to cleartext", g.secure, []string{"-use_tls", "-use_test_ca", "-ca_file", ca, "-server_host_override", "gate.test"}, "TLSv1.3", plain},
		{"cleartext to TLS", g.clear, []string{"-additional_metadata", "x-upstream:tls"}, "", secure},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, port, err := net.SplitHostPort(c.addr)
			must(t, err)
			for _, call := range interopCases {
				from := g.log.size()
				args := append([]string{"grpc-interop-client", "-server_host", host, "-server_port", port, "-test_case", call.name}, c.flags...)
				if out, err := output(t, 30*time.Second, args...); err != nil {
					t.Errorf("%s: %v\n%s", call.name, err, out)
					continue
				}
				if call.method == "" {
					continue
				}
				r := g.log.next(t, from, func(r *record) bool { return filepath.Base(r.Path) == call.method })
				if r.Protocol != "HTTP/2" || r.Stage != "proxy" || r.TLS != c.tls || r.Endpoint != c.upstream {
					t.Errorf("%s: %+v", call.name, r)
				}
			}
		})
	}
}
