package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// browser is a client as a program would use one: net/http's, with a connection pool.
func browser(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 60 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// zeros reads as n bytes that are not all the same.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), z.n)]
	for i := range p {
		p[i] = byte(z.n - int64(i))
	}
	z.n -= int64(len(p))
	return len(p), nil
}

// mirror sends back what it receives, as it comes.
func mirror(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex() // never fails on HTTP/1.1
	w.WriteHeader(200)
	_ = rc.Flush()
	b := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(b)
		if _, werr := w.Write(b[:n]); werr != nil || err != nil {
			return
		}
		_ = rc.Flush()
	}
}

// Twenty megabytes go both ways at once, in chunks, and the gateway holds none of it.
func TestStreamingIsBounded(t *testing.T) {
	up := serve(t, http.HandlerFunc(mirror))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "timeout_ms: 0")})
	client := browser(t)
	const size, streams = 20 << 20, 4
	want := sha256.New()
	must(t, second(io.Copy(want, &zeros{size})))
	before := g.memory("VmHWM")
	failed := make(chan error, streams)
	for range streams {
		go func() {
			failed <- func() error {
				req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.clear+"/x/", struct{ io.Reader }{&zeros{size}})
				if err != nil {
					return err
				}
				resp, err := client.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				got := sha256.New()
				n, err := io.Copy(got, resp.Body)
				if err == nil && string(got.Sum(nil)) != string(want.Sum(nil)) {
					err = fmt.Errorf("the body came back changed")
				}
				if err != nil {
					return fmt.Errorf("after %d bytes: %w", n, err)
				}
				return nil
			}()
		}()
	}
	for range streams {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if grown := g.memory("VmHWM") - before; grown > patience(int64(8<<20)) {
		t.Errorf("%d streams of %d MiB grew the process by %d MiB", streams, size>>20, grown>>20)
	}
}

// A client that reads slowly must not make the gateway keep what it does not read.
func TestSlowReaderIsNotBuffered(t *testing.T) {
	const size = 100 << 20
	var sent atomic.Int64
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for body := (&zeros{size}); body.n > 0; {
			n, err := io.CopyN(w, body, 32<<10)
			if sent.Add(n); err != nil {
				return
			}
		}
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "timeout_ms: 0")})
	before := g.memory("VmHWM")
	for range 4 {
		c := g.connect(t)
		must(t, second(c.Write((&request{target: "/x/"}).render(newID()))))
		resp, err := c.head("GET")
		must(t, err)
		must(t, second(io.ReadFull(resp.Body, make([]byte, 1<<20))))
	}
	last, same := int64(0), 0
	eventually(t, 20*time.Second, "nothing more is read ahead", func() bool {
		if same++; sent.Load() != last {
			last, same = sent.Load(), 0
		}
		return same == 60
	})
	if grown := g.memory("VmHWM") - before; grown > patience(int64(8<<20)) {
		t.Errorf("four slow readers grew the process by %d MiB", grown>>20)
	}
}

// An answer that comes before the request has ended reaches the client, who still
// sends.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}))
	abrupt := raw(t, func(s *service) {
		if _, err := http.ReadRequest(s.r); err == nil {
			s.say("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
		}
	})
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up) + mapping("abrupt", "/abrupt/", abrupt)})
	client := browser(t)
	for _, target := range []string{"/x/", "/abrupt/"} {
		for _, chunked := range []bool{false, true} {
			for range 5 {
				req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.clear+target, &zeros{50 << 20})
				must(t, err)
				if req.ContentLength = 50 << 20; chunked {
					req.ContentLength = -1
				}
				id := newID()
				req.Header.Set("X-Request-Id", id)
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s, chunked %v: %v; record %v", target, chunked, err, g.verdict(t, answer{id: id}))
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 413 || strings.TrimSpace(string(body)) != "too large" {
					t.Errorf("%s, chunked %v: %d %q %v", target, chunked, resp.StatusCode, body, err)
				}
				if got := g.verdict(t, answer{id: id}); got != (verdict{"proxy", "", 413}) {
					t.Errorf("%s, chunked %v: got %v", target, chunked, got)
				}
			}
		}
	}
}

