package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A program is one run of the binary. It is watched to its end: a race, a panic or a
// defect it tells of fails the test.
type program struct {
	cmd    *exec.Cmd
	log    accessLog
	errors lines
	exited chan struct{}
	status int
	judged bool // the test looks at the exit status itself
	secrets
}

// run starts a command. env is all of its environment but for what any program
// needs.
func run(t testing.TB, env []string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, exited: make(chan struct{})}
	p.log.changed = make(chan struct{})
	p.errors.changed = make(chan struct{})
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), hasty}, env...)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	var readers sync.WaitGroup
	readers.Go(func() { p.log.read(stdout) })
	readers.Go(func() { p.errors.read(stderr) })
	go func() {
		readers.Wait()
		_ = cmd.Wait()
		p.status = cmd.ProcessState.ExitCode()
		close(p.exited)
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// hasty keeps the race detector from waiting a second for more at every exit.
const hasty = "GORACE=atexit_sleep_ms=10"

// defect is how the program tells of one of its own.
var defect = regexp.MustCompile(`\bBUG\b`)

// end ends the program as an operator would and looks for what it must never say.
func (p *program) end(t testing.TB) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if !p.waitExit(20 * time.Second) {
		t.Errorf("the program does not end; its goroutines:\n%s", p.abort())
	} else if !p.judged && p.status != 0 {
		t.Errorf("exit status %d, want 0", p.status)
	}
	for _, line := range p.errors.all() {
		if defect.MatchString(line) || strings.Contains(line, "DATA RACE") ||
			strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			t.Errorf("the program says: %s", line)
		}
	}
	p.unsaid(t, append(p.log.text(), p.errors.all()...))
	if t.Failed() {
		t.Logf("stderr, its end:\n%s", tail(p.errors.all(), 60))
	}
}

func tail(lines []string, n int) string {
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// abort makes the Go runtime print its goroutines.
func (p *program) abort() string {
	p.signal(syscall.SIGQUIT)
	if !p.waitExit(5 * time.Second) {
		_ = p.cmd.Process.Kill()
	}
	return tail(p.errors.all(), 400)
}

func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

func (p *program) waitExit(limit time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(limit):
		return false
	}
}

// exit waits for the end and returns the exit status, which the test now judges.
func (p *program) exit(t testing.TB) int {
	t.Helper()
	p.judged = true
	if !p.waitExit(30 * time.Second) {
		t.Fatalf("the program does not end; its goroutines:\n%s", p.abort())
	}
	return p.status
}

// Lines are what a program has written.
type lines struct {
	mu      sync.Mutex
	list    []string
	changed chan struct{}
}

func (l *lines) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<22)
	for s.Scan() {
		l.mu.Lock()
		l.list = append(l.list, s.Text())
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

func (l *lines) watch() ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list, l.changed
}

// await returns the first line that matches, waiting for it.
func (l *lines) await(t testing.TB, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(15 * time.Second)
	for {
		list, changed := l.watch()
		for _, line := range list {
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no line matches %q in:\n%s", pattern, tail(list, 40))
		}
	}
}

// A verdict is what every case is judged by.
type verdict struct {
	Stage, Reason string
	Status        int
}

// A record is one line of the access log.
type record struct {
	verdict
	RequestID   string `json:"request_id"`
	Path        string `json:"path"`
	Method      string `json:"method"`
	By          string `json:"by"`
	Route       string `json:"route"`
	Upstream    string `json:"upstream"`
	Endpoint    string `json:"endpoint"`
	ClientIP    string `json:"client_ip"`
	VPCEndpoint string `json:"vpc_endpoint"`
	BytesIn     int64  `json:"bytes_in"`
	BytesOut    int64  `json:"bytes_out"`
	Generation  uint64 `json:"generation"`
	Retries     int    `json:"retries"`
	TLS         string `json:"tls"`
	Protocol    string `json:"protocol"`
	Host        string `json:"host"`
	TraceID     string `json:"trace_id"`
}

// An accessLog is what the program wrote to its standard output.
type accessLog struct {
	mu      sync.Mutex
	records []record
	lines   []string // all of them, also those that are no record
	changed chan struct{}
}

func (l *accessLog) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<22)
	for s.Scan() {
		l.add(s.Bytes())
	}
}

func (l *accessLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rec record
	l.lines = append(l.lines, string(line))
	if json.Unmarshal(line, &rec) == nil && rec.Stage != "" {
		l.records = append(l.records, rec)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// size returns how many records there are.
func (l *accessLog) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.records)
}

// text returns every line.
func (l *accessLog) text() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// count returns how many records have the verdict v.
func (l *accessLog) count(v verdict) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.records {
		if l.records[i].verdict == v {
			n++
		}
	}
	return n
}

