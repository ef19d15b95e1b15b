package wire

import (
	"crypto/tls"
	"strings"
)

// A TLSTable says which ready configuration serves which name on which listener.
// It is built with a snapshot and never changed.
type TLSTable struct {
	Listeners []TLSNames // by the listener's index
}

// TLSNames are the names of one listener.
type TLSNames struct {
	Exact    map[string]*tls.Config // by lower-case name
	Suffixes []TLSSuffix            // longest first
	Default  *tls.Config            // Host "*"; nil for none
}

// A TLSSuffix serves every name that ends in Suffix and is longer.
type TLSSuffix struct {
	Suffix string // ".example.com" for "*.example.com"
	Config *tls.Config
}

// Config returns the configuration for the server name a client asked for, nil
// when none serves it: the handshake then fails.
func (t *TLSTable) Config(listener int, sni string) *tls.Config {
	if t == nil || listener >= len(t.Listeners) {
		return nil
	}
	names := &t.Listeners[listener]
	if sni != "" {
		sni = strings.ToLower(sni)
		if c := names.Exact[sni]; c != nil {
			return c
		}
		for _, s := range names.Suffixes {
			if len(sni) > len(s.Suffix) && strings.HasSuffix(sni, s.Suffix) {
				return s.Config
			}
		}
	}
	return names.Default
}
