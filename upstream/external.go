package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"legate/config"
)

// notAsked is what happens where a service that decides about requests cannot be asked.
const notAsked = "it counts as one that cannot be reached"

// OfAuthService returns the Spec of the service that a names and what is wrong with its
// fields, as Of does.
func (s *Specs) OfAuthService(a *config.AuthService) (Spec, []config.Problem) {
	r := specReader{Specs: s, refused: notAsked, field: "auth_service", strict: true, mapping: &config.Mapping{
		Meta: a.Meta, Service: a.Service, TLS: a.TLSContext, OriginateTLS: a.OriginateTLS, GRPC: a.GRPC,
		StatsName: a.StatsName, CircuitBreakers: a.CircuitBreakers, ConnectTimeoutMS: wholeMillis(a.ConnectTimeout),
		ClusterIdleTimeoutMS: wholeMillis(a.IdleTimeout), ClusterMaxConnectionLifetimeMS: wholeMillis(a.MaxLifetime),
	}}
	spec := r.read()
	spec.Tag = externalTag
	return spec, r.problems
}

// OfRateLimitService returns the Spec of the service that l names and what is wrong with its
// fields, as Of does.
func (s *Specs) OfRateLimitService(l *config.RateLimitService) (Spec, []config.Problem) {
	r := specReader{Specs: s, refused: notAsked, strict: true, mapping: &config.Mapping{
		Meta: l.Meta, Service: l.Service, TLS: l.TLSContext, OriginateTLS: l.OriginateTLS, GRPC: true, StatsName: l.StatsName,
	}}
	spec := r.read()
	spec.Tag = externalTag
	return spec, r.problems
}

// externalTag keeps who is asked about requests apart from where requests go: neither
// takes connections from the other, or room by circuit_breakers.
const externalTag = "\x00external"

// OfExternal returns the Spec of the service that an External filter names and what is
// wrong with its fields, as Of does. Unlike all others it is verified: by the Secret that
// it names, or by the system's authorities, and by its name.
func (s *Specs) OfExternal(m *config.Meta, a *config.ExternalAuth) (Spec, []config.Problem) {
	r := specReader{Specs: s, refused: notAsked, field: "auth_service", own: true, mapping: &config.Mapping{
		Meta: *m, Service: a.Service, OriginateTLS: a.OriginateTLS, GRPC: a.GRPC,
	}}
	spec := r.read()
	spec.Tag = externalTag
	if !spec.TLS.On {
		return spec, r.problems
	}
	spec.TLS.HostCAs, spec.TLS.Name = true, spec.Host
	if _, err := netip.ParseAddr(spec.Host); err != nil {
		spec.TLS.ServerName = spec.Host
	}
	if a.CACertificate.Name != "" {
		r.authority(&spec, a.CACertificate)
	}
	if a.Certificate.Name != "" {
		r.clientCertificate(&spec, a.Certificate)
	}
	return spec, r.problems
}

func wholeMillis(d time.Duration) *int {
	if d <= 0 {
		return nil
	}
	ms := int(d.Milliseconds())
	return &ms
}

// authority has the service verified by what the Secret holds, and by nothing else.
func (r *specReader) authority(spec *Spec, name config.SecretName) {
	data, err := r.secret(name)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data["tls.crt"]) {
		err = fmt.Errorf("Secret %s/%s holds no certificate under tls.crt", name.Namespace, name.Name)
	}
	if err != nil {
		r.problem(r.mapping.Problem("tlsConfig.caCertificate", err.Error(), config.RouteClosed), r.refused)
		spec.Host = ""
		return
	}
	spec.TLS.CA = string(data["tls.crt"])
}

// clientCertificate has the service shown what the Secret holds.
func (r *specReader) clientCertificate(spec *Spec, name config.SecretName) {
	data, err := r.secret(name)
	if err == nil {
		_, err = tls.X509KeyPair(data["tls.crt"], data["tls.key"]) // its error holds nothing of the key
	}
	if err != nil {
		r.problem(r.mapping.Problem("tlsConfig.certificate", err.Error(), config.RouteClosed), r.refused)
		spec.Host = ""
		return
	}
	spec.TLS.Cert, spec.TLS.Key = string(data["tls.crt"]), Secret(data["tls.key"])
}

// secret returns what is in a Secret.
func (r *specReader) secret(name config.SecretName) (map[string][]byte, error) {
	for i := range r.world.Secrets {
		if s := &r.world.Secrets[i]; s.Is(name.Namespace, name.Name) {
			return s.Data, nil
		}
	}
	return nil, fmt.Errorf("Secret %s/%s does not exist", name.Namespace, name.Name)
}
