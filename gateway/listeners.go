package gateway

import (
	"fmt"
	"slices"

	"legate/config"
)

// withImplicitListeners gives a World without Listeners the two that everybody
// expects. Where there are none the Module may be of the time before there were any:
// then it says what comes to their ports.
func withImplicitListeners(w config.World) config.World {
	if len(w.Listeners) > 0 {
		return w
	}
	var m config.Module
	if len(w.Modules) > 0 {
		m = w.Modules[0]
	}
	listener := func(name string, port int, stack ...config.Protocol) config.Listener {
		if m.UseProxyProto {
			stack = slices.Insert(stack, 0, config.ProtoPROXY)
		}
		return config.Listener{
			Meta: config.Meta{Kind: "Listener", Name: name, Namespace: "implicit"},
			Port: port, Stack: stack, FromAll: true, L7Depth: m.XFFNumTrustedHops,
		}
	}
	w.Listeners = []config.Listener{
		listener("http", 8080, config.ProtoHTTP, config.ProtoTCP),
		listener("https", 8443, config.ProtoTLS, config.ProtoHTTP, config.ProtoTCP),
	}
	return w
}

// listeners settles which Listeners serve, and tells of the others.
func (c *compiler) listeners() {
	for i := range c.world.Listeners {
		l := &c.world.Listeners[i]
		p, serves := c.listener(l, &c.next.tcp[i])
		if !serves && l.Kind == "Listener" { // nobody wrote the others
			c.problems = append(c.problems, p)
		}
		c.next.listeners = append(c.next.listeners, listenerView{security: l.Security, l7Depth: l.L7Depth, internal: l.Internal, served: serves, metrics: c.g.metrics.Listener(statsPrefix(l), c.g.address(l))})
	}
}

// statsPrefix is the name by which the requests of l are counted under Envoy's names.
func statsPrefix(l *config.Listener) string {
	switch {
	case l.StatsPrefix != "":
		return l.StatsPrefix
	case l.Has(config.ProtoHTTP) && l.Has(config.ProtoTLS):
		return "ingress_https"
	case l.Has(config.ProtoHTTP):
		return "ingress_http"
	case l.Has(config.ProtoTLS):
		return fmt.Sprintf("ingress_tls_%d", l.Port)
	}
	return fmt.Sprintf("ingress_tcp_%d", l.Port)
}

// listener reports whether l has anything to serve, or else why its port stays closed.
func (c *compiler) listener(l *config.Listener, t *tcpPort) (config.Problem, bool) {
	problem := func(field, msg string, effect config.Effect, instead string) config.Problem {
		p := l.Problem(field, msg, effect)
		p.Instead = instead
		return p
	}
	switch {
	case l.Has(config.ProtoUDP):
		return problem("protocolStack", "HTTP/3 is not served", config.ObjectIgnored, "the port is not bound for UDP and no alt-svc is sent, so clients stay with the Listener for TCP"), false
	case t.serves():
	case !l.Has(config.ProtoHTTP), !c.implicit && !c.attached(l):
		return problem("hostBinding", "No matching Hosts/TCPMappings found, disabling!", config.ObjectDropped, "its port is not bound"), false
	}
	return config.Problem{}, true
}

// attached reports whether some Host is served by l, or will be as soon as its certificate has
// been ordered, of which the authority asks here. One that is assumed is served by every
// Listener.
func (c *compiler) attached(l *config.Listener) bool {
	if slices.ContainsFunc(c.next.wish.Hosts, func(h config.Host) bool { return h.ACME != nil && l.Binds(&h) }) {
		return true
	}
	if len(c.world.Hosts) == 0 {
		return !c.closed
	}
	return slices.ContainsFunc(c.world.Hosts, func(h config.Host) bool { return l.Binds(&h) })
}
