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
	"legate/spiffe"
	"legate/wire"
)

// dial connects c to its endpoint, with TLS if that is wanted, before by.
func (u *Upstream) dial(c *conn, by time.Time) (decision.Reason, error) {
	c.under = u.tls.Load()
	raw, secure, reason, err := u.socket(c.end, by)
	if err != nil {
		return reason, err
	}
	c.until = u.until(secure)
	c.link = newCarrier(raw, secure, c)
	return decision.None, nil
}

// dialMux connects s to its endpoint, with TLS if that is wanted, and begins HTTP/2
// with it, before by.
func (u *Upstream) dialMux(s *shared, by time.Time) (decision.Reason, error) {
	s.under = u.tls.Load()
	raw, secure, reason, err := u.socket(s.end, by)
	if err != nil {
		return reason, err
	}
	if secure != nil && secure.ConnectionState().NegotiatedProtocol != protocolH2 {
		_ = raw.Close() // nothing was said on it
		return decision.UpstreamNotHTTP2, fmt.Errorf("%s (%s): %w", u.spec.Host, s.end.text, errNoALPN)
	}
	s.until = u.until(secure)
	if s.mux, err = newMultiplexer(raw, secure, s, by); err != nil {
		reason = decision.UpstreamNotHTTP2
		if isTimeout(err) {
			reason = decision.DialTimeout
		}
		return reason, fmt.Errorf("begin HTTP/2 with %s (%s): %w", u.spec.Host, s.end.text, err)
	}
	return decision.None, nil
}

// protocolH2 is HTTP/2 as ALPN names it (RFC 9113 §3.2).
const protocolH2 = "h2"

var errNoALPN = errors.New("the endpoint did not choose h2 by ALPN")

// socket connects to e, and speaks TLS on the connection if that is wanted, before by.
func (u *Upstream) socket(e *endpoint, by time.Time) (*wire.Conn, *tls.Conn, decision.Reason, error) {
	if err := u.identified(); err != nil {
		return nil, nil, decision.SVIDMissing, err
	}
	// Nagle's algorithm is off by default, keepalive every 15 s is what an idle pool
	// needs to outlive NAT tables.
	keep := &u.spec.Keepalive
	dialer := net.Dialer{Deadline: by, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keep.Idle, Interval: keep.Interval, Count: keep.Probes}}
	nc, err := dialer.Dial("tcp", e.text)
	if err != nil {
		return nil, nil, dialReason(err), fmt.Errorf("connect to %s: %w", u.spec.Host, err)
	}
	raw := wire.NewConn(nc)
	raw.MeterBy(&u.stats.meter)
	secure, err := u.handshake(raw, by)
	if err != nil {
		_ = raw.Close() // the handshake's error is the one to tell
		return nil, nil, handshakeReason(err, u.spec.HTTP2), fmt.Errorf("TLS handshake with %s (%s): %w", u.spec.Host, e.text, err)
	}
	return raw, secure, decision.None, nil
}

// handshake speaks TLS on raw; nil without error on cleartext.
func (u *Upstream) handshake(raw *wire.Conn, by time.Time) (*tls.Conn, error) {
	conf := u.tls.Load()
	if conf == nil {
		return nil, nil
	}
	secure := tls.Client(raw, conf)
	if err := raw.SetDeadline(by); err != nil {
		return nil, err
	}
	raw.WriteIdle(u.spec.ConnectTimeout) // a Conn forgives a write's deadline unless its idle time has passed
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	return secure, raw.SetDeadline(time.Time{})
}

// handshakeReason tells why a handshake failed. A server that has no protocol in common
// with us says so by an alert (RFC 7301 §3.2), whose type crypto/tls keeps to itself.
func handshakeReason(err error, h2 bool) decision.Reason {
	if isTimeout(err) {
		return decision.DialTimeout
	}
	if errors.Is(err, errNoSVID) {
		return decision.SVIDMissing
	}
	if _, ok := errors.AsType[*spiffe.NotAllowedError](err); ok {
		return decision.UpstreamNotAllowed
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && h2 && op.Err != nil && op.Err.Error() == errNoProtocol.Error() {
		return decision.UpstreamNotHTTP2
	}
	return decision.TLSFailed
}

const errNoProtocol tls.AlertError = 120 // no_application_protocol

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
