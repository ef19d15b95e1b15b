package routes

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"legate/config"
)

// A TCPGroup is the TCPMappings that ask for the same connections and share them by
// weight.
type TCPGroup struct {
	Address string // where to listen; "" for where Listeners do
	Port    int
	Host    string // of the TLS handshake, in lower case; "*" for any, "" for the whole port as it is
	IdleMS  *int   // 0 for none; nil for the default
	Members []TCPMember

	total uint64
}

// A TCPMember is a TCPMapping and its share.
type TCPMember struct {
	Mapping *config.TCPMapping
	Share   float64 // of the group's connections, in percent

	until uint64 // the member is chosen by rolls below
}

// Choose returns which member a connection goes to that drew roll: one of Members, or
// -1 where all weights are 0. Budget: 0 allocs.
func (g *TCPGroup) Choose(roll uint64) int {
	if g.total == 0 {
		return -1
	}
	roll %= g.total
	for i := range g.Members {
		if roll < g.Members[i].until {
			return i
		}
	}
	return -1
}

// BuildTCP groups the TCPMappings of w, by address, port and host. bind is where
// Listeners listen; "" is everywhere. What cannot serve as written is left out and
// named in the Problems. The groups keep pointers into w.
func BuildTCP(w *config.World, bind string) ([]*TCPGroup, []config.Problem) {
	b := tcpBuilder{bind: bind, byKey: map[tcpKey]*TCPGroup{}}
	for i := range w.TCPMappings {
		b.add(&w.TCPMappings[i])
	}
	b.wholePorts()
	for _, g := range b.groups {
		b.share(g)
	}
	config.SortProblems(b.problems)
	return b.groups, b.problems
}

// A tcpBuilder holds what is needed while groups are made.
type tcpBuilder struct {
	bind     string
	groups   []*TCPGroup // in the order of their first members
	byKey    map[tcpKey]*TCPGroup
	problems []config.Problem
}

// A tcpKey is what two TCPMappings must share to be one group.
type tcpKey struct {
	address string
	port    int
	host    string
}

func (b *tcpBuilder) add(m *config.TCPMapping) {
	key := tcpKey{b.address(m.Address), m.Port, strings.ToLower(m.Host)}
	g := b.byKey[key]
	if g == nil {
		g = &TCPGroup{Address: key.address, Port: key.port, Host: key.host, IdleMS: m.IdleTimeoutMS, Members: []TCPMember{{Mapping: m}}}
		b.byKey[key] = g
		b.groups = append(b.groups, g)
		return
	}
	first := g.Members[0].Mapping
	if fields := tcpMismatches(first, m); len(fields) > 0 {
		b.problems = append(b.problems, m.Problem("", fmt.Sprintf(
			"cannot accept new mapping %s with mismatched %s. Please verify field is set with the same value in all related mappings; %s has the same port and host",
			m.Name, strings.Join(fields, ", "), first.Ref()), config.ObjectDropped))
		return
	}
	g.Members = append(g.Members, TCPMember{Mapping: m})
}

// address returns "" for what is where Listeners listen anyway.
func (b *tcpBuilder) address(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil || text == b.bind {
		return ""
	}
	bind, err := netip.ParseAddr(b.bind)
	switch {
	case err == nil && a == bind:
		return ""
	case a.IsUnspecified() && (b.bind == "" || err == nil && bind.IsUnspecified()):
		return ""
	}
	return a.String()
}

// tcpMismatches names the fields that m sets differently from the first member.
func tcpMismatches(first, m *config.TCPMapping) (fields []string) {
	differ := func(name string, differs bool, got, want any) {
		if differs {
			fields = append(fields, fmt.Sprintf("%s: %v != %v", name, shown(got), shown(want)))
		}
	}
	differ("circuit_breakers", !agrees(first.CircuitBreakers, m.CircuitBreakers), m.CircuitBreakers, first.CircuitBreakers)
	differ("enable_ipv4", !agrees(first.EnableIPv4, m.EnableIPv4), m.EnableIPv4, first.EnableIPv4)
	differ("enable_ipv6", !agrees(first.EnableIPv6, m.EnableIPv6), m.EnableIPv6, first.EnableIPv6)
	differ("idle_timeout_ms", !agrees(first.IdleTimeoutMS, m.IdleTimeoutMS), m.IdleTimeoutMS, first.IdleTimeoutMS)
	differ("tls", m.OriginateTLS && !first.OriginateTLS || m.TLS != "" && m.TLS != first.TLS, tlsWish(m), tlsWish(first))
	return fields
}

// tlsWish is what m says of TLS towards its service, for a Problem.
func tlsWish(m *config.TCPMapping) string {
	switch {
	case m.OriginateTLS:
		return "true"
	case m.TLS != "":
		return m.TLS
	}
	return "-unset-"
}

// wholePorts takes away the groups whose port another one has as it is.
func (b *tcpBuilder) wholePorts() {
	b.groups = slices.DeleteFunc(b.groups, func(g *TCPGroup) bool {
		whole := b.byKey[tcpKey{g.Address, g.Port, ""}]
		if whole == nil || whole == g {
			return false
		}
		for i := range g.Members {
			m := g.Members[i].Mapping
			b.problems = append(b.problems, m.Problem("host", fmt.Sprintf("%s has the whole of port %d, because it names no host",
				whole.Members[0].Mapping.Ref(), g.Port), config.ObjectDropped))
		}
		return true
	})
}

// share deals out a group's connections. One member gets all, whatever its weight.
// Among several, those without weight share equally what the others leave of 100; then
// every weight counts in proportion to their sum, as no other group would take what
// they leave.
func (b *tcpBuilder) share(g *TCPGroup) {
	if len(g.Members) == 1 {
		g.Members[0].until, g.Members[0].Share, g.total = 1, 100, 1
		return
	}
	weighted, rest := 0, uint64(0)
	for i := range g.Members {
		if w := g.Members[i].Mapping.Weight; w != nil {
			weighted += *w
		} else {
			rest++
		}
	}
	if weighted > 100 {
		p := g.Members[0].Mapping.Problem("weight", "Total weight of mappings exceeds 100, please reconfigure for correct behavior.", config.FieldIgnored)
		p.Instead = "weights count in proportion to their sum, members without weight get nothing"
		b.problems = append(b.problems, p)
	}
	left, scale := uint64(max(100-weighted, 0)), max(rest, 1)
	for i := range g.Members {
		if w := g.Members[i].Mapping.Weight; w != nil {
			g.total += uint64(*w) * scale //nolint:gosec // from 0 to 100
		} else {
			g.total += left
		}
		g.Members[i].until = g.total
	}
	before := uint64(0)
	for i := range g.Members {
		m := &g.Members[i]
		m.Share = 100 * float64(m.until-before) / float64(max(g.total, 1))
		before = m.until
	}
	if g.total == 0 {
		p := g.Members[0].Mapping.Problem("weight", "all weights are 0", config.Notice)
		p.Instead = "connections are closed"
		b.problems = append(b.problems, p)
	}
}