// next returns the first record from index from on that fits, waiting for it.
func (l *accessLog) next(t testing.TB, from int, fits func(*record) bool) record {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		l.mu.Lock()
		for i := from; i < len(l.records); i++ {
			if fits(&l.records[i]) {
				defer l.mu.Unlock()
				return l.records[i]
			}
		}
		from = len(l.records)
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			t.Fatal("no such record")
		}
	}
}

// A setup says what a gateway is started with.
type setup struct {
	manifests string   // beside the two Listeners
	args      []string // more flags
	env       []string
	bare      bool     // no Listeners are added
	shell     string   // run through a shell after this command
	plain     bool     // run the binary as it is released, for what is measured
	path      string   // what is served; "" for a file made from manifests
	extra     []string // more paths to serve
}

// A gateway is a program that serves.
type gateway struct {
	*program
	t         testing.TB
	file      string // its manifests
	admin     string // host:port
	clear     string // host:port of the Listener of protocol HTTP
	secure    string // host:port of the Listener of protocol HTTPS
	listeners string
}

// start starts a gateway and waits until it is ready.
func start(t testing.TB, s setup) *gateway {
	t.Helper()
	g := launch(t, s)
	g.awaitReady()
	return g
}

// launch starts a gateway without waiting for it.
func launch(t testing.TB, s setup) *gateway {
	t.Helper()
	g := &gateway{t: t, file: s.path}
	ports := freePorts(t, 3)
	g.admin, g.clear, g.secure = loopback(ports[0]), loopback(ports[1]), loopback(ports[2])
	if !s.bare {
		g.listeners = listener("http", "HTTP", ports[1]) + listener("https", "HTTPS", ports[2])
	}
	if g.file == "" {
		g.file = filepath.Join(t.TempDir(), "legate.yaml")
		g.write(s.manifests)
	}
	args := append([]string{"run", "-f", g.file, "--bind", "127.0.0.1", "--admin", g.admin, "--drain-timeout", "10s"}, s.args...)
	for _, path := range s.extra {
		args = append(args, "-f", path)
	}
	path := binary
	if s.plain {
		path = plain(t)
	}
	cmd := exec.Command(path, args...)
	if s.shell != "" {
		cmd = exec.Command("/bin/sh", append([]string{"-c", s.shell + ` && exec "$0" "$@"`, path}, args...)...)
	}
	g.program = run(t, s.env, cmd)
	return g
}

// write replaces the gateway's manifests in one step, as editors and mounts do.
func (g *gateway) write(manifests string) {
	g.t.Helper()
	next := g.file + ".next"
	must(g.t, os.WriteFile(next, []byte(g.listeners+manifests), 0o600))
	must(g.t, os.Rename(next, g.file))
}

func (g *gateway) awaitReady() {
	g.t.Helper()
	eventually(g.t, 30*time.Second, "the gateway is ready", func() bool {
		select {
		case <-g.exited:
			g.t.Fatalf("the program ended with status %d:\n%s", g.status, tail(g.errors.all(), 40))
		default:
		}
		status, _ := g.operator("/ambassador/v0/check_ready")
		return status == 200
	})
}

// operators ask the admin port with this client.
var operators = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// operator asks the admin port; status 0 means that nobody is there.
func (g *gateway) operator(path string) (status int, body string) {
	g.t.Helper()
	resp, err := operators.Get("http://" + g.admin + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(b)
}

// view decodes what /api/v1 shows.
func view[T any](g *gateway, name string) T {
	g.t.Helper()
	status, body := g.operator("/api/v1/" + name)
	var v T
	if status != 200 {
		g.t.Fatalf("/api/v1/%s: status %d", name, status)
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		g.t.Fatalf("/api/v1/%s: %v in %s", name, err, body)
	}
	return v
}

type configView struct {
	Generation uint64
	Mappings   int
	Problems   int
}

// generation is the number of the configuration that serves.
func (g *gateway) generation() uint64 {
	g.t.Helper()
	return view[configView](g, "config").Generation
}

// replace writes new manifests and waits until they serve.
func (g *gateway) replace(manifests string) {
	g.t.Helper()
	before := g.generation()
	g.write(manifests)
	eventually(g.t, 15*time.Second, "the new manifests serve", func() bool { return g.generation() > before })
}

type problemView struct {
	Kind, Name, Field, Message, Effect, Text string
}

func (g *gateway) problems() []problemView {
	g.t.Helper()
	return view[[]problemView](g, "problems")
}

// vitals are what must not grow.
type vitals struct{ goroutines, files int }

// vitals needs --pprof.
func (g *gateway) vitals() vitals {
	g.t.Helper()
	status, body := g.operator("/debug/pprof/goroutine?debug=1")
	var v vitals
	if _, err := fmt.Sscanf(body, "goroutine profile: total %d", &v.goroutines); status != 200 || err != nil {
		g.t.Fatalf("goroutine profile: status %d, %v", status, err)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	must(g.t, err)
	v.files = len(entries)
	return v
}

// memory returns a line of /proc/PID/status, such as VmRSS or VmHWM, in bytes.
func (g *gateway) memory(name string) int64 {
	g.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	must(g.t, err)
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			must(g.t, err)
			return kb << 10
		}
	}
	g.t.Fatalf("/proc/PID/status has no %s", name)
	return 0
}

