// Command idp is zitadel's OpenID Connect provider on a free loopback port, with its example store of
// users: it prints its issuer. What a test wants of it is posted to paths under /control/.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
)

func main() { log.Fatal(serve()) }

func serve() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("%v has no port", ln.Addr())
	}
	issuer := fmt.Sprintf("http://localhost:%d/", addr.Port)
	store, err := newStore(issuer)
	if err != nil {
		return err
	}
	c := newControl(store, exampleop.SetupServer(issuer, store, nil, false))
	fmt.Println(issuer)
	return http.Serve(ln, c) //nolint:gosec // because it serves a test, on loopback, for as long as that runs
}
