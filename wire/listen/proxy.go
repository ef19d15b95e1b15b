package listen

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"legate/wire"
	"legate/wire/proxyproto"
)

// A ProxyMode says whether connections begin with a PROXY header.
type ProxyMode uint8

// The modes.
const (
	ProxyOff      ProxyMode = iota // they do not, and nothing looks for one
	ProxyRequired                  // one that does not is closed
	ProxyOptional                  // both kinds are served, as long as load balancers are being changed
)

// ParseProxyMode reads the name of a mode that looks for headers.
func ParseProxyMode(name string) (ProxyMode, error) {
	switch name {
	case "required":
		return ProxyRequired, nil
	case "optional":
		return ProxyOptional, nil
	}
	return ProxyOff, fmt.Errorf("must be required or optional, got %q", name)
}

// A ProxyOutcome is what the beginning of a connection was found to be.
type ProxyOutcome uint8

// The outcomes. From ProxyMissing on the connection was closed.
const (
	ProxyV1        ProxyOutcome = iota // a header of version 1
	ProxyV2                            // a header of version 2
	ProxyLocal                         // a header of one who speaks for itself, such as a health check
	ProxyAbsent                        // no header, where none is required
	ProxyMissing                       // no header, where one is required
	ProxyUntrusted                     // a header from who may not send one
	ProxyMalformed                     // a header that breaks the specification
	ProxyTruncated                     // a header that was not complete in time, or at the end
	NumProxyOutcomes
)

var proxyOutcomes = [NumProxyOutcomes]string{"v1", "v2", "local", "absent", "missing", "untrusted", "malformed", "truncated"}

// String returns the label used by metrics and logs.
func (o ProxyOutcome) String() string { return proxyOutcomes[o] }

// Refused reports whether the connection was closed for it.
func (o ProxyOutcome) Refused() bool { return o >= ProxyMissing }

// introduce reads the PROXY header and notes in peer what it says. It reports whether
// the connection goes on. One that was silent is counted nowhere.
func (l *Listener) introduce(raw *wire.Conn, peer *wire.Peer) bool {
	if _, err := l.firstByte(raw); err != nil {
		return false
	}
	h, outcome, err := l.proxyHeader(raw, peer.Physical.Addr())
	l.opts.Watcher.Proxied(peer.Physical.Addr(), outcome, err)
	switch {
	case outcome.Refused():
		return false
	case outcome == ProxyAbsent:
		return true
	}
	if h.Source.IsValid() {
		peer.Remote = h.Source
		peer.Proxy = &wire.ProxyInfo{Destination: h.Destination, VPCEndpoint: h.VPCEndpoint}
	}
	l.unspoken(raw)
	return true
}

// proxyHeader takes the header off the connection, and nothing of what comes behind.
// err says more about an outcome that is refused.
func (l *Listener) proxyHeader(raw *wire.Conn, from netip.Addr) (h proxyproto.Header, o ProxyOutcome, err error) {
	b := wire.Small.Get()
	defer wire.Small.Put(b)
	n, err := headerLength(raw, b[:proxyproto.MaxV1])
	switch {
	case errors.Is(err, proxyproto.ErrAbsent) && l.opts.Proxy == ProxyOptional:
		return h, ProxyAbsent, nil
	case errors.Is(err, proxyproto.ErrAbsent):
		return h, ProxyMissing, err
	case !l.trusts(from):
		return h, ProxyUntrusted, nil
	case errors.As(err, new(brokenError)):
		return h, ProxyTruncated, err
	case err != nil:
		return h, ProxyMalformed, err
	}
	text := b
	if n > len(text) {
		text = make([]byte, n) // what load balancers send is a tenth of b
	}
	if _, err = io.ReadFull(raw, text[:n]); err != nil {
		return h, ProxyTruncated, err
	}
	if h, err = proxyproto.Parse(text[:n]); err != nil {
		return h, ProxyMalformed, err
	}
	switch {
	case h.Local:
		return h, ProxyLocal, nil
	case h.Version == 1:
		return h, ProxyV1, nil
	}
	return h, ProxyV2, nil
}

// A brokenError is an error of the connection rather than of what came over it.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

// headerLength looks at what comes until the header's length can be told. p is its
// space.
func headerLength(raw *wire.Conn, p []byte) (int, error) {
	for known := 0; ; {
		n, err := raw.Peek(p, known)
		if err != nil {
			return 0, brokenError{err}
		}
		if length, err := proxyproto.Length(p[:n]); length > 0 || err != nil {
			return length, err
		}
		known = n
	}
}

// trusts reports whether from may say who its clients are.
func (l *Listener) trusts(from netip.Addr) bool {
	return len(l.opts.Trusted) == 0 || slices.ContainsFunc(l.opts.Trusted, func(p netip.Prefix) bool { return p.Contains(from) })
}

// unspoken notes that of what a connection said nothing came from the client itself,
// so that Drain ends it like any other that is silent.
func (l *Listener) unspoken(raw *wire.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.young[raw] = false
	if l.draining {
		raw.StopReading()
	}
}
