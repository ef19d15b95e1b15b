package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A Minter makes the tokens of one Mint filter: short-lived ones, for whom was verified
// before, that say what the services behind the gateway need to know.
type Minter struct {
	refusals
	f           *config.MintFilter
	fingerprint string // of f: tokens made by other settings are not its
	signer      *signer
	revoked     *Revocations
	issuers     []trusted
	accounts    *accounts  // ServiceAccounts; nil where none are recognised
	passwords   *passwords // of users; nil where none are accepted
	clients     *passwords // of clients of the token endpoints; nil where there are none
	policy      [sha256.Size]byte
	// trustsItself accepts tokens that services got as if they were made for the gateway.
	trustsItself bool
	prefix       string   // what its endpoints are below
	origins      []string // whose pages may ask for tokens
	actor        string   // on whose behalf of the user the services are asked: the gateway
	minted       Counter
}

// maxToken is the longest token that is made: applications take heads of 8 KiB, and some
// of that is others'.
const maxToken = 4 << 10

// clockSkew is how far the clocks of services may be behind.
const clockSkew = 5 * time.Second

var (
	errNoKey    = errors.New("there is no key to sign with")
	errTooLong  = fmt.Errorf("the token would be longer than %d bytes: let the filter's claims hold less", maxToken)
	errNoTarget = errors.New("the request was routed to no service")

	failNobody  = refuse(decision.IdentityMissing, 0, "nobody was recognised")
	failUnnamed = refuse(decision.IdentityMissing, 0, "what was recognised does not say who asks")
)

// mintFailed is the refusal of who should have got a token, and did not for that reason.
func mintFailed(err error) *failure {
	return &failure{reason: decision.MintFailed, message: "no token can be made for the service", err: err}
}

// deny refuses c.
func (m *Minter) deny(c *Call, f *failure) Outcome {
	m.refuse(c, f)
	if f.reason == decision.IdentityMissing && m.passwords != nil {
		c.Reply.Headers = append(c.Reply.Headers, wire.Add{ID: wire.FieldWWWAuthenticate, Value: []byte(basicChallenge(m.realm))})
	}
	return Deny
}

// retryLine says when f may be tried again, in seconds rounded up.
func retryLine(f *failure) wire.Add {
	seconds := int64((f.retryAfter + time.Second - 1) / time.Second)
	return wire.Add{ID: wire.FieldRetryAfter, Value: strconv.AppendInt(nil, seconds, 10)}
}

// Filter lets requests through of whom an earlier filter recognised, or its own credentials
// do, and has the service get a token for them: see Mint. Budget: 0 allocs for credentials
// seen before.
func (m *Minter) Filter(c *Call) Outcome {
	if c.Identity == nil {
		if f := m.recognise(c); f != nil {
			return m.deny(c, f)
		}
	}
	if c.Identity.Subject == "" {
		return m.deny(c, failUnnamed)
	}
	c.Minter = m
	return Allow
}

// Explain tells of which token c's service would get, without one.
func (m *Minter) Explain(c *Call) []string {
	if c.Identity == nil || c.Service == nil {
		return nil
	}
	p := m.profile(c.Service)
	notes := []string{
		fmt.Sprintf("%s would mint a token of issuer %q for %q, for %s at most", m.by, m.f.Issuer, c.Identity.Subject, m.f.Lifetime),
		fmt.Sprintf("audience %q, allowed_services %q", p.audience, p.services),
	}
	if len(p.origins) > 0 {
		notes = append(notes, fmt.Sprintf("allowed_origins %q", p.origins))
	}
	if client := m.client(c); client.IsValid() {
		notes = append(notes, fmt.Sprintf("ip_ranges %q", netip.PrefixFrom(client, client.BitLen())))
	}
	return append(notes, "it replaces Authorization")
}

// Mint gives the request a token for c.Identity in place of its Authorization. What was
// minted before for the same audience, origins and addresses serves for two thirds of its
// life. Where c is only asked about nothing is signed. Budget: 0 allocs for a token that
// was minted before.
func (m *Minter) Mint(c *Call) Outcome {
	id := c.Identity
	switch {
	case id == nil:
		return m.deny(c, failNobody)
	case id.Subject == "":
		return m.deny(c, failUnnamed)
	case c.Service == nil:
		return m.deny(c, mintFailed(errNoTarget))
	case c.Dry:
		return Allow
	}
	p := m.profile(c.Service)
	client := m.client(c)
	t := id.minted.find(p, client)
	if t == nil || !m.fresh(t, c.Now) {
		var err error
		if t, err = m.renew(c, p, client, t); err != nil {
			return m.deny(c, mintFailed(err))
		}
	}
	c.Edits.Set(wire.FieldAuthorization, t.line.Value)
	return Allow
}

