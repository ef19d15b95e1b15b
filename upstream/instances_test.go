package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

// lines are those of a log.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// The instances that Consul lists are the endpoints; upstreams that differ otherwise
// share what is asked, and keep the last list while Consul is away.
func TestConsulInstances(t *testing.T) {
	var asked, broken atomic.Int32
	release := make(chan struct{})
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Query().Get("index") != "" {
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		if broken.Load() > 0 {
			broken.Add(1)
			http.Error(w, "no leader", http.StatusInternalServerError)
			return
		}
		w.Header().Set("X-Consul-Index", "5")
		fmt.Fprint(w, `[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":8080}},{"Node":{"Address":"10.0.0.2"},"Service":{"Port":8081}}]`)
	}))
	t.Cleanup(agent.Close)
	logged := make(lines, 100)
	r, err := NewResolver(Options{Log: slog.New(slog.NewTextHandler(logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	spec := Spec{Host: "web", Source: FromConsul, Consul: Consul{strings.TrimPrefix(agent.URL, "http://"), "dc1"}}
	set := NewSet(r, &config.World{}, nil, nil)
	a := set.Get(spec)
	spec.Balance = config.LeastRequest
	b := set.Get(spec)
	set.Start()
	t.Cleanup(func() { set.Retire(nil) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := set.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*Upstream{a, b} {
		if got := addresses(u); got != "10.0.0.1:8080 10.0.0.2:8081" {
			t.Errorf("got %s", got)
		}
	}
	if n := asked.Load(); n > 2 { // the first, and the one that waits
		t.Errorf("asked %d times for one service", n)
	}
	broken.Store(1)
	close(release)
	if line := <-logged; !strings.Contains(line, "Consul not asked") {
		t.Errorf("logged %q", line)
	}
	if got := addresses(a); got != "10.0.0.1:8080 10.0.0.2:8081" {
		t.Errorf("without Consul: got %s", got)
	}
}

// A service without Consul has no endpoints, and nobody waits for them.
func TestConsulAway(t *testing.T) {
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	u := New(Spec{Host: "web", Source: FromConsul, Consul: Consul{"127.0.0.1:1", "dc1"}, ConnectTimeout: 10 * time.Second}, r)
	u.Start()
	t.Cleanup(u.Retire)
	l, reason, err := u.Open(time.Now(), Choice{})
	if l != nil || reason != decision.NoEndpoints || err == nil || errors.Is(err, errNoAnswer) {
		t.Errorf("got %v %v %v", l, reason, err)
	}
}
