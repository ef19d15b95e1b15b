package decode

import (
	"cmp"
	"net/netip"

	"legate/config"
)

// serviceNameLabel on an EndpointSlice names the Service whose addresses it holds.
const serviceNameLabel = "kubernetes.io/service-name"

// decodeEndpoints reads the addresses and ports of an Endpoints. Who they are, and on
// which node, says nothing about their zone here.
func decodeEndpoints(o *object, top *fields) any {
	e := &config.Endpoints{}
	for _, subset := range top.objects("subsets") {
		e.Subsets = append(e.Subsets, config.EndpointSubset{
			Ready:    endpointAddresses(subset, "addresses"),
			NotReady: endpointAddresses(subset, "notReadyAddresses"),
			Ports:    endpointPorts(subset),
		})
	}
	e.Meta = o.Meta
	return e
}

func endpointAddresses(subset *fields, name string) []netip.Addr {
	var addresses []netip.Addr
	for _, f := range subset.objects(name) {
		if e := f.value("ip"); e == nil {
			f.missing("ip")
		} else if a, ok := f.address(e); ok {
			addresses = append(addresses, a)
		}
	}
	return addresses
}

// decodeEndpointSlice reads the addresses, ports and zones of an EndpointSlice. Names
// instead of addresses are something that nobody but its author could resolve.
func decodeEndpointSlice(o *object, top *fields) any {
	s := &config.EndpointSlice{Service: o.Meta.Labels[serviceNameLabel]}
	switch family := top.text("addressType"); family {
	case "IPv4", "IPv6", "":
	case "FQDN":
		o.report(top.at("addressType"), "addressType", "names are not resolved here", config.ObjectIgnored)
		return nil
	default:
		top.wrong(top.find("addressType"), "one of IPv4, IPv6, FQDN")
	}
	s.Ports = endpointPorts(top)
	for _, f := range top.objects("endpoints") {
		s.Endpoints = append(s.Endpoints, sliceEndpoint(f))
	}
	s.Meta = o.Meta
	return s
}

// sliceEndpoint reads one endpoint. A condition that nobody set is as good as ready.
func sliceEndpoint(f *fields) config.Endpoint {
	e := config.Endpoint{Ready: true, Serving: true}
	if conditions := f.object("conditions"); conditions != nil {
		ready, serving := conditions.flag("ready"), conditions.flag("serving")
		e.Ready = ready == nil || *ready
		e.Serving = serving == nil && e.Ready || serving != nil && *serving
		e.Ending = conditions.isSet("terminating")
	}
	e.Node, e.Zone = f.text("nodeName"), f.text("zone")
	if hints := f.object("hints"); hints != nil {
		for _, zone := range hints.objects("forZones") {
			e.Zones = append(e.Zones, zone.text("name"))
		}
	}
	list := f.value("addresses")
	if list == nil {
		f.missing("addresses")
		return e
	}
	items := f.items(list, "addresses")
	for i := range items {
		if a, ok := f.address(&items[i]); ok {
			e.Addresses = append(e.Addresses, a)
		}
	}
	return e
}

func endpointPorts(parent *fields) []config.EndpointPort {
	var ports []config.EndpointPort
	for _, f := range parent.objects("ports") {
		p := config.EndpointPort{Name: f.text("name"), Protocol: cmp.Or(f.text("protocol"), "TCP")}
		if n := f.number("port", 1, 65535); n != nil {
			p.Port = *n
		}
		ports = append(ports, p)
	}
	return ports
}

// address reads an IP address, or reports why it is none.
func (f *fields) address(e *entry) (netip.Addr, bool) {
	text, ok := f.scalar(e)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		f.wrong(e, "an IP address")
	}
	return a.Unmap(), err == nil
}
