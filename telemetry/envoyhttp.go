package telemetry

import (
	"strconv"
	"strings"

	"legate/decision"
)

var (
	httpRequests   = envoy("envoy_http_downstream_rq_total", "Requests by the statsPrefix of their Listener.", byPrefix)
	httpCompleted  = envoy("envoy_http_downstream_rq_completed", "Requests that were answered.", byPrefix)
	httpClasses    = envoy("envoy_http_downstream_rq_xx", "Answers by the first digit of their status.", byPrefix, byClassCode)
	httpTime       = envoy("envoy_http_downstream_rq_time", "Milliseconds from a request's first byte to its answer's last.", byPrefix)
	httpActive     = envoy("envoy_http_downstream_rq_active", "Requests being served.", byPrefix)
	httpHTTP1      = envoy("envoy_http_downstream_rq_http1_total", "Requests of HTTP/1.0 and 1.1.", byPrefix)
	httpHTTP2      = envoy("envoy_http_downstream_rq_http2_total", "Requests of HTTP/2.", byPrefix)
	httpTimeout    = envoy("envoy_http_downstream_rq_timeout", "Requests that did not arrive in time.", byPrefix)
	httpIdle       = envoy("envoy_http_downstream_rq_idle_timeout", "Requests and answers of which no byte moved in time.", byPrefix)
	httpTooLarge   = envoy("envoy_http_downstream_rq_too_large", "Requests whose body was too large.", byPrefix)
	httpNoUpgrade  = envoy("envoy_http_downstream_rq_ws_on_non_ws_route", "Requests for a protocol that their Mapping does not allow.", byPrefix)
	httpRouted     = envoy("envoy_http_rq_total", "Requests for which a route was looked for.", byPrefix)
	httpNoRoute    = envoy("envoy_http_no_route", "Requests that no route was found for.", byPrefix)
	httpNoCluster  = envoy("envoy_http_no_cluster", "Requests whose service has no endpoints.", byPrefix)
	httpRedirect   = envoy("envoy_http_rq_redirect", "Requests that were redirected.", byPrefix)
	httpDirect     = envoy("envoy_http_rq_direct_response", "Requests that the gateway itself is there for: health checks and endpoints of its own.", byPrefix)
	httpLuaErrors  = envoy("envoy_http_lua_errors", "Hooks of lua_scripts that ended with an error.", byPrefix)
	httpUpgrades   = envoy("envoy_http_downstream_cx_upgrades_total", "Connections that changed to another protocol.", byPrefix)
	httpTunnels    = envoy("envoy_http_downstream_cx_upgrades_active", "Connections that speak another protocol now.", byPrefix)
	httpCxTotal    = envoy("envoy_http_downstream_cx_total", "Connections of clients, ever.", byPrefix)
	httpCxActive   = envoy("envoy_http_downstream_cx_active", "Open connections of clients.", byPrefix)
	httpCxDestroy  = envoy("envoy_http_downstream_cx_destroy", "Connections of clients that have ended.", byPrefix)
	httpCxTLS      = envoy("envoy_http_downstream_cx_ssl_total", "Connections over TLS, ever.", byPrefix)
	httpCxTLSNow   = envoy("envoy_http_downstream_cx_ssl_active", "Open connections over TLS.", byPrefix)
	httpCxHTTP1    = envoy("envoy_http_downstream_cx_http1_total", "Connections that spoke HTTP/1.1, ever.", byPrefix)
	httpCxHTTP1Now = envoy("envoy_http_downstream_cx_http1_active", "Open connections that speak HTTP/1.1.", byPrefix)
	httpCxHTTP2    = envoy("envoy_http_downstream_cx_http2_total", "Connections that spoke HTTP/2, ever.", byPrefix)
	httpCxHTTP2Now = envoy("envoy_http_downstream_cx_http2_active", "Open connections that speak HTTP/2.", byPrefix)
	httpCxIn       = envoy("envoy_http_downstream_cx_rx_bytes_total", "Bytes from clients.", byPrefix)
	httpCxOut      = envoy("envoy_http_downstream_cx_tx_bytes_total", "Bytes to clients.", byPrefix)
	httpCxLength   = envoy("envoy_http_downstream_cx_length_ms", "Milliseconds that connections of clients lasted.", byPrefix)

	portTotal     = envoy("envoy_listener_downstream_cx_total", "Connections to an address, ever.", byAddress)
	portActive    = envoy("envoy_listener_downstream_cx_active", "Open connections to an address.", byAddress)
	portDestroy   = envoy("envoy_listener_downstream_cx_destroy", "Connections to an address that have ended.", byAddress)
	portHandshake = envoy("envoy_listener_ssl_handshake", "TLS handshakes that came about.", byAddress)
	portTLSError  = envoy("envoy_listener_ssl_connection_error", "TLS handshakes that came to nothing.", byAddress)
	portNoCert    = envoy("envoy_listener_ssl_fail_verify_no_cert", "TLS handshakes without the client's certificate that is required.", byAddress)
	portBadCert   = envoy("envoy_listener_ssl_fail_verify_error", "TLS handshakes with a client's certificate that is not believed.", byAddress)
	portNoName    = envoy("envoy_listener_no_filter_chain_match", "TLS handshakes for a name that nobody serves.", byAddress)
	portClasses   = envoy("envoy_listener_http_downstream_rq_xx", "Answers by the first digit of their status.", byAddress, byPrefix, byClassCode)

	tcpTotal   = envoy("envoy_tcp_downstream_cx_total", "Connections that carry a TCPMapping's bytes, ever.", byTCP)
	tcpIn      = envoy("envoy_tcp_downstream_cx_rx_bytes_total", "Bytes from their clients, once they have ended.", byTCP)
	tcpOut     = envoy("envoy_tcp_downstream_cx_tx_bytes_total", "Bytes to their clients, once they have ended.", byTCP)
	tcpNoRoute = envoy("envoy_tcp_downstream_cx_no_route", "Connections without a TCPMapping.", byTCP)
	tcpIdle    = envoy("envoy_tcp_idle_timeout", "Connections that ended as no byte moved.", byTCP)
)

