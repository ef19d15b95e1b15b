package gateway

import "legate/telemetry"

// enter goes on to a phase of the gateway's life, if it is not there yet or further, and
// tells operators.
func (g *Gateway) enter(p telemetry.Phase) {
	if g.metrics.Enter(p) {
		g.log.Info("phase", "is", p.String())
	}
}

// leaves reports whether the gateway has been told to end.
func (g *Gateway) leaves() bool { return g.metrics.Phase() >= telemetry.Leaving }
