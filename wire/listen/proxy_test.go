package listen

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/wire"
)

// An introduction is what a listener made of a connection's beginning.
type introduction struct {
	outcome ProxyOutcome
	from    netip.Addr
	err     error
}

// An arrival is a connection that reached the engine, with all that its client said.
type arrival struct {
	peer wire.Peer
	said string
}

// A lobby is an engine that reads each connection to its end.
type lobby struct {
	greeter
	introductions chan introduction
	arrivals      chan arrival
}

func newLobby() *lobby {
	return &lobby{introductions: make(chan introduction, 100), arrivals: make(chan arrival, 100)}
}

func (l *lobby) Start(raw *wire.Conn, _ *tls.Conn, peer wire.Peer, ended func()) {
	go func() {
		said, _ := io.ReadAll(raw) // what came before an error is what was said
		_ = raw.Close()
		l.arrivals <- arrival{peer, string(said)}
		ended()
	}()
}

func (l *lobby) Proxied(from netip.Addr, o ProxyOutcome, err error) {
	l.introductions <- introduction{o, from, err}
}

func (l *lobby) listen(t *testing.T, opts Options) *Listener {
	t.Helper()
	opts.Addr, opts.Engine, opts.Watcher, opts.Now = "127.0.0.1:0", l, l, time.Now
	opts.Config = func(string) *tls.Config { return nil }
	ln, err := Listen(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); ln.Serve() }()
	t.Cleanup(func() {
		_ = ln.Close()
		<-served
		ln.Abort()
		ln.Wait()
	})
	return ln
}

const (
	headerV1   = "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r\n"
	unknownV1  = "PROXY UNKNOWN\r\n"
	startV2    = "\r\n\r\n\x00\r\nQUIT\n"
	headerV2   = startV2 + "\x21\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbb"
	endpointV2 = startV2 + "\x21\x11\x00\x16\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbb\xea\x00\x07\x01vpce-1"
	localV2    = startV2 + "\x20\x00\x00\x00"
	hello      = "GET / HTTP/1.1\r\n\r\n"
)

var (
	loopback  = netip.MustParsePrefix("127.0.0.0/8")
	elsewhere = netip.MustParsePrefix("10.0.0.0/8")
)

