package gateway

import (
	"bytes"

	"legate/decision"
	"legate/routes"
)

// A probe is one of the health paths that every Host answers, as Ambassador's own
// Mappings did.
type probe uint8

const (
	noProbe probe = iota
	aliveProbe
	readyProbe
)

const (
	probePrefix = "/ambassador/v0/check_"
	alivePath   = probePrefix + "alive"
	readyPath   = probePrefix + "ready"
)

// The bodies of the health answers.
const (
	aliveBody    = "Ambassador is alive and well\n"
	readyBody    = "Ambassador is ready and waiting\n"
	notReadyBody = "Ambassador is not ready\n"
)

// probe tells whether path is one of the health paths that the Module leaves on.
func (e *edge) probe(path []byte) probe {
	if !bytes.HasPrefix(path, []byte(probePrefix)) {
		return noProbe
	}
	switch {
	case e.livenessProbe && bytes.HasPrefix(path, []byte(alivePath)):
		return aliveProbe
	case e.readinessProbe && bytes.HasPrefix(path, []byte(readyPath)):
		return readyProbe
	}
	return noProbe
}

// answerProbe answers a health check unless a Mapping of the user's comes before it
// in the order, or the Host wants requests to come securely.
func (x *Exchange) answerProbe(p probe, rt *routes.Route, host *routes.Host) (Verdict, bool) {
	if host == nil {
		return Continue, false
	}
	if rt != nil && (rt.Mapping.Precedence > 0 || rt.Mapping.Precedence == 0 && len(rt.Mapping.Prefix) >= len(alivePath)) {
		return Continue, false
	}
	x.Route = &x.Snap.none // it is no Mapping's
	if v, answered := x.insecureTo(host); answered {
		return v, true
	}
	x.reply = localReply{status: 200, body: aliveBody}
	if p == readyProbe {
		x.reply.body = readyBody
		if !x.gateway.Ready() {
			x.reply = localReply{status: 503, body: notReadyBody}
		}
	}
	return x.stop(decision.Match, decision.HealthCheck, "", nil), true
}
