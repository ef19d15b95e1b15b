package gateway

import (
	"bytes"

	"legate/decision"
)

// challengePath is what an authority asks for to see whether a host is ours (RFC 8555 §8.3).
var challengePath = []byte("/.well-known/acme-challenge/")

// answerChallenge answers an authority that asks about an order of ours, before anything else
// has a say: whatever Hosts and Mappings there are, the certificate is needed first. Others
// who ask for such a path are routed. Budget: 0 allocs for any other path.
func (x *Exchange) answerChallenge() bool {
	if x.gateway.opts.ChallengeHTTP == nil || !bytes.HasPrefix(x.Req.Path(), challengePath) {
		return false
	}
	proof := x.gateway.opts.ChallengeHTTP(x.Req.Host(), x.Req.Path())
	if proof == nil {
		return false
	}
	x.Client = x.peer.Remote.Addr()
	x.reply = localReply{status: 200, body: string(proof), contentType: octets}
	x.stop(decision.Accept, decision.ACMEChallenge, "", nil)
	return true
}

var octets = []byte("application/octet-stream")
