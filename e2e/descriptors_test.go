package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// says counts the lines of the gateway's own log with a message.
func (g *gateway) says(message string) (n int) {
	for _, line := range g.errors.all() {
		if strings.Contains(line, message) {
			n++
		}
	}
	return n
}

// processorTime is how long the gateway has computed.
func (g *gateway) processorTime() time.Duration {
	g.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	must(g.t, err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		must(g.t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// crowd opens n connections and asks for target on each. It returns those that are answered;
// the others were closed without a word.
func (g *gateway) crowd(t testing.TB, n int, target string) (served []*client) {
	t.Helper()
	for range n {
		c := g.connect(t)
		a, err := c.exchange(request{target: target})
		switch {
		case err == nil && a.StatusCode == http.StatusOK:
			served = append(served, c)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		default:
			t.Fatalf("got %v, %v", a, err)
		}
	}
	return served
}

// Where few files may be open, clients get as many connections as leaves enough for the
// services and for us, over all Listeners; the others are turned away, which is told once.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up")), shell: "ulimit -n 128"})
	served := g.crowd(t, 150, "/x/")
	if len(served) != 32 { // a quarter
		t.Errorf("%d clients are served", len(served))
	}
	for _, path := range []string{"/ambassador/v0/check_alive", "/ambassador/v0/check_ready", "/metrics"} {
		if status, _ := g.operator(path); status != http.StatusOK {
			t.Errorf("%s: status %d", path, status)
		}
	}
	for _, c := range served {
		if a, err := c.exchange(request{target: "/x/again"}); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("a client that was served gets %v, %v", a, err)
		}
	}
	if n := g.says("there are as many as there may be"); n < 1 || n > 6 { // every ten seconds
		t.Errorf("the log tells of it %d times", n)
	}
	for _, c := range served {
		c.Close()
	}
	eventually(t, 10*time.Second, "as many are served again", func() bool { return len(g.crowd(t, 1, "/x/")) == 1 })
}

// Where files run out all the same, those who are connected go on, and the others wait: they
// are served once there are files again. Nobody turns in circles meanwhile.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	prlimit := outside(t, "prlimit")
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up"))})
	limit := func(files int) {
		t.Helper()
		out, err := exec.Command(prlimit, "--pid", strconv.Itoa(g.cmd.Process.Pid), fmt.Sprintf("--nofile=%d:", files)).CombinedOutput()
		if err != nil {
			t.Fatalf("prlimit: %v: %s", err, out)
		}
	}
	connected := g.crowd(t, 4, "/x/")
	operator, err := net.Dial("tcp", g.admin)
	must(t, err)
	defer operator.Close()
	admin := newClient(operator)
	if a, err := admin.exchange(request{target: "/ambassador/v0/check_alive"}); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("health: got %v, %v", a, err)
	}
	limit(3) // of which there are more already
	var waiting []*client
	for range 20 {
		c := g.connect(t)
		must(t, second(c.Write((&request{target: "/x/"}).render(newID()))))
		waiting = append(waiting, c)
	}
	g.errors.await(t, "cannot accept connections")
	before, since := g.processorTime(), time.Now()
	for time.Since(since) < 2*time.Second {
		for _, c := range connected[:1] {
			if a, err := c.exchange(request{target: "/x/again"}); err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("a client that is connected gets %v, %v", a, err)
			}
		}
		if a, err := admin.exchange(request{target: "/ambassador/v0/check_alive"}); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("health: got %v, %v", a, err)
		}
		time.Sleep(100 * time.Millisecond) // so that what is measured is the waiting
	}
	if spent := g.processorTime() - before; spent > time.Since(since)/4 {
		t.Errorf("%v of processor time in %v of nothing to do", spent, time.Since(since))
	}
	limit(1024)
	for _, c := range waiting {
		must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		if a, err := c.head("GET"); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("a client that waited gets %v, %v", a, err)
		}
	}
	if n := g.says("cannot accept connections"); n > 3 {
		t.Errorf("the log tells of it %d times", n)
	}
}

// More connections at once than the system keeps for us: those that it kept are served, and
// afterwards everybody is.
func TestAcceptQueueOverflows(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	must(t, err)
	queue, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	if queue > 5000 {
		t.Skipf("the queue holds %d connections, more than are made for a test", queue)
	}
	g := start(t, setup{manifests: everyone})
	g.signal(syscall.SIGSTOP)
	const alive = "/ambassador/v0/check_alive"
	waiting, late := make(chan *client, queue+300), 0
	for range queue + 300 {
		conn, err := net.DialTimeout("tcp", g.clear, 20*time.Millisecond)
		if err != nil {
			late++
			continue
		}
		c := newClient(conn)
		must(t, second(c.Write((&request{target: alive}).render(newID()))))
		waiting <- c
	}
	g.signal(syscall.SIGCONT)
	if late == 0 {
		t.Error("the queue takes everybody")
	}
	close(waiting)
	t.Logf("%d wait, %d are late", len(waiting), late)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for c := range waiting {
				_ = c.SetReadDeadline(time.Now().Add(30 * time.Second)) // the read would show it
				if a, err := c.head("GET"); err != nil || a.StatusCode != http.StatusOK {
					t.Errorf("a client that waited gets %v, %v", a, err)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	if got := len(g.crowd(t, 20, alive)); got != 20 {
		t.Errorf("%d of 20 are served afterwards", got)
	}
}
