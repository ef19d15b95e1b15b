package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"legate/config"
)

// A directory finds the endpoints of Kubernetes' Services in one World.
type directory struct {
	services  map[serviceKey]*config.Service
	endpoints map[serviceKey]*config.Endpoints
	slices    map[serviceKey][]*config.EndpointSlice
}

// A serviceKey names a Service.
type serviceKey struct{ namespace, name string }

func newDirectory(w *config.World) *directory {
	d := &directory{
		services:  make(map[serviceKey]*config.Service, len(w.Services)),
		endpoints: make(map[serviceKey]*config.Endpoints, len(w.Endpoints)),
		slices:    make(map[serviceKey][]*config.EndpointSlice, len(w.EndpointSlices)),
	}
	for i := range w.Services {
		s := &w.Services[i]
		d.services[serviceKey{s.Namespace, s.Name}] = s
	}
	for i := range w.Endpoints {
		e := &w.Endpoints[i]
		d.endpoints[serviceKey{e.Namespace, e.Name}] = e
	}
	for i := range w.EndpointSlices {
		s := &w.EndpointSlices[i]
		key := serviceKey{s.Namespace, s.Service}
		d.slices[key] = append(d.slices[key], s)
	}
	return d
}

// Errors of a directory: why a service has no endpoints.
var (
	errNoService  = errors.New("no such Service")
	errNoPort     = errors.New("the Service has no such port")
	errNotReady   = errors.New("the Service has no endpoint that is ready")
	errWrongPorts = errors.New("no endpoint of the Service listens for that port")
)

// find returns where the Service that host names listens for requests from zone to port,
// sorted. Of host only the first two labels count: the Service and its namespace, own if
// there is none.
func (d *directory) find(host string, port uint16, family Family, own, zone string) ([]netip.AddrPort, error) {
	name, rest, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	key := serviceKey{cmp.Or(namespace, own), name}
	svc := d.services[key]
	if svc == nil {
		return nil, fmt.Errorf("%s.%s: %w", key.name, key.namespace, errNoService)
	}
	i := slices.IndexFunc(svc.Ports, func(p config.ServicePort) bool { return p.Port == int(port) && isTCP(p.Protocol) })
	if i < 0 {
		return nil, fmt.Errorf("%s.%s:%d: %w", key.name, key.namespace, port, errNoPort)
	}
	f := finding{port: &svc.Ports[i]}
	if list := d.slices[key]; len(list) > 0 {
		for _, s := range list {
			f.slice(s)
		}
	} else if e := d.endpoints[key]; e != nil {
		f.endpoints(e)
	}
	return f.result(key, family, zone)
}

// isTCP reports whether a port is of the protocol that is spoken to services: a Service may have
// one number for several.
func isTCP(protocol string) bool { return protocol == "TCP" || protocol == "" }

// A finding collects what listens for one port of a Service.
type finding struct {
	port   *config.ServicePort
	ready  []instance
	ending []instance // could answer, but would rather not be asked any more
	some   bool       // there are any, though perhaps not on that port
}

// An instance is one address of a Service, and where it is.
type instance struct {
	addr  netip.AddrPort
	zone  string
	zones []string // see config.Endpoint
}

// listens returns where endpoints with those ports listen; 0 for nowhere. Kubernetes
// itself gives an endpoint's port the name that the Service's has; of lists made by
// hand one with the number or name of the Service's targetPort is taken too.
func (f *finding) listens(ports []config.EndpointPort) int {
	tcp := slices.DeleteFunc(slices.Clone(ports), func(p config.EndpointPort) bool { return !isTCP(p.Protocol) })
	target := cmp.Or(f.port.TargetPort, strconv.Itoa(f.port.Port))
	i := slices.IndexFunc(tcp, func(p config.EndpointPort) bool { return p.Name == f.port.Name })
	if i < 0 {
		i = slices.IndexFunc(tcp, func(p config.EndpointPort) bool { return p.Name == target || strconv.Itoa(p.Port) == target })
	}
	if i < 0 {
		return 0
	}
	if tcp[i].Port == 0 { // any: the pod listens where the Service says
		n, _ := strconv.ParseUint(target, 10, 16)
		return int(n)
	}
	return tcp[i].Port
}

func (f *finding) slice(s *config.EndpointSlice) {
	port := f.listens(s.Ports)
	for i := range s.Endpoints {
		switch e := &s.Endpoints[i]; {
		case e.Ready && !e.Ending:
			f.add(&f.ready, e, port)
		case e.Ending && (e.Serving || e.Ready):
			f.add(&f.ending, e, port)
		}
	}
}

func (f *finding) endpoints(e *config.Endpoints) {
	for _, s := range e.Subsets {
		f.add(&f.ready, &config.Endpoint{Addresses: s.Ready}, f.listens(s.Ports))
	}
}

func (f *finding) add(list *[]instance, e *config.Endpoint, port int) {
	f.some = f.some || len(e.Addresses) > 0
	if port == 0 {
		return
	}
	for _, a := range e.Addresses {
		*list = append(*list, instance{netip.AddrPortFrom(a.Unmap(), uint16(port)), e.Zone, e.Zones}) //nolint:gosec // a port
	}
}

// result returns who gets requests from zone, sorted: who is ready, and who is about to
// end only where nobody is. Of a Service with addresses of both families one is used, as
// of a name in DNS: they are the same pods.
func (f *finding) result(key serviceKey, family Family, zone string) ([]netip.AddrPort, error) {
	list := f.ready
	if len(list) == 0 {
		list = f.ending
	}
	switch {
	case len(list) > 0:
		return sortedPorts(near(oneFamily(list, family), zone)), nil
	case f.some:
		return nil, fmt.Errorf("%s.%s: %w", key.name, key.namespace, errWrongPorts)
	}
	return nil, fmt.Errorf("%s.%s: %w", key.name, key.namespace, errNotReady)
}

// oneFamily keeps the addresses of the family that is preferred, if there are any.
func oneFamily(list []instance, family Family) []instance {
	preferred := func(i instance) bool { return i.addr.Addr().Is4() == (family == IPv4) }
	if slices.ContainsFunc(list, preferred) {
		list = slices.DeleteFunc(list, func(i instance) bool { return !preferred(i) })
	}
	return list
}

func sortedPorts(list []instance) []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(list))
	for i := range list {
		addrs[i] = list[i].addr
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return slices.Compact(addrs)
}
