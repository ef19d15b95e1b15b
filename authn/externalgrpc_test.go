package authn

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"legate/wire"
)

// A checker is a service of gRPC that answers as it is told.
type checker struct {
	authv3.UnimplementedAuthorizationServer
	answer *authv3.CheckResponse
	err    error
	seen   chan *authv3.CheckRequest
}

func (s *checker) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.seen <- r
	return s.answer, s.err
}

// checks is an AuthService that such a service stands behind.
func checks(t *testing.T, s *checker, spec ...string) Filter {
	t.Helper()
	s.seen = make(chan *authv3.CheckRequest, 16)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	authv3.RegisterAuthorizationServer(srv, s)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	spec = append([]string{"auth_service: auth:50051", "proto: grpc", "protocol_version: v3"}, spec...)
	f, problems := authServices(t, asking(t, map[string]string{"auth": ln.Addr().String()}), authService("a", spec...))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return f
}

func TestQuestionToAServiceOfGRPC(t *testing.T) {
	s := &checker{answer: &authv3.CheckResponse{}}
	f := checks(t, s, "include_body: {max_bytes: 4, allow_partial: true}", "path_prefix: /ignored", "allowed_request_headers: [ignored]", "add_auth_headers: {ignored: '1'}")
	c := newCall("POST", "/api/x?y=1&z", "accept", "a", "x-two", "1", "cookie", "a=1", "x-two", "2", "cookie", "b=2", "x-bytes", "caf\xe9", "content-length", "6")
	c.Head.Length, c.Head.NoBody, c.Secure, c.Body = 6, false, true, aBody("secret")
	spiffe, _ := url.Parse("spiffe://shop/cart")
	c.Peer.TLS = &wire.TLSInfo{Chain: []*x509.Certificate{{URIs: []*url.URL{spiffe}, DNSNames: []string{"cart"}}}}
	c.Peer.Proxy = &wire.ProxyInfo{Destination: netip.MustParseAddrPort("198.51.100.1:443")}
	c.Service = &Service{ContextExtensions: map[string]string{"tier": "gold"}}
	if f.Filter(c) != Allow {
		t.Fatalf("refused: %s: %v", said(c), c.Reply.Err)
	}
	a := (<-s.seen).Attributes
	h := a.Request.Http
	for name, row := range map[string][2]string{
		"source":      {a.Source.Address.GetSocketAddress().Address + ":" + fmt.Sprint(a.Source.Address.GetSocketAddress().GetPortValue()), "203.0.113.7:4711"},
		"principal":   {a.Source.Principal, "spiffe://shop/cart"},
		"destination": {a.Destination.Address.GetSocketAddress().Address + ":" + fmt.Sprint(a.Destination.Address.GetSocketAddress().GetPortValue()), "198.51.100.1:443"},
		"time":        {a.Request.Time.AsTime().Format(time.RFC3339Nano), c.Now.UTC().Format(time.RFC3339Nano)},
		"method":      {h.Method, "POST"},
		"path":        {h.Path, "/api/x?y=1&z"},
		"host":        {h.Host, "shop.example:8443"},
		"scheme":      {h.Scheme, "https"},
		"protocol":    {h.Protocol, "HTTP/1.1"},
		"size":        {fmt.Sprint(h.Size), "6"},
		"body":        {h.Body, "secr"},
		"context":     {fmt.Sprint(a.ContextExtensions), "map[tier:gold]"},
	} {
		if row[0] != row[1] {
			t.Errorf("%s: got %q, want %q", name, row[0], row[1])
		}
	}
	want := map[string]string{
		":method": "POST", ":path": "/api/x?y=1&z", ":authority": "shop.example:8443", ":scheme": "https", "accept": "a", "x-two": "1,2", "cookie": "a=1; b=2",
		"x-bytes": "caf!", "content-length": "6", "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "http", "x-envoy-auth-partial-body": "true",
	}
	if !maps.Equal(h.Headers, want) {
		t.Errorf("headers:\ngot  %v\nwant %v", h.Headers, want)
	}
	if h.Id == "" {
		t.Error("no id")
	}

	c = newCall("GET", "/")
	if f.Filter(c) != Allow {
		t.Fatal("refused")
	}
	b := (<-s.seen).Attributes.Request.Http
	if b.Id == h.Id || b.Size != -1 || b.Body != "" || b.Headers["x-envoy-auth-partial-body"] != "" {
		t.Errorf("without a body: %v", b)
	}
	c = newCall("POST", "/")
	c.Head.NoBody, c.Head.Length, c.Body = false, wire.LengthUnknown, aBody("\xff\x00")
	f.Filter(c)
	if b := (<-s.seen).Attributes.Request.Http; string(b.RawBody) != "\xff\x00" || b.Body != "" || b.Size != -1 || b.Headers["x-envoy-auth-partial-body"] != "false" {
		t.Errorf("of bytes: %v", b)
	}
}

