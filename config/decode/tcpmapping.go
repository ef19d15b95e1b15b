package decode

import (
	"cmp"
	"net/netip"

	"legate/config"
)

func decodeTCPMapping(o *object, spec *fields) any {
	m := &config.TCPMapping{
		Host:            spec.text("host"),
		Service:         spec.required("service"),
		Resolver:        spec.text("resolver"),
		Weight:          spec.number("weight", 0, 100),
		EnableIPv4:      spec.flag("enable_ipv4"),
		EnableIPv6:      spec.flag("enable_ipv6"),
		CircuitBreakers: spec.circuitBreakers(),
		IdleTimeoutMS:   spec.number("idle_timeout_ms", 0, milliseconds),
		ClusterTag:      spec.text("cluster_tag"),
		StatsName:       cmp.Or(spec.text("stats_name"), spec.text("v3StatsName")),
	}
	if n := spec.number("port", 1, 65535); n != nil {
		m.Port = *n
	} else if spec.value("port") == nil {
		spec.missing("port")
	}
	m.Address = spec.text("address")
	if _, err := netip.ParseAddr(m.Address); err != nil && m.Address != "" {
		spec.wrong(spec.find("address"), "an IP address")
	}
	m.TLS, m.OriginateTLS = spec.originateTLS()
	spec.finish(tcpMappingUnserved)
	m.Meta = o.Meta
	return m
}

// originateTLS reads tls: the name of a TLSContext, or in the way of v2 whether TLS is
// spoken at all.
func (f *fields) originateTLS() (context string, on bool) {
	e := f.value("tls")
	if e == nil {
		return "", false
	}
	if e.value.Tag == "!!bool" {
		on, _ = f.o.boolean(e.value)
		return "", on
	}
	context, _ = f.scalar(e)
	return context, false
}