// notRouted are the reasons for which no route was looked for.
var notRouted = []decision.Reason{
	decision.BadRequest, decision.BadHost, decision.BadPath, decision.BadFraming, decision.URITooLong, decision.HeaderTooLarge, decision.TooManyHeaders,
	decision.HeaderUnderscore, decision.HeadTimeout, decision.HTTP10Disabled, decision.VersionUnsupported, decision.MethodUnsupported,
	decision.ProxyHeaderUnexpected, decision.ScriptAnswer,
}

// collectListeners tells of requests, those of Listeners with one statsPrefix together.
func collectListeners(listeners map[listenerKey]*ListenerMetrics, out sink) {
	byName := map[string][]*ListenerMetrics{}
	for key, l := range listeners {
		byName[key.prefix] = append(byName[key.prefix], l)
		for class := 1; class < len(l.answers); class++ {
			out.counter(portClasses, l.answers[class].Load(), addressLabel(key.address), key.prefix, strconv.Itoa(class))
		}
	}
	for prefix, list := range byName {
		collectPrefix(prefix, list, out)
	}
}

func collectPrefix(prefix string, list []*ListenerMetrics, out sink) {
	sum := func(of func(*ListenerMetrics) uint64) (n uint64) {
		for _, l := range list {
			n += of(l)
		}
		return n
	}
	reasons := func(of ...decision.Reason) uint64 { return sum(func(l *ListenerMetrics) uint64 { return l.of(of...) }) }
	var latencies []*histogram
	var counts [len(classes)]uint64
	tunnels, ended := int64(0), uint64(0)
	for _, l := range list {
		latencies = append(latencies, l.latency.Load())
		tunnels += l.tunnels.Value()
		for class := range counts {
			n := l.answers[class].Load()
			counts[class] += n
			ended += n
		}
	}
	for class := 1; class < len(counts); class++ {
		out.counter(httpClasses, counts[class], prefix, strconv.Itoa(class))
	}
	began := max(sum(func(l *ListenerMetrics) uint64 { return l.began.Load() }), ended) // looked at later, so never less
	http2 := sum(func(l *ListenerMetrics) uint64 { return l.http2.Load() })
	refused := reasons(notRouted...)
	out.counter(httpRequests, began, prefix)
	out.counter(httpCompleted, ended-counts[0], prefix)
	out.gauge(httpActive, float64(began-ended), prefix)
	out.counter(httpHTTP1, began-min(http2, began), prefix)
	out.counter(httpHTTP2, http2, prefix)
	out.counter(httpRouted, began-min(refused, began), prefix)
	out.counter(httpTimeout, reasons(decision.HeadTimeout, decision.BodyTooSlow), prefix)
	out.counter(httpIdle, reasons(decision.StreamIdle, decision.UpstreamIdle, decision.TunnelIdle), prefix)
	out.counter(httpTooLarge, reasons(decision.BodyTooLarge), prefix)
	out.counter(httpNoUpgrade, reasons(decision.UpgradeRefused), prefix)
	out.counter(httpNoRoute, reasons(decision.NoRoute, decision.NoHost), prefix)
	out.counter(httpNoCluster, reasons(decision.NoEndpoints), prefix)
	out.counter(httpRedirect, reasons(decision.Redirect, decision.HTTPSRedirect), prefix)
	out.counter(httpDirect, reasons(decision.HealthCheck, decision.OwnEndpoint, decision.ACMEChallenge), prefix)
	out.counter(httpLuaErrors, sum(func(l *ListenerMetrics) uint64 { return l.scripts.Load() }), prefix)
	out.counter(httpUpgrades, sum(func(l *ListenerMetrics) uint64 { return l.upgrades.Load() }), prefix)
	out.gauge(httpTunnels, float64(tunnels), prefix)
	out.milliseconds(httpTime, merged(latencies...), prefix)
}

