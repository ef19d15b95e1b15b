package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What browsers are told, through a reload that takes an origin away.
func TestCORS(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone + module(`cors: {origins: "https://a.test, https://b.test", credentials: true}`) + mapping("x", "/x/", up) +
		mapping("closed", "/closed/", up, `cors: {origins: ["*"], methods: [PUT]}`, "jwt: broken")})
	const origin = "Origin: https://b.test"
	preflight := verdict{"cors", "preflight", 200}
	for _, row := range []struct {
		name string
		request
		want           verdict
		origin, grants string
	}{
		{"a page", request{target: "/x/", header: []string{origin}}, served, "https://b.test", ""},
		{"a stranger's page", request{target: "/x/", header: []string{"Origin: https://c.test"}}, served, "", ""},
		{"a preflight", request{method: "OPTIONS", target: "/closed/", header: []string{origin, "Access-Control-Request-Method: PUT"}}, preflight, "https://b.test", "PUT"},
		{"a denial", request{method: "PUT", target: "/closed/", header: []string{origin}}, verdict{"authn", "policy_invalid", 503}, "https://b.test", ""},
	} {
		a := g.send(t, row.request)
		if got := g.verdict(t, a); got != row.want || a.Header.Get("Access-Control-Allow-Origin") != row.origin || a.Header.Get("Access-Control-Allow-Methods") != row.grants {
			t.Errorf("%s: got %v, %v", row.name, got, a.Header)
		}
	}
	g.replace(everyone + module(`cors: {origins: ["https://a.test"]}`) + mapping("x", "/x/", up))
	if a := g.send(t, request{target: "/x/", header: []string{origin}}); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("after the reload: %v", a.Header)
	}
}

// Who is let in, and what failures and long answers look like.
func TestAnswersOfAModule(t *testing.T) {
	t.Parallel()
	up, long := echo(t, "up"), strings.Repeat("a long text. ", 50_000)
	texts := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up) + mapping("long", "/long/", texts) + module(`ip_deny: [{remote: 192.0.2.0/24}], use_remote_address: false, buffer: {max_request_bytes: 100}, gzip: {content_type: [text/plain, application/json, text/html], min_content_length: 5}, `+
		`error_response_overrides: [{on_status_code: 404, body: {json_format: {code: "%RESPONSE_CODE%", path: "%REQ(:path)%"}}}]`)})
	for _, row := range []struct {
		name string
		request
		want verdict
		body string
	}{
		{"an address that is kept out", request{target: "/x/", header: []string{"X-Forwarded-For: 192.0.2.7"}}, verdict{"accept", "address_denied", 403}, "RBAC: access denied"},
		{"a body that is too long", request{method: "POST", target: "/x/", body: strings.Repeat("b", 101)}, verdict{"accept", "body_too_large", 413}, "Payload Too Large"},
		{"a body that is not", request{method: "POST", target: "/x/", body: strings.Repeat("b", 100)}, served, ""},
		{"nothing there", request{target: "/none?q"}, verdict{"match", "no_route", 404}, `{"code":404,"path":"/none?q"}`},
	} {
		a := g.send(t, row.request)
		if got := g.verdict(t, a); got != row.want || row.body != "" && string(a.body) != row.body {
			t.Errorf("%s: got %v %q", row.name, got, a.body)
		}
	}
	a := g.send(t, request{target: "/long/", header: []string{"Accept-Encoding: gzip"}})
	zip, err := gzip.NewReader(bytes.NewReader(a.body))
	if err != nil {
		t.Fatalf("%v of %q, %v", err, a.body, a.Header)
	}
	if body, err := io.ReadAll(zip); err != nil || string(body) != long || a.Header.Get("Vary") != "Accept-Encoding" || len(a.body) > len(long)/10 {
		t.Errorf("got %d bytes of %d, %v, %v", len(body), len(a.body), err, a.Header)
	}
}

// A shadow sees every request, and whether it answers is nobody's business; a drain lets
// copies that are on their way arrive.
func TestShadow(t *testing.T) {
	t.Parallel()
	copies := make(chan string, 100)
	second := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copies <- r.Host + r.URL.Path + " " + string(body)
		w.WriteHeader(http.StatusTeapot)
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up")) + mapping("copy", "/x/", second, "shadow: true")})
	for range 10 {
		if a := g.send(t, request{method: "POST", target: "/x/a", body: "b"}); g.verdict(t, a) != served {
			t.Fatalf("got %v", g.verdict(t, a))
		}
	}
	for range 10 {
		select {
		case got := <-copies:
			if got != "gate.test-shadow/a b" {
				t.Errorf("the shadow saw %q", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a copy is missing")
		}
	}
	eventually(t, 20*time.Second, "the copies are counted", func() bool {
		_, metrics := g.operator("/metrics")
		return strings.Contains(metrics, `legate_shadow_requests_total{outcome="sent",route="copy.default"} 10`)
	})
}
