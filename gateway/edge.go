package gateway

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"legate/config"
	"legate/routes"
	"legate/wire"
)

// edge are the Module's settings that concern every request, compiled.
type edge struct {
	paths             wire.PathRules
	http10            bool
	server            []byte
	useRemoteAddress  bool
	keepRequestID     bool
	suppressEnvoy     bool
	livenessProbe     bool
	readinessProbe    bool
	access            access
	grpcWeb           bool
	grpcBridge        bool
	maxRequestHeaders int   // bytes
	bufferLimit       int64 // bytes of a request body kept for another try
	clientCerts       config.ClientCerts
	certDetails       config.CertDetails
	underscores       config.UnderscoreAction
	casing            *wire.Casing // nil for lower case
	interim           wire.Edits   // what interim answers are changed by; nobody writes to it
}

// compileEdge reads the Module; m is nil without one.
func compileEdge(m *config.Module) edge {
	if m == nil {
		m = &config.Module{}
	}
	return edge{
		paths:             wire.PathRules{MergeSlashes: m.MergeSlashes, RejectEscapedSlashes: m.RejectEscapedSlashes},
		http10:            m.EnableHTTP10,
		server:            []byte(cmp.Or(m.ServerName, "envoy")),
		useRemoteAddress:  orTrue(m.UseRemoteAddress),
		keepRequestID:     m.PreserveExternalRequestID,
		suppressEnvoy:     m.SuppressEnvoyHeaders,
		livenessProbe:     m.Liveness.On() && !m.Liveness.Routed,
		readinessProbe:    m.Readiness.On() && !m.Readiness.Routed,
		access:            compileAccess(m),
		grpcWeb:           m.GRPCWeb,
		grpcBridge:        m.GRPCBridge,
		maxRequestHeaders: maxRequestHeaders(m),
		bufferLimit:       bufferLimit(m),
		clientCerts:       m.ClientCerts,
		certDetails:       m.ClientCertDetails,
		underscores:       m.Underscores,
		casing:            casing(m),
		interim:           wire.Edits{Casing: casing(m)},
	}
}

func orTrue(b *bool) bool { return b == nil || *b }

// bufferLimit is Envoy's per-connection limit.
func bufferLimit(m *config.Module) int64 {
	if m.BufferLimitBytes == nil {
		return 1 << 20
	}
	return int64(*m.BufferLimitBytes)
}

func maxRequestHeaders(m *config.Module) int {
	if m.MaxRequestHeadersKB == nil || *m.MaxRequestHeadersKB <= 0 {
		return 60 << 10
	}
	return *m.MaxRequestHeadersKB << 10
}

// sanitise works out who asks and sets the headers that an edge owns, so that
// nothing a client claims about itself gets past us. Budget: 0 allocs.
func (x *Exchange) sanitise() {
	e, l := &x.Snap.edge, x.listener()
	x.Client = x.clientAddress(e, l.l7Depth)
	x.External = x.external(e, l)
	if e.useRemoteAddress {
		x.appendForwardedFor()
	}
	x.forwardedProto(e, l.l7Depth)
	x.forwardClientCert(e)
	x.ToUp.Drop(wire.FieldXEnvoyOriginalPath)
	x.ToUp.Drop(wire.FieldXEnvoyExpectedRqTimeoutMs)
	x.ToUp.Drop(wire.FieldXEnvoyInternal)
	edge := x.External && e.useRemoteAddress // nobody whom we trust has judged it before
	if x.External {
		x.stripControls(edge)
	} else {
		x.ToUp.Add(wire.FieldXEnvoyInternal, valueTrue)
	}
	if edge {
		x.ToUp.Set(wire.FieldXEnvoyExternalAddress, x.appendAddr(x.Client))
	}
	x.identify(edge && !e.keepRequestID)
	if t := x.Snap.tracing; t != nil {
		x.place(t)
	}
}

var (
	valueTrue  = []byte("true")
	valueHTTP  = []byte("http")
	valueHTTPS = []byte("https")
)

// listener is the Listener that x came by, or one without settings if it has just
// left the configuration.
func (x *Exchange) listener() *listenerView {
	if i := x.Snap.listener(x.peer.Listener); i >= 0 {
		return &x.Snap.listeners[i]
	}
	return &listenerView{}
}

// clientAddress is the address that the nearest trusted hop saw: the peer's, or a
// value of X-Forwarded-For counted from the right. Too few values mean the peer.
func (x *Exchange) clientAddress(e *edge, hops int) netip.Addr {
	peer := x.peer.Remote.Addr()
	nth := hops
	if !e.useRemoteAddress {
		nth++
	}
	if nth == 0 {
		return peer
	}
	value, ok := nthFromRight(x.Req, nth)
	if !ok {
		return peer
	}
	addr, ok := parseAddr(value)
	if !ok {
		return peer
	}
	return addr
}

// parseAddr reads an address, in brackets and with a port or not.
func parseAddr(b []byte) (netip.Addr, bool) {
	var scratch [64]byte
	if len(b) > len(scratch) {
		return netip.Addr{}, false
	}
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), true
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr().Unmap(), err == nil
}

// nthFromRight returns the nth value of X-Forwarded-For, counted from 1 at the
// right over all lines.
func nthFromRight(h *wire.Head, nth int) ([]byte, bool) {
	for line := h.Count(wire.FieldXForwardedFor) - 1; line >= 0; line-- {
		list, _ := h.Nth(wire.FieldXForwardedFor, line)
		for len(list) > 0 {
			start := len(list)
			for start > 0 && list[start-1] != ',' {
				start--
			}
			if nth--; nth == 0 {
				return wire.TrimOWS(list[start:]), true
			}
			list = list[:max(start-1, 0)]
		}
	}
	return nil, false
}

