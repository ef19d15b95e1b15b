package flood

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var question = []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { _ = s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// What is served and what is refused is told apart and counted, at a rate and without one.
func TestRun(t *testing.T) {
	var n atomic.Int64
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.Header().Set("Connection", "close")
		}
	})
	for _, rate := range []int{0, 400} {
		n.Store(0)
		r, err := Run(Load{Addr: addr, Request: question, Connections: 4, Rate: rate, Duration: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if all := r.Served + r.Refused; r.Refused < all/5 || r.Refused > all/3 || all < 50 || rate > 0 && all+r.Unsent > rate {
			t.Errorf("at %d a second: %v", rate, &r)
		}
		if r.ServedIn.P50 <= 0 || r.ServedIn.P50 > r.ServedIn.P99 || r.ServedIn.P99 > r.ServedIn.Max || r.RefusedIn.P50 <= 0 {
			t.Errorf("times: %+v %+v", r.ServedIn, r.RefusedIn)
		}
	}
}

// What finds no connection is counted, and not sent later.
func TestUnsent(t *testing.T) {
	hold := make(chan struct{})
	addr := serve(t, func(http.ResponseWriter, *http.Request) { <-hold })
	r, err := Run(Load{Addr: addr, Request: question, Connections: 2, Rate: 100, Duration: 500 * time.Millisecond})
	close(hold)
	if err != nil || r.Served != 0 || r.Unsent < 30 || r.Unsent > 50 {
		t.Errorf("got %v, %v", &r, err)
	}
}

func TestParse(t *testing.T) {
	for _, row := range []struct {
		text   string
		want   answer
		whole  bool
		broken bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", answer{status: 200}, true, false},
		{"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", answer{503, true}, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", answer{status: 200}, false, false},
		{"HTTP/1.1 200 OK\r\nContent-Le", answer{}, false, false},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", answer{}, false, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", answer{}, false, true},
		{"HTTP/1.1 200 OK\r\nServer: a\r\n\r\n", answer{}, false, true},
		{"nonsense\r\n\r\n", answer{}, false, true},
	} {
		got, whole, err := parse([]byte(row.text))
		if (err != nil) != row.broken || !row.broken && (got != row.want || whole != row.whole) {
			t.Errorf("%q: got %+v, %v, %v", strings.SplitN(row.text, "\r\n", 2)[0], got, whole, err)
		}
	}
}
