package config

import "net/netip"

// An IPRule names addresses: of the other end of the socket, or of the client as
// proxies in front tell it.
type IPRule struct {
	Peer   bool
	Prefix netip.Prefix
}
