package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fileHolds waits until a file holds a line with text.
func fileHolds(t testing.TB, path, text string) {
	t.Helper()
	eventually(t, 10*time.Second, filepath.Base(path)+" holds "+text, func() bool {
		b, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(b), text)
	})
}

// The access log goes where the Module says, and may be rotated away.
func TestAccessLogFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, rotated, other := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1"), filepath.Join(dir, "other.log")
	rest := everyone + mapping("x", "/x/", echo(t, "up"))
	g := start(t, setup{manifests: rest + module("envoy_log_type: json, envoy_log_path: "+first)})
	ask := func() string {
		t.Helper()
		return g.send(t, request{target: "/x/"}).id
	}
	fileHolds(t, first, `"request_id":"`+ask()+`"`)
	must(t, os.Rename(first, rotated))
	fileHolds(t, rotated, ask()) // until it is told
	g.signal(syscall.SIGHUP)
	fileHolds(t, first, func() string {
		eventually(t, 10*time.Second, "there is a new file", func() bool { _, err := os.Stat(first); return err == nil })
		return ask()
	}())

	g.replace(rest + module("envoy_log_type: text, envoy_log_path: "+other))
	id := ask()
	fileHolds(t, other, id)
	line, err := os.ReadFile(other)
	must(t, err)
	if !regexp.MustCompile(`^ACCESS \[[^]]+\] "GET /x/ HTTP/1.1" 200 - `).Match(line) {
		t.Errorf("text format: %s", line)
	}
	// A path that cannot be opened leaves the log where it is.
	g.replace(rest + module("envoy_log_type: text, envoy_log_path: "+filepath.Join(dir, "no", "such", "folder")))
	g.errors.await(t, `"access log cannot be opened; the last one goes on"`)
	fileHolds(t, other, ask())
	g.replace(rest)
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served {
		t.Errorf("back on standard output: %v", g.verdict(t, a))
	}
}

// Whatever goes wrong, and however much is logged, nobody's secrets are.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "c0nfidential"
	silent := raw(t, func(s *service) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nSet-Cookie: " + secret + "\r\nX-Broken : " + secret + "\r\n\r\n")
	})
	g := start(t, setup{args: []string{"--log-level", "debug"}, manifests: everyone + mapping("x", "/x/", echo(t, "up")) +
		mapping("broken", "/broken/", silent) + mapping("away", "/away/", loopback(freePorts(t, 1)[0]))})
	fields := []string{"Authorization: Bearer " + secret, "Cookie: session=" + secret, "X-Api-Key: " + secret}
	for _, r := range []request{
		{target: "/x/?token=" + secret},
		{target: "/broken/?token=" + secret},
		{target: "/away/?token=" + secret},
		{target: "/nowhere/?token=" + secret},
		{target: "/x/%zz?token=" + secret},
		{target: "/x/?token=" + secret, proto: "HTTP/1.0"},
	} {
		r.header = fields
		g.verdict(t, g.send(t, r))
	}
	a := g.send(t, request{target: "/x/", header: append([]string{"Bad Field: " + secret}, fields...)})
	if got, want := g.verdict(t, a), (verdict{"accept", "bad_request", 400}); got != want {
		t.Errorf("a malformed line: %v, want %v", got, want)
	}
	g.signal(syscall.SIGTERM)
	g.exit(t)
	for _, line := range append(g.errors.all(), g.log.text()...) {
		if strings.Contains(line, secret) {
			t.Errorf("written: %s", line)
		}
	}
}

// Flags may come from the environment; what is typed wins.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	path := filepath.Join(t.TempDir(), "all.yaml")
	must(t, os.WriteFile(path, []byte(everyone+listener("http", "HTTP", ports[0])+mapping("x", "/x/", "up.shop")), 0o600))
	up := echo(t, "up")
	g := &gateway{t: t, clear: loopback(ports[0]), admin: loopback(ports[1])}
	g.program = run(t, []string{
		"AMBASSADOR_CONFIG_DIR=" + path, "AMBASSADOR_ENVOY_BIND_ADDRESS=127.0.0.1", "LEGATE_RESOLVE=*=" + up,
		"LEGATE_ADMIN=127.0.0.1:1", "LEGATE_LOG_LEVEL=warn",
	}, exec.Command(binary, "run", "--admin", g.admin))
	g.awaitReady()
	if a := g.send(t, request{target: "/x/"}); g.verdict(t, a) != served || a.saw.Service != "up" {
		t.Errorf("got %v", g.verdict(t, a))
	}
	if lines := g.errors.all(); len(lines) > 0 {
		t.Errorf("at level warn it says %q", lines)
	}
}
