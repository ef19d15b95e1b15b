package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"legate/config"
)

// An account is in whose name a certificate is ordered.
type account struct {
	email string
	key   string // PEM; "" for one that is made and kept in the storage
	eab   acme.EAB
	fault string // what is wrong with how it was given; "" for nothing
}

// The keys of a privateKeySecret: Ambassador's, and those of an account elsewhere that the
// authority wants to know of (RFC 8555 §7.3.4).
const (
	keyData    = "user.key"
	eabKeyID   = "eab-kid"
	eabMACData = "eab-hmac-key"
)

// accountOf reads what h says of its account. A Secret that is not there is no fault: the
// account is then made.
func accountOf(w *config.World, h *config.Host) account {
	a := account{email: h.ACME.Email}
	if h.ACME.Account.Name == "" {
		return a
	}
	for i := range w.Secrets {
		s := &w.Secrets[i]
		if !s.Is(h.ACME.Account.Namespace, h.ACME.Account.Name) {
			continue
		}
		a.key = strings.TrimSpace(string(s.Data[keyData]))
		a.eab = acme.EAB{KeyID: strings.TrimSpace(string(s.Data[eabKeyID])), MACKey: strings.TrimSpace(string(s.Data[eabMACData]))}
		switch block, _ := pem.Decode([]byte(a.key)); {
		case a.key != "" && (block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY")):
			a.fault = fmt.Sprintf("Secret %s/%s: %s holds no PEM private key", s.Namespace, s.Name, keyData)
		case (a.eab.KeyID == "") != (a.eab.MACKey == ""):
			a.fault = fmt.Sprintf("Secret %s/%s needs both %s and %s, or neither", s.Namespace, s.Name, eabKeyID, eabMACData)
		}
	}
	return a
}

// ownOf returns the certificate that h's own Secret has for the name, nil where it has none, or
// one that was ordered from an authority that h named before. Nothing is ordered in place of one
// that is good for long yet.
func ownOf(w *config.World, h *config.Host) *x509.Certificate {
	for i := range w.Secrets {
		s := &w.Secrets[i]
		if !s.Is(cmp.Or(h.TLSSecret.Namespace, h.Namespace), h.TLSSecret.Name) {
			continue
		}
		pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
		if err != nil || pair.Leaf.VerifyHostname(NameOf(h)) != nil {
			continue
		}
		if from := config.OrderedFrom(s.Data); from != "" && from != h.ACME.Authority {
			continue
		}
		return pair.Leaf
	}
	return nil
}

// seed puts the key of an account that was given where certmagic looks for it. An account
// that the authority knows by that key is then found, another one registered.
func (a *account) seed(ctx context.Context, storage certmagic.Storage, issuer string) error {
	if a.key == "" {
		return nil
	}
	keyPath, regPath := a.paths(issuer)
	held, err := storage.Load(ctx, keyPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("load account key: %w", err)
	}
	if err == nil && bytes.Equal(bytes.TrimSpace(held), []byte(a.key)) {
		return nil
	}
	fresh := acme.Account{}
	if a.email != "" {
		fresh.Contact = []string{"mailto:" + a.email}
	}
	registration, err := json.Marshal(fresh)
	if err != nil {
		return fmt.Errorf("store account: %w", err)
	}
	if err := storage.Store(ctx, regPath, registration); err != nil {
		return fmt.Errorf("store account: %w", err)
	}
	if err := storage.Store(ctx, keyPath, []byte(a.key+"\n")); err != nil {
		return fmt.Errorf("store account key: %w", err)
	}
	return nil
}

// paths are where certmagic keeps the key and the registration of an account.
func (a *account) paths(issuer string) (key, registration string) {
	safe := certmagic.StorageKeys.Safe
	owner := cmp.Or(a.email, "default")
	user, _, _ := strings.Cut(owner, "@")
	folder := path.Join("acme", safe(issuer), "users", safe(owner))
	return path.Join(folder, safe(user)+".key"), path.Join(folder, safe(user)+".json")
}