func TestProxyHeaders(t *testing.T) {
	const client, own = "198.51.100.7:56269", ""
	largest := startV2 + "\x21\x11\xff\xff\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbb\x04\xff\xf0" + strings.Repeat("x", 0xfff0)
	for _, c := range []struct {
		name    string
		mode    ProxyMode
		trusted []netip.Prefix
		sent    []string // each of which arrives before the next is sent
		outcome ProxyOutcome
		remote  string // "" for the socket's own
		said    string // to the engine
	}{
		{"v1", ProxyRequired, nil, []string{headerV1 + hello}, ProxyV1, client, hello},
		{"v2", ProxyRequired, nil, []string{headerV2 + hello}, ProxyV2, client, hello},
		{"v1 optional", ProxyOptional, nil, []string{headerV1 + hello}, ProxyV1, client, hello},
		{"v2 optional", ProxyOptional, nil, []string{headerV2 + hello}, ProxyV2, client, hello},
		{"header apart", ProxyRequired, nil, []string{headerV2, hello}, ProxyV2, client, hello},
		{"v1 in pieces", ProxyRequired, nil, []string{"P", headerV1[1:20], headerV1[20:44], headerV1[44:], "GET"}, ProxyV1, client, "GET"},
		{"v2 in pieces", ProxyRequired, nil, []string{"\r", headerV2[1:13], headerV2[13:20], headerV2[20:] + "G", "ET"}, ProxyV2, client, "GET"},
		{"v1 unknown", ProxyRequired, nil, []string{unknownV1 + hello}, ProxyV1, own, hello},
		{"local", ProxyRequired, nil, []string{localV2 + hello}, ProxyLocal, own, hello},
		{"endpoint", ProxyRequired, nil, []string{endpointV2 + hello}, ProxyV2, client, hello},
		{"the largest header", ProxyRequired, nil, []string{largest + hello}, ProxyV2, client, hello},
		{"nothing behind it", ProxyRequired, nil, []string{headerV1}, ProxyV1, client, ""},
		{"two headers", ProxyRequired, nil, []string{headerV1 + headerV1}, ProxyV1, client, headerV1},
		{"trusted", ProxyRequired, []netip.Prefix{elsewhere, loopback}, []string{headerV1 + hello}, ProxyV1, client, hello},
		{"optional and absent", ProxyOptional, nil, []string{hello}, ProxyAbsent, own, hello},
		{"optional and absent, by an untrusted client", ProxyOptional, []netip.Prefix{elsewhere}, []string{hello}, ProxyAbsent, own, hello},
		{"optional and absent, in pieces", ProxyOptional, nil, []string{"PRO", "PFIND / HTTP/1.1\r\n\r\n"}, ProxyAbsent, own, "PROPFIND / HTTP/1.1\r\n\r\n"},
		{"optional, with empty lines before a request", ProxyOptional, nil, []string{"\r\n\r\n" + hello}, ProxyAbsent, own, "\r\n\r\n" + hello},
		{"optional, a byte", ProxyOptional, nil, []string{"G"}, ProxyAbsent, own, "G"},
		{"missing", ProxyRequired, nil, []string{hello}, ProxyMissing, "", ""},
		{"missing in a handshake", ProxyRequired, nil, []string{"\x16\x03\x01\x02\x00"}, ProxyMissing, "", ""},
		{"missing, by an untrusted client", ProxyRequired, []netip.Prefix{elsewhere}, []string{hello}, ProxyMissing, "", ""},
		{"untrusted", ProxyRequired, []netip.Prefix{elsewhere}, []string{headerV1 + hello}, ProxyUntrusted, "", ""},
		{"untrusted and optional", ProxyOptional, []netip.Prefix{elsewhere}, []string{headerV2 + hello}, ProxyUntrusted, "", ""},
		{"untrusted and malformed", ProxyOptional, []netip.Prefix{elsewhere}, []string{"PROXY nonsense\r\n"}, ProxyUntrusted, "", ""},
		{"malformed v1", ProxyRequired, nil, []string{"PROXY TCP4 198.51.100.7\r\n" + hello}, ProxyMalformed, "", ""},
		{"malformed v1 and optional", ProxyOptional, nil, []string{"PROXY TCP4 198.51.100.7\r\n" + hello}, ProxyMalformed, "", ""},
		{"v1 without an end", ProxyRequired, nil, []string{"PROXY UNKNOWN" + strings.Repeat(" x", 60)}, ProxyMalformed, "", ""},
		{"malformed v2", ProxyRequired, nil, []string{startV2 + "\x21\x11\x00\x01x" + hello}, ProxyMalformed, "", ""},
		{"v2 of version 3", ProxyRequired, nil, []string{startV2 + "\x31"}, ProxyMalformed, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lobby := newLobby()
			ln := lobby.listen(t, Options{Proxy: c.mode, Trusted: c.trusted})
			conn := dial(t, ln)
			for _, part := range c.sent {
				if _, err := io.WriteString(conn, part); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.(*net.TCPConn).CloseWrite() // it may be refused already
			if got := <-lobby.introductions; got.outcome != c.outcome || got.from != loopback.Addr().Next() {
				t.Fatalf("got %v from %v, %v; want %v", got.outcome, got.from, got.err, c.outcome)
			}
			if c.outcome.Refused() {
				if got := heard(t, conn); got != "" {
					t.Errorf("a connection that is refused is told %q", got)
				}
				return
			}
			got := <-lobby.arrivals
			if got.said != c.said {
				t.Errorf("the engine reads %q, want %q", got.said, c.said)
			}
			physical := conn.LocalAddr().(*net.TCPAddr).AddrPort()
			remote := physical
			if c.remote != "" {
				remote = netip.MustParseAddrPort(c.remote)
			}
			if got.peer.Remote != remote || got.peer.Physical != physical {
				t.Errorf("remote %v, physical %v; want %v and %v", got.peer.Remote, got.peer.Physical, remote, physical)
			}
			if told := got.peer.Proxy; (told != nil) != (c.remote != "") || told != nil && told.Destination.String() != "10.0.0.1:443" {
				t.Errorf("beside the address the header says %+v", told)
			}
			if c.name == "endpoint" && got.peer.Proxy.VPCEndpoint != "vpce-1" {
				t.Errorf("VPC endpoint %q", got.peer.Proxy.VPCEndpoint)
			}
		})
	}
}

