package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"legate/decision"
	"legate/wire"
)

// dial connects c to its endpoint, with TLS if that is wanted, before by.
func (u *Upstream) dial(c *conn, by time.Time) (decision.Reason, error) {
	// Nagle's algorithm is off by default, keepalive every 15 s is what an idle pool
	// needs to outlive NAT tables.
	dialer := net.Dialer{Deadline: by, KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	nc, err := dialer.Dial("tcp", c.end.text)
	if err != nil {
		return dialReason(err), fmt.Errorf("connect to %s: %w", u.spec.Host, err)
	}
	raw := wire.NewConn(nc)
	secure, err := u.handshake(raw, by)
	if err != nil {
		_ = raw.Close() // the handshake's error is the one to tell
		reason := decision.TLSFailed
		if isTimeout(err) {
			reason = decision.DialTimeout
		}
		return reason, fmt.Errorf("TLS handshake with %s (%s): %w", u.spec.Host, c.end.text, err)
	}
	c.link = newCarrier(raw, secure, c)
	return decision.None, nil
}

// handshake speaks TLS on raw; nil without error on cleartext.
func (u *Upstream) handshake(raw *wire.Conn, by time.Time) (*tls.Conn, error) {
	if u.tls == nil {
		return nil, nil
	}
	secure := tls.Client(raw, u.tls)
	if err := raw.SetDeadline(by); err != nil {
		return nil, err
	}
	raw.WriteIdle(u.spec.ConnectTimeout) // a Conn forgives a write's deadline unless its idle time has passed
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	return secure, raw.SetDeadline(time.Time{})
}

// dialReason tells why no connection came about.
func dialReason(err error) decision.Reason {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return decision.DialRefused
	case isTimeout(err):
		return decision.DialTimeout
	}
	return decision.DialFailed
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
