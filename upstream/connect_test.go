package upstream

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// blackhole is a port of 127.0.0.1 on which nobody takes connections: they neither come about
// nor fail.
func blackhole(t *testing.T) (port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port = name.(*syscall.SockaddrInet4).Port
	for { // until no more have room in its queue
		nc, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 300*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { nc.Close() })
	}
}

// Where a name has several addresses one that nobody answers at does not take all of the time.
func TestConnectTriesEveryAddress(t *testing.T) {
	port := blackhole(t)
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("127.0.0.1 both dead\n127.0.0.2 both well\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newTestResolver(t, Options{HostsFile: file, DNS: "127.0.0.1:1"})
	for _, row := range []struct {
		name string
		want string // that it leads to; "" for nowhere
	}{{"well", "127.0.0.2:"}, {"both", "127.0.0.2:"}, {"dead", ""}, {"127.0.0.2", "127.0.0.2:"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		c, err := r.Connect(ctx, "tcp", net.JoinHostPort(row.name, strconv.Itoa(port)))
		cancel()
		got := ""
		if err == nil {
			got = c.RemoteAddr().String()
			c.Close()
		}
		if !strings.HasPrefix(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, err, row.want)
		}
	}
}
