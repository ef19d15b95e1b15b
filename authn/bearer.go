package authn

import (
	"legate/decision"
	"legate/wire"
)

// authorization returns the Authorization that the request has by now: the client's, or
// what an earlier filter made of it. several says that there is more than one, of which
// nobody knows which one a service would take. Budget: 0 allocs.
func (c *Call) authorization() (value []byte, found, several bool) {
	for _, a := range c.Edits.Adds() {
		if a.ID == wire.FieldAuthorization {
			value, found, several = a.Value, true, found
		}
	}
	if c.Edits.Drops(wire.FieldAuthorization, nil) {
		return value, found, several
	}
	switch n := c.Head.Count(wire.FieldAuthorization); {
	case n > 1 || n == 1 && found:
		return value, true, true
	case n == 1:
		return c.Head.Get(wire.FieldAuthorization), true, several
	}
	return value, found, several
}

var (
	failNoToken    = refuse(decision.TokenMissing, 0, "no Bearer token")
	failSeveral    = refuse(decision.AuthorizationMalformed, 0, "there is more than one Authorization header")
	failEmpty      = refuse(decision.AuthorizationMalformed, 0, "the Authorization header has no token after Bearer")
	failCharacters = refuse(decision.AuthorizationMalformed, 0, "the Authorization header holds characters that no Bearer token has")
)

// bearer returns the request's bearer token (RFC 6750 §2.1). It is looked for in
// Authorization only. Budget: 0 allocs.
func (c *Call) bearer() ([]byte, *failure) {
	value, found, several := c.authorization()
	const scheme = "bearer"
	switch {
	case several:
		return nil, failSeveral
	case !found || len(value) < len(scheme) || !wire.EqualFold(value[:len(scheme)], scheme):
		return nil, failNoToken
	case len(value) == len(scheme):
		return nil, failEmpty
	case isTokenChar(value[len(scheme)]):
		return nil, failNoToken // another scheme, whose name begins alike
	case value[len(scheme)] != ' ' || !isB64Token(value[len(scheme)+1:]):
		return nil, failCharacters
	}
	return value[len(scheme)+1:], nil
}

// tokenChars are those of a token, by which schemes are named (RFC 9110 §5.6.2).
var tokenChars = charSet("!#$%&'*+-.^_`|~")

// b64Chars are those of a b64token but the padding at its end.
var b64Chars = charSet("-._~+/")

// charSet holds 1 for each letter, digit and byte of others, so that several can be looked
// at in one step.
func charSet(others string) (set [256]uint8) {
	for i := range len(others) {
		set[others[i]] = 1
	}
	for c := range 256 {
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			set[c] = 1
		}
	}
	return set
}

func isTokenChar(c byte) bool { return tokenChars[c] == 1 }

// isB64Token reports whether b is a b64token (RFC 6750 §2.1). Budget: 0 allocs.
func isB64Token(b []byte) bool {
	n, set := 0, &b64Chars
	for len(b)-n >= 8 { // every request's token is looked at, so eight at a time
		p := b[n : n+8 : n+8]
		if set[p[0]]&set[p[1]]&set[p[2]]&set[p[3]]&set[p[4]]&set[p[5]]&set[p[6]]&set[p[7]] == 0 {
			break
		}
		n += 8
	}
	for n < len(b) && set[b[n]] == 1 {
		n++
	}
	if n == 0 {
		return false
	}
	for _, c := range b[n:] {
		if c != '=' {
			return false
		}
	}
	return true
}
