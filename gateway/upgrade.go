package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // because RFC 6455 says so; nothing rests on its strength
	"encoding/base64"
	"errors"

	"legate/decision"
	"legate/wire"
)

var (
	nameWebSocketKey    = []byte("sec-websocket-key")
	nameWebSocketAccept = []byte("sec-websocket-accept")
	protocolWebSocket   = []byte("websocket")
)

// Answers to a request for an upgrade that no client may see.
var (
	errNotOffered  = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "switched to a protocol that was not offered"}
	errNotSwitched = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "accepted an upgrade without switching: to an HTTP/2 client that would be the tunnel"}
	errWrongAccept = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "switched with a Sec-WebSocket-Accept for another key"}
)

// upgrade notes which of the protocols that the client would switch to the upstream is
// offered (RFC 9110 §7.8): those that the Mapping allows. Where it allows none of them
// the request is refused, except that an offer of h2c may be passed over.
func (p *proxy) upgrade(x *Exchange) Verdict {
	if x.Req.Major == 1 && x.Req.Minor == 0 { // RFC 9110 §7.8: to be ignored
		return Continue
	}
	offer, others := x.offer(p.route.Upgrades)
	if len(offer) == 0 {
		if others {
			return x.stop(decision.Proxy, decision.UpgradeRefused, p.route.By, nil)
		}
		return Continue
	}
	x.ToUp.Upgrade = offer
	if x.Req.Major >= 2 && wire.EqualFold(offer, protocolWebSocket) {
		x.makeKey()
	}
	return Continue
}

// offer returns those protocols of the client's list that are allowed, and whether it
// names others than h2c that are not.
func (x *Exchange) offer(allowed []string) (offer []byte, others bool) {
	start := len(x.arena)
	for n := 0; ; n++ {
		list, ok := x.Req.Nth(wire.FieldUpgrade, n)
		if !ok {
			return x.arena[start:len(x.arena):len(x.arena)], others
		}
		for len(list) > 0 {
			var name []byte
			name, list = wire.NextToken(list)
			switch {
			case allows(allowed, name):
				if len(x.arena) > start {
					x.arena = append(x.arena, ", "...)
				}
				x.arena = append(x.arena, name...)
			case len(name) > 0 && !wire.EqualFold(name, "h2c"):
				others = true
			}
		}
	}
}

func allows(allowed []string, name []byte) bool {
	for _, a := range allowed {
		if wire.EqualFold(name, a) {
			return true
		}
	}
	return false
}

// The lengths of Sec-WebSocket-Key's value as it is made and as it is written.
const (
	keySize    = 16
	keyEncoded = (keySize + 2) / 3 * 4
)

// makeKey gives a WebSocket request the key that clients of HTTP/2 do not send (RFC
// 8441 §5) and servers of HTTP/1.1 insist on, and notes what they must make of it.
func (x *Exchange) makeKey() {
	var nonce [keySize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	start := len(x.arena)
	x.arena = base64.StdEncoding.AppendEncode(x.arena, nonce[:])
	key := x.arena[start:len(x.arena):len(x.arena)]
	x.ToUp.SetName(nameWebSocketKey, key)
	x.wsAccept = acceptFor(key)
}

// acceptFor is the Sec-WebSocket-Accept that answers key (RFC 6455 §4.2.2).
func acceptFor(key []byte) (accept [28]byte) {
	const salt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var salted [keyEncoded + len(salt)]byte
	copy(salted[copy(salted[:], key):], salt)
	sum := sha1.Sum(salted[:]) //nolint:gosec // because RFC 6455 says so; nothing rests on its strength
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

// judgeUpgrade judges the answer to a request that asks for an upgrade. One that does
// not switch is an answer like any other, but for a success that a client of HTTP/2
// would take for the switch. One that does may only come once the request was whole.
func (x *Exchange) judgeUpgrade() error {
	if x.Resp.Status != 101 {
		if x.Req.Major >= 2 && x.Resp.Status < 300 {
			return errNotSwitched
		}
		return nil
	}
	if !x.offered() {
		return errNotOffered
	}
	if sent, _ := x.Resp.Find(string(nameWebSocketAccept)); x.wsAccept[0] != 0 && !bytes.Equal(sent, x.wsAccept[:]) {
		return errWrongAccept
	}
	if x.pumping {
		x.pumpDone.Wait()
		if x.pumpErr != nil {
			return x.pumpErr
		}
		x.pumping = false
	}
	return nil
}

// offered reports whether the upstream switches to what it was offered and nothing else.
func (x *Exchange) offered() bool {
	list := x.Resp.Get(wire.FieldUpgrade)
	if len(list) == 0 || x.Resp.Count(wire.FieldUpgrade) > 1 {
		return false
	}
	for len(list) > 0 {
		var name []byte
		name, list = wire.NextToken(list)
		if !inList(x.ToUp.Upgrade, name) {
			return false
		}
	}
	return true
}

func inList(list, name []byte) bool {
	for len(list) > 0 {
		var each []byte
		if each, list = wire.NextToken(list); wire.EqualFold(each, name) {
			return true
		}
	}
	return false
}

// tunnel tells the client that the protocol is switched and carries bytes both ways
// until that ends. Only then the request is over.
func (x *Exchange) tunnel() {
	x.Decision.Ended = decision.Proxy
	x.Decision.By = x.Route.By
	x.Decision.Status = 101
	if x.Req.Major >= 2 { // RFC 8441 §5: 200 says it all
		x.Decision.Status = 200
		x.ToClient.DropName(nameWebSocketAccept)
	} else {
		x.ToClient.Upgrade = x.Resp.Get(wire.FieldUpgrade)
	}
	x.answering = true
	x.leave() // it is no request any more, and may last for days
	x.Route.metrics.Upgraded(1)
	defer x.Route.metrics.Upgraded(-1)
	if l := x.inbound(); l != nil {
		l.Upgraded(1)
		defer l.Upgraded(-1)
	}
	x.keepEarly() // the head's buffer goes back when the tunnel begins
	if err := x.stream.Tunnel(&x.Resp, &x.ToClient, x.link); err != nil {
		x.tunnelBroke(err)
	}
	x.Resp.Forget() // its buffer has gone back
	x.link.Release()
}

// tunnelBroke notes why a tunnel ended before both its directions had.
func (x *Exchange) tunnelBroke(err error) {
	x.Decision.Err = err
	broke, ok := errors.AsType[*wire.TunnelError](err)
	reason := decision.UpstreamResetAfterHead
	switch {
	case x.gateway.cut.Load():
		reason = decision.Draining
	case ok && broke.Rested:
		reason = decision.TunnelIdle
	case !ok || broke.Side == wire.Near:
		reason = decision.ClientGone
	}
	x.Decision.Steps[decision.Proxy] = reason
	if reason == decision.UpstreamResetAfterHead || reason == decision.ClientGone {
		x.stream.Abort()
		x.link.Abort()
	}
}
