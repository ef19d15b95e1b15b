package config

import (
	"net/netip"
	"slices"
)

// A SecurityModel says how a Listener judges a request secure.
type SecurityModel uint8

// The models of Listener.securityModel.
const (
	XFP SecurityModel = iota // X-Forwarded-Proto is https, after edge processing
	Secure
	Insecure
)

// A Protocol is one layer of a Listener's stack.
type Protocol uint8

// The layers a stack is made of.
const (
	ProtoHTTP Protocol = iota
	ProtoPROXY
	ProtoTLS
	ProtoTCP
	ProtoUDP
)

// A Listener is Ambassador's Listener: a port, what is spoken on it, and which
// Hosts it serves.
type Listener struct {
	Meta
	Port        int
	Address     string     // where to listen, of one made for a TCPMapping; "" for the gateway's own
	Stack       []Protocol // outermost first; from protocol or protocolStack
	Security    SecurityModel
	FromAll     bool              // hostBinding.namespace.from is ALL
	Selector    map[string]string // hostBinding.selector.matchLabels; nil for none
	L7Depth     int
	StatsPrefix string
	// Internal is internal_address_config: whose requests are internal. nil stands for
	// private networks, an empty list for nobody's.
	Internal []netip.Prefix
}

// Has reports whether layer p is in l's stack.
func (l *Listener) Has(p Protocol) bool {
	return slices.Contains(l.Stack, p)
}
