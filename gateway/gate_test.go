package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"legate/config"
	"legate/config/decode"
	"legate/decision"
	"legate/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// everyone is a Host for every name that takes every Mapping and every request.
const everyone = `
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: everyone}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
`

// mapping is a Mapping of every name; fields are further lines of its spec.
func mapping(name, prefix, service string, fields ...string) string {
	return fmt.Sprintf("\n---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: %s}\nspec:\n  hostname: \"*\"\n  prefix: %s\n  service: %q\n%s",
		name, prefix, service, indented(fields))
}

func module(fields ...string) string {
	return "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {name: ambassador}\nspec:\n  config:\n  " +
		strings.ReplaceAll(indented(fields), "\n", "\n  ") + "\n"
}

func indented(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString("  " + f + "\n")
	}
	return b.String()
}

// read makes the World of manifests. Without Listeners it gets one, on a free port.
func read(manifests string) config.World {
	w := config.Merge(config.Options{}, decode.Bytes(decode.Options{}, "in.yaml", []byte(manifests)))
	if len(w.Listeners) == 0 {
		w.Listeners = []config.Listener{plain(0)}
	}
	return w
}

// plain is a Listener of every Host on that port, 0 standing for a free one.
func plain(port int) config.Listener {
	return config.Listener{
		Meta: config.Meta{Kind: "Listener", Name: fmt.Sprintf("on-%d", port), Namespace: "default"},
		Port: port, Stack: []config.Protocol{config.ProtoHTTP, config.ProtoTCP}, FromAll: true,
	}
}

// A gate is a gateway that serves on loopback and whose records are kept.
type gate struct {
	*Gateway
	t       testing.TB
	log     *lockedBuffer
	records chan record
	access  *telemetry.AccessLog
}

// A record is what the access log says of a request.
type record struct {
	verdict
	ID       string `json:"request_id"`
	By       string
	Route    string
	Upstream string
	Endpoint string
	ClientIP string  `json:"client_ip"`
	BytesIn  int64   `json:"bytes_in"`
	BytesOut int64   `json:"bytes_out"`
	Waited   float64 `json:"upstream_ms"`
	Took     float64 `json:"duration_ms"`
	Retries  int
	Gen      uint64 `json:"generation"`
	TraceID  string `json:"trace_id"`
	TLS      string
	Path     string
}

// A verdict is the assertion made everywhere: which stage, which reason, which status.
type verdict struct {
	Stage, Reason string
	Status        int
}

var served = verdict{"proxy", "", 200}

// flagOf is Envoy's response flag for the reason of that name.
func flagOf(t *testing.T, reason string) string {
	t.Helper()
	for r := range decision.NumReasons {
		if r.String() == reason {
			return r.Flag()
		}
	}
	t.Fatalf("no reason is called %q", reason)
	return ""
}

// lines passes what is written on, line by line.
type lines struct{ each func(line []byte) }

func (l lines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.each(line)
	}
	return len(p), nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newGate makes a gateway that serves nothing yet.
func newGate(t testing.TB, change ...func(*Options)) *gate {
	t.Helper()
	g := &gate{t: t, log: new(lockedBuffer), records: make(chan record, 10_000)}
	g.access = telemetry.NewAccessLog(lines{g.note}, telemetry.AccessLogOptions{Interval: time.Microsecond})
	opts := Options{
		Bind:    "127.0.0.1",
		Metrics: telemetry.NewMetrics(telemetry.Build{}),
		Log:     slog.New(slog.NewTextHandler(g.log, nil)),
		Clock:   time.Now,
		AccessLog: func(string, string) *telemetry.AccessLog {
			return g.access
		},
	}
	for _, c := range change {
		c(&opts)
	}
	var err error
	if g.Gateway, err = New(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.stop)
	return g
}

func (g *gate) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.Drain(ctx); err != nil {
		g.t.Error(err)
	}
	if err := g.access.Close(ctx); err != nil {
		g.t.Error(err)
	}
}

func (g *gate) note(line []byte) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		g.t.Errorf("access log line %q: %v", line, err)
		return
	}
	select {
	case g.records <- r:
	default: // a test that makes so many looks at none
	}
}

// open makes a gateway that serves manifests.
func open(t testing.TB, manifests string, change ...func(*Options)) *gate {
	t.Helper()
	g := newGate(t, change...)
	g.Apply(t.Context(), read(manifests))
	return g
}

// addr is where the only Listener listens.
func (g *gate) addr() string {
	g.t.Helper()
	g.applying.Lock()
	defer g.applying.Unlock()
	for _, p := range g.ports {
		return p.listener.Addr().String()
	}
	g.t.Fatal("nothing listens")
	return ""
}

// next is the next record.
func (g *gate) next() record {
	g.t.Helper()
	select {
	case r := <-g.records:
		return r
	case <-time.After(patience):
		g.t.Fatal("no record")
		return record{}
	}
}

// A client is one connection to a gate.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func (g *gate) dial() *client {
	g.t.Helper()
	return dialAddr(g.t, g.addr())
}

func dialAddr(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{c, t, bufio.NewReader(c)}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// An answer is what a client got.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// hear reads the next answer to a request of that method.
func (c *client) hear(method string) answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body), err}
}

// request renders one of HTTP/1.1 for example.com.
func request(method, target, body string, header ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: example.com\r\n", method, target)
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// send makes one request on a connection of its own.
func (g *gate) send(text string) (answer, record) {
	g.t.Helper()
	c := g.dial()
	c.say(text)
	method, _, _ := strings.Cut(text, " ")
	a := c.hear(method)
	c.Close()
	return a, g.next()
}

// get is the simplest request.
func (g *gate) get(target string, header ...string) (answer, record) {
	g.t.Helper()
	return g.send(request("GET", target, "", header...))
}

// A peer is one connection that a service took.
type peer struct {
	*net.TCPConn
	br *bufio.Reader
	n  int // of those the service took, from 0
}

// service serves every connection with handle, and closes it afterwards.
func service(t testing.TB, handle func(p *peer)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var peers sync.Map
	var done sync.WaitGroup
	done.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p := &peer{nc.(*net.TCPConn), bufio.NewReader(nc), n}
			peers.Store(p, nil)
			done.Go(func() {
				defer p.Close()
				handle(p)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		peers.Range(func(p, _ any) bool { p.(*peer).Close(); return true })
		done.Wait()
	})
	return ln.Addr().String()
}

// request reads one request with its body; nil at the connection's end.
func (p *peer) request() (*http.Request, string) {
	r, err := http.ReadRequest(p.br)
	if err != nil {
		return nil, ""
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, ""
	}
	return r, string(body)
}

func (p *peer) say(text string) { _, _ = io.WriteString(p, text) }

// reset ends the connection with a reset instead of an end.
func (p *peer) reset() {
	_ = p.SetLinger(0)
	p.Close()
}

// wait waits for the other side to end the connection.
func (p *peer) wait() { _, _ = io.Copy(io.Discard, p.br) }

const plainOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// saw is what a service saw of a request.
type saw struct {
	*http.Request
	body string
}

// seeing is a service that answers every request with reply and tells what it saw.
func seeing(t testing.TB, reply string) (addr string, seen <-chan saw) {
	t.Helper()
	c := make(chan saw, 1000)
	return service(t, func(p *peer) {
		for {
			r, body := p.request()
			if r == nil {
				return
			}
			c <- saw{r, body}
			p.say(reply)
		}
	}), c
}

// eventually waits for something that must come about and cannot be awaited.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("still not so: %s", what)
		}
		<-tick.C
	}
}
