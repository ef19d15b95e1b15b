package als

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	service "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"legate/decision"
	"legate/wire"
)

// full has everything that an entry can have.
func full() *Entry {
	at := netip.MustParseAddrPort
	return &Entry{
		Start: time.Unix(1_700_000_000, 123_000_000), Duration: 1500 * time.Millisecond,
		Received: 1, Sent: 2, SentAll: 3, Answered: 4, AnsweredAll: 5, Began: 6, Replied: 7 * time.Second,
		Client: at("192.0.2.1:0"), Peer: at("[::ffff:10.0.0.1]:4711"), Local: at("[2001:db8::1]:8443"),
		Endpoint: at("10.1.2.3:8080"), From: at("10.0.0.2:5000"),
		TLS:        &wire.TLSInfo{Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, ServerName: "shop.example.com"},
		ServerCert: &wire.CertFacts{Subject: []byte("CN=shop"), Issuer: []byte("CN=ca"), DNS: []string{"shop.example.com"}, URIs: []string{"spiffe://a/b"}},
		Upstream:   "orders_shop", Route: "orders.shop", Flag: "UF", Failure: "no certificate", Details: "dial_refused", Attempts: 2,
		RequestID: []byte("id-1"), BytesIn: 10, BytesOut: 20, Major: 2, Method: wire.POST,
		Scheme: []byte("https"), Authority: []byte("shop.example.com"), Path: []byte("/orders/7?token=secret"), OriginalPath: []byte("/o/7?token=secret"),
		UserAgent: []byte("curl\xff"), Referer: []byte("https://a/?token=secret"), ForwardedFor: []byte("192.0.2.1"), Status: 503,
		RequestValues: []Value{{"x-a", []byte("1")}}, AnswerValues: []Value{{"x-b", []byte("2")}}, Tails: []Value{{"grpc-status", []byte("0")}},
	}
}

const fullCommon = `
  downstream_remote_address {socket_address {address: "192.0.2.1" port_value: 0}}
  downstream_local_address {socket_address {address: "2001:db8::1" port_value: 8443}}
  downstream_direct_remote_address {socket_address {address: "10.0.0.1" port_value: 4711}}
  tls_properties {
    tls_version: TLSv1_3 tls_cipher_suite {value: 4865} tls_sni_hostname: "shop.example.com"
    local_certificate_properties {subject: "CN=shop" issuer: "CN=ca" subject_alt_name {uri: "spiffe://a/b"} subject_alt_name {dns: "shop.example.com"}}
  }
  start_time {seconds: 1700000000 nanos: 123000000} duration {seconds: 1 nanos: 500000000}
  time_to_last_rx_byte {nanos: 1} time_to_first_upstream_tx_byte {nanos: 2} time_to_last_upstream_tx_byte {nanos: 3}
  time_to_first_upstream_rx_byte {nanos: 4} time_to_last_upstream_rx_byte {nanos: 5}
  time_to_first_downstream_tx_byte {nanos: 6} time_to_last_downstream_tx_byte {seconds: 7}
  upstream_remote_address {socket_address {address: "10.1.2.3" port_value: 8080}}
  upstream_local_address {socket_address {address: "10.0.0.2" port_value: 5000}}
  upstream_cluster: "orders_shop" route_name: "orders.shop" response_flags {upstream_connection_failure: true}
  upstream_transport_failure_reason: "no certificate" upstream_request_attempt_count: 2 stream_id: "id-1"
`

