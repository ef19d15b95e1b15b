package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// tmpfs mounts a file system of so many kibibytes in memory and returns its folder. It needs
// to be root; where a person is not, the test is skipped, where every change is judged it fails.
func tmpfs(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+"k,mode=700"); err != nil {
		if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
			t.Skip("mounting a file system needs root")
		}
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill leaves no room on the file system of dir, and returns who makes some.
func fill(t testing.TB, dir string) (mend func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	must(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	must(t, f.Close())
	return func() { must(t, os.Remove(path)) }
}

// A storage that is full or read-only is told by its name, and nothing is ordered that it could
// not keep. What was ordered before keeps serving, and once the storage is mended the next is
// ordered.
func TestStorageFails(t *testing.T) {
	t.Parallel()
	remount := func(dir string, flags uintptr) error {
		return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=512k")
	}
	for _, c := range []struct {
		name, says string
		fail       func(t testing.TB, dir string) (mend func())
	}{
		{"full", "no space left on device", fill},
		{"read-only", "read-only file system", func(t testing.TB, dir string) func() {
			t.Helper()
			must(t, remount(dir, syscall.MS_RDONLY))
			return func() { must(t, remount(dir, 0)) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := tmpfs(t, "512")
			ports := freePorts(t, 2)
			p := startPebble(t, ports[0], ports[1], "LIFE=200") // a revoked one is replaced after a twentieth of that
			g := startAt(t, p.setup(ports[0], ports[1], dir, p.host("shop", "shop.example.com", "")), ports[0], ports[1])
			leaf := p.await(t, g, "shop.example.com", nil)
			mend := c.fail(t, dir)
			p.get(t, "/control/revoke?serial="+url.QueryEscape(leaf.SerialNumber.Text(16)))
			g.signal(syscall.SIGHUP)
			eventually(t, 60*time.Second, "it is told", func() bool {
				got := g.certificate("shop.example.com").Order
				return got.State == "Error" && strings.Contains(got.Error, c.says) && got.Retry.After(time.Now())
			})
			eventually(t, 10*time.Second, "the problem is told", func() bool {
				for _, p := range g.problems() {
					if p.Field == "acmeProvider" && strings.Contains(p.Message, "the certificate could not be renewed: ") && strings.Contains(p.Message, c.says) {
						return true
					}
				}
				return false
			})
			if got, err := p.shown(g.secure, "shop.example.com"); err != nil || !got.Equal(leaf) {
				t.Errorf("meanwhile a handshake shows %v, %v", got, err)
			}
			if n := p.orders(t); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
			mend()
			g.signal(syscall.SIGHUP)
			p.await(t, g, "shop.example.com", leaf)
			if got := g.certificate("shop.example.com").Order; got.State != "Ready" || got.Error != "" {
				t.Errorf("once it is mended: %+v", got)
			}
		})
	}
}

// A storage that was never there to take anything is told of before anything is ordered.
func TestStorageThatTakesNothing(t *testing.T) {
	ports := freePorts(t, 2)
	p := startPebble(t, ports[0], ports[1])
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	g := startAt(t, p.setup(ports[0], ports[1], file, p.host("shop", "shop.example.com", "")), ports[0], ports[1])
	eventually(t, 20*time.Second, "it is told", func() bool {
		got := g.certificate("shop.example.com").Order
		return got.State == "Error" && strings.Contains(got.Error, "not a directory")
	})
	if n := p.orders(t); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// A replica that is killed in the middle of an order leaves its lock and its attempt behind.
// They hold up another one for a while only: it says until when, and then orders.
func TestReplicaDiesWithinAnOrder(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"folder", "Redis"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			ports := freePorts(t, 3)
			looks, err := net.Listen("tcp", loopback(ports[0]))
			must(t, err)
			p := startPebble(t, ports[0], ports[1])
			folder := t.TempDir()
			host := p.host("shop", "shop.example.com", "")
			hidden, public := p.setup(ports[2], ports[1], folder, host), p.setup(ports[0], ports[1], folder, host)
			if storage == "Redis" {
				r := redistest.Start(t)
				hidden.args, public.args = []string{"--redis", r.Addr}, []string{"--redis", r.Addr}
			}
			// TLS-ALPN-01 is not answered there: it is a port without TLS.
			hidden.manifests = listener("http", "HTTP", ports[2]) + host
			dies := startAt(t, hidden, ports[2], ports[1])
			must(t, looks.(*net.TCPListener).SetDeadline(time.Now().Add(patience(60*time.Second))))
			conn, err := looks.Accept() // the authority looks: the order is under way
			must(t, err)
			dies.signal(syscall.SIGKILL)
			dies.exit(t)
			_ = conn.Close()
			must(t, looks.Close())
			g := startAt(t, public, ports[0], ports[1])
			eventually(t, 60*time.Second, "it says until when it waits", func() bool {
				got := g.certificate("shop.example.com").Order
				return got.State == "Error" && got.Error == "the last attempt did not come to its end" && time.Until(got.Retry) > 0 && time.Until(got.Retry) <= time.Minute
			})
			eventually(t, 90*time.Second, "it orders", func() bool {
				_, err := p.shown(g.secure, "shop.example.com")
				return err == nil
			})
		})
	}
}

// A gateway that starts with a certificate whose key is another's, as a crash in the middle of
// writing leaves it, orders anew.
func TestCertificateWithoutItsKey(t *testing.T) {
	ports := freePorts(t, 2)
	p := startPebble(t, ports[0], ports[1])
	folder := t.TempDir()
	s := p.setup(ports[0], ports[1], folder, p.host("shop", "shop.example.com", ""))
	g := startAt(t, s, ports[0], ports[1])
	leaf := p.await(t, g, "shop.example.com", nil)
	g.signal(syscall.SIGTERM)
	g.exit(t)
	keys, err := filepath.Glob(filepath.Join(folder, "certificates", "*", "shop.example.com", "*.key"))
	must(t, err)
	if len(keys) != 1 {
		t.Fatalf("keys are %v", keys)
	}
	must(t, os.WriteFile(keys[0], authority.issue(t, "other.example.com").key, 0o600))
	g = startAt(t, s, ports[0], ports[1])
	p.await(t, g, "shop.example.com", leaf)
	warned := false
	for _, line := range g.errors.all() {
		var entry struct{ Level, Msg string }
		warned = warned || json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "WARN" && strings.HasPrefix(entry.Msg, "certificate in the storage does not belong to its key")
	}
	if !warned {
		t.Error("the log does not say so")
	}
}
