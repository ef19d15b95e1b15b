package authn

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// Deps are what the parts of this package ask of the process around them. All of it may
// be used by several goroutines at once.
type Deps struct {
	// Dial connects to identity providers, key sets and services that decide: by the
	// gateway's own ways of finding an address.
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	Clock func() time.Time
	Log   *slog.Logger

	Metrics Metrics
	Audit   func(e *decision.Event) // nil for nobody who listens
	Random  io.Reader               // of secrets

	Revocations *Revocations // that other gateways share; nil for each part's own
	Sessions    SessionStore // of who logged in; nil for browsers that keep them
	Cluster     Cluster      // whose ServiceAccounts may ask for tokens; nil for none
	SigningKeys KeyStore     // where keys are kept that Mint filters share; nil for nowhere
	// AuthService and External return what asks the service of an object, its host and
	// port, and what is wrong with how it is to be reached. They are for building, by one
	// goroutine.
	AuthService func(a *config.AuthService) (to wire.Asker, address string, problems []config.Problem)
	External    func(m *config.Meta, a *config.ExternalAuth) (to wire.Asker, address string, problems []config.Problem)

	Cache     *Cache     // of credentials that held, one for the process
	Offenders *Offenders // whose tokens do not hold, again and again; nil for nobody
	Namespace string     // the gateway's own

	Patience time.Duration // what all Filters of a request may wait for others together; 0 for as long as each likes
}

// A KeyStore keeps what several gateways have in common, and what must outlive them: in
// files, in Secrets. It may be used by several goroutines at once.
type KeyStore interface {
	// Update has change make what is kept for a Secret's namespace and name of what is
	// there, nil for nothing, while nobody else does. change may be called again, as long
	// as somebody else was faster. An error says that nothing new is kept; change may have
	// seen what there is all the same.
	Update(ctx context.Context, namespace, name string, change func(kept []byte) ([]byte, error)) error
	String() string // where that is, for operators
}

// A SecretStore is a KeyStore that keeps keys in the very Secrets that Filters name.
type SecretStore interface {
	KeyStore
	// Keeps reports whether a Secret with these entries is the store's to change.
	Keeps(data map[string][]byte) bool
}

// A Counter counts one thing that happens.
type Counter interface {
	Add() // Budget: 0 allocs.
}

// Metrics counts what happens to credentials. The labels come from configuration; the
// same ones name the same Counter.
type Metrics interface {
	Verified(filter, outcome string) Counter  // tokens verified, by the reason: "none" where they hold
	Refreshed(issuer, outcome string) Counter // key sets asked for: "success" or "failure"
	Minted(filter string) Counter
	ExternalMetrics
}

// ExternalMetrics counts what External filters are told, all of them together.
type ExternalMetrics interface {
	Outcome(outcome string) Counter // "allowed", "denied", "error" or "handler_error". Budget: 0 allocs.
	Status(status int) Counter      // of answers. Budget: 0 allocs.
}

// revocations returns those that all gateways share, or else new ones. Ids are random, so
// that those of tokens and of sessions are never the same.
func (d *Deps) revocations() *Revocations {
	if d.Revocations != nil {
		return d.Revocations
	}
	return NewRevocations(nil)
}

// audit tells who listens of something that was decided about c.
func (d *Deps) audit(c *Call, e decision.Event) {
	if d.Audit == nil || c.Dry {
		return
	}
	e = d.noted(c, e)
	d.Audit(&e)
}

// noted returns e with what it says of c, for who tells of it when c may be over.
func (d *Deps) noted(c *Call, e decision.Event) decision.Event {
	e.Time, e.RequestID, e.Client = c.Now, string(c.RequestID), c.Client
	e.Host, e.Path = string(c.Head.Host()), string(c.Path)
	return e
}

// tell tells who listens of e.
func (d *Deps) tell(e *decision.Event) {
	if d.Audit != nil {
		d.Audit(e)
	}
}

// about fills in whom e is about.
func about(e *decision.Event, id *Identity) {
	e.Subject, e.Issuer = id.Subject, id.Issuer
	if id.Token != nil {
		e.JTI, _ = id.Token.Claims["jti"].(string)
	}
}

// tokenOutcomes are what can become of a token.
var tokenOutcomes = []decision.Reason{
	decision.None, decision.TokenMissing, decision.AuthorizationMalformed, decision.TokenMalformed, decision.TokenInvalid,
	decision.TokenExpired, decision.TokenNotYetValid, decision.TokenClaims, decision.TokenAudience, decision.TokenIssuer,
	decision.TokenScope, decision.KeySetUnavailable, decision.TemplateFailed,
	decision.IdentityMissing, decision.MintFailed, decision.TokenRevoked, decision.TokenOrigin, decision.TokenAddress, decision.TokenService,
	decision.PasswordWrong, decision.TooManyFailures, decision.TokenFlood,
}

// verdicts are the counters of what becomes of one filter's tokens, by the reason.
type verdicts [decision.NumReasons]Counter

func newVerdicts(m Metrics, filter string) *verdicts {
	v := &verdicts{}
	for _, r := range tokenOutcomes {
		outcome := "none"
		if r != decision.None {
			outcome = r.String()
		}
		v[r] = m.Verified(filter, outcome)
	}
	return v
}
