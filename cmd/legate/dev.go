package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"legate"
	"legate/certs"
	"legate/config"
	"legate/gateway"
	"legate/upstream"
)

// exampleFile is what dev serves when it is not told otherwise.
const exampleFile = "config.example.yaml"

// devCertificate names the certificate that dev makes for this machine's own names.
const devCertificate = "legate-dev-cert"

func devCommand(ctx context.Context, p *Program, args []string) int {
	var f serveFlags
	flags := pflag.NewFlagSet("dev", pflag.ContinueOnError)
	f.register(flags)
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	f.bind = cmp.Or(f.bind, "127.0.0.1")
	s, err := p.settings(flags, &f)
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitUsage
	}
	dir, err := os.MkdirTemp("", "legate-dev-")
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitError
	}
	defer os.RemoveAll(dir) //nolint:errcheck // because the system empties it anyway
	if len(s.flags.files) == 0 {
		if s.flags.files, err = exampleFiles(dir); err != nil {
			fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
			return exitError
		}
	}
	return p.dev(ctx, s)
}

// exampleFiles is the example in this folder, or the one within the binary.
func exampleFiles(dir string) ([]string, error) {
	if _, err := os.Stat(exampleFile); err == nil {
		return []string{exampleFile}, nil
	}
	path := filepath.Join(dir, exampleFile)
	return []string{path}, os.WriteFile(path, legate.Example, 0o600)
}

// dev serves with an echo service behind every upstream and a certificate of a
// local authority.
func (p *Program) dev(ctx context.Context, s *settings) int {
	ca, err := localCA()
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitError
	}
	names := []string{"localhost", "*.localhost", "127.0.0.1", "::1"}
	if ip := net.ParseIP(s.flags.bind); ip != nil && !ip.IsUnspecified() {
		names = append(names, s.flags.bind)
	}
	secret, err := ca.Secret(s.config.Namespace, devCertificate, names...)
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitError
	}
	echo, err := startEcho(ca)
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitError
	}
	defer echo.close()
	all, err := upstream.ParseOverride("*=" + echo.address())
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: %v\n", err)
		return exitError
	}
	s.upstream.Resolve = append(s.upstream.Resolve, all)
	if s.also, err = identityProvider(); err != nil {
		fmt.Fprintf(p.Stderr, "legate dev: identity provider: %v\n", err)
		return exitError
	}
	s.local, s.applied = ca, p.welcome(s, ca)
	return p.serve(ctx, s, []config.Source{fixed{{Meta: secret.Meta, Value: &secret}}})
}

// localCA is kept where the user's other caches are, so that it needs to be trusted
// once only.
func localCA() (*certs.CA, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return certs.LocalCA(filepath.Join(dir, "legate", "ca"))
}

// fixed is a source whose objects never change.
type fixed []*config.Object

// Watch yields the objects once.
func (f fixed) Watch(ctx context.Context, yield func([]*config.Object)) error {
	yield(f)
	<-ctx.Done()
	return nil
}

// welcome prints, once, what to try.
func (p *Program) welcome(s *settings, ca *certs.CA) func(*gateway.Gateway) {
	var once sync.Once
	return func(g *gateway.Gateway) {
		once.Do(func() {
			fmt.Fprintf(p.Stderr, "\nlegate dev serves %s; every upstream is an echo service. Try:\n\n", strings.Join(s.flags.files, ", "))
			host, path := localName(s.flags.bind), samplePath(g)
			for _, a := range g.Addresses() {
				at := net.JoinHostPort(host, strconv.Itoa(a.Port)) + path
				curl := "curl -i"
				if a.Proxy {
					curl += " --haproxy-protocol"
				}
				if a.TLS {
					fmt.Fprintf(p.Stderr, "  %s --cacert %s https://%s\n", curl, ca.File(), at)
				} else {
					fmt.Fprintf(p.Stderr, "  %s http://%s\n", curl, at)
				}
			}
			p.admit(s, host, g)
		})
	}
}

// bearerPath is what of the example asks for a token, and accountPath for a login.
const bearerPath, accountPath = "/orders/", "/account/"

// admit prints how to get in where the example asks who comes, and where to look for what
// is not served.
func (p *Program) admit(s *settings, host string, g *gateway.Gateway) {
	admin := askedAt(s.flags.admin)
	for _, a := range g.Addresses() {
		if a.TLS || a.Proxy || !hasRoute(g, bearerPath) || !hasRoute(g, accountPath) {
			continue
		}
		at := net.JoinHostPort(host, strconv.Itoa(a.Port))
		fmt.Fprintf(p.Stderr, "  curl -i -H \"Authorization: Bearer $(curl -s -d 'grant_type=password&client_id=%s&username=alice&password=alice' http://%s/idp/token | cut -d'\"' -f4)\" http://%s%s\n\n",
			devClient, admin, at, bearerPath)
		fmt.Fprintf(p.Stderr, "A browser that opens http://%s%s is sent to log in: as alice or bob, whose passwords are their names.\n", at, accountPath)
		break
	}
	fmt.Fprintf(p.Stderr, "\nWhat is not served as written: http://%s/api/v1/problems; all there is: http://%s/ambassador/v0/diag/\n\n", admin, admin)
}

// hasRoute reports whether a Mapping has that prefix.
func hasRoute(g *gateway.Gateway, prefix string) bool {
	views, _ := g.Routes().([]gateway.RouteView)
	return slices.ContainsFunc(views, func(v gateway.RouteView) bool { return v.Prefix == prefix })
}

// localName is how this machine reaches what is bound at bind.
func localName(bind string) string {
	if ip := net.ParseIP(bind); ip == nil || ip.IsUnspecified() || bind == "127.0.0.1" || bind == "::1" {
		return "localhost"
	}
	return bind
}

// askedAt is addr as this machine asks it, where it is one of all interfaces.
func askedAt(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return addr
	}
	return net.JoinHostPort("localhost", port)
}

// samplePath is a path that a GET request finds an open route for; the shortest, as
// the nearest to what the manifests are about.
func samplePath(g *gateway.Gateway) string {
	sample := ""
	views, _ := g.Routes().([]gateway.RouteView)
	for i := range views {
		r := &views[i]
		open := r.Protocol == "" && r.ClosedBy == "" && r.Redirect == 0 && (r.Method == "" || r.Method == "GET") && (r.Hostname == "" || r.Hostname == "*")
		if open && !strings.ContainsAny(r.Prefix, `()[]{}*+?|\^$`) && (sample == "" || len(r.Prefix) < len(sample)) {
			sample = r.Prefix
		}
	}
	return cmp.Or(sample, "/")
}
