// Package admin is the port for operators and probes: health, metrics, and what
// the gateway thinks of its configuration. It is never public, and it changes
// nothing but the level of the program's log.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"legate/config"
	"legate/gateway"
)

// State is what the port shows. Its methods are called from many goroutines, and
// what they return is not changed afterwards.
type State interface {
	Alive() bool // the gateway can still take up a new configuration
	Ready() bool // a whole configuration is serving, and no drain has begun
	Problems() []config.Problem
	Routes() any // rendered as JSON, as are the others
	Config() any // at least generation and sources
	Generation() uint64
	Upstreams() []gateway.UpstreamView
	Identity() gateway.IdentityView
	Limits() gateway.LimitsView
	Decisions() []gateway.DecisionView // the latest first
	KeySet() []byte                    // public keys of minted tokens, as a JWK Set
	DiagnosticsOpen() bool             // others than this machine may see the dashboard
	// Explain tells what would become of a request; an error says what of the question
	// makes no sense.
	Explain(q gateway.Question) (*gateway.Explanation, error)
}

// The bodies with which Ambassador answers probes.
const (
	AliveBody    = "Ambassador is alive and well\n"
	NotAliveBody = "Ambassador is not alive\n"
	ReadyBody    = "Ambassador is ready and waiting\n"
	NotReadyBody = "Ambassador is not ready\n"
)

// Options adjust a Server. State must be given.
type Options struct {
	State   State
	Metrics http.Handler // answers /metrics; nil for none
	Pprof   bool         // serve /debug/pprof/
	Log     *slog.Logger // of the server's own troubles; nil for slog.Default
	Version string
	Also    map[string]http.Handler // answer what else there is, by pattern; nil for nothing

	Level        *slog.LevelVar                  // of the program's log, for who may change it; nil for nobody
	Certificates func() []Certificate            // of Hosts; nil for none
	Timers       func() map[string]time.Duration // how long the steps of the last change took; nil for none
	Shown        func(time.Duration)             // told how long it took to show the dashboard; nil for nobody
}

// A Server answers on the admin port.
type Server struct{ http *http.Server }

// New returns a server that is not serving yet.
func New(opts Options) *Server {
	logger := opts.Log
	if logger == nil {
		logger = slog.Default()
	}
	write := 30 * time.Second
	if opts.Pprof {
		write = 5 * time.Minute // a profile takes as long as it was asked to
	}
	return &Server{&http.Server{
		Handler:           Handler(opts),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      write,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}}
}

// NewReady returns a server that answers nothing but /ready, as Envoy does for probes: 200
// as long as requests should be sent here.
func NewReady(opts Options) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", probe(opts.State.Ready, "LIVE\n", "DRAINING\n"))
	s := New(opts)
	s.http.Handler = mux
	return s
}

// Serve answers on ln until Shutdown, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops listening and waits for what is being answered, until ctx is
// done; then it closes the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// Handler returns all that the port answers.
func Handler(opts Options) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, h http.HandlerFunc) { mux.HandleFunc("GET "+path, h) } // and HEAD
	s := opts.State
	get("/ambassador/v0/check_alive", probe(s.Alive, AliveBody, NotAliveBody))
	get("/ambassador/v0/check_ready", probe(s.Ready, ReadyBody, NotReadyBody))
	get("/api/v1/problems", asJSON(func() any { return Problems(s.Problems()) }))
	get("/api/v1/routes", asJSON(s.Routes))
	get("/api/v1/config", asJSON(s.Config))
	get("/api/v1/upstreams", asJSON(func() any { return s.Upstreams() }))
	get("/api/v1/identity", asJSON(func() any { return s.Identity() }))
	get("/api/v1/limits", asJSON(func() any { return s.Limits() }))
	get("/api/v1/decisions", asJSON(func() any { return s.Decisions() }))
	get("/.well-known/jwks.json", keySet(s))
	diag := newDashboard(opts, time.Now())
	get("/api/v1/certificates", asJSON(func() any { return diag.certificates() }))
	mux.Handle("GET /ambassador/v0/diag/", diag)
	get("/ambassador/v0/favicon.ico", favicon)
	mux.HandleFunc("/_internal/", internal)
	get("/debug", asJSON(func() any { return timers(opts.Timers) }))
	mux.HandleFunc("POST /api/v1/explain", explain(s))
	for pattern, h := range opts.Also {
		mux.Handle(pattern, h)
	}
	if opts.Metrics != nil {
		mux.Handle("GET /metrics", opts.Metrics)
	}
	if opts.Pprof {
		get("/debug/pprof/", pprof.Index)
		get("/debug/pprof/cmdline", pprof.Cmdline)
		get("/debug/pprof/profile", pprof.Profile)
		get("/debug/pprof/symbol", pprof.Symbol)
		get("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// probe answers 200 or 503.
func probe(good func() bool, yes, no string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		body := yes
		if !good() {
			w.WriteHeader(http.StatusServiceUnavailable)
			body = no
		}
		_, _ = w.Write([]byte(body)) // who does not read the answer has no use for the error
	}
}

// keySet answers with the public keys that services verify minted tokens with. Who asks may
// keep them for a while, as a key is published long before it signs.
func keySet(s State) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(s.KeySet())
	}
}

// maxQuestion bounds the body of a question.
const maxQuestion = 64 << 10

// explain answers what would become of a request.
func explain(s State) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q gateway.Question
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
		dec.DisallowUnknownFields()
		err := dec.Decode(&q)
		if err != nil {
			http.Error(w, "the body must be a question in JSON, such as {\"method\": \"GET\", \"url\": \"https://shop.example.com/\"}", http.StatusBadRequest)
			return
		}
		e, err := s.Explain(q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		asJSON(func() any { return e })(w, r)
	}
}

// asJSON answers with what value returns.
func asJSON(value func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(value(), "", "  ")
		if err != nil {
			http.Error(w, "cannot be shown as JSON", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(text, '\n'))
	}
}
