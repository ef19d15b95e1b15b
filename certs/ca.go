package certs

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"legate/config"
)

// A CA signs certificates for a laptop. It is no authority for anybody else.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	file string
}

const (
	caFile    = "ca.crt"
	caKeyFile = "ca.key"
	caLife    = 10 * 365 * 24 * time.Hour
	leafLife  = 90 * 24 * time.Hour
)

// LocalCA loads the authority kept in dir, or creates both. Its key is readable by
// the owner alone.
func LocalCA(dir string) (*CA, error) {
	ca, err := loadCA(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createCA(dir); err != nil {
			return nil, fmt.Errorf("create local CA: %w", err)
		}
		ca, err = loadCA(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("load local CA: %w", err)
	}
	return ca, nil
}

func loadCA(dir string) (*CA, error) {
	ca := &CA{file: filepath.Join(dir, caFile)}
	keyPEM, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	certPEM, err := os.ReadFile(ca.file)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ca.file, err)
	}
	ca.cert = pair.Leaf
	if !ca.cert.IsCA || time.Now().After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("%s is no authority, or no longer; remove it and its key to get another", ca.file)
	}
	ca.key, _ = pair.PrivateKey.(crypto.Signer)
	return ca, nil
}

// createCA writes a new authority to dir. The certificate comes last: without it
// there is no authority, whatever else is there.
func createCA(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return err
	}
	template := newTemplate("Legate local CA", caLife)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(dir, caKeyFile), keyPEM, 0o600); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, caFile), encodePEM("CERTIFICATE", der), 0o644)
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600 from the start
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = cmp.Or(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// File is where the authority's certificate is, for clients to trust.
func (ca *CA) File() string { return ca.file }

// signed reports whether leaf is of ca.
func (ca *CA) signed(leaf *x509.Certificate) bool { return leaf.CheckSignatureFrom(ca.cert) == nil }

// Issue signs a certificate for names, DNS names or addresses, good for a server
// and for a client.
func (ca *CA) Issue(names ...string) (certPEM, keyPEM []byte, err error) {
	if len(names) == 0 {
		return nil, nil, errors.New("issue certificate: no name given")
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate for %s: %w", names[0], err)
	}
	template := newTemplate(names[0], leafLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate for %s: %w", names[0], err)
	}
	return encodePEM("CERTIFICATE", der), keyPEM, nil
}

// Secret issues a certificate for names and returns it as a kubernetes.io/tls Secret.
func (ca *CA) Secret(namespace, name string, names ...string) (config.Secret, error) {
	cert, key, err := ca.Issue(names...)
	if err != nil {
		return config.Secret{}, err
	}
	return config.Secret{
		Meta: config.Meta{Kind: "Secret", Name: name, Namespace: namespace},
		Type: "kubernetes.io/tls",
		Data: map[string][]byte{"tls.crt": cert, "tls.key": key},
	}, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, encodePEM("PRIVATE KEY", der), nil
}

// newTemplate begins a certificate. It is valid from an hour ago, as clocks differ.
func newTemplate(name string, life time.Duration) *x509.Certificate {
	now := time.Now()
	// CreateCertificate picks the serial number.
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"Legate local development"}},
		NotBefore: now.Add(-time.Hour),
		NotAfter:  now.Add(life),
	}
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
