package gateway

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"

	"legate/authn"
	"legate/config"
	"legate/routes"
)

// A RouteView is a route as operators see it.
type RouteView struct {
	Name     string `json:"name"`
	Prefix   string `json:"prefix"`
	Hostname string `json:"hostname,omitempty"`
	Method   string `json:"method,omitempty"`
	Service  string `json:"service"`
	Upstream string `json:"upstream,omitempty"`
	Redirect int    `json:"redirect,omitempty"`
	Share    uint8  `json:"share"`
	ClosedBy string `json:"closed_by,omitempty"`

	HostRegex bool          `json:"host_regex,omitempty"` // Hostname is a regular expression
	Hosts     []HostView    `json:"hosts,omitempty"`      // that the route is attached to
	Order     *routes.Order `json:"order,omitempty"`      // what its place follows from
	Why       string        `json:"why,omitempty"`        // it comes after the one before it
	Written   string        `json:"written,omitempty"`    // file and line

	// Of a TCPMapping, whose Hostname is the server name of the handshake.
	Protocol string `json:"protocol,omitempty"` // "tcp"
	Address  string `json:"address,omitempty"`
	Port     int    `json:"port,omitempty"`
}

// A HostView is a Host that a route is attached to.
type HostView struct {
	Host     string `json:"host"`
	Hostname string `json:"hostname"`
}

// Routes returns the current routes in match order, and after them those of
// TCPMappings.
func (g *Gateway) Routes() any {
	s := g.snap.Load()
	views := make([]RouteView, len(s.routes))
	for i := range s.routes {
		r := s.routes[i]
		m := r.Mapping
		views[i] = RouteView{
			Name: r.name, Prefix: m.Prefix, Hostname: hostnameOf(r.Route), Method: m.Method, Service: m.Service,
			Upstream: r.upstreamName, Share: r.Share, ClosedBy: r.ClosedBy, HostRegex: m.HostRegex, Written: written(&m.Meta),
		}
		s.place(&views[i], i)
		if r.Kind == routes.Redirect {
			views[i].Redirect = r.Status
		}
	}
	for _, r := range s.tcpRoutes {
		for i := range r.members {
			m, member := &r.members[i], &r.group.Members[i]
			views = append(views, RouteView{
				Name: m.name, Hostname: r.group.Host, Service: member.Mapping.Service, Upstream: m.upstreamName,
				Share: uint8(math.Round(member.Share)), Protocol: "tcp", Address: r.group.Address, Port: r.group.Port,
			})
		}
	}
	return views
}

// Asked returns the Mappings whose services are asked, each with the name of its upstream.
func (g *Gateway) Asked() iter.Seq2[*config.Mapping, string] {
	return func(yield func(*config.Mapping, string) bool) {
		for _, r := range g.snap.Load().routes {
			if r.upstream != nil && !yield(r.Mapping, r.upstreamName) {
				return
			}
		}
	}
}

// place tells where the route at i stands, and why.
func (s *Snapshot) place(v *RouteView, i int) {
	r := s.routes[i].Route
	order := r.Order()
	v.Order = &order
	if i > 0 {
		v.Why = r.After(s.routes[i-1].Route)
	}
	for _, h := range s.table.HostsOf(r) {
		v.Hosts = append(v.Hosts, HostView{h.By, h.Name})
	}
}

// written says where an object was read.
func written(m *config.Meta) string {
	if m.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", m.File, m.Line)
}

// A ConfigView tells which configuration serves.
type ConfigView struct {
	Generation uint64 `json:"generation"`
	Hosts      int    `json:"hosts"`
	Mappings   int    `json:"mappings"`
	Listeners  int    `json:"listeners"`
	Routes     int    `json:"routes"`
	Problems   int    `json:"problems"`
}

// Config returns what is known of the current configuration.
func (g *Gateway) Config() any {
	s := g.snap.Load()
	return ConfigView{
		Generation: s.Gen, Hosts: len(s.world.Hosts), Mappings: len(s.world.Mappings),
		Listeners: len(s.world.Listeners), Routes: len(s.routes), Problems: len(s.Problems),
	}
}

// Generation returns the number of the configuration that serves, 0 before the first.
func (g *Gateway) Generation() uint64 { return g.snap.Load().Gen }

// An UpstreamView is an upstream as operators see it.
type UpstreamView struct {
	Name      string         `json:"name"`
	Endpoints []EndpointView `json:"endpoints"`
	Error     string         `json:"error,omitempty"` // why endpoints are missing or old
	Active    int64          `json:"active"`          // connections that carry a request
	Idle      int64          `json:"idle"`
	Opened    uint64         `json:"opened"`            // connections, ever
	Failed    uint64         `json:"failed"`            // connections that did not come about
	Breaker   string         `json:"breaker,omitempty"` // its failure_breaker: "closed", "half-open", "open"
}

// An EndpointView is one address of an upstream.
type EndpointView struct {
	Address string `json:"address"`
	Healthy bool   `json:"healthy"`
	Idle    int    `json:"idle"`
}

// Upstreams returns the current upstreams, by name.
func (g *Gateway) Upstreams() []UpstreamView {
	s := g.snap.Load()
	if s.upstreams == nil {
		return []UpstreamView{}
	}
	all := s.upstreams.All()
	views, breakers := make([]UpstreamView, 0, len(all)), s.breakerStates()
	for _, u := range all {
		stats := u.Stats()
		v := UpstreamView{
			Name: u.Name(), Endpoints: []EndpointView{},
			Active: stats.Active, Idle: stats.Idle, Opened: stats.Opened, Failed: stats.ConnectFailures(),
		}
		if b, ok := breakers[u.Name()]; ok {
			v.Breaker = b.State.String()
		}
		ends, err := u.Endpoints()
		for _, e := range ends {
			v.Endpoints = append(v.Endpoints, EndpointView{e.Address, e.Healthy, e.Idle})
		}
		if err != nil {
			v.Error = err.Error()
		}
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b UpstreamView) int { return cmp.Compare(a.Name, b.Name) })
	return views
}

// An IdentityView is what decides about who asks, as operators see it.
type IdentityView = authn.View

// Identity returns what decides about who asks.
func (g *Gateway) Identity() IdentityView { return g.snap.Load().authn.View() }

// DiagnosticsOpen reports whether others than this machine may see the dashboard, as the
// Module says.
func (g *Gateway) DiagnosticsOpen() bool {
	modules := g.snap.Load().world.Modules
	return len(modules) == 0 || modules[0].Diagnostics.On() || modules[0].DiagnosticsNonLocal
}

// An Address is where a Listener listens.
type Address struct {
	Port  int
	TLS   bool // beside cleartext
	Proxy bool // connections begin with a PROXY header
}

// Addresses returns where the current configuration listens for requests, in the order
// of ports.
func (g *Gateway) Addresses() []Address {
	s := g.snap.Load()
	var list []Address
	for _, i := range s.slots {
		if i >= 0 && s.world.Listeners[i].Has(config.ProtoHTTP) {
			l := &s.world.Listeners[i]
			list = append(list, Address{l.Port, l.Has(config.ProtoTLS), l.Has(config.ProtoPROXY)})
		}
	}
	slices.SortFunc(list, func(a, b Address) int { return cmp.Compare(a.Port, b.Port) })
	return list
}