// addressLabel is an address as Envoy writes it in names.
func addressLabel(address string) string {
	return strings.NewReplacer(":", "_", "[", "", "]", "").Replace(address)
}

// A portSum is the ports of Listeners with one statsPrefix together.
type portSum struct {
	opened, tls, closed, http2, tcp   uint64
	tlsNow, http2Now, tcpNow, in, out int64
	lasted                            []*histogram
	noRoute, idle                     uint64
	tcpIn, tcpOut                     int64
	carriesTCP                        bool
}

// collectPorts tells of connections.
func collectPorts(ports map[string]*PortMetrics, out sink) {
	sums := map[string]*portSum{}
	for address, p := range ports {
		closed := p.Closed.Value() // first, so that never more are closed than opened
		opened, tls := p.Opened.Value()+p.OpenedTLS.Value(), p.OpenedTLS.Value()
		label := addressLabel(address)
		out.counter(portTotal, opened, label)
		out.gauge(portActive, float64(opened-closed), label)
		out.counter(portDestroy, closed, label)
		out.counter(portHandshake, tls, label)
		out.counter(portTLSError, p.HandshakeFailed.Value(), label)
		out.counter(portNoCert, p.NoCertificate.Value(), label)
		out.counter(portBadCert, p.BadCertificate.Value(), label)
		out.counter(portNoName, p.NoName.Value(), label)
		prefix := p.prefix.Load()
		if prefix == nil {
			continue
		}
		s := sums[*prefix]
		if s == nil {
			s = &portSum{}
			sums[*prefix] = s
		}
		in, sent := p.bytes()
		s.opened, s.tls, s.closed, s.http2, s.tcp = s.opened+opened, s.tls+tls, s.closed+closed, s.http2+p.HTTP2.Value(), s.tcp+p.TCP.Value()
		s.tlsNow, s.http2Now, s.tcpNow = s.tlsNow+p.Secure.Value(), s.http2Now+p.SpeakHTTP2.Value(), s.tcpNow+p.CarryTCP.Value()
		s.in, s.out, s.lasted = s.in+in, s.out+sent, append(s.lasted, p.lasted.Load())
		s.noRoute, s.idle, s.carriesTCP = s.noRoute+p.TCPNoRoute.Value(), s.idle+p.TCPIdle.Value(), s.carriesTCP || p.carriesTCP.Load()
		s.tcpIn, s.tcpOut = s.tcpIn+p.tcpIn.Load(), s.tcpOut+p.tcpOut.Load()
	}
	for prefix, s := range sums {
		s.collect(prefix, out)
	}
}

func (s *portSum) collect(prefix string, out sink) {
	if s.carriesTCP {
		out.counter(tcpTotal, s.tcp, prefix)
		out.counter(tcpIn, uint64(max(s.tcpIn, 0)), prefix)
		out.counter(tcpOut, uint64(max(s.tcpOut, 0)), prefix)
		out.counter(tcpNoRoute, s.noRoute, prefix)
		out.counter(tcpIdle, s.idle, prefix)
	}
	open := int64(s.opened - s.closed) //nolint:gosec // connections are few
	out.counter(httpCxTotal, s.opened-min(s.tcp, s.opened), prefix)
	out.gauge(httpCxActive, float64(open-s.tcpNow), prefix)
	out.counter(httpCxDestroy, s.closed, prefix)
	out.counter(httpCxTLS, s.tls, prefix)
	out.gauge(httpCxTLSNow, float64(s.tlsNow), prefix)
	out.counter(httpCxHTTP1, s.opened-min(s.http2+s.tcp, s.opened), prefix)
	out.gauge(httpCxHTTP1Now, float64(open-s.http2Now-s.tcpNow), prefix)
	out.counter(httpCxHTTP2, s.http2, prefix)
	out.gauge(httpCxHTTP2Now, float64(s.http2Now), prefix)
	out.counter(httpCxIn, uint64(max(s.in, 0)), prefix)
	out.counter(httpCxOut, uint64(max(s.out, 0)), prefix)
	out.milliseconds(httpCxLength, merged(s.lasted...), prefix)
}
