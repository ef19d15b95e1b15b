package gateway

import (
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"legate/config"
	"legate/routes"
	"legate/upstream"
	"legate/wire"
)

// A tcpPort says which connections of a Listener are TCPMappings'.
type tcpPort struct {
	whole  *tcpRoute            // has every connection; nil for none
	byName map[string]*tcpRoute // by their name in the TLS table
}

// A tcpRoute is the TCPMappings of a group, ready to serve.
type tcpRoute struct {
	group   *routes.TCPGroup
	members []tcpMember // as the group's
	idle    time.Duration
}

// A tcpMember is one of them.
type tcpMember struct {
	name, by     string
	upstream     *upstream.Upstream
	upstreamName string
}

// serves reports whether there are any.
func (t *tcpPort) serves() bool { return t.whole != nil || len(t.byName) > 0 }

// takes reports whether a connection of the Listener i of s is a TCPMapping's, or
// nobody's: where no requests are served there is nobody else to have it.
func (t *tcpPort) takes(s *Snapshot, i int, secure *tls.Conn) bool {
	if t.whole != nil || !s.world.Listeners[i].Has(config.ProtoHTTP) {
		return true
	}
	return secure != nil && len(t.byName) > 0 && t.byName[s.TLS.Name(i, secure.ConnectionState().ServerName)] != nil
}

// find returns the route of a connection of the Listener i of s, nil for none.
func (t *tcpPort) find(s *Snapshot, i int, info *wire.TLSInfo) *tcpRoute {
	switch {
	case t.whole != nil:
		return t.whole
	case info == nil:
		return nil
	}
	return t.byName[s.TLS.Name(i, info.ServerName)]
}

// tcpMappings groups the TCPMappings that can serve, and gives each group a Listener.
func (c *compiler) tcpMappings() {
	c.tcpSpecs = make(map[string]upstream.Spec, len(c.world.TCPMappings))
	kept := make([]config.TCPMapping, 0, len(c.world.TCPMappings))
	for i := range c.world.TCPMappings {
		m := &c.world.TCPMappings[i]
		spec, problems := c.reader.OfTCP(m)
		c.problems = append(c.problems, problems...)
		if !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Effect == config.ObjectDropped }) {
			c.tcpSpecs[m.FullName()] = spec
			kept = append(kept, *m)
		}
	}
	c.world.TCPMappings = kept
	groups, problems := routes.BuildTCP(c.world, c.g.opts.Bind)
	c.groups = groups
	c.problems = append(c.problems, problems...)
	if len(groups) == 0 {
		c.world.TCPMappings = nil
		return
	}
	c.world.Listeners = slices.Clone(c.world.Listeners)
	serving := make([]config.TCPMapping, 0, len(kept))
	for _, g := range groups {
		for i := range g.Members {
			m := *g.Members[i].Mapping
			m.Address = g.Address
			serving = append(serving, m)
			g.Members[i].Mapping = &serving[len(serving)-1]
		}
		c.tcpListener(g)
	}
	c.world.TCPMappings = serving
}

// tcpListener has a Listener carry g: the one that its port has, or one of its own.
func (c *compiler) tcpListener(g *routes.TCPGroup) {
	m := g.Members[0].Mapping
	stack := []config.Protocol{config.ProtoTCP}
	if g.Host != "" {
		stack = []config.Protocol{config.ProtoTLS, config.ProtoTCP}
	}
	found := false
	for i := range c.world.Listeners {
		l := &c.world.Listeners[i]
		if !l.Carries(m) || l.Has(config.ProtoUDP) {
			continue
		}
		found = true
		switch {
		case g.Host != "" && !l.Has(config.ProtoTLS):
			l.Stack = append([]config.Protocol{config.ProtoTLS}, l.Stack...)
		case g.Host == "":
			c.takeWhole(l, m)
		}
	}
	if !found {
		c.world.Listeners = append(c.world.Listeners, config.Listener{
			Meta: m.Meta, Port: m.Port, Address: m.Address, Stack: stack, FromAll: true,
		})
	}
}

// takeWhole leaves nothing to a Listener whose port m has but its PROXY header.
func (c *compiler) takeWhole(l *config.Listener, m *config.TCPMapping) {
	if l.Has(config.ProtoHTTP) {
		p := l.Problem("port", fmt.Sprintf("%s has the whole port, because it names no host", m.Ref()), config.ObjectDropped)
		p.Instead = "every connection is carried to its service, requests or not"
		c.problems = append(c.problems, p)
	}
	stack := []config.Protocol{config.ProtoTCP}
	if l.Has(config.ProtoPROXY) {
		stack = []config.Protocol{config.ProtoPROXY, config.ProtoTCP}
	}
	l.Stack = stack
}

// defaultTunnelIdle is how long Envoy lets a TCP connection rest.
const defaultTunnelIdle = time.Hour

// tcpRoutes makes the groups that are left ready, by Listener.
func (c *compiler) tcpRoutes() {
	c.next.tcp = make([]tcpPort, len(c.world.Listeners))
	for _, g := range c.groups {
		if len(g.Members) == 0 {
			continue
		}
		r := c.tcpRoute(g)
		c.next.tcpRoutes = append(c.next.tcpRoutes, r)
		for i := range c.world.Listeners {
			l := &c.world.Listeners[i]
			switch t := &c.next.tcp[i]; {
			case !l.Carries(g.Members[0].Mapping) || l.Has(config.ProtoUDP):
			case g.Host == "":
				t.whole = r
			case t.byName == nil:
				t.byName = map[string]*tcpRoute{g.Host: r}
			default:
				t.byName[g.Host] = r
			}
		}
	}
}

func (c *compiler) tcpRoute(g *routes.TCPGroup) *tcpRoute {
	r := &tcpRoute{group: g, idle: milliseconds(int(defaultTunnelIdle.Milliseconds()), g.IdleMS)}
	for i := range g.Members {
		m := g.Members[i].Mapping
		up := c.pool(c.tcpSpecs[m.FullName()]).upstream
		c.g.metrics.Upstream(up.Name()) // its connections are counted
		r.members = append(r.members, tcpMember{
			name: m.FullName(), by: m.Ref().String(),
			upstream: up, upstreamName: up.Name(),
		})
	}
	return r
}
