package main

import (
	"crypto/tls"
	"errors"
	"flag"
)

// handshakeMain makes TLS connections one after the other, each for one request
// that also closes it: full handshakes, or with -resume all but the first of
// each worker resumed.
func handshakeMain(args []string) error {
	fs := flag.NewFlagSet("handshake", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	resume := fs.Bool("resume", false, "resume sessions")
	n := fs.Int("n", 0, "connections")
	_ = fs.Parse(args)
	var cache tls.ClientSessionCache
	if *resume {
		cache = tls.NewLRUClientSessionCache(1)
		if _, err := oneRequestOverTLS(*addr, *target, cache); err != nil {
			return err
		}
	}
	return inParallel(*n, func(int) error {
		resumed, err := oneRequestOverTLS(*addr, *target, cache)
		if err == nil && resumed != *resume {
			return errors.New("session was resumed where it should not have been, or not where it should")
		}
		return err
	})
}

func oneRequestOverTLS(addr, target string, cache tls.ClientSessionCache) (resumed bool, err error) {
	c, err := dialClient(addr, tlsConfig(cache), getRequest(target, "close"))
	if err != nil {
		return false, err
	}
	defer c.Close()
	return c.Conn.(*tls.Conn).ConnectionState().DidResume, c.exchange()
}
