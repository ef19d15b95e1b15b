package gateway

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"legate/config"
	"legate/upstream"
	"legate/wire"
)

// An affinity says what requests have in common that are to get the same endpoint.
type affinity struct {
	header   []byte // in lower case; nil for none
	cookie   []byte // the cookie's name; nil for none
	sourceIP bool

	// What follows the value in Set-Cookie where a client without the cookie gets one;
	// nil where it gets none.
	attributes []byte
}

// newAffinity returns nil for a load balancer that does not hash.
func newAffinity(lb *config.LoadBalancer) *affinity {
	if lb == nil || lb.Policy != config.RingHash && lb.Policy != config.Maglev {
		return nil
	}
	a := &affinity{sourceIP: lb.SourceIP}
	if lb.Header != "" {
		a.header = []byte(strings.ToLower(lb.Header))
	}
	if c := lb.Cookie; c != nil {
		a.cookie = []byte(c.Name)
		if c.TTL != nil {
			a.attributes = cookieAttributes(c)
		}
	}
	return a
}

// cookieAttributes renders a cookie's attributes (RFC 6265 §4.1.1). Without Max-Age it
// lasts as long as the browser's session.
func cookieAttributes(c *config.HashCookie) []byte {
	var b []byte
	if *c.TTL > 0 {
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64((*c.TTL+time.Second-1)/time.Second), 10)
	}
	if c.Path != "" {
		b = append(append(b, "; Path="...), c.Path...)
	}
	return append(b, "; HttpOnly"...)
}

// hash returns what the request hashes to, 0 if it does not have what is asked for. A
// client that is to get a cookie hashes to its value already. Budget: 0 allocs.
func (a *affinity) hash(x *Exchange) uint64 {
	switch {
	case a.header != nil:
		return x.headerHash(a.header)
	case a.sourceIP:
		start := len(x.arena)
		x.arena = x.Client.AppendTo(x.arena)
		return upstream.Hash(x.arena[start:])
	}
	if value, ok := cookieValue(x.Req, a.cookie); ok {
		return upstream.Hash(value)
	}
	if a.attributes == nil {
		return 0
	}
	return upstream.Hash(a.bake(x))
}

// headerHash hashes the lines of that name together, as the request has them once it is
// decided about it; 0 if there is none.
func (x *Exchange) headerHash(name []byte) (h uint64) {
	if string(name) == "host" || string(name) == ":authority" {
		return upstream.Hash(x.Req.Host())
	}
	for i := range x.Req.Len() {
		if id, n, value := x.Req.Line(i); string(n) == string(name) && !x.ToUp.Drops(id, n) {
			h = h*31 + upstream.Hash(value)
		}
	}
	for i := range x.ToUp.Adds() {
		if a := &x.ToUp.Adds()[i]; a.FieldName() == string(name) {
			h = h*31 + upstream.Hash(a.Value)
		}
	}
	return h
}

// cookieValue returns the value of the named cookie, without quotes (RFC 6265 §5.4).
func cookieValue(req *wire.Head, name []byte) ([]byte, bool) {
	for n := 0; ; n++ {
		line, ok := req.Nth(wire.FieldCookie, n)
		if !ok {
			return nil, false
		}
		for len(line) > 0 {
			var pair []byte
			pair, line, _ = bytes.Cut(line, []byte{';'})
			pair = wire.TrimOWS(pair)
			if eq := bytes.IndexByte(pair, '='); eq == len(name) && string(pair[:eq]) == string(name) {
				return unquoted(pair[eq+1:]), true
			}
		}
	}
}

func unquoted(b []byte) []byte {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		return b[1 : len(b)-1]
	}
	return b
}

// bake makes a cookie for the client and returns its value. It says nothing but which
// requests belong together.
func (a *affinity) bake(x *Exchange) []byte {
	start := len(x.arena)
	x.arena = append(append(append(x.arena, a.cookie...), '='), '"')
	at := len(x.arena)
	x.arena = appendHex(x.arena, rand.Uint64()) //nolint:gosec // because it opens nothing
	end := len(x.arena)
	x.arena = append(append(x.arena, '"'), a.attributes...)
	x.setCookie = x.arena[start:len(x.arena):len(x.arena)]
	return x.arena[at:end]
}

// appendHex appends 16 digits.
func appendHex(b []byte, n uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[n>>shift&15])
	}
	return b
}
