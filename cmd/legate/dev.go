package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/pflag"

	"legate"
	"legate/certs"
	"legate/config"
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
	secret, err := ca.Secret(s.config.Namespace, devCertificate, "localhost", "*.localhost", "127.0.0.1", "::1")
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
	s.applied = p.welcome(s, ca)
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
type fixed []config.Object

// Watch yields the objects once.
func (f fixed) Watch(ctx context.Context, yield func([]config.Object)) error {
	yield(f)
	<-ctx.Done()
	return nil
}

// welcome prints, once, what to try.
func (p *Program) welcome(s *settings, ca *certs.CA) func([]config.Problem) {
	var once sync.Once
	return func([]config.Problem) {
		once.Do(func() {
			host := s.flags.bind
			if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
				host = "localhost"
			}
			fmt.Fprintf(p.Stderr, `
legate dev serves %v; every upstream is an echo service. Try:

  curl -i http://%s/hello/world
  curl -i --cacert %s https://%s/hello/world
  curl -i http://%s/api/v1/problems

`, s.flags.files, net.JoinHostPort(host, "8080"), ca.File(), net.JoinHostPort(host, "8443"), s.flags.admin)
		})
	}
}
