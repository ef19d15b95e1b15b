package upstream

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"legate/config"
)

// A logical is one endpoint by name, whose address changes: the first of the list is
// where new connections lead, the others are where older ones did that still rest.
type logical struct{ list []*endpoint }

// pick returns an endpoint of old that has a connection to spare, or the current one.
// Budget: 0 allocs.
func (l logical) pick(Choice) *endpoint {
	for _, e := range l.list[1:] {
		if e.idleCount() > 0 {
			return e
		}
	}
	return l.list[0]
}

// target returns where a new connection leads that was meant for e.
func (u *Upstream) target(e *endpoint) *endpoint {
	if u.spec.DNSType == config.LogicalDNS {
		return u.ends.Load().list[0]
	}
	return e
}

// settle chooses which address of a name new connections lead to: the same as before
// for as long as the name has it.
func (es *endpoints) settle(addrs []netip.AddrPort) netip.AddrPort {
	if len(es.list) > 0 && slices.Contains(addrs, es.list[0].addr) {
		return es.list[0].addr
	}
	return addrs[rand.IntN(len(addrs))] //nolint:gosec // because it only spreads gateways over the addresses
}

// connected returns the endpoints but e that still have connections.
func (es *endpoints) connected(e *endpoint) (list []*endpoint) {
	for _, old := range es.list {
		if old != e && old.live.Load() > 0 {
			list = append(list, old)
		}
	}
	return list
}
