package decision

import (
	"net/netip"
	"time"
)

// An EventKind is what an Event is about. Once released, its name never changes meaning.
type EventKind uint8

// The kinds.
const (
	LoginStarted   EventKind = iota // a browser was sent to the identity provider
	LoginSucceeded                  // also of a password at a token endpoint
	LoginFailed
	SessionRefreshed
	LoggedOut
	TokenAccepted // when a token is seen for the first time; later uses are in the access log
	TokenRejected
	TokenMinted
	Revoked
	RateLimited
	AuthFailed // somebody who decides could not be asked: Allowed tells what was done instead
	KeyRotated
	numEventKinds
)

var eventNames = [numEventKinds]string{
	"login_start", "login_success", "login_failure", "refresh", "logout", "token_accepted", "token_rejected",
	"token_minted", "token_revoked", "rate_limited", "auth_error", "key_rotation",
}

// String returns the kind's name as the audit log shows it.
func (k EventKind) String() string {
	if k < numEventKinds {
		return eventNames[k]
	}
	return "unknown"
}

// An Event is one line of the audit log. It holds no token, cookie, key or query string,
// only what names them. What is not known stays zero.
type Event struct {
	Kind     EventKind
	Allowed  bool
	Reason   Reason
	Time     time.Time
	Duration time.Duration // that deciding took
	By       string        // the object that decided: "Filter shop/api"
	Status   int           // that the client is told; 0 where others settle it

	Subject, Issuer string
	JTI             string // of the token that was presented
	MintedJTI       string // of the token that was made of it
	KeyID           string // of a signing key

	RequestID string
	Client    netip.Addr
	Host      string
	Path      string // without the query
}
