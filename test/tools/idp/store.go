package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// A store is the example's, but for keys that change, clients that are made known while it serves, and
// the life of access tokens.
type store struct {
	*storage.Storage

	mu      sync.Mutex
	keys    []*key // the first signs, all are published
	made    int    // of keys
	clients map[string]*client
	life    time.Duration // of access tokens
}

func newStore(issuer string) (*store, error) {
	s := &store{
		Storage: storage.NewStorageWithClients(storage.NewUserStore(issuer), map[string]*storage.Client{}),
		clients: map[string]*client{}, life: 5 * time.Minute,
	}
	return s, s.rotate("RS256", false)
}

// A key signs tokens.
type key struct {
	id      string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func (k *key) ID() string                                  { return k.id }
func (k *key) SignatureAlgorithm() jose.SignatureAlgorithm { return k.alg }
func (k *key) Key() any                                    { return k.private }

// A published key is one for those who verify.
type published struct{ *key }

func (p published) Algorithm() jose.SignatureAlgorithm { return p.alg }
func (p published) Use() string                        { return "sig" }
func (p published) Key() any                           { return p.private.Public() }

// rotate makes a new key that signs from now on. The ones before are published on, unless retire says
// otherwise.
func (s *store) rotate(alg string, retire bool) error {
	k := &key{alg: jose.SignatureAlgorithm(alg)}
	var err error
	switch alg {
	case "RS256":
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = fmt.Errorf("no keys for %q are made", alg)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	k.id = fmt.Sprintf("key-%d", s.made)
	if retire {
		s.keys = nil
	}
	s.keys = append([]*key{k}, s.keys...)
	return nil
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[0], nil
}

func (s *store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []jose.SignatureAlgorithm{s.keys[0].alg}, nil
}

func (s *store) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []op.Key
	for _, k := range s.keys {
		all = append(all, published{k})
	}
	return all, nil
}

// A client is one of the example's with more of its own.
type client struct {
	op.Client

	secret  string
	logouts []string // where people may be sent after a logout
	method  oidc.AuthMethod
	tokens  op.AccessTokenType
	public  any // key of its assertions; nil for none
}

func (c *client) AuthMethod() oidc.AuthMethod          { return c.method }
func (c *client) AccessTokenType() op.AccessTokenType  { return c.tokens }
func (c *client) PostLogoutRedirectURIs() []string     { return c.logouts }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *client) IsScopeAllowed(scope string) bool     { return scope != "forbidden" }

var errNoClient = errors.New("there is no such client")

func (s *store) client(id string) (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[id]; c != nil {
		return c, nil
	}
	return nil, errNoClient
}

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	c, err := s.client(id)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *store) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	c, err := s.client(id)
	if err != nil || subtle.ConstantTimeCompare([]byte(c.secret), []byte(secret)) != 1 {
		return errNoClient
	}
	return nil
}

func (s *store) GetKeyByIDAndClientID(_ context.Context, kid, id string) (*jose.JSONWebKey, error) {
	c, err := s.client(id)
	if err != nil || c.public == nil {
		return nil, errNoClient
	}
	return &jose.JSONWebKey{KeyID: kid, Use: "sig", Key: c.public}, nil
}

// until is when an access token lapses that the example's store lets lapse at the time given.
func (s *store) until(at time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own := time.Now().Add(s.life); own.Before(at) {
		return own
	}
	return at
}

func (s *store) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, at, err := s.Storage.CreateAccessToken(ctx, r)
	return id, s.until(at), err
}

func (s *store) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (access, refresh string, at time.Time, err error) {
	access, refresh, at, err = s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	return access, refresh, s.until(at), err
}
