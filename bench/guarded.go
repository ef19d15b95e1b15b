package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The old way of knowing who asks: a proxy that asks a service about each request, and
// the service, which verifies a token and mints another one. Both are one process with a
// child, so that what they cost is told together.

func guardedMain(args []string) error {
	fs := flag.NewFlagSet("guarded", flag.ExitOnError)
	addr := fs.String("addr", "", "the service's address")
	keyFile := fs.String("key", "", "file of the key that tokens are signed with, PEM")
	_ = fs.Parse(args)
	text, err := os.ReadFile(*keyFile)
	if err != nil {
		return err
	}
	key, err := jwt.ParseECPrivateKeyFromPEM(text)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	proxy := exec.Command(fs.Arg(0), fs.Args()[1:]...)
	proxy.Stdout, proxy.Stderr = os.Stdout, os.Stderr
	if err := proxy.Start(); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	ended := make(chan error, 2)
	go func() {
		<-end
		_ = proxy.Process.Signal(syscall.SIGTERM)
	}()
	go func() { ended <- proxy.Wait() }()
	s := &http.Server{Handler: &authService{key: key, parser: newParser()}, ReadHeaderTimeout: time.Minute, IdleTimeout: 10 * time.Minute}
	go func() { ended <- s.Serve(l) }()
	return <-ended
}

func newParser() *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuerName), jwt.WithAudience(audience), jwt.WithExpirationRequired())
}

// An authService answers 200 to who brings a token that holds, and hands out another one.
type authService struct {
	key    *ecdsa.PrivateKey
	parser *jwt.Parser
}

// knownClaims are what it looks at.
type knownClaims struct {
	jwt.RegisteredClaims
	Permissions []string `json:"permissions"`
}

func (s *authService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var c knownClaims
	if !found {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if _, err := s.parser.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil }); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	minted, err := s.mint(&c)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Authorization", "Bearer "+minted)
	h.Set("X-User-Id", c.Subject)
	h.Set("X-User-Permissions", strings.Join(c.Permissions, ","))
}

// mint signs a token as Legate's Mint filter makes them.
func (s *authService) mint(c *knownClaims) (string, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("make token id: %w", err)
	}
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "ambassador-jwt-issuer", "sub": c.Subject, "aud": []string{"up.default"}, "iat": now.Unix(), "nbf": now.Unix() - 5, "exp": now.Add(10 * time.Minute).Unix(),
		"jti": base64.RawURLEncoding.EncodeToString(id[:]), "permissions": c.Permissions, "allowed_services": []string{"up.default"},
	})
	t.Header["kid"] = "minted"
	return t.SignedString(s.key)
}
