package e2e

import (
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// h2spec asks of a server what RFC 9113 and RFC 7541 ask of one, in 146 cases, the
// strict ones included.
func TestConformanceToHTTP2(t *testing.T) {
	t.Parallel()
	cert := authority.issue(t, "127.0.0.1")
	g := start(t, setup{manifests: cert.secret("cert") + tlsHost("all", "*", "cert", route) + mapping("all", "/", echo(t, "up"))})
	for name, c := range map[string]struct {
		addr  string
		flags []string
	}{
		"cleartext": {g.clear, nil},
		"TLS":       {g.secure, []string{"--tls", "--insecure"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, err := net.SplitHostPort(c.addr)
			must(t, err)
			out, err := output(t, 2*time.Minute, append([]string{"h2spec", "--strict", "-h", host, "-p", port, "--timeout", "5"}, c.flags...)...)
			if err != nil {
				t.Errorf("h2spec: %v", err)
			}
			m := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("h2spec comes to no end:\n%s", out)
			}
			if all, _ := strconv.Atoi(m[1]); all < 146 || m[2] != m[1] {
				t.Errorf("%s, want all of 146 or more passed:\n%s", m[0], out)
			}
		})
	}
}