func set(name, value string, change ...func(*corev3.HeaderValueOption)) *corev3.HeaderValueOption {
	o := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	for _, f := range change {
		f(o)
	}
	return o
}

func appending(o *corev3.HeaderValueOption) { o.Append = wrapperspb.Bool(true) }  //nolint:staticcheck // because services use it
func replacing(o *corev3.HeaderValueOption) { o.Append = wrapperspb.Bool(false) } //nolint:staticcheck // because services use it

func acting(a corev3.HeaderValueOption_HeaderAppendAction) func(*corev3.HeaderValueOption) {
	return func(o *corev3.HeaderValueOption) { o.AppendAction = a }
}

func ok(r *authv3.OkHttpResponse) *authv3.CheckResponse {
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: r}}
}

func headers(list ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	return ok(&authv3.OkHttpResponse{Headers: list})
}

func denied(code int32, r *authv3.DeniedHttpResponse) *authv3.CheckResponse {
	s := &authv3.CheckResponse{Status: &status.Status{Code: code}}
	if r != nil {
		s.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: r}
	}
	return s
}

func TestAnswerOfAServiceOfGRPC(t *testing.T) {
	const plain = "foo: foo|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"
	for _, row := range []struct {
		name   string
		answer *authv3.CheckResponse
		err    error
		out    Outcome
		want   string // what the upstream receives, or the client
	}{
		{"an empty answer lets pass", &authv3.CheckResponse{}, nil, Allow, plain},
		{"append where there is one, and where there is none", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("Foo", "bar", appending), set("baz", "bar", appending)}}), nil, Allow,
			"baz: bar|foo: foo,bar|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"append to cookies", headers(set("cookie", "a=1"), set("cookie", "b=2", appending), set("Cookie", "c=3", appending)), nil, Allow,
			"cookie: a=1; b=2; c=3|" + plain},
		{"overwrite by default", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("foo", "bar"), set("new", "1", replacing)}}), nil, Allow,
			"foo: bar|new: 1|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"add if absent: what is there stays", headers(set("foo", "new", acting(addsIfAbsent)), set("a", "1", acting(addsIfAbsent)), set("a", "2", acting(addsIfAbsent))), nil, Allow,
			"a: 1|" + plain},
		{"overwrite if it exists: what is not there is not added", headers(set("foo", "new", acting(replacesOnly)), set("a", "1", acting(replacesOnly))), nil, Allow,
			"foo: new|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"overwrite or add", headers(set("foo", "new", acting(replaces)), set("a", "1", acting(replaces)), set("a", "2", acting(replaces))), nil, Allow,
			"a: 2|foo: new|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"append or add is what is said by default, which is overwrite", headers(set("foo", "new", acting(appends))), nil, Allow, "foo: new|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"append counts before append_action", headers(set("foo", "new", appending, acting(addsIfAbsent)), set("a", "1", replacing, acting(replacesOnly))), nil, Allow,
			"a: 1|foo: foo,new|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"one after the other", headers(set("a", "1"), set("a", "2", appending), set("a", "3", acting(addsIfAbsent)), set("foo", "x", acting(replacesOnly)), set("foo", "y", appending)), nil, Allow,
			"a: 1,2|foo: x,y|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"nothing that frames the message or its first line", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
			set("content-length", "7"), set(":path", "/admin"), set("host", "evil"), set("Transfer-Encoding", "chunked"), set("connection", "x")},
			HeadersToRemove: []string{":path", "host", "content-length"}}), nil, Allow, plain},
		{"headers to remove", ok(&authv3.OkHttpResponse{HeadersToRemove: []string{"FOO", "x-forwarded-for", "missing"}}), nil, Allow, "x-forwarded-proto: http"},
		{"a value in bytes", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "foo", RawValue: []byte("r\xe9w")}}}}), nil, Allow,
			"foo: r\xe9w|x-forwarded-for: 203.0.113.7|x-forwarded-proto: http"},
		{"a name that is none", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("f oo", "bar")}}), nil, Deny, "auth_error 403 |"},
		{"a value that begins another line", ok(&authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("foo", "a\r\nx-admin: 1")}}), nil, Deny, "auth_error 403 |"},
		{"another line for the client", ok(&authv3.OkHttpResponse{ResponseHeadersToAdd: []*corev3.HeaderValueOption{set("foo", "a\nb")}}), nil, Deny, "auth_error 403 |"},
		{"another line in a refusal", denied(7, &authv3.DeniedHttpResponse{Headers: []*corev3.HeaderValueOption{set("foo", "a\nb")}}), nil, Deny, "auth_error 403 |"},
		{"refused in the service's words, unfiltered", denied(16, &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 401}, Body: "{}",
			Headers: []*corev3.HeaderValueOption{set("Content-Type", "application/json"), set("x-any", "1"), set("Set-Cookie", "a=1"), set("set-cookie", "b=2"), set("content-length", "99")}}), nil, Deny,
			"auth_denied 401 application/json|x-any: 1|set-cookie: a=1|set-cookie: b=2|{}"},
		{"a refusal's headers, by append_action", denied(7, &authv3.DeniedHttpResponse{Headers: []*corev3.HeaderValueOption{
			set("a", "1"), set("A", "2"), set("a", "3", acting(addsIfAbsent)), set("b", "4", acting(addsIfAbsent)), set("c", "5", acting(replacesOnly)),
			set("d", "6"), set("d", "7"), set("d", "8", acting(replacesOnly)), set("e", "9"), set("e", "10", acting(replaces)), set("f", "11", acting(replaces)), set("www-authenticate", "x"), set("www-authenticate", "y", acting(replaces))}}), nil, Deny,
			"auth_denied 403 |a: 1|a: 2|b: 4|d: 8|e: 10|f: 11|www-authenticate: y|"},
		{"a refusal's headers, by append", denied(7, &authv3.DeniedHttpResponse{Headers: []*corev3.HeaderValueOption{
			set("a", "1"), set("a", "2", appending), set("b", "3"), set("b", "4", replacing)}}), nil, Deny, "auth_denied 403 |a: 1|a: 2|b: 4|"},
		{"a refusal's type", denied(7, &authv3.DeniedHttpResponse{Body: "no", Headers: []*corev3.HeaderValueOption{
			set("content-type", "a/b", acting(addsIfAbsent)), set("content-type", "c/d", acting(replacesOnly))}}), nil, Deny, "auth_denied 403 c/d|no"},
		{"a refusal's type, where the body has one", denied(7, &authv3.DeniedHttpResponse{Body: "no", Headers: []*corev3.HeaderValueOption{set("content-type", "a/b", acting(addsIfAbsent))}}), nil, Deny,
			"auth_denied 403 text/plain|no"},
		{"a refusal's type without a body", denied(7, &authv3.DeniedHttpResponse{Headers: []*corev3.HeaderValueOption{
			set("content-type", "c/d", acting(replacesOnly)), set("content-type", "a/b", acting(addsIfAbsent))}}), nil, Deny, "auth_denied 403 a/b|"},
		{"refused with 200", denied(7, &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 200}, Body: "fine"}), nil, Deny, "auth_denied 200 text/plain|fine"},
		{"refused with 503", denied(7, &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 503}}), nil, Deny, "auth_denied 503 |"},
		{"refused without a status", denied(7, &authv3.DeniedHttpResponse{Body: "no"}), nil, Deny, "auth_denied 403 text/plain|no"},
		{"refused without a word", denied(7, nil), nil, Deny, "auth_denied 403 |"},
		{"a status that is none", denied(7, &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: 99}}), nil, Deny, "auth_error 403 |"},
		{"the call fails", nil, grpcstatus.Error(codes.Internal, "secret trace"), Deny, "auth_error 403 |"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := checks(t, &checker{answer: row.answer, err: row.err})
			c := newCall("GET", "/x", "foo", "foo")
			out := f.Filter(c)
			got := said(c)
			if out == Allow {
				got = strings.Join(forwarded(c), "|")
			}
			if out != row.out || got != row.want {
				t.Errorf("got  %v %s (%v)\nwant %v %s", out, got, c.Reply.Err, row.out, row.want)
			}
		})
	}
}

