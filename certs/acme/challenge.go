package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"path"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// challengePath is what the paths of HTTP-01 begin with (RFC 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// maxToken bounds the token at their end.
const maxToken = 128

// maxStrange is how many questions may be looked up at once about names that nothing is
// ordered for here: another replica may have read of them first.
const maxStrange = 4

// HTTP returns what a request for host and path is to be answered with, nil where it is no
// challenge that is under way here or with another replica.
func (c *Client) HTTP(host, path []byte) []byte {
	token, ok := bytes.CutPrefix(path, []byte(challengePath))
	if !ok || len(token) == 0 || len(token) > maxToken {
		return nil
	}
	name, _, _ := strings.Cut(strings.ToLower(string(host)), ":")
	ch := c.challenge(name, acme.ChallengeTypeHTTP01)
	if ch == nil || ch.Token != string(token) {
		return nil
	}
	return []byte(ch.KeyAuthorization)
}

// TLS returns the configuration that answers a handshake for acme-tls/1 (RFC 8737), nil
// where no such challenge is under way.
func (c *Client) TLS(serverName string) *tls.Config {
	ch := c.challenge(strings.ToLower(serverName), acme.ChallengeTypeTLSALPN01)
	if ch == nil {
		return nil
	}
	cert, err := acmez.TLSALPN01ChallengeCert(*ch)
	if err != nil {
		c.opts.Log.Warn("challenge not answered", "name", serverName, "error", err)
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol},
		Certificates: []tls.Certificate{*cert}, SessionTicketsDisabled: true,
	}
}

// challenge finds the challenge of a type that is under way for name.
func (c *Client) challenge(name, kind string) *acme.Challenge {
	if ch, ok := certmagic.GetACMEChallenge(name); ok && ch.Type == kind {
		return &ch.Challenge
	}
	if ch := c.stored(name); ch != nil && ch.Type == kind {
		return ch
	}
	return nil
}

// stored finds the challenge that another replica has stored for name. Anybody may ask, as often
// as they like, so that how often the storage is asked is bounded.
func (c *Client) stored(name string) *acme.Challenge {
	authorities, known := c.authorities(name)
	if known {
		return c.looks.look(name, func() *acme.Challenge { return c.load(name, authorities) })
	}
	select {
	case c.strange <- struct{}{}:
		defer func() { <-c.strange }()
		return c.load(name, authorities)
	default:
		return nil
	}
}

// load looks for a challenge by one of authorities in the storage.
func (c *Client) load(name string, authorities []string) *acme.Challenge {
	ctx, cancel := context.WithTimeout(c.ctx, loadWait)
	defer cancel()
	safe := certmagic.StorageKeys.Safe
	for _, issuer := range authorities {
		text, err := c.opts.Storage.Load(ctx, path.Join("acme", safe(issuer), "challenge_tokens", safe(name)+".json"))
		if err != nil {
			continue // as a rule there is none
		}
		var ch acme.Challenge
		if json.Unmarshal(text, &ch) == nil && ch.Identifier.Value == name {
			return &ch
		}
	}
	return nil
}

// authorities returns the authorities that are asked for name, by certmagic's keys, or all
// there are where none is.
func (c *Client) authorities(name string) (keys []string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]bool{}
	for s, o := range c.orders {
		if s.name == name {
			keys = append(keys, o.issuer.IssuerKey())
		}
		all[o.issuer.IssuerKey()] = true
	}
	if len(keys) > 0 {
		return keys, true
	}
	for key := range all {
		keys = append(keys, key)
	}
	return keys, false
}
