package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// h2service is a service that speaks HTTP/2 in the clear, and nothing else.
func h2service(t testing.TB, conf http.HTTP2Config, h http.HandlerFunc) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, HTTP2: &conf, Protocols: new(http.Protocols), ReadHeaderTimeout: patience}
	srv.Protocols.SetUnencryptedHTTP2(true)
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Close()
		done.Wait()
	})
	return ln.Addr().String()
}

// A client of HTTP/1.1 and a service of HTTP/2.
func TestHTTP2Upstream(t *testing.T) {
	addr := h2service(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", r.Method+" "+r.Host+" "+r.URL.String()+" "+r.Header.Get("Te")+".")
		switch r.URL.Path {
		case "/trailers":
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(body)
			_ = http.NewResponseController(w).Flush() // its length is not said
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", "none%20such")
		case "/only":
			w.Header().Set("Grpc-Status", "12")
		case "/304":
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(304)
		default:
			_, _ = w.Write(bytes.ToUpper(body))
		}
	})
	g := open(t, everyone+mapping("x", "/x/", addr, "grpc: true"))
	for _, row := range []struct {
		name, text string
		saw        string
		status     int
		body       string
		trailer    string
	}{
		{"no body", request("GET", "/x/a?b=c", "", "TE: trailers, gzip"), "GET example.com /a?b=c trailers.", 200, "", ""},
		{"short body", request("POST", "/x/", "hello"), "POST example.com / .", 200, "HELLO", ""},
		{"long body", request("POST", "/x/", strings.Repeat("long", 50_000)), "POST example.com / .", 200, strings.Repeat("LONG", 50_000), ""},
		{"chunked", "POST /x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST a / .", 200, "ABC", ""},
		{"trailers", request("POST", "/x/trailers", "hello", "TE: trailers"), "POST example.com /trailers trailers.", 200, "hello", "5"},
		{"nothing but a head", request("POST", "/x/only", ""), "POST example.com /only .", 200, "", ""},
		{"HEAD", request("HEAD", "/x/", ""), "HEAD example.com / .", 200, "", ""},
		{"304", request("GET", "/x/304", ""), "GET example.com /304 .", 304, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, rec := g.send(row.text)
			if a.StatusCode != row.status || a.body != row.body || a.err != nil || a.Header.Get("X-Saw") != row.saw {
				t.Errorf("got %d %.20q %v, seen as %q", a.StatusCode, a.body, a.err, a.Header.Get("X-Saw"))
			}
			if got := a.Trailer.Get("Grpc-Status"); got != row.trailer {
				t.Errorf("got grpc-status %q in the trailer, want %q", got, row.trailer)
			}
			if want := (verdict{"proxy", "", row.status}); rec.verdict != want || rec.Endpoint != addr {
				t.Errorf("got the record %v of %s", rec.verdict, rec.Endpoint)
			}
		})
	}
}

// h2get makes a request of HTTP/2, in the clear, as a gRPC client would if grpc says so.
func (g *gate) h2get(target string, grpc bool) (answer, record) {
	g.t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+g.addr()+target, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if grpc {
		req.Header.Set("Content-Type", "application/grpc")
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body), err}, g.next()
}

// A stream that its client resets takes no room among those that wait for a connection, while
// another on the same connection waits on.
func TestMaxPendingRequestsOfResetStreams(t *testing.T) {
	up, answer := held(t)
	g := open(t, everyone+mapping("r", "/r/", up, "circuit_breakers: [{max_connections: 1, max_pending_requests: 2}]", "timeout_ms: 60000", "stats_name: r"))
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	var all sync.WaitGroup
	defer all.Wait()
	ask := func(ctx context.Context, waits uint64) {
		all.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr()+"/r/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if left := ctx.Err() != nil; left != (err != nil) {
				t.Errorf("got %v", err)
			}
		})
		g.waitFor("it is there", func() bool {
			s := g.upstreamStates()["r"]
			return s.Active == 1 && s.Overflows["max_connections"] == waits
		})
	}
	leaves, leave := context.WithCancel(t.Context())
	ask(t.Context(), 0)
	ask(t.Context(), 1)
	ask(leaves, 2)
	leave()
	if r := g.next(); (r.verdict != verdict{"proxy", "client_gone", 0}) {
		t.Errorf("got %+v", r.verdict)
	}
	ask(t.Context(), 3)
	for range 3 {
		answer <- struct{}{}
		if r := g.next(); r.verdict != served {
			t.Errorf("got %+v", r.verdict)
		}
	}
}

// What an endpoint of HTTP/2 refuses is asked again elsewhere, and what it resets is not;
// clients of gRPC and others over HTTP/2 each learn of it in their own words.
func TestHTTP2Failures(t *testing.T) {
	// resets resets the first n streams of all with code, and answers the others.
	resets := func(n int32, code http2.ErrCode) (addr string) {
		var seen atomic.Int32
		return service(t, func(p *peer) {
			f := http2.NewFramer(p.TCPConn, p.br)
			if _, err := io.CopyN(io.Discard, p.br, int64(len(http2.ClientPreface))); err != nil || f.WriteSettings() != nil {
				return
			}
			for {
				got, err := f.ReadFrame()
				if err != nil {
					return
				}
				h, ok := got.(*http2.HeadersFrame)
				switch {
				case !ok:
				case seen.Add(1) <= n:
					_ = f.WriteRSTStream(h.StreamID, code)
				default:
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true})
				}
			}
		})
	}
	for _, row := range []struct {
		name    string
		addr    string
		want    verdict
		retries int
		body    string
	}{
		{"refused once", resets(1, http2.ErrCodeRefusedStream), served, 1, ""},
		{"refused thrice", resets(3, http2.ErrCodeRefusedStream), served, 3, ""},
		{"refused always", resets(1000, http2.ErrCodeRefusedStream), verdict{"proxy", "upstream_refused_stream", 503}, 3, connectError + "remote refused stream reset"},
		{"reset", resets(1000, http2.ErrCodeInternal), verdict{"proxy", "upstream_remote_reset", 503}, 0, connectError + "remote reset"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+mapping("x", "/x/", row.addr, "grpc: true"))
			a, rec := g.h2get("/x/", false)
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.body != row.body || rec.Retries != row.retries {
				t.Errorf("got %v after %d retries, answer %d %q", rec.verdict, rec.Retries, a.StatusCode, a.body)
			}
			if row.want == served {
				return
			}
			a, rec = g.h2get("/x/", true)
			if a.StatusCode != 200 || rec.Reason != row.want.Reason || a.Header.Get("Grpc-Status") != "14" || a.Header.Get("Grpc-Message") != row.body || a.body != "" {
				t.Errorf("a gRPC client: got %d %v %q", a.StatusCode, a.Header, a.body)
			}
			if flag := flagOf(t, rec.Reason); flag != "UR" {
				t.Errorf("got flag %s", flag)
			}
		})
	}
}
