package files

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"legate/config"
)

// A Mounted is a folder that a sidecar keeps its certificate in, as a Secret: Istio's proxy writes
// cert-chain.pem and key.pem there, and root-cert.pem beside them, where OUTPUT_CERTS tells it
// to. As long as they are not there, and well, there is no such Secret; what was good last stays
// as long as what is there now is not.
type Mounted struct {
	dir  string
	meta config.Meta
	*Named
}

// The files that are read, which are the Secret's keys.
const (
	mountedChain = "cert-chain.pem"
	mountedKey   = "key.pem"
	mountedRoot  = "root-cert.pem"
)

// NewMounted returns the Secret of that name and namespace that is in dir.
func NewMounted(dir, name, namespace string) *Mounted {
	meta := config.Meta{Kind: "Secret", Name: name, Namespace: namespace, File: dir}
	return &Mounted{dir: dir, meta: meta, Named: NewNamed()}
}

// Watch implements config.Source.
func (m *Mounted) Watch(ctx context.Context, yield func([]*config.Object)) error {
	return m.Named.Watch(ctx, func(marks []*config.Object) {
		yield(append(m.read(), marks[1:]...)) // the first only says that something is new
	})
}

// read returns the Secret and what is wrong with its files; nothing where there are none.
func (m *Mounted) read() []*config.Object {
	pair, err := m.Read(func(c [][]byte) error {
		if _, err := tls.X509KeyPair(c[0], c[1]); err != nil {
			return fmt.Errorf("%s and %s: %w", mountedChain, mountedKey, err)
		}
		return nil
	}, m.path(mountedChain), m.path(mountedKey))
	o := &config.Object{Meta: m.meta}
	o.Problems = m.complain(nil, pair, err)
	if pair == nil {
		if len(o.Problems) == 0 {
			return nil
		}
		o.Broken, o.Digest = true, m.digest(nil, o.Problems)
		return []*config.Object{o}
	}
	data := map[string][]byte{mountedChain: pair[0], mountedKey: pair[1]}
	root, err := m.Read(func(c [][]byte) error {
		if !x509.NewCertPool().AppendCertsFromPEM(c[0]) {
			return errors.New(mountedRoot + " holds no certificate")
		}
		return nil
	}, m.path(mountedRoot))
	if o.Problems = m.complain(o.Problems, root, err); root != nil {
		data[mountedRoot] = root[0]
	}
	o.Value = &config.Secret{Meta: m.meta, Type: "istio.io/key-and-cert", Data: data}
	o.Digest = m.digest(data, o.Problems)
	return []*config.Object{o}
}

func (m *Mounted) path(name string) string { return filepath.Join(m.dir, name) }

// complain adds what is wrong with files of which good is what was well last. Files that are
// not there are nothing wrong, unless they were before.
func (m *Mounted) complain(problems []config.Problem, good [][]byte, err error) []config.Problem {
	switch {
	case err == nil, good == nil && errors.Is(err, os.ErrNotExist):
		return problems
	case good == nil:
		return append(problems, m.meta.Problem("", err.Error(), config.ObjectDropped))
	}
	p := m.meta.Problem("", err.Error(), config.ObjectStale)
	p.Instead = "what was there before is used as long as that is so"
	return append(problems, p)
}

// digest tells two states of the Secret apart.
func (m *Mounted) digest(data map[string][]byte, problems []config.Problem) (d config.Digest) {
	h := sha256.New()
	for _, name := range []string{mountedChain, mountedKey, mountedRoot} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(data[name]), data[name]) // a hash takes all
	}
	_, _ = fmt.Fprint(h, m.meta.FullName(), problems)
	copy(d[:], h.Sum(nil))
	return d
}
