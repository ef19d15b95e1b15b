package upstream

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"legate/config"
	"legate/spiffe"
)

// Options say where names are looked up and how far pools may grow. The zero value
// is a process that asks the system's resolver.
type Options struct {
	Resolve       []Override // names that need no look-up
	DNS           string     // server to ask instead of the system's: "ADDR" or "ADDR:PORT"
	ClusterDomain string     // "" for "cluster.local"
	Namespace     string     // the gateway's own; "" for "default"

	// Zone is where the gateway runs: endpoints of that zone are preferred. "" has it found
	// out from those that run on Node, of which the gateway's own pod is one; "" for both
	// prefers none.
	Zone, Node string

	// DisableEndpoints looks Services of endpoint resolvers up in DNS instead.
	DisableEndpoints bool

	ResolvConf string // "" for /etc/resolv.conf
	HostsFile  string // "" for /etc/hosts

	// Workload says who the gateway is to upstreams that a TLSContext's spiffe_ids names. nil
	// has none: whatever must be reached so is not. NoWorkload says that there will be none
	// as long as this process lives, which is a Problem of the TLSContexts that need it.
	Workload   spiffe.Workload
	NoWorkload bool

	Files config.NamedFiles // that TLSContexts name; nil for a config.Disk

	MaxIdle int // idle connections kept per endpoint; 0 for 1024

	Now func() time.Time // nil for the system's clock
	Log *slog.Logger     // nil for none
}

func (o *Options) namespace() string { return cmp.Or(o.Namespace, "default") }
func (o *Options) now() time.Time {
	if o.Now == nil {
		return time.Now() //nolint:forbidigo // because who asks once has no clock
	}
	return o.Now()
}

func (o *Options) clusterDomain() string { return cmp.Or(o.ClusterDomain, "cluster.local") }

// An Override gives a name an address before any look-up.
type Override struct {
	Name string // lower case; "*" for every name
	Port uint16 // 0 for every port
	Addr string // an address, or a name to look up instead
	To   uint16 // port to connect to; 0 for the one asked for
}

// ParseOverride reads "NAME[:PORT]=ADDR[:PORT]". NAME may be "*".
func ParseOverride(s string) (Override, error) {
	from, to, ok := strings.Cut(s, "=")
	if !ok {
		return Override{}, fmt.Errorf("parse %q: want NAME[:PORT]=ADDR[:PORT]", s)
	}
	name, port, err := splitHostPort(from)
	if err != nil {
		return Override{}, fmt.Errorf("parse %q: name: %w", s, err)
	}
	addr, toPort, err := splitHostPort(to)
	if err != nil {
		return Override{}, fmt.Errorf("parse %q: address: %w", s, err)
	}
	if addr == "*" {
		return Override{}, fmt.Errorf("parse %q: address: %q names no endpoint", s, addr)
	}
	return Override{Name: name, Port: port, Addr: addr, To: toPort}, nil
}

// splitHostPort is splitService for the command line: "*" is a name, and an IPv6
// address without a port needs no brackets.
func splitHostPort(s string) (host string, port uint16, err error) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String(), 0, nil
	}
	rest, star := strings.CutPrefix(s, "*")
	if !star {
		return splitService(s)
	}
	if portText, ok := strings.CutPrefix(rest, ":"); ok {
		port, err = parsePort(portText)
		return "*", port, err
	}
	if rest != "" {
		return "", 0, fmt.Errorf("%q is no host", s)
	}
	return "*", 0, nil
}

// override returns where host and port lead instead, and whether anywhere. An
// override with name and port counts before one with a name, and a name before "*".
func (o *Options) override(host string, port uint16) (string, uint16, bool) {
	name, best := o.canonical(host), -1
	var found *Override
	for i := range o.Resolve {
		r := &o.Resolve[i]
		if r.Port != 0 && r.Port != port || r.Name != "*" && o.canonical(r.Name) != name {
			continue
		}
		rank := 0
		if r.Name != "*" {
			rank += 2
		}
		if r.Port != 0 {
			rank++
		}
		if rank > best {
			best, found = rank, r
		}
	}
	if found == nil {
		return host, port, false
	}
	return found.Addr, cmp.Or(found.To, port), true
}

// canonical returns one spelling for the names under which a pod reaches a Service:
// "orders", "orders.shop", "orders.shop.svc" and "orders.shop.svc.cluster.local".
func (o *Options) canonical(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return host
	}
	host = strings.TrimSuffix(host, "."+o.clusterDomain())
	if short := strings.TrimSuffix(host, ".svc"); strings.Contains(short, ".") {
		host = short
	}
	if !strings.Contains(host, ".") {
		host += "." + o.namespace()
	}
	return host
}

// server returns the DNS server to ask, with its port; "" for the system's.
func (o *Options) server() (string, error) {
	if o.DNS == "" {
		return "", nil
	}
	host, port, err := splitHostPort(o.DNS)
	if err != nil {
		return "", fmt.Errorf("DNS server: %w", err)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "", fmt.Errorf("DNS server: %q is no address", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(cmp.Or(port, 53)))), nil
}
