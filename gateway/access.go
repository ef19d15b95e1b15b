package gateway

import (
	"net/netip"

	"legate/config"
	"legate/decision"
)

// access are the addresses that the Module lets in and keeps out.
type access struct {
	allow, deny []config.IPRule
	by          string
}

func compileAccess(m *config.Module) access {
	a := access{allow: m.IPAllow, deny: m.IPDeny}
	if len(a.allow)+len(a.deny) > 0 {
		ref := m.Ref()
		a.by = ref.String()
	}
	return a
}

// admit refuses clients by their addresses, before anything else is said to them.
// Budget: 0 allocs.
func (x *Exchange) admit() Verdict {
	a := &x.Snap.edge.access
	if a.by == "" || a.admits(x.peer.Physical.Addr().Unmap(), x.Client.Unmap()) {
		return Continue
	}
	return x.stop(decision.Accept, decision.AddressDenied, a.by, nil)
}

// admits judges a client by the other end of its socket and by what proxies tell of it.
func (a *access) admits(peer, client netip.Addr) bool {
	return (len(a.allow) == 0 || anyOf(a.allow, peer, client)) && !anyOf(a.deny, peer, client)
}

func anyOf(rules []config.IPRule, peer, client netip.Addr) bool {
	for i := range rules {
		addr := client
		if rules[i].Peer {
			addr = peer
		}
		if rules[i].Prefix.Contains(addr) {
			return true
		}
	}
	return false
}
