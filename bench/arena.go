package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed templates
var templates embed.FS

// The prefixes under load stand among others of the same length, since nobody runs
// a gateway for a single route.
const (
	measured = "/bench/"
	upgraded = "/socks/" // its requests may upgrade to WebSocket
	called   = "/calls/" // gRPC, to an upstream of its own
	known    = "/known/" // asks who asks, where contestants are told to
)

// An arena is what all contestants share: folder, certificate, upstream.
type arena struct {
	opts     *options
	dir      string // absolute
	self     string // this binary
	lock     *os.File
	upstream *process
	addr     string // upstream's; those of its other two protocols follow
	calls    string
	pours    string
	redis    *process // nil for none
	cert     *certificate
	issuer   *issuer
}

// newArena prepares the work folder and starts the upstream; close ends it.
func newArena(opts *options) (*arena, error) {
	dir, err := filepath.Abs(opts.work)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &arena{opts: opts, dir: dir, self: self}
	if a.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if a.cert, err = newCertificate(dir); err != nil {
		return nil, err
	}
	if a.issuer, err = newIssuer(dir); err != nil {
		return nil, err
	}
	for _, addr := range []*string{&a.addr, &a.calls, &a.pours} {
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	a.upstream, err = startPinned(opts.loadCore, nil, nil, filepath.Join(dir, "upstream.err"), self, "upstream",
		"-addr", a.addr, "-calls", a.calls, "-pours", a.pours)
	if err != nil {
		return nil, err
	}
	if err := answersSoon(a.upstream, a.addr, "/300"); err != nil {
		a.upstream.stop()
		return nil, err
	}
	return a, nil
}

func (a *arena) close() {
	if a.redis != nil {
		a.redis.stop()
	}
	a.upstream.stop()
	a.issuer.close()
	a.lock.Close()
}

// startRedis starts a Redis that keeps nothing, and returns its address once somebody is
// there.
func (a *arena) startRedis() (string, error) {
	addr, err := freeAddr()
	if err != nil {
		return "", err
	}
	host, port, _ := net.SplitHostPort(addr)
	a.redis, err = startPinned(a.opts.loadCore, nil, nil, filepath.Join(a.dir, "redis.err"), redisServer,
		"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", a.dir)
	if err != nil {
		return "", err
	}
	for deadline := time.Now().Add(15 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return addr, conn.Close()
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("redis: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lockFolder keeps a second run out of dir, and off the cores.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another bench runs in %s: %w", dir, err)
	}
	return f, nil
}

// settings are what the templates of the contestants' configurations fill in.
type settings struct {
	Dir, Log                   string
	Upstream, Calls, Pours     string
	HTTP, TLS, TCP             string
	HTTPPort, TLSPort, TCPPort string
	Cert, Key, Pem, Map        string
	CertBase64, KeyBase64      string
	Prefixes                   []string // of the upstream that speaks HTTP/1.1
	Upgraded, Called           string   // one of them, and one beside them
	Known                      string   // one more that asks who asks; "" where nobody is to
	Issuer, Auth               string   // where its keys are, and where the service that is asked listens
	PrefixLen, MaxConn         int
	Root                       bool
	Limited                    bool // every route by a rate limit that nothing meets
}

func (a *arena) settings(contestant string) (settings, error) {
	s := settings{
		Issuer: a.issuer.url,
		Dir:    filepath.Join(a.dir, contestant), Upstream: a.addr, Calls: a.calls, Pours: a.pours,
		Cert: a.cert.certFile, Key: a.cert.keyFile, Pem: a.cert.bothFile,
		CertBase64: base64.StdEncoding.EncodeToString(a.cert.certPEM), KeyBase64: base64.StdEncoding.EncodeToString(a.cert.keyPEM),
		Prefixes: prefixes(), Upgraded: upgraded, Called: called, PrefixLen: len(measured) - 1, Root: os.Geteuid() == 0,
		MaxConn: 2*a.opts.connections + a.opts.idle + 1000,
	}
	s.Log, s.Map = filepath.Join(s.Dir, "access.log"), filepath.Join(s.Dir, "prefixes.map")
	for addr, port := range map[*string]*string{&s.HTTP: &s.HTTPPort, &s.TLS: &s.TLSPort, &s.TCP: &s.TCPPort, &s.Auth: new(string)} {
		var err error
		if *addr, err = freeAddr(); err != nil {
			return s, err
		}
		_, *port, _ = net.SplitHostPort(*addr)
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return s, err
	}
	return s, os.MkdirAll(s.Dir, 0o755)
}

// prefixes returns twenty routes; the measured ones are in their middle.
func prefixes() []string {
	var list []string
	for i := range 20 {
		list = append(list, fmt.Sprintf("/svc%02d/", i))
	}
	list[10], list[11] = measured, upgraded
	return list
}

// write fills in a template and returns the file it wrote.
func (s settings) write(name string) (string, error) {
	t, err := template.ParseFS(templates, "templates/"+name+".tmpl")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		return "", err
	}
	file := filepath.Join(s.Dir, name)
	return file, os.WriteFile(file, b.Bytes(), 0o600)
}

// bodyFile returns a file with what to POST.
func (a *arena) bodyFile(body []byte) (string, error) {
	file := filepath.Join(a.dir, fmt.Sprintf("body-%d", len(body)))
	return file, os.WriteFile(file, body, 0o644)
}

// freeAddr returns a loopback address nobody listens on at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answersSoon waits until a request to addr is answered with 200.
func answersSoon(p *process, addr, target string) error {
	var last error
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		select {
		case <-p.ended:
			return p.failure()
		case <-time.After(20 * time.Millisecond):
		}
		c, err := dialClient(addr, nil, getRequest(target, "close"))
		if err == nil {
			err = c.exchange()
			c.Close()
		}
		if last = err; err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer on %s: %w", p.name, addr, last)
}

// part runs one of the bench's own parts on the load core.
func (a *arena) part(ctx context.Context, args ...string) ([]byte, error) {
	return runPinned(ctx, a.opts.loadCore, filepath.Join(a.dir, args[0]+".err"), append([]string{a.self}, args...)...)
}

func splitList(s string) iter.Seq[string] { return strings.SplitSeq(s, ",") }
