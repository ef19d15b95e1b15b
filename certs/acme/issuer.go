package acme

import (
	"context"
	"fmt"
	"net"

	"github.com/caddyserver/certmagic"
)

// An issuerKey is what orders have in common that are made in one name.
type issuerKey struct {
	authority string
	account   account
}

// issuer returns what orders with an authority in the name of an account.
func (c *Client) issuer(authority string, a account) *certmagic.ACMEIssuer {
	key := issuerKey{authority, a}
	c.issuersMu.Lock()
	defer c.issuersMu.Unlock()
	if i := c.issuers[key]; i != nil {
		return i
	}
	if c.cache == nil {
		c.open()
	}
	template := certmagic.ACMEIssuer{
		CA: authority, Email: a.email, AccountKeyPEM: a.key, Agreed: true,
		Logger: zapTo(c.opts.Log),
	}
	if c.taken != nil {
		port := c.taken.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // because it listens on TCP
		template.ListenHost, template.AltHTTPPort, template.AltTLSALPNPort = "127.0.0.1", port, port
	}
	if a.eab.KeyID != "" {
		eab := a.eab
		template.ExternalAccount = &eab
	}
	i := certmagic.NewACMEIssuer(c.config(c.opts.Storage, nil), template)
	c.issuers[key] = i
	return i
}

// A keeping is a storage that tells of what it does not take.
type keeping struct {
	certmagic.Storage
	failed func(error)
}

// Store implements certmagic.Storage.
func (k keeping) Store(ctx context.Context, key string, value []byte) error {
	err := k.Storage.Store(ctx, key, value)
	if err != nil {
		k.failed(fmt.Errorf("keep what is ordered: %w", err))
	}
	return err
}

// config returns how certmagic keeps what it orders. It tells of events by calling event.
func (c *Client) config(storage certmagic.Storage, event func(string, map[string]any) error, issuers ...certmagic.Issuer) *certmagic.Config {
	cfg := certmagic.Config{
		Storage: storage, Logger: zapTo(c.opts.Log), OCSP: certmagic.OCSPConfig{DisableStapling: true},
		Issuers: append([]certmagic.Issuer{}, issuers...),
	}
	if event != nil {
		cfg.OnEvent = func(_ context.Context, name string, data map[string]any) error { return event(name, data) }
	}
	return certmagic.New(c.cache, cfg)
}
