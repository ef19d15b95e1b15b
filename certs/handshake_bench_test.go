package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// A handshake costs as much among a thousand Hosts, each with a certificate of its own, as
// with one alone. What is counted is both sides of it.
func BenchmarkHandshake(b *testing.B) {
	a := newAuthority(b, "ca")
	for _, form := range []string{"host-%d.example.com", "*.team-%d.example.com"} {
		for _, n := range []int{1, 1000} {
			var w world
			w.listener(8443)
			for i := range n {
				name := fmt.Sprintf("h%d", i)
				w.tlsSecret(b, a, name, fmt.Sprintf(form, i))
				w.host(name, fmt.Sprintf(form, i), name)
			}
			table := w.build(nil).Table
			server := &tls.Config{Time: clock, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				if c := table.Config(0, h.ServerName); c != nil {
					return c, nil
				}
				return nil, errors.New("nobody serves " + h.ServerName)
			}}
			client := asks(a, "")
			client.CurvePreferences = []tls.CurveID{tls.X25519}
			b.Run(fmt.Sprintf("%s/%d", form[:1], n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					client.ServerName = strings.Replace(fmt.Sprintf(form, i%n), "*", "www", 1)
					shake(b, client, server)
				}
			})
		}
	}
}

// shake does one handshake in memory.
func shake(b *testing.B, client, server *tls.Config) {
	b.Helper()
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	go func() {
		defer far.Close()
		served <- tls.Server(far, server).Handshake()
	}()
	c := tls.Client(near, client)
	err := c.Handshake()
	_, _ = io.Copy(io.Discard, c) // the ticket that ends the server's part
	if err = errors.Join(err, <-served); err != nil {
		b.Fatal(err)
	}
}
