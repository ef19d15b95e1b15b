package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/gateway"
)

// A state is a State that says what a test wants.
type state struct {
	alive, ready bool
	identity     gateway.IdentityView
	limits       gateway.LimitsView
	problems     []config.Problem
	routes       any
	upstreams    []gateway.UpstreamView
	decisions    []gateway.DecisionView
	closed       bool // diagnostics are switched off
}

func (s *state) Alive() bool                { return s.alive }
func (s *state) Ready() bool                { return s.ready }
func (s *state) Problems() []config.Problem { return s.problems }
func (s *state) Routes() any                { return s.routes }
func (s *state) Config() any {
	return map[string]any{"generation": 7, "sources": []string{"shop.yaml"}}
}

func (s *state) Generation() uint64                { return 7 }
func (s *state) Upstreams() []gateway.UpstreamView { return s.upstreams }
func (s *state) Decisions() []gateway.DecisionView { return s.decisions }
func (s *state) Limits() gateway.LimitsView        { return s.limits }
func (s *state) Identity() gateway.IdentityView    { return s.identity }
func (s *state) KeySet() []byte                    { return []byte(`{"keys":[]}`) }
func (s *state) DiagnosticsOpen() bool             { return !s.closed }
func (s *state) Explain(q gateway.Question) (*gateway.Explanation, error) {
	if q.URL == "" {
		return nil, errors.New("url: is missing")
	}
	return &gateway.Explanation{Request: q.Method + " " + q.URL}, nil
}

func healthy() *state { return &state{alive: true, ready: true, routes: []string{"/orders/"}} }

func ask(h http.Handler, method, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

func TestAnswers(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	tests := []struct {
		name, method, path string
		opts               Options
		status             int
		body               string
	}{
		{"alive", "GET", "/ambassador/v0/check_alive", Options{State: healthy()}, 200, "Ambassador is alive and well\n"},
		{"not alive", "GET", "/ambassador/v0/check_alive", Options{State: &state{ready: true}}, 503, "Ambassador is not alive\n"},
		{"ready", "GET", "/ambassador/v0/check_ready", Options{State: healthy()}, 200, "Ambassador is ready and waiting\n"},
		{"not ready", "GET", "/ambassador/v0/check_ready", Options{State: &state{alive: true}}, 503, "Ambassador is not ready\n"},
		{"probed by POST", "POST", "/ambassador/v0/check_alive", Options{State: healthy()}, 405, "Method Not Allowed\n"},
		{"metrics", "GET", "/metrics", Options{State: healthy(), Metrics: metrics}, 200, "up 1\n"},
		{"no metrics", "GET", "/metrics", Options{State: healthy()}, 404, "404 page not found\n"},
		{"routes", "GET", "/api/v1/routes", Options{State: healthy()}, 200, "[\n  \"/orders/\"\n]\n"},
		{"routes that are no JSON", "GET", "/api/v1/routes", Options{State: &state{routes: func() {}}}, 500, "cannot be shown as JSON\n"},
		{"config", "GET", "/api/v1/config", Options{State: healthy()}, 200,
			"{\n  \"generation\": 7,\n  \"sources\": [\n    \"shop.yaml\"\n  ]\n}\n"},
		{"identity", "GET", "/api/v1/identity", Options{State: &state{identity: gateway.IdentityView{Minters: []string{"Filter a/b"}}}}, 200,
			"{\n  \"rules\": null,\n  \"key_sets\": null,\n  \"minters\": [\n    \"Filter a/b\"\n  ],\n  \"signing_keys\": null,\n  \"own_paths\": null,\n  \"injected\": null\n}\n"},
		{"limits", "GET", "/api/v1/limits", Options{State: &state{limits: gateway.LimitsView{Domain: "d", Store: "memory", Limits: []gateway.LimitView{}, Routes: []gateway.LimitedRoute{}}}}, 200,
			"{\n  \"domain\": \"d\",\n  \"store\": \"memory\",\n  \"denies\": false,\n  \"failed\": 0,\n  \"limits\": [],\n  \"routes\": []\n}\n"},
		{"no problems", "GET", "/api/v1/problems", Options{State: healthy()}, 200, "[]\n"},
		{"public keys", "GET", "/.well-known/jwks.json", Options{State: healthy()}, 200, `{"keys":[]}`},
		{"unknown", "GET", "/api/v1/nothing", Options{State: healthy()}, 404, "404 page not found\n"},
		{"root", "GET", "/", Options{State: healthy()}, 404, "404 page not found\n"},
		{"pprof off", "GET", "/debug/pprof/cmdline", Options{State: healthy()}, 404, "404 page not found\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(Handler(test.opts), test.method, test.path)
			if status != test.status || body != test.body {
				t.Errorf("got %d %q, want %d %q", status, body, test.status, test.body)
			}
		})
	}
	if status, _ := ask(Handler(Options{State: healthy(), Pprof: true}), "GET", "/debug/pprof/"); status != 200 {
		t.Errorf("pprof on: got %d, want 200", status)
	}
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"a question", `{"method": "GET", "url": "http://a/"}`, 200, `"request": "GET http://a/"`},
		{"makes no sense", `{"method": "GET"}`, 400, "url: is missing\n"},
		{"no JSON", "GET http://a/", 400, "the body must be a question"},
		{"a field that there is not", `{"uri": "http://a/"}`, 400, "the body must be a question"},
		{"too long", `{"url": "` + strings.Repeat("a", maxQuestion) + `"}`, 400, "the body must be a question"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Handler(Options{State: healthy()}).ServeHTTP(w, httptest.NewRequest("POST", "/api/v1/explain", strings.NewReader(test.body)))
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("got %d %q, want %d and %q", w.Code, w.Body, test.status, test.says)
			}
		})
	}
}

func TestProblemsAsJSON(t *testing.T) {
	s := healthy()
	s.problems = []config.Problem{{
		Ref:   config.Ref{Kind: "Mapping", Namespace: "shop", Name: "orders", File: "shop.yaml", Line: 14, Col: 3},
		Field: "prefix", Msg: `must begin with "/", got "orders"`, Effect: config.ObjectDropped,
	}}
	_, body := ask(Handler(Options{State: s}), "GET", "/api/v1/problems")
	var got []Problem
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := Problem{
		Kind: "Mapping", Namespace: "shop", Name: "orders", File: "shop.yaml", Line: 14, Col: 3,
		Field: "prefix", Message: `must begin with "/", got "orders"`, Effect: "object_dropped", Broken: true,
		Text: `shop.yaml:14:3: Mapping/orders.shop: prefix: must begin with "/", got "orders"; the object is dropped, the others serve`,
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !strings.Contains(body, `"effect": "object_dropped"`) {
		t.Errorf("field names differ: %s", body)
	}
}

func TestServeUntilShutdown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{State: healthy()})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	for _, method := range []string{"GET", "HEAD"} {
		req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+ln.Addr().String()+"/ambassador/v0/check_ready", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || (method == "GET") != (string(body) == ReadyBody) {
			t.Errorf("%s: got %d %q", method, resp.StatusCode, body)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v, want nil", err)
	}
}