// client returns the address that is written into c's token, zero for none.
func (m *Minter) client(c *Call) netip.Addr {
	if m.f.ClientIPRange {
		return c.Client.Unmap()
	}
	return netip.Addr{}
}

// fresh reports whether t needs no renewal. Of those who find that it needs one, one at a
// time makes it, as long as t lives.
func (m *Minter) fresh(t *mintedToken, now time.Time) bool {
	r := m.signer.current.Load()
	switch {
	case r.find(t.key) == nil, m.revoked.Has(t.jti), !now.Before(t.expires):
		return false
	case now.Before(t.renew):
		return true
	}
	return !t.renewing.CompareAndSwap(false, true)
}

// renew makes a token in place of old, nil for none, and keeps it.
func (m *Minter) renew(c *Call, p *profile, client netip.Addr, old *mintedToken) (*mintedToken, error) {
	if old != nil {
		defer old.renewing.Store(false)
	}
	g := grant{identity: c.Identity, profile: p, client: client}
	t, err := m.sign(&g, c.Now)
	if err != nil {
		return nil, err
	}
	c.Identity.grew(c.Identity.minted.put(t, c.Now), c.Now)
	m.minted.Add()
	e := decision.Event{Kind: decision.TokenMinted, Allowed: true, By: m.by, MintedJTI: t.jti, KeyID: t.key}
	about(&e, c.Identity)
	m.deps.audit(c, e)
	return t, nil
}

// A grant is whom a token is made for, and what for.
type grant struct {
	identity *Identity
	profile  *profile
	client   netip.Addr // the only one that may use it; zero for any
	clientID string     // who asked for it at a token endpoint; "" for what the identity says
	scope    *string    // in place of the identity's; nil keeps that
	lifetime time.Duration
}

// sign makes a token.
func (m *Minter) sign(g *grant, now time.Time) (*mintedToken, error) {
	key := m.signer.current.Load().signing
	if key == nil {
		return nil, errNoKey
	}
	lifetime := m.f.Lifetime
	if g.lifetime > 0 {
		lifetime = min(lifetime, g.lifetime)
	}
	issued := now.Truncate(time.Second)
	expires := issued.Add(lifetime)
	if id := g.identity; !id.Expires.IsZero() && id.Expires.Before(expires) {
		expires = id.Expires.Truncate(time.Second)
	}
	jti, err := m.newID()
	if err != nil {
		return nil, err
	}
	line, err := m.encode(key, m.payload(g, jti, issued, expires))
	if err != nil {
		return nil, err
	}
	return &mintedToken{
		profile: g.profile, client: g.client, key: key.id, jti: jti, expires: expires,
		renew: now.Add(expires.Sub(now) * 2 / 3),
		line:  wire.Add{ID: wire.FieldAuthorization, Value: line},
	}, nil
}

// newID makes a jti: 128 random bits.
func (m *Minter) newID() (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(m.deps.Random, id[:]); err != nil {
		return "", fmt.Errorf("make token id: %w", err)
	}
	return base64url(id[:]), nil
}

// encode signs a payload (RFC 7515 §7.1), and returns the value of an Authorization that
// brings the token.
func (m *Minter) encode(key *signingKey, payload []byte) ([]byte, error) {
	const scheme = "Bearer "
	header := []byte(`{"alg":` + strconv.Quote(key.alg) + `,"kid":` + strconv.Quote(key.id) + `,"typ":` + strconv.Quote(m.f.TokenType) + `}`)
	enc := base64.RawURLEncoding
	line := make([]byte, 0, len(scheme)+enc.EncodedLen(len(header))+enc.EncodedLen(len(payload))+2+enc.EncodedLen(key.signatureSize()))
	line = enc.AppendEncode(append(line, scheme...), header)
	line = enc.AppendEncode(append(line, '.'), payload)
	sig, err := key.sign(line[len(scheme):])
	if err != nil {
		return nil, fmt.Errorf("sign token: %w", err)
	}
	line = enc.AppendEncode(append(line, '.'), sig)
	if len(line)-len(scheme) > maxToken {
		return nil, errTooLong
	}
	return line, nil
}