// settled waits until vitals are back at most at what they were.
func (g *gateway) settled(before vitals) {
	g.t.Helper()
	var now vitals
	limit := time.Now().Add(20 * time.Second)
	for time.Now().Before(limit) {
		now = g.vitals()
		if now.goroutines <= before.goroutines && now.files <= before.files {
			return
		}
		tick()
	}
	_, stacks := g.operator("/debug/pprof/goroutine?debug=1")
	g.t.Errorf("before %+v, now %+v: something leaks\n%s", before, now, stacks)
}

// tick lets a moment pass between two looks at something that is to become true.
func tick() { time.Sleep(5 * time.Millisecond) }

// eventually waits for something to become true.
func eventually(t testing.TB, limit time.Duration, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !true(); tick() {
		if time.Now().After(end) {
			t.Fatalf("after %v it is still not so that %s", limit, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Ports are taken from below the range from which the system picks the ports of
// outgoing connections, so that nobody else gets one between two uses.
const firstPort, endPort = 12_000, 32_000

var lastPort atomic.Int64

func freePorts(t testing.TB, n int) []int {
	t.Helper()
	lastPort.CompareAndSwap(0, int64(firstPort+os.Getpid()*97%(endPort-firstPort)))
	var ports []int
	for len(ports) < n {
		port := firstPort + int(lastPort.Add(1))%(endPort-firstPort)
		ln, err := net.Listen("tcp", loopback(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		must(t, err)
		ln.Close()
		ports = append(ports, port)
	}
	return ports
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// manifest renders one object.
func manifest(kind, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: getambassador.io/v3alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)
}

func listener(name, protocol string, port int) string {
	return manifest("Listener", name, fmt.Sprintf("{port: %d, protocol: %s, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}", port, protocol))
}

// mapping renders a Mapping for every name; more are further fields of its spec.
func mapping(name, prefix, service string, more ...string) string {
	fields := append([]string{`hostname: "*"`, "prefix: " + prefix, "service: " + service}, more...)
	return manifest("Mapping", name, "{"+strings.Join(fields, ", ")+"}")
}

// everyone is a Host for every name that serves cleartext requests.
const everyone = `---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: everyone}
spec: {hostname: "*", requestPolicy: {insecure: {action: Route}}}
`

func module(settings string) string {
	return manifest("Module", "ambassador", "{config: {"+settings+"}}")
}

// ids numbers requests.
var ids atomic.Int64

func newID() string { return fmt.Sprintf("e2e-%d", ids.Add(1)) }

// A request is what a client sends, to the byte.
type request struct {
	method string // "" for GET
	host   string // Host and SNI; "" for gate.test, "-" for no Host line
	target string // path and query
	proto  string // "" for HTTP/1.1
	header []string
	body   string
	secure bool // over TLS
}

// An answer is what came back.
type answer struct {
	*http.Response
	body []byte
	saw  *seen  // what the echo service saw; nil if it did not answer
	id   string // of the request
	from int    // how long the access log was before
}

// send sends a request on a connection of its own.
func (g *gateway) send(t testing.TB, r request) answer {
	t.Helper()
	a, err := g.try(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	return a
}

func (g *gateway) try(t testing.TB, r request) (answer, error) {
	t.Helper()
	c, err := g.dial(t, r)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	from := g.log.size()
	a, err := c.exchange(r)
	a.from = from
	return a, err
}

// verdict returns the record's part by which a request is judged.
func (g *gateway) verdict(t testing.TB, a answer) verdict {
	t.Helper()
	return g.record(t, a).verdict
}

// record returns the request's record. One that was refused early has no id there.
func (g *gateway) record(t testing.TB, a answer) record {
	t.Helper()
	return g.log.next(t, a.from, func(r *record) bool { return r.RequestID == a.id || r.RequestID == "" })
}

// render writes the request down.
func (r *request) render(id string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", or(r.method, "GET"), r.target, or(r.proto, "HTTP/1.1"))
	if r.host != "-" {
		fmt.Fprintf(&b, "Host: %s\r\n", or(r.host, defaultHost))
	}
	for _, line := range r.header {
		fmt.Fprintf(&b, "%s\r\n", line)
	}
	if !hasField(r.header, "x-request-id") {
		fmt.Fprintf(&b, "X-Request-Id: %s\r\n", id)
	}
	if r.body != "" && !hasField(r.header, "content-length") && !hasField(r.header, "transfer-encoding") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n" + r.body)
	return b.Bytes()
}

const defaultHost = "gate.test"

func hasField(lines []string, name string) bool {
	return slices.ContainsFunc(lines, func(l string) bool {
		return len(l) > len(name) && strings.EqualFold(l[:len(name)], name) && l[len(name)] == ':'
	})
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
