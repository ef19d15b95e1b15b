package admin

import (
	_ "embed"
	"net/http"
	"time"
)

//go:embed favicon.ico
var icon []byte

// favicon answers the icon of the dashboard.
func favicon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/x-icon")
	w.Header().Set("Cache-Control", "max-age=86400")
	_, _ = w.Write(icon) // who does not read the answer has no use for the error
}

// internal answers what Ambassador's own parts ask each other: that somebody is there.
// Others than this machine are told nothing.
func internal(w http.ResponseWriter, r *http.Request) {
	switch {
	case !local(r):
		http.Error(w, "Forbidden", http.StatusForbidden)
	case r.URL.Path == "/_internal/v0/ping":
		_, _ = w.Write([]byte("ACK\n")) // who does not read the answer has no use for the error
	default:
		http.Error(w, "Not found", http.StatusNotFound)
	}
}

// timers are how long the steps of the last change took, under Ambassador's key.
func timers(steps func() map[string]time.Duration) map[string]any {
	list := map[string]string{}
	if steps != nil {
		for name, d := range steps() {
			list[name] = d.String()
		}
	}
	return map[string]any{"timers": list}
}

// NewEnvoy returns a server for what Mappings to Envoy's admin port, localhost:8001, are
// there for: numbers, and whether requests should be sent here. It shows nothing else.
func NewEnvoy(opts Options) *Server {
	began := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", probe(opts.State.Ready, "LIVE\n", "DRAINING\n"))
	mux.HandleFunc("GET /server_info", asJSON(func() any {
		state := "LIVE"
		if !opts.State.Ready() {
			state = "DRAINING"
		}
		return map[string]any{"version": opts.Version, "state": state, "uptime_current_epoch": time.Since(began).Round(time.Second).String()}
	}))
	if opts.Metrics != nil {
		mux.Handle("GET /stats", opts.Metrics)
		mux.Handle("GET /stats/prometheus", opts.Metrics)
	}
	s := New(opts)
	s.http.Handler = mux
	return s
}

// NewSidecar returns a server for what Mappings to Edge Stack's own process,
// localhost:8500, lead to. What is left of that is served elsewhere, and so all of it
// says what is missing.
func NewSidecar(opts Options) *Server {
	s := New(opts)
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "The developer portal is not part of this gateway", http.StatusNotFound)
	})
	return s
}
