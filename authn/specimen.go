package authn

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"legate/config"
)

// A Specimen is a token that is good for looking at: nobody has the public half of the key
// that signed it.
type Specimen struct {
	Token          string
	Header, Claims map[string]any
}

// NewSpecimen makes the token that the Mint filter o would make at now for id, on a request
// to a service. namespace is the gateway's own.
func NewSpecimen(o *config.Filter, s *Service, id *Identity, namespace string, now time.Time) (*Specimen, error) {
	d := &Deps{
		Dial:  func(context.Context, string, string) (net.Conn, error) { return nil, errSpecimen },
		Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
		Metrics: unmeasured{}, Random: rand.Reader, Cache: NewCache(-1), Namespace: namespace,
	}
	mint := *o.Mint
	mint.Credentials = config.Credentials{} // nobody is asked who they are
	filter := *o
	filter.Mint = &mint
	parts := newMintParts("Filter "+o.Namespace+"/"+o.Name, d)
	m, _ := newMinter(&filter, parts, nil, newKeySets(d, nil), d)
	if err := parts.signer.configure(signerSettings{alg: mint.Algorithm, rotation: rotation{every: mint.Rotation, wait: keyWait, keep: keyKeep}}); err != nil {
		return nil, err
	}
	c := &Call{Service: s, Identity: id, Now: now}
	t, err := m.sign(&grant{identity: id, profile: m.profile(s), client: m.client(c)}, now)
	if err != nil {
		return nil, err
	}
	specimen := &Specimen{Token: strings.TrimPrefix(string(t.line.Value), "Bearer ")}
	parsed, err := parseJWS(specimen.Token)
	if err != nil {
		return nil, err
	}
	claims, f := parseClaims(parsed.payload)
	if f != nil {
		return nil, errors.New(f.message)
	}
	specimen.Header, specimen.Claims = parsed.header, claims
	return specimen, nil
}

var errSpecimen = errors.New("nobody is asked for a specimen")

// Unmeasured counts nothing.
type unmeasured struct{}

func (unmeasured) Add()                             {}
func (unmeasured) Verified(string, string) Counter  { return unmeasured{} }
func (unmeasured) Refreshed(string, string) Counter { return unmeasured{} }
func (unmeasured) Minted(string) Counter            { return unmeasured{} }
func (unmeasured) Outcome(string) Counter           { return unmeasured{} }
func (unmeasured) Status(int) Counter               { return unmeasured{} }

// ServiceName returns what tokens call the service that a Mapping of that namespace names:
// name.namespace. A name that is none of the cluster's stays as it is.
func ServiceName(service, namespace, clusterDomain string) string {
	if _, rest, ok := strings.Cut(service, "://"); ok {
		service = rest
	}
	service, _, _ = strings.Cut(strings.ToLower(service), "/")
	if host, _, err := net.SplitHostPort(service); err == nil {
		service = host
	}
	service = strings.TrimSuffix(strings.TrimSuffix(service, "."), ".svc."+clusterDomain)
	service = strings.TrimSuffix(service, ".svc")
	if service != "" && !strings.ContainsAny(service, ".:") && service != "localhost" {
		service += "." + namespace
	}
	return service
}
