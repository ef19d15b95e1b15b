package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What belongs to one object or upstream has a page of its own.
func TestDashboardSource(t *testing.T) {
	cert := Certificate{Host: "Host shop/web", Hostname: "a.example.com", NotAfter: time.Now().Add(100 * time.Hour)}
	h := Handler(Options{State: lively(), Certificates: func() []Certificate { return []Certificate{cert} }})
	for _, row := range []struct {
		source   string
		status   int
		holds    string
		holdsNot string
	}{
		{"orders.shop", 200, "is broken", "is old"},
		{"orders.shop.1", 200, "is broken", "is old"},
		{"orders.shop.x", 404, "nothing here has that name", ""},
		{"orders_8080", 200, "10.0.0.8:8080", "is broken"},
		{"a.example.com", 200, "a.example.com", "orders_8080"},
		{"nothing", 404, "nothing here has that name", ""},
		{"%3Cscript%3E", 404, "nothing here has that name", "<script>"},
	} {
		code, body := ask(h, "GET", diagPath+row.source)
		if code != row.status || !strings.Contains(body, row.holds) || row.holdsNot != "" && strings.Contains(body, row.holdsNot) {
			t.Errorf("%s: %d, %s", row.source, code, body)
		}
	}
	code, body := ask(h, "GET", diagPath+"orders.shop?json=true")
	var shown struct {
		Source string
		Routes []struct{ Name string } `json:"route_info"`
	}
	if err := json.Unmarshal([]byte(body), &shown); err != nil || code != 200 || shown.Source != "orders.shop" || len(shown.Routes) != 1 {
		t.Errorf("%d, %v, %s", code, err, body)
	}
}

// The remaining paths of Ambassador's own port.
func TestOwnPaths(t *testing.T) {
	h := Handler(Options{State: healthy(), Timers: func() map[string]time.Duration { return map[string]time.Duration{"ir": time.Second} }})
	for _, row := range []struct {
		path, from string
		status     int
		body       string
	}{
		{"/ambassador/v0/favicon.ico", "192.0.2.1:1", 200, "\x00\x00\x01\x00"},
		{"/_internal/v0/ping", "127.0.0.1:1", 200, "ACK\n"},
		{"/_internal/v0/ping", "[::1]:1", 200, "ACK\n"},
		{"/_internal/v0/ping", "192.0.2.1:1", 403, "Forbidden\n"},
		{"/_internal/v0/watt", "127.0.0.1:1", 404, "Not found\n"},
		{"/debug", "192.0.2.1:1", 200, "{\n  \"timers\": {\n    \"ir\": \"1s\""},
	} {
		r := httptest.NewRequest("GET", row.path, nil)
		r.RemoteAddr = row.from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != row.status || !strings.HasPrefix(w.Body.String(), row.body) {
			t.Errorf("%s from %s: %d %.60q", row.path, row.from, w.Code, w.Body)
		}
	}
}

// What Mappings to Ambassador's other ports of this machine find.
func TestLocalPorts(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("numbers")) })
	draining := &state{}
	for _, row := range []struct {
		server *Server
		path   string
		status int
		body   string
	}{
		{NewEnvoy(Options{State: healthy(), Metrics: metrics}), "/ready", 200, "LIVE\n"},
		{NewEnvoy(Options{State: draining, Metrics: metrics}), "/ready", 503, "DRAINING\n"},
		{NewEnvoy(Options{State: healthy(), Metrics: metrics}), "/stats/prometheus", 200, "numbers"},
		{NewEnvoy(Options{State: healthy(), Metrics: metrics}), "/stats?format=prometheus", 200, "numbers"},
		{NewEnvoy(Options{State: healthy(), Version: "v1"}), "/server_info", 200, "{\n  \"state\": \"LIVE\""},
		{NewEnvoy(Options{State: healthy()}), "/config_dump", 404, ""},
		{NewEnvoy(Options{State: healthy()}), "/api/v1/routes", 404, ""},
		{NewSidecar(Options{State: healthy()}), "/docs/", 404, "The developer portal is not part of this gateway\n"},
		{NewSidecar(Options{State: healthy()}), "/api/v1/routes", 404, "The developer portal"},
	} {
		w := httptest.NewRecorder()
		row.server.http.Handler.ServeHTTP(w, httptest.NewRequest("GET", row.path, nil))
		if w.Code != row.status || !strings.HasPrefix(w.Body.String(), row.body) {
			t.Errorf("%s: %d %q", row.path, w.Code, w.Body)
		}
	}
}
