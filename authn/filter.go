// Package authn finds out who asks: Filters and FilterPolicies, external services,
// logins, key sets and tokens. It also makes the tokens that the services behind the
// gateway receive. It knows neither routes nor upstreams, and reads no configuration
// format.
package authn

import (
	"net/netip"
	"time"

	"legate/decision"
	"legate/wire"
)

// An Outcome says whether a request may go on.
type Outcome uint8

// The outcomes. Deny means that Call.Reply holds the answer.
const (
	Allow Outcome = iota
	Deny
)

// A Filter decides about requests. It is built once per use in a rule and used by many
// requests at once; it keeps nothing of c. What it changes about the request it writes
// into c.Edits, and whom it recognised into c.Identity.
type Filter interface {
	Filter(c *Call) Outcome
}

// An Explainer is a Filter with more to say of a request than what becomes of it.
type Explainer interface {
	// Explain returns what it would do about c, or has done. No token is shown.
	Explain(c *Call) []string
}

// A Call is one request as whoever decides about it sees it. It belongs to the exchange
// that it is part of and is reset with it.
type Call struct {
	Head      *wire.Head  // what the client sent; never edited
	Edits     *wire.Edits // what the upstream receives instead
	Peer      *wire.Peer
	Client    netip.Addr // by what is trusted of X-Forwarded-For
	Secure    bool       // came over a secure connection
	Path      []byte     // normalised, without the query
	RawPath   []byte     // as the client sent it, without the query
	RequestID []byte
	Now       time.Time
	Dry       bool        // only asked about: decide everything, do nothing
	Service   *Service    // what the request was routed to; nil where nothing matched
	Body      BodyReader  // nil where there is none to read
	ToClient  *wire.Edits // what is changed about whatever answer there will be
	Depending []Depending // headers of that answer, settled once it is there
	Memory    *[]byte     // backs what is made for this request only; nil for none
	Tick      wire.Tick   // tells who waits for others whether the client still does; may be nil
	Metadata  *Metadata   // what is kept of answers for the access log; may be nil

	failures int // that were counted of its tokens

	Patience time.Duration // how long all that filters wait for others may last; 0 for as long as each likes
	until    time.Time     // by Patience; zero before anybody has waited

	Minter   *Minter         // who makes the token that the service gets; nil for nobody
	Passed   decision.Reason // why it passed although something was wrong; None mostly
	Identity *Identity       // whom the last filter recognised; nil for nobody
	Reply    Reply

	Notes []string // on what was decided, for who only asks
}

// A Depending is a header of an answer that is set only where the answer has it, or with
// Replaces false only where it has not.
type Depending struct {
	wire.Add
	Replaces bool
}

// wait returns how long somebody who would wait for others for limit may do so, by what
// filters before have left of c's Patience. It is never nothing.
func (c *Call) wait(limit time.Duration, now time.Time) time.Duration {
	if c == nil || c.Patience <= 0 {
		return limit
	}
	if c.until.IsZero() {
		c.until = now.Add(c.Patience)
	}
	return max(min(limit, c.until.Sub(now)), time.Millisecond)
}

// Metadata are values that whoever decided about a request left for the access log, by
// Envoy's name of who did: "envoy.filters.http.ext_authz".
type Metadata map[string]map[string]any

// A Service is what tokens and external services are told of a route. It is made with the
// route and not changed.
type Service struct {
	Name              string   // name.namespace of the service
	Host, Port        string   // as it is called
	Origins           []string // allowed by the route's CORS policy
	FoldsCase         bool     // the route takes paths regardless of case
	ContextExtensions map[string]string

	profiles servedProfiles // what the route decides about minted tokens
}

// A BodyReader reads the beginning of a request's body without taking it from the upstream.
type BodyReader interface {
	// Peek returns at most limit bytes of the body, and whether that is all of it. It
	// blocks until there are that many or the body ends. The bytes are valid until the
	// exchange ends.
	Peek(limit int) (body []byte, whole bool, err error)
}

// A Reply is the answer to a request that goes no further. Its bytes belong to whoever
// made it or to the exchange, and are not changed.
type Reply struct {
	Reason      decision.Reason
	By          string // the object that decided: "Filter shop/api"
	Status      int
	ContentType []byte // nil for none
	Headers     []wire.Add
	Body        []byte
	Err         error // operators only; clients never see its text
}

// An Endpoint answers requests for a path of the gateway's own, such as a token endpoint.
// It writes the answer into c.Reply.
type Endpoint interface {
	Serve(c *Call)
}
