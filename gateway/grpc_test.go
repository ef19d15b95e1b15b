package gateway

import (
	"fmt"
	"testing"

	"legate/wire"
)

func TestIsGRPC(t *testing.T) {
	for _, row := range []struct {
		contentType string
		want        bool
	}{
		{"application/grpc", true},
		{"Application/gRPC", true},
		{"application/grpc+proto", true},
		{"application/grpc+json", true},
		{"application/grpc;charset=utf-8", true},
		{"application/grpc-web", false},
		{"application/grpc-web-text+proto", false},
		{"application/grpcs", false},
		{"application/grp", false},
		{"application/json", false},
		{"", false},
	} {
		var h wire.Head
		h.BuildRequest("POST", "a", "/", "Content-Type", row.contentType)
		if got := isGRPC(&h); got != row.want {
			t.Errorf("%q: got %v", row.contentType, got)
		}
	}
}

func TestGRPCStatuses(t *testing.T) {
	for status, want := range map[int]string{
		301: "2", 400: "13", 401: "16", 403: "7", 404: "12", 408: "2", 413: "2", 426: "2",
		429: "14", 431: "2", 500: "2", 501: "2", 502: "14", 503: "14", 504: "14", 505: "2",
	} {
		if got := grpcStatus(status); string(got) != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestGRPCMessages(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"no healthy one": "no healthy one",
		"100%":           "100%25",
		"a\r\nb":         "a%0D%0Ab",
		"~ \x7f":         "~ %7F",
		"größer":         "gr%C3%B6%C3%9Fer",
	} {
		if got := string(appendGRPCMessage(nil, text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// What the edge answers by itself, to an ordinary client and to one of gRPC.
func TestGRPCReplies(t *testing.T) {
	silent := service(t, func(p *peer) { p.request(); p.wait() })
	broken := service(t, func(p *peer) { p.request(); p.say("hello\r\n\r\n") })
	closing := service(t, func(p *peer) { p.request() })
	g := open(t, everyone+
		mapping("refused", "/refused/", refusing(t))+
		mapping("slow", "/slow/", silent, "timeout_ms: 50")+
		mapping("idle", "/idle/", silent, "timeout_ms: 0", "idle_timeout_ms: 50")+
		mapping("broken", "/broken/", broken)+
		mapping("closing", "/closing/", closing)+
		mapping("moved", "/moved/", "https://elsewhere.example", "host_redirect: true")+
		mapping("locked", "/locked/", silent, "jwt: broken")+
		mapping("nowhere", "/nowhere/", "nowhere.invalid", "connect_timeout_ms: 50"),
		func(o *Options) { o.Upstream.DNS = refusing(t) })
	for _, row := range []struct {
		target  string
		reason  string
		stage   string
		status  int // of HTTP, for anybody else
		code    string
		message string
	}{
		{"/none/", "no_route", "match", 404, "12", ""},
		{"/a%00/", "bad_path", "accept", 400, "13", ""},
		{"/refused/", "dial_refused", "proxy", 503, "14", connectError + "connection failure"},
		{"/closing/", "upstream_reset_before_head", "proxy", 503, "14", connectError + "connection termination"},
		{"/broken/", "upstream_bad_answer", "proxy", 502, "14", connectError + "protocol error"},
		{"/slow/", "upstream_timeout", "proxy", 504, "14", "upstream request timeout"},
		{"/idle/", "upstream_idle", "proxy", 504, "14", "stream timeout"},
		{"/nowhere/", "no_endpoints", "proxy", 503, "14", "no healthy upstream"},
		{"/locked/", "policy_invalid", "authn", 503, "14", ""},
		{"/moved/", "redirect", "proxy", 301, "2", ""},
	} {
		t.Run(row.reason, func(t *testing.T) {
			a, rec := g.get(row.target)
			if want := (verdict{row.stage, row.reason, row.status}); rec.verdict != want || a.StatusCode != row.status {
				t.Errorf("an ordinary client: got %d, record %v, want %v", a.StatusCode, rec.verdict, want)
			}
			if a.Header.Get("Grpc-Status") != "" || a.body != row.message {
				t.Errorf("an ordinary client: got %q %v", a.body, a.Header)
			}
			a, rec = g.get(row.target, "Content-Type: application/grpc+proto", "TE: trailers")
			if want := (verdict{row.stage, row.reason, 200}); rec.verdict != want || a.StatusCode != 200 {
				t.Errorf("a gRPC client: got %d, record %v, want %v", a.StatusCode, rec.verdict, want)
			}
			got := fmt.Sprint(a.Header["Content-Type"], a.Header["Grpc-Status"], a.Header["Grpc-Message"], a.body, a.ContentLength)
			want := fmt.Sprint([]string{"application/grpc"}, []string{row.code}, asList(row.message), "", 0)
			if got != want {
				t.Errorf("a gRPC client: got %s, want %s", got, want)
			}
			if to := a.Header.Get("Location"); (row.status == 301) != (to == "http://elsewhere.example/moved/") {
				t.Errorf("a gRPC client: got Location %q", to)
			}
		})
	}
}

// asList is a header's values.
func asList(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