// external judges, as Envoy does, whether a request comes from outside: one from an
// internal peer that nobody forwarded is internal. Where the peer's address says
// nothing, it is one that was forwarded for a single internal address.
func (x *Exchange) external(e *edge, l *listenerView) bool {
	if e.useRemoteAddress {
		return x.Req.Has(wire.FieldXForwardedFor) || !l.isInternal(x.peer.Remote.Addr())
	}
	only, single := nthFromRight(x.Req, 1)
	if _, more := nthFromRight(x.Req, 2); !single || more || l.l7Depth > 0 {
		return true
	}
	a, ok := parseAddr(only)
	return !ok || !l.isInternal(a)
}

// isInternal reports whether l's callers from a may be trusted with what only the mesh
// may say: private and loopback addresses, unless the Listener names its own.
func (l *listenerView) isInternal(a netip.Addr) bool {
	if l.internal == nil {
		return a.IsPrivate() || a.IsLoopback()
	}
	for _, p := range l.internal {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// appendForwardedFor makes X-Forwarded-For one line that ends in the peer.
func (x *Exchange) appendForwardedFor() {
	start := len(x.arena)
	for n := 0; ; n++ {
		v, ok := x.Req.Nth(wire.FieldXForwardedFor, n)
		if !ok {
			break
		}
		x.arena = append(append(x.arena, v...), ", "...)
	}
	x.arena = x.peer.Remote.Addr().AppendTo(x.arena)
	x.ToUp.Set(wire.FieldXForwardedFor, x.arena[start:len(x.arena):len(x.arena)])
}

func (x *Exchange) appendAddr(a netip.Addr) []byte {
	start := len(x.arena)
	x.arena = a.AppendTo(x.arena)
	return x.arena[start:len(x.arena):len(x.arena)]
}

// forwardedProto settles X-Forwarded-Proto and with it what is secure.
func (x *Exchange) forwardedProto(e *edge, hops int) {
	proto := valueHTTP
	if x.peer.TLS != nil {
		proto = valueHTTPS
	}
	if hops > 0 || !e.useRemoteAddress {
		if sent := x.Req.Get(wire.FieldXForwardedProto); len(sent) > 0 {
			x.Secure = string(sent) == "https" && x.Req.Count(wire.FieldXForwardedProto) == 1
			return
		}
	}
	x.Secure = x.peer.TLS != nil
	x.ToUp.Set(wire.FieldXForwardedProto, proto)
}

// controls are what only trusted callers may tell the proxy. Those marked are left
// alone where a proxy in front has judged the request already.
var controls = func() map[string]bool {
	names := []string{
		"retry-on", "retry-grpc-on", "max-retries", "upstream-alt-stat-name", "upstream-rq-timeout-ms",
		"upstream-rq-per-try-timeout-ms", "upstream-rq-timeout-alt-response", "hedge-on-per-try-timeout",
		"retriable-status-codes", "retriable-header-names", "force-trace", "ip-tags", "attempt-count", "is-timeout-retry",
	}
	set := map[string]bool{}
	for _, n := range names {
		set[envoyPrefix+n] = false
	}
	for _, n := range []string{"decorator-operation", "downstream-service-cluster", "downstream-service-node"} {
		set[envoyPrefix+n] = true
	}
	return set
}()

const envoyPrefix = "x-envoy-"

// stripControls removes from an external request the headers that steer Envoy.
func (x *Exchange) stripControls(edge bool) {
	for i := range x.Req.Len() {
		id, name, _ := x.Req.Line(i)
		if id != wire.FieldOther || len(name) <= len(envoyPrefix) || string(name[:len(envoyPrefix)]) != envoyPrefix {
			continue
		}
		if marked, ok := controls[string(name)]; ok && (edge || !marked) {
			x.ToUp.DropName(name)
		}
	}
}

// identify gives the request its id: the client's own unless a fresh one is wanted.
func (x *Exchange) identify(fresh bool) {
	if sent := x.Req.Get(wire.FieldXRequestID); len(sent) > 0 && !fresh {
		x.requestID = sent
		return
	}
	start := len(x.arena)
	x.arena = appendUUID(x.arena)
	x.requestID = x.arena[start:len(x.arena):len(x.arena)]
	x.ToUp.Set(wire.FieldXRequestID, x.requestID)
}

// appendUUID appends a random UUID (RFC 9562 §5.4). Ids need to be unique, not
// secret. Budget: 0 allocs.
func appendUUID(dst []byte) []byte {
	hi, lo := rand.Uint64(), rand.Uint64() //nolint:gosec // because an id is no secret
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	var text [36]byte
	at := 0
	for i := range 16 {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		b := byte(hi >> 56)
		hi = hi<<8 | lo>>56
		lo <<= 8
		text[at], text[at+1] = hexDigits[b>>4], hexDigits[b&15]
		at += 2
	}
	return append(dst, text[:]...)
}

const hexDigits = "0123456789abcdef"

func matchRequest(x *Exchange, listener int) routes.Request {
	r := routes.Request{
		Head:     x.Req,
		Listener: listener,
		Secure:   secureBy(x.Snap.listeners[listener].security, x.Secure),
		Roll:     uint8(rand.Uint32N(100)), //nolint:gosec // because a share of traffic is no secret
	}
	if x.peer.TLS != nil {
		r.TLS, r.SNI = true, x.peer.TLS.ServerName
	}
	return r
}

// appendInt renders a number into the exchange's memory.
func (x *Exchange) appendInt(n int64) []byte {
	start := len(x.arena)
	x.arena = strconv.AppendInt(x.arena, n, 10)
	return x.arena[start:len(x.arena):len(x.arena)]
}