// A header that does not come whole is given no more time than a handshake, and less
// if its sender leaves.
func TestProxyTruncated(t *testing.T) {
	lying := startV2 + "\x21\x11\xff\xff\xc6\x33\x64\x07"
	for _, c := range []struct {
		name, sent string
		leaves     bool
		limit      time.Duration
		want       error // nil for any
	}{
		{"v1, in time", headerV1[:30], false, 30 * time.Millisecond, os.ErrDeadlineExceeded},
		{"v2, in time", headerV2[:14], false, 30 * time.Millisecond, os.ErrDeadlineExceeded},
		{"v2 that lies, in time", lying, false, 30 * time.Millisecond, os.ErrDeadlineExceeded},
		{"v2 that lies, at its end", lying, true, time.Minute, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			lobby := newLobby()
			conn := dial(t, lobby.listen(t, Options{Proxy: ProxyRequired, HandshakeTimeout: c.limit}))
			if _, err := io.WriteString(conn, c.sent); err != nil {
				t.Fatal(err)
			}
			if c.leaves {
				conn.Close()
			}
			if got := <-lobby.introductions; got.outcome != ProxyTruncated || !strings.Contains(got.err.Error(), c.want.Error()) {
				t.Errorf("got %v, %v", got.outcome, got.err)
			}
		})
	}
	// Who says nothing is neither counted nor served.
	lobby := newLobby()
	ln := lobby.listen(t, Options{Proxy: ProxyRequired, HandshakeTimeout: 20 * time.Millisecond})
	if got := heard(t, dial(t, ln)); got != "" {
		t.Errorf("silence is answered %q", got)
	}
	dial(t, ln).Close()
	_ = ln.Close()
	ln.Wait()
	if len(lobby.introductions) > 0 || len(lobby.arrivals) > 0 {
		t.Error("silence was counted")
	}
}

// A drain ends connections on which only the load balancer has spoken, whether it began
// before the header came or after.
func TestDrainAfterProxyHeader(t *testing.T) {
	for _, early := range []bool{true, false} {
		lobby := newLobby()
		ln := lobby.listen(t, Options{Proxy: ProxyRequired, TLS: true, HandshakeTimeout: time.Minute})
		conn := dial(t, ln)
		say := func(text string) {
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
		}
		say(headerV2[:13])
		for spoken := false; !spoken; runtime.Gosched() {
			ln.mu.Lock()
			for _, s := range ln.young {
				spoken = s
			}
			ln.mu.Unlock()
		}
		if early {
			ln.Drain()
			say(headerV2[13:])
			<-lobby.introductions
		} else {
			say(headerV2[13:])
			<-lobby.introductions
			ln.Drain()
		}
		if got := heard(t, conn); got != "" {
			t.Errorf("drained early is %v: %q", early, got)
		}
	}
}

func TestProxyModes(t *testing.T) {
	for name, want := range map[string]ProxyMode{"required": ProxyRequired, "optional": ProxyOptional} {
		if got, err := ParseProxyMode(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ParseProxyMode("off"); err == nil {
		t.Error("off is taken for a mode")
	}
	names := map[string]bool{}
	for o := range NumProxyOutcomes {
		names[o.String()] = true
	}
	if len(names) != int(NumProxyOutcomes) || slices.Contains(proxyOutcomes[:], "") {
		t.Errorf("outcomes are called %v", names)
	}
}
