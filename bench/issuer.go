package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What the load's token says, and what whoever verifies it asks for.
const (
	issuerName = "https://id.bench.test"
	audience   = "bench"
)

// An issuer has signed the token that the load brings where contestants are to know who
// asks, and publishes its key.
type issuer struct {
	url     string
	keyFile string
	token   string
	server  *http.Server
}

func newIssuer(dir string) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	i := &issuer{keyFile: filepath.Join(dir, "issuer.key")}
	if err := os.WriteFile(i.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": issuerName, "sub": "248289761001", "aud": audience, "iat": now.Unix(), "exp": now.Add(48 * time.Hour).Unix(), "azp": "web",
		"scope": "openid profile email", "email": "alice@example.com", "permissions": []string{"read", "write"},
	})
	t.Header["kid"] = "bench"
	if i.token, err = t.SignedString(key); err != nil {
		return nil, err
	}
	return i, i.publish(&key.PublicKey)
}

// publish serves the key set, until close.
func (i *issuer) publish(key *ecdsa.PublicKey) error {
	point, err := key.Bytes()
	if err != nil {
		return err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "bench", "alg": "ES256", "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.url = fmt.Sprintf("http://%s/keys", l.Addr())
	i.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(set) // who left needs no keys
	})}
	go func() { _ = i.server.Serve(l) }()
	return nil
}

func (i *issuer) close() { i.server.Close() }
