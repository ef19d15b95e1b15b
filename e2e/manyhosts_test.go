package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A certified is a Host with a certificate of its own.
type certified struct {
	manifests string
	asked     string // the name that clients ask for
	serial    int64  // of the certificate
}

// certify makes Host i, with a new certificate each time. Every other one is for a wildcard.
func certify(t testing.TB, i int) certified {
	t.Helper()
	name, hostname := fmt.Sprintf("h%d", i), fmt.Sprintf("host-%d.test", i)
	asked := hostname
	if i%2 == 1 {
		hostname, asked = "*."+hostname, "www."+hostname
	}
	cert := authority.issue(t, hostname)
	return certified{cert.secret(name) + tlsHost(name, hostname, name), asked, cert.serial}
}

// certifyAll makes the first n of them.
func certifyAll(t testing.TB, n int) (all []certified) {
	t.Helper()
	for i := range n {
		all = append(all, certify(t, i))
	}
	return all
}

func manifestsOf(hosts []certified) string {
	var b strings.Builder
	for _, h := range hosts {
		b.WriteString(h.manifests)
	}
	return b.String()
}

// handshake does a full one for name, and leaves the connection open.
func (g *gateway) handshake(name string) (*tls.Conn, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", g.secure, &tls.Config{
		ServerName: name, RootCAs: authority.pool, CurvePreferences: []tls.CurveID{tls.X25519},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, c.SetDeadline(time.Now().Add(30 * time.Second))
}

// greet does a full handshake for name, ends the connection in good order, and returns the
// serial number of what was shown.
func (g *gateway) greet(name string) (serial int64, err error) {
	c, err := g.handshake(name)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.CloseWrite(); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return 0, fmt.Errorf("%s: after the handshake: %w", name, err)
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// ran is the time that the program has had of any core, to the nanosecond, but for that of
// threads that are gone.
func (g *gateway) ran() (sum time.Duration) {
	g.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", g.cmd.Process.Pid))
	must(g.t, err)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(g.t, err)
		var one time.Duration
		_, err = fmt.Sscan(string(text), &one)
		must(g.t, err)
		sum += one
	}
	return sum
}

// live is what the program holds on its heap after it has collected its garbage. It needs
// --pprof.
func (g *gateway) live() (bytes int64) {
	g.t.Helper()
	_, body := g.operator("/debug/pprof/heap?gc=1&debug=1")
	_, after, _ := strings.Cut(body, "# HeapAlloc = ")
	_, err := fmt.Sscan(after, &bytes)
	must(g.t, err)
	return bytes
}

// Among a thousand Hosts, each with a certificate of its own, a handshake costs what it
// costs with one Host alone, and a connection needs as much memory.
func TestHandshakesAmongManyHosts(t *testing.T) {
	const many, least, longest, handshakes, held, most = 1000, 100, 500, 10, 300, 1.1
	type contestant struct {
		*gateway
		hosts     []certified
		ran       time.Duration // in all handshakes
		heap, per int64         // alone, and with each connection
	}
	var both [2]contestant
	for i, n := range []int{1, many} {
		hosts := certifyAll(t, n)
		both[i] = contestant{hosts: hosts, gateway: start(t, setup{
			plain: true, args: []string{"--log-level", "warn", "--pprof"}, manifests: manifestsOf(hosts),
		})}
	}
	alone, among := &both[0], &both[1]
	dearer := func() float64 { return float64(among.ran) / float64(alone.ran) }
	// Short turns, so that what else the machine does in the meantime falls on both.
	turns := 0
	for ; turns < least || turns < longest && dearer() > most; turns++ {
		for _, c := range []*contestant{alone, among} {
			before := c.gateway.ran()
			for n := range handshakes {
				_, err := c.greet(c.hosts[(turns*handshakes+n)%len(c.hosts)].asked)
				must(t, err)
			}
			c.ran += c.gateway.ran() - before
		}
	}
	for i := range both {
		c := &both[i]
		c.heap = c.live()
		for n := range held {
			conn, err := c.handshake(c.hosts[n%len(c.hosts)].asked)
			must(t, err)
			defer conn.Close()
		}
		c.per = (c.live() - c.heap) / held
		t.Logf("of %d: a handshake takes %v, a connection %d bytes of the heap; %d KiB live, %d KiB resident", len(c.hosts), c.ran/time.Duration(turns*handshakes), c.per, c.heap>>10, c.memory("VmRSS")>>10)
	}
	t.Logf("each Host more takes %d bytes of the heap", (among.heap-alone.heap)/(many-1))
	t.Logf("a handshake among %d Hosts costs %.2f of one alone, in %d turns", many, dearer(), turns)
	if cost := dearer(); cost > most {
		t.Errorf("a handshake among %d Hosts costs %.2f of one alone", many, cost)
	}
	if size := float64(among.per) / float64(alone.per); size > most {
		t.Errorf("a connection among %d Hosts takes %.2f of the memory of one alone", many, size)
	}
}

// A hundred certificates rotate again and again, ten at a time, while clients come: no
// handshake fails, and whoever comes after a change is shown the new one.
func TestRotationUnderHandshakes(t *testing.T) {
	const many, handshakes, step, clients = 100, 5000, 10, 8
	hosts := certifyAll(t, many)
	g := start(t, setup{args: []string{"--log-level", "warn"}, manifests: manifestsOf(hosts)})
	var names [many]string
	var serving [many]atomic.Int64 // serial numbers; what serves is at least as new
	for i, h := range hosts {
		names[i] = h.asked
		serving[i].Store(h.serial)
	}
	var begun, rotated atomic.Int64
	more := func() bool { return begun.Load() < handshakes || rotated.Load() < many }
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for more() {
				i := begun.Add(1) % many
				least := serving[i].Load()
				switch serial, err := g.greet(names[i]); {
				case err != nil:
					t.Error(err)
				case serial < least:
					t.Errorf("%s: shown is %d, which %d has taken the place of", names[i], serial, least)
				}
			}
		})
	}
	for from := 0; more(); from = (from + step) % many {
		for i := from; i < from+step; i++ {
			hosts[i] = certify(t, i)
		}
		g.replace(manifestsOf(hosts))
		for i := from; i < from+step; i++ {
			serving[i].Store(hosts[i].serial)
		}
		rotated.Add(step)
	}
	group.Wait()
	t.Logf("%d handshakes, %d certificates rotated", begun.Load(), rotated.Load())
	none := fmt.Sprintf("envoy_listener_ssl_connection_error{envoy_listener_address=%q} 0\n", strings.Replace(g.secure, ":", "_", 1))
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, none) {
		t.Errorf("the gateway has seen handshakes fail:\n%s", metrics)
	}
}
