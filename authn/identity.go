package authn

import (
	"sync/atomic"
	"time"
)

// An Identity is whom a filter recognised, shared by all requests that bring the same
// credential and never changed but for what is cached with it.
type Identity struct {
	Subject string    // "" where only the right to pass was proved, as by an API key
	Issuer  string    // of Token; "" for none
	By      string    // the object that recognised it: "Filter shop/api"
	Expires time.Time // zero: it does not lapse by itself
	Token   *Token    // what the client presented, verified; nil for a credential of another kind
	IDToken *Token    // of a login; nil for none
	Session string    // the id of the session that a browser has; "" for none

	minted mintedSlot                 // tokens that were made for it
	told   tellings                   // what requirements made of it
	entry  atomic.Pointer[cacheEntry] // where it is remembered; nil for nowhere
}

// A Token is a JSON Web Token that was verified.
type Token struct {
	Raw       string
	Header    map[string]any
	Claims    map[string]any // as encoding/json decodes them: numbers are float64
	Signature string         // the third part, as written
}
