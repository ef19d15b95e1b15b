package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
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
