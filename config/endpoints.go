package config

import "net/netip"

// An Endpoints is Kubernetes' older list of the addresses behind the Service whose
// name it bears.
type Endpoints struct {
	Meta
	Subsets []EndpointSubset
}

// An EndpointSubset is addresses that all listen on the same ports.
type EndpointSubset struct {
	Ready, NotReady []netip.Addr
	Ports           []EndpointPort
}

// An EndpointSlice is a part of the addresses behind the Service that its label
// names. All slices of a Service together, whatever their own names, are its endpoints;
// an address may be in several of them.
type EndpointSlice struct {
	Meta
	Service   string // name of the Service, in the slice's namespace; "" for none
	Endpoints []Endpoint
	Ports     []EndpointPort
}

// An Endpoint is one instance of a Service.
type Endpoint struct {
	Addresses []netip.Addr // of one family, all of the same instance
	Ready     bool         // should get requests
	Serving   bool         // could answer one although it may be about to end
	Ending    bool         // has been told to end
	Node      string       // on which it runs; "" where that is not said
	Zone      string       // in which that is; "" where that is not said
	Zones     []string     // whose requests the cluster would have it get; nil for all
}

// An EndpointPort is where the addresses of a list listen for one port of their
// Service: the one with the same name, which is "" where a Service has only one.
type EndpointPort struct {
	Name     string
	Port     int    // 0 in a slice that does not restrict the port
	Protocol string // "TCP", "UDP" or "SCTP"
}