// What is encoded is, to who has Envoy's own types, what was meant.
func TestEncode(t *testing.T) {
	t.Parallel()
	unauthorized := full()
	unauthorized.Flag = "UAEX"
	for name, tc := range map[string]struct {
		entry *Entry
		tcp   bool
		got   proto.Message
		want  string
	}{
		"a request": {full(), false, &data.HTTPAccessLogEntry{}, "common_properties {" + fullCommon + ` access_log_type: DownstreamEnd} protocol_version: HTTP2
			request {request_method: POST scheme: "https" authority: "shop.example.com" path: "/orders/7" original_path: "/o/7" user_agent: "curl\357\277\275" referer: "https://a/"
				forwarded_for: "192.0.2.1" request_id: "id-1" request_body_bytes: 10 request_headers {key: "x-a" value: "1"}}
			response {response_code {value: 503} response_body_bytes: 20 response_code_details: "dial_refused"
				response_headers {key: "x-b" value: "2"} response_trailers {key: "grpc-status" value: "0"}}`},
		"a connection": {full(), true, &data.TCPAccessLogEntry{}, "common_properties {" + fullCommon + ` access_log_type: TcpConnectionEnd connection_termination_details: "dial_refused"}
			connection_properties {received_bytes: 10 sent_bytes: 20}`},
		"an empty request":    {&Entry{Start: time.Unix(1, 0)}, false, &data.HTTPAccessLogEntry{}, `common_properties {start_time {seconds: 1} access_log_type: DownstreamEnd} request {} response {}`},
		"an empty connection": {&Entry{Start: time.Unix(1, 0)}, true, &data.TCPAccessLogEntry{}, `common_properties {start_time {seconds: 1} access_log_type: TcpConnectionEnd} connection_properties {}`},
		"one that another service refused": {unauthorized, true, &data.TCPAccessLogEntry{},
			"common_properties {" + strings.Replace(fullCommon, "upstream_connection_failure: true", "unauthorized_details {reason: EXTERNAL_SERVICE}", 1) +
				` access_log_type: TcpConnectionEnd connection_termination_details: "dial_refused"} connection_properties {received_bytes: 10 sent_bytes: 20}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b buffer
			var batch []byte
			var kept proto.Message
			if tc.tcp {
				var logs service.StreamAccessLogsMessage_TCPAccessLogEntries
				batch = b.tcp(b.tcp(nil, tc.entry), tc.entry)
				decode(t, batch, &logs)
				kept = logs.LogEntry[len(logs.LogEntry)-1]
			} else {
				var logs service.StreamAccessLogsMessage_HTTPAccessLogEntries
				batch = b.http(b.http(nil, tc.entry), tc.entry)
				decode(t, batch, &logs)
				kept = logs.LogEntry[len(logs.LogEntry)-1]
			}
			if err := prototext.Unmarshal([]byte(tc.want), tc.got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(kept, tc.got) {
				t.Errorf("got  %v\nwant %v", kept, tc.got)
			}
			if bytes.Contains(batch, []byte("secret")) {
				t.Errorf("a query is told: %q", batch)
			}
		})
	}
}

func decode(t *testing.T, b []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		t.Errorf("nobody knows %q", unknown)
	}
}

// Every flag that a reason has is one that Envoy's log service knows.
func TestFlags(t *testing.T) {
	t.Parallel()
	for r := range decision.NumReasons {
		if flag := r.Flag(); flag != "" && flag != "-" && flagNumber(flag) == 0 {
			t.Errorf("%v has the flag %q", r, flag)
		}
	}
	for flag, n := range flags {
		if (&data.ResponseFlags{}).ProtoReflect().Descriptor().Fields().ByNumber(n) == nil {
			t.Errorf("%s stands for field %d, which there is not", flag, n)
		}
	}
}

// Every method has its number.
func TestMethods(t *testing.T) {
	t.Parallel()
	for m, n := range methods {
		want := "METHOD_UNSPECIFIED"
		if m > 0 {
			want = wire.Method(m).String()
		}
		if got := fmt.Sprint((&data.HTTPRequestProperties{RequestMethod: 0}).RequestMethod.Descriptor().Values().Get(int(n)).Name()); got != want {
			t.Errorf("%s has the number of %s", want, got)
		}
	}
}

func TestAllocsEncode(t *testing.T) {
	var b lent
	e := full()
	if n := testing.AllocsPerRun(1000, func() {
		b.out = b.http(b.out[:0], e)
		b.out = b.tcp(b.out, e)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
