package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"time"
)

// handshakeMain makes TLS connections one after the other, which end as soon as the
// handshake is done, or with -ask after one request: full handshakes, or with -resume
// resumed ones.
func handshakeMain(args []string) error {
	fs := flag.NewFlagSet("handshake", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	resume := fs.Bool("resume", false, "resume sessions")
	ask := fs.Bool("ask", false, "send a request on each")
	old := fs.Bool("tls12", false, "by TLS 1.2")
	n := fs.Int("n", 0, "connections")
	_ = fs.Parse(args)
	var cache tls.ClientSessionCache
	if *resume {
		cache = tls.NewLRUClientSessionCache(1)
	}
	conf := tlsConfig(cache)
	if *old {
		conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		// X25519 is what everybody takes, but there the curve of the certificate has to be listed
		// as well (RFC 8422 §5.1).
		conf.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	}
	use := (*client).exchange
	if !*ask {
		use = (*client).leave
	}
	if *resume { // from this one on
		if _, err := connectOnce(*addr, *target, conf, (*client).exchange); err != nil {
			return err
		}
	}
	return inParallel(*n, func(int) error {
		resumed, err := connectOnce(*addr, *target, conf, use)
		if err == nil && resumed != *resume {
			return errors.New("session was resumed where it should not have been, or not where it should")
		}
		return err
	})
}

// connectOnce makes one connection and uses it.
func connectOnce(addr, target string, conf *tls.Config, use func(*client) error) (resumed bool, err error) {
	c, err := dialClient(addr, conf, getRequest(target, "close"))
	if err != nil {
		return false, err
	}
	defer c.Close()
	return c.Conn.(*tls.Conn).ConnectionState().DidResume, use(c)
}

// leave ends a TLS connection in good order: both sides say that they close.
func (c *client) leave() error {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	return err
}
