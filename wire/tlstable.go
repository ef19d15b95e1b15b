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
	c, _ := t.find(listener, sni)
	return c
}

// Name returns under which name of the table a client that asks for sni is served: an
// exact one, "*.example.com" or "*"; "" where none serves it.
func (t *TLSTable) Name(listener int, sni string) string {
	_, name := t.find(listener, sni)
	return name
}

func (t *TLSTable) find(listener int, sni string) (c *tls.Config, name string) {
	if t == nil || listener >= len(t.Listeners) {
		return nil, ""
	}
	names := &t.Listeners[listener]
	if sni != "" {
		sni = strings.ToLower(sni)
		if c := names.Exact[sni]; c != nil {
			return c, sni
		}
		for _, s := range names.Suffixes {
			if len(sni) > len(s.Suffix) && strings.HasSuffix(sni, s.Suffix) {
				return s.Config, "*" + s.Suffix
			}
		}
	}
	if names.Default == nil {
		return nil, ""
	}
	return names.Default, "*"
}
