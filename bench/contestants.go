package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A contestant is a proxy that can be started.
type contestant struct {
	name    string
	command string                                                // what must be installed
	debian  string                                                // package that brings it
	modules map[string]string                                     // files that must be there too, each with the package that brings it
	version []string                                              // command line that tells
	asked   bool                                                  // measured only where -only says something
	argv    func(a *arena, s settings) (argv []string, err error) // writes the configuration; the log goes to standard output or s.Log
	known   bool                                                  // is to know who asks
}

// contestants lists all of them; Legate is what the others are compared with.
func contestants(opts *options) []contestant {
	legate := opts.legate
	if abs, err := filepath.Abs(legate); err == nil {
		legate = abs
	}
	return []contestant{
		{name: "legate", command: legate, version: []string{legate, "version"}, argv: legateArgv},
		{name: "nginx", command: "nginx", debian: "nginx-light", modules: map[string]string{nginxStream: "libnginx-mod-stream"}, version: []string{"nginx", "-v"}, argv: nginxArgv},
		{name: "haproxy", command: "haproxy", debian: "haproxy", version: []string{"haproxy", "-v"}, argv: haproxyArgv},
		{name: "reverseproxy", argv: reverseProxyArgv},
		{name: "limits", asked: true, command: legate, version: []string{legate, "version"}, argv: limitsArgv},
		{name: "queueing", asked: true, command: legate, version: []string{legate, "version"}, argv: queueingArgv},
		{name: "limits-redis", asked: true, command: legate, modules: map[string]string{redisServer: "redis-server"}, version: []string{legate, "version"}, argv: limitsRedisArgv},
	}
}

// nginxStream is where Debian puts nginx's module for TCP.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

// redisServer is where Debian puts Redis.
const redisServer = "/usr/bin/redis-server"

// limitsArgv is Legate with a rate limit on every route, which nothing meets.
func limitsArgv(a *arena, s settings) ([]string, error) {
	s.Limited = true
	return legateArgv(a, s)
}

// queueingArgv is Legate that refuses requests which wait for longer than a millisecond.
func queueingArgv(a *arena, s settings) ([]string, error) {
	argv, err := legateArgv(a, s)
	return append(argv, "--max-queueing", "1ms"), err
}

// limitsRedisArgv is the same with a Redis, which has a core with load and upstream.
func limitsRedisArgv(a *arena, s settings) ([]string, error) {
	argv, err := limitsArgv(a, s)
	if err != nil {
		return nil, err
	}
	redis, err := a.startRedis()
	return append(argv, "--redis", redis), err
}

func legateArgv(a *arena, s settings) ([]string, error) {
	file, err := s.write("legate.yaml")
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	argv := []string{
		a.opts.legate, "run", "-f", file, "--bind", "127.0.0.1", "--admin", admin, "--log-format", "json", "--drain-timeout", "1s",
	}
	if a.opts.pgo != "" {
		argv = append(argv, "--pprof")
	}
	return argv, err
}

func nginxArgv(a *arena, s settings) ([]string, error) {
	file, err := s.write("nginx.conf")
	argv := []string{"nginx", "-e", filepath.Join(s.Dir, "nginx-error.log"), "-p", s.Dir, "-c", file}
	if s.Known != "" { // beside the service that it asks
		argv = append([]string{a.self, "guarded", "-addr", s.Auth, "-key", a.issuer.keyFile}, argv...)
	}
	return argv, err
}

func haproxyArgv(_ *arena, s settings) ([]string, error) {
	file, err := s.write("haproxy.cfg")
	if err != nil {
		return nil, err
	}
	var m strings.Builder
	for _, p := range s.Prefixes {
		fmt.Fprintln(&m, p, "up")
	}
	fmt.Fprintln(&m, s.Called, "calls")
	return []string{"haproxy", "-db", "-f", file}, os.WriteFile(s.Map, []byte(m.String()), 0o600)
}

func reverseProxyArgv(a *arena, s settings) ([]string, error) {
	return []string{
		a.self, "reverseproxy", "-http", s.HTTP, "-tls", s.TLS, "-tcp", s.TCP, "-upstream", s.Upstream, "-calls", s.Calls, "-pours", s.Pours,
		"-prefixes", strings.Join(s.Prefixes, ","), "-called", s.Called, "-cert", s.Cert, "-key", s.Key,
	}, nil
}

// A proxy is a contestant that runs.
type proxy struct {
	*process
	contestant string
	http, tls  string // addresses
	tcp        string // whose bytes are forwarded as they are
	admin      string // Legate's; else ""
	log        string // access log file
}

// start starts c on the proxy core and waits until it answers.
func (c contestant) start(a *arena) (*proxy, error) {
	s, err := a.settings(c.name)
	if err != nil {
		return nil, err
	}
	if c.known {
		s.Known = known
	}
	argv, err := c.argv(a, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	// Opened for appending, so that it can be emptied while it is written to.
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	child, err := startPinned(a.opts.proxyCore, nil, log, filepath.Join(s.Dir, "stderr"), argv...)
	if err != nil {
		return nil, err
	}
	p := &proxy{process: child, contestant: c.name, http: s.HTTP, tls: s.TLS, tcp: s.TCP, log: s.Log, admin: flagValue(argv, "--admin")}
	if err := answersSoon(child, p.http, measured+"300"); err != nil {
		child.stop()
		return nil, err
	}
	return p, nil
}

func flagValue(argv []string, flag string) string {
	for i, arg := range argv[:len(argv)-1] {
		if arg == flag {
			return argv[i+1]
		}
	}
	return ""
}

func (p *proxy) url(l load) string {
	prefix := measured
	switch {
	case l.grpc:
		prefix = called
	case l.known:
		prefix = known
	}
	if l.secure {
		return "https://" + p.tls + prefix + l.target
	}
	return "http://" + p.http + prefix + l.target
}

func (p *proxy) addr(secure bool) string {
	if secure {
		return p.tls
	}
	return p.http
}

// emptyLog empties the access log.
func (p *proxy) emptyLog() error { return os.Truncate(p.log, 0) }

// hasLogged waits until the access log has something in it: who writes none did not
// do all of the work. Writers may keep back what is less than a buffer for a second.
func (p *proxy) hasLogged(ctx context.Context) error {
	for range 30 {
		info, err := os.Stat(p.log)
		if err != nil || info.Size() > 0 {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("wrote no access log")
}

// says returns the version that c reports of itself.
func (c contestant) says() string {
	if c.version == nil {
		return runtime.Version()
	}
	out, err := exec.Command(c.version[0], c.version[1:]...).CombinedOutput()
	if err != nil {
		return "unknown: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
