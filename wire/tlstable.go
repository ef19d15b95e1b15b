package wire

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"
)

// A TLSTable says which ready configuration serves which name on which listener.
// It is built with a snapshot and never changed.
type TLSTable struct {
	Listeners []TLSNames // by the listener's index
}

// TLSNames are the names of one listener. The zero value serves none.
type TLSNames struct {
	exact    map[string]*tls.Config
	suffixes map[string]tlsSuffix // by what follows the "*"
	lengths  []int                // of the suffixes, each once, longest first
	any      *tls.Config          // for "*"; nil for none
}

// A tlsSuffix serves every name that ends in it and is longer.
type tlsSuffix struct {
	name   string // with its "*"
	config *tls.Config
}

// Add has c serve name: an exact one, "*.example.com", or "*" for whatever no other
// serves. It is in lower case.
func (n *TLSNames) Add(name string, c *tls.Config) {
	switch {
	case name == "*":
		n.any = c
	case strings.HasPrefix(name, "*"):
		if n.suffixes == nil {
			n.suffixes = map[string]tlsSuffix{}
		}
		suffix := name[1:]
		n.suffixes[suffix] = tlsSuffix{name, c}
		i, found := slices.BinarySearchFunc(n.lengths, len(suffix), func(a, b int) int { return cmp.Compare(b, a) })
		if !found {
			n.lengths = slices.Insert(n.lengths, i, len(suffix))
		}
	default:
		if n.exact == nil {
			n.exact = map[string]*tls.Config{}
		}
		n.exact[name] = c
	}
}

// Added returns what serves name, which is written as for Add; nil if nothing was added
// under it.
func (n *TLSNames) Added(name string) *tls.Config {
	switch {
	case name == "*":
		return n.any
	case strings.HasPrefix(name, "*"):
		return n.suffixes[name[1:]].config
	}
	return n.exact[name]
}

// Config returns the configuration for the server name a client asked for, nil
// when none serves it: the handshake then fails. Budget: 0 allocs.
func (t *TLSTable) Config(listener int, sni string) *tls.Config {
	c, _ := t.find(listener, sni)
	return c
}

// Name returns under which name of the table a client that asks for sni is served: an
// exact one, "*.example.com" or "*"; "" where none serves it. Budget: 0 allocs.
func (t *TLSTable) Name(listener int, sni string) string {
	_, name := t.find(listener, sni)
	return name
}

// find takes as long for many names as for a few: suffixes are looked up by their
// lengths, of which there are few.
func (t *TLSTable) find(listener int, sni string) (c *tls.Config, name string) {
	if t == nil || listener >= len(t.Listeners) {
		return nil, ""
	}
	names := &t.Listeners[listener]
	if sni != "" {
		sni = strings.ToLower(sni)
		if c := names.exact[sni]; c != nil {
			return c, sni
		}
		for _, length := range names.lengths {
			if length >= len(sni) {
				continue
			}
			if s, ok := names.suffixes[sni[len(sni)-length:]]; ok {
				return s.config, s.name
			}
		}
	}
	if names.any == nil {
		return nil, ""
	}
	return names.any, "*"
}
