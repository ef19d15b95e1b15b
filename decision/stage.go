//go:generate go run ./gen ../docs/reasons.md

// Package decision is the vocabulary of the gateway: the stages a request
// walks through, the reasons a stage gives, and the record that keeps them.
// One word serves the log field, the metric label, the explain line and the
// test assertion. It decides nothing itself and knows nobody.
package decision

// A Stage is one step of a request's walk through the gateway.
type Stage uint8

// The stages in the order a request meets them.
const (
	Accept Stage = iota // the connection and the request's framing
	Match               // which route serves it
	CORS                // preflights, and what a browser may read
	Authn               // who asks
	Limit               // how often they may
	Break               // whether the upstream can bear it
	Mint                // the token the upstream receives
	Proxy               // the upstream's answer
	NumStages
)

var stageNames = [NumStages]string{"accept", "match", "cors", "authn", "limit", "break", "mint", "proxy"}

// String returns the stage's name as logs, metrics and explain show it.
func (s Stage) String() string {
	if s < NumStages {
		return stageNames[s]
	}
	return "unknown"
}