func TestWhatAServiceOfGRPCTellsTheClientAndTheLog(t *testing.T) {
	values, err := structpb.NewStruct(map[string]any{"user": "alice", "groups": []any{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	answer := ok(&authv3.OkHttpResponse{ResponseHeadersToAdd: []*corev3.HeaderValueOption{
		set("x-one", "1"), set("x-one", "2"), set("x-set", "3", acting(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)), set("content-length", "5"), set("x-set", "4", replacing), set("x-one", "5", appending),
		set("x-new", "6", acting(addsIfAbsent)), set("X-Old", "7", acting(replacesOnly)), set("transfer-encoding", "x", acting(addsIfAbsent))}})
	answer.DynamicMetadata = values
	f := checks(t, &checker{answer: answer})
	c := newCall("GET", "/x")
	if f.Filter(c) != Allow {
		t.Fatalf("refused: %v", c.Reply.Err)
	}
	var told []string
	for _, a := range c.ToClient.Adds() {
		told = append(told, a.FieldName()+": "+string(a.Value))
	}
	if want := []Depending{{Add: wire.Add{Name: []byte("x-new"), Value: []byte("6")}}, {Add: wire.Add{Name: []byte("x-old"), Value: []byte("7")}, Replaces: true}}; !reflect.DeepEqual(c.Depending, want) {
		t.Errorf("what depends on the answer: got %+v, want %+v", c.Depending, want)
	}
	if want := []string{"x-one: 1", "x-one: 2", "x-set: 4", "x-one: 5"}; !slices.Equal(told, want) || !c.ToClient.Drops(wire.FieldOther, []byte("x-set")) {
		t.Errorf("the client is told %q, want %q", told, want)
	}
	if got := fmt.Sprint((*c.Metadata)["envoy.filters.http.ext_authz"]); got != "map[groups:[a b] user:alice]" {
		t.Errorf("metadata %s", got)
	}
}

func TestEditQuery(t *testing.T) {
	for _, row := range []struct {
		query  string
		set    []parameter
		remove []string
		want   string
	}{
		{"a=1&b=2&c", nil, []string{"b"}, "a=1&c"},
		{"a=1", nil, []string{"a"}, ""},
		{"a=1&a=2&b", []parameter{{"a", "x y"}}, nil, "a=x%20y&b"},
		{"", []parameter{{"user", "alice"}, {"n&m", "1=2"}}, nil, "user=alice&n%26m=1=2"},
		{"%61=1&keep=%2F%zz", []parameter{{"a", "2"}}, nil, "%61=2&keep=%2F%zz"},
		{"a=1", []parameter{{"a", "2"}, {"a", "3"}}, []string{"gone"}, "a=3"},
		{"x=1", []parameter{{"ready", "a%20b"}, {"odd", "50% of #1"}}, nil, "x=1&ready=a%20b&odd=50%25%20of%20%231"},
		{"a=1", []parameter{{"a", "2"}}, []string{"a"}, ""},
	} {
		if got := editQuery(row.query, row.set, row.remove); got != row.want {
			t.Errorf("editQuery(%q, %v, %q) = %q, want %q", row.query, row.set, row.remove, got, row.want)
		}
	}
	f := checks(t, &checker{answer: ok(&authv3.OkHttpResponse{QueryParametersToSet: []*corev3.QueryParameter{{Key: "user", Value: "alice"}}, QueryParametersToRemove: []string{"token"}})})
	c := newCall("GET", "/x?token=s&a=1")
	f.Filter(c)
	if string(c.Edits.Path) != "/x" || string(c.Edits.Query) != "a=1&user=alice" || !c.Edits.HasQuery {
		t.Errorf("got %s?%s", c.Edits.Path, c.Edits.Query)
	}
	f = checks(t, &checker{answer: ok(&authv3.OkHttpResponse{QueryParametersToRemove: []string{"token"}})})
	c = newCall("GET", "/x?token=s")
	f.Filter(c)
	if !c.Edits.HasQuery || c.Edits.Query != nil {
		t.Errorf("got %s?%s, want no query", c.Edits.Path, c.Edits.Query)
	}
}