func TestContinue(t *testing.T) {
	t.Parallel()
	asks := raw(t, func(s *service) {
		r, err := http.ReadRequest(s.r)
		if err != nil {
			return
		}
		if r.URL.Path == "/no" {
			s.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		s.say("HTTP/1.1 100 Continue\r\n\r\n")
		b, _ := io.ReadAll(r.Body)
		s.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b))
	})
	ignores := echo(t, "ignores")
	g := start(t, setup{manifests: everyone + mapping("asks", "/asks/", asks) + mapping("ignores", "/ignores/", ignores)})
	expect := func(target string) (*client, string) {
		c, id := g.connect(t), newID()
		must(t, second(c.Write((&request{method: "POST", target: target, header: []string{"Expect: 100-continue", "Content-Length: 5"}}).render(id))))
		return c, id
	}
	for _, target := range []string{"/asks/", "/ignores/"} {
		c, id := expect(target)
		resp, err := c.head("POST")
		must(t, err)
		if resp.StatusCode != 100 {
			t.Fatalf("%s: first head %d, want 100", target, resp.StatusCode)
		}
		must(t, second(io.WriteString(c, "hello")))
		a, err := c.answer(id, "POST")
		must(t, err)
		if got := g.verdict(t, a); got != served {
			t.Errorf("%s: got %v", target, got)
		}
		// The connection can go on: no part of the body was taken for a request.
		if a, err = c.exchange(request{target: target}); err != nil || a.StatusCode != 200 {
			t.Errorf("%s: the next request: %v %v", target, a.Response, err)
		}
	}
	c, id := expect("/asks/no")
	resp, err := c.head("POST")
	must(t, err)
	if got := g.verdict(t, answer{id: id}); resp.StatusCode != 417 || got != (verdict{"proxy", "", 417}) {
		t.Errorf("a refusal: %d, %v", resp.StatusCode, got)
	}
}

func TestEarlyHints(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Set("X-Final", "1")
		_, _ = io.WriteString(w, "page")
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up)})
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "http://"+g.clear+"/x/", nil)
	must(t, err)
	resp, err := browser(t).Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if len(hints) != 1 || hints[0] != "103 </a.css>; rel=preload" || string(body) != "page" || resp.Header.Get("X-Final") != "1" {
		t.Errorf("hints %q, then %d %q", hints, resp.StatusCode, body)
	}
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = fmt.Fprint(w, n, " ", r.Trailer.Get("X-Digest"))
		w.Header().Set("X-Sum", "42")
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up)})
	a := g.send(t, request{method: "POST", target: "/x/", header: []string{"Transfer-Encoding: chunked", "Trailer: X-Digest"},
		body: "5\r\nhello\r\n0\r\nX-Digest: abc\r\nContent-Length: 9\r\n\r\n"})
	if got := g.verdict(t, a); got != served || string(a.body) != "5 abc" || a.Trailer.Get("X-Sum") != "42" {
		t.Errorf("got %v, body %q, trailer %v", got, a.body, a.Trailer)
	}
}

// Each event reaches the reader when it is sent, not when the next one comes.
func TestEventsAreFlushed(t *testing.T) {
	t.Parallel()
	next := map[string]chan int{"plain": make(chan int), "tls": make(chan int), "secure": make(chan int)}
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range next[r.URL.Query().Get("from")] {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush() // a reader that left is seen at the other end
		}
	})
	g := start(t, setup{manifests: everyone + authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert", route) +
		mapping("plain", "/plain/", serve(t, events), "timeout_ms: 0") +
		mapping("tls", "/tls/", "https://"+serveTLS(t, "events.test", events), "timeout_ms: 0")})
	for _, r := range []request{{target: "/plain/?from=plain"}, {target: "/tls/?from=tls"}, {target: "/plain/?from=secure", secure: true}} {
		_, from, _ := strings.Cut(r.target, "=")
		c, err := g.dial(t, r)
		must(t, err)
		must(t, second(c.Write(r.render(newID()))))
		var lines *bufio.Reader
		for n := range 20 {
			next[from] <- n
			if lines == nil {
				resp, err := c.head("GET")
				must(t, err)
				lines = bufio.NewReader(resp.Body)
			}
			if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", n) {
				t.Fatalf("%s: event %d came as %q, %v", r.target, n, line, err)
			}
			_, _ = lines.ReadString('\n')
		}
		close(next[from])
		c.Close()
	}
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up"))})
	var pipelines sync.WaitGroup
	for range 20 {
		pipelines.Go(func() { pipeline(t, g, 60) })
	}
	pipelines.Wait()
}

// pipeline sends n requests at once, every other one with a body, and wants n answers.
func pipeline(t *testing.T, g *gateway, n int) {
	t.Helper()
	c := g.connect(t)
	var all strings.Builder
	for i := range n {
		r := request{target: fmt.Sprint("/x/", i)}
		if i%2 == 1 {
			r.method, r.body = "POST", strings.Repeat("b", i*100)
		}
		all.Write(r.render(newID()))
	}
	if _, err := io.WriteString(c, all.String()); err != nil {
		t.Error(err)
		return
	}
	for i := range n {
		a, err := c.answer("", "GET")
		if err != nil || a.saw == nil || a.saw.Target != fmt.Sprint("/", i) {
			t.Errorf("answer %d is for %+v, %v", i, a.saw, err)
			return
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "12345")
	}))
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up)})
	c := g.connect(t)
	for range 3 { // the connection goes on after each
		a, err := c.exchange(request{method: "HEAD", target: "/x/"})
		must(t, err)
		if got := g.verdict(t, a); got != served || a.ContentLength != 12345 || len(a.body) != 0 {
			t.Errorf("got %v, length %d, %d bytes", got, a.ContentLength, len(a.body))
		}
	}
}
