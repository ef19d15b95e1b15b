package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"legate/config"
	"legate/spiffe"
	"legate/wire"
)

// identities finds whom the upstream may be. A context that says so and has neither a
// certificate nor authorities of its own takes both from the Workload API. Nothing here is
// ever done without: whoever asks for an identity must not get a connection to another.
func (r *contextReader) identities() {
	const field = "spiffe_ids"
	if r.ctx.SPIFFEIDs == nil {
		return
	}
	ids, wrong := spiffe.Split(r.ctx.SPIFFEIDs)
	for _, err := range wrong {
		r.problem(field, err.Error(), config.FieldIgnored)
	}
	own := r.ctx.Secret != "" || r.ctx.CertChainFile != "" || r.ctx.CASecret != "" || r.ctx.CACertChainFile != ""
	switch {
	case len(ids) == 0:
		r.fail(field, "allows nobody")
	case own && r.o.CA == "":
		if r.o.broken == "" { // or else it was said already what is wrong with the authorities
			r.fail(field, "needs ca_secret or cacert_chain_file beside the certificate, or neither of them and the Workload API's")
		}
	case own:
		if _, err := spiffe.ParseAuthorities([]byte(r.o.CA)); err != nil {
			r.fail(field, err.Error())
		}
	case r.noWorkload:
		r.fail(field, "needs a Workload API, which --spiffe-socket names, or a certificate and ca_secret or cacert_chain_file")
	default:
		r.o.Workload = true
	}
	r.o.SPIFFE = strings.Join(ids, ",")
}

// errNoSVID says that nothing may be sent, as the gateway cannot say who it is.
var errNoSVID = errors.New("the gateway has no SVID")

// identified returns why the gateway cannot say who it is, as u's settings have it; nil where
// it can, or need not.
func (u *Upstream) identified() error {
	if !u.spec.TLS.Workload {
		return nil
	}
	if u.resolver.opts.Workload == nil {
		return errNoSVID
	}
	if _, err := u.resolver.opts.Workload.GetX509SVID(); err != nil {
		return fmt.Errorf("%w: %w", errNoSVID, err)
	}
	return nil
}

// identify has c speak only to whom o allows, verified at the time that now returns, and, if o
// says so, show the SVID and believe the authorities that w has at each handshake.
func (o *Origination) identify(c *tls.Config, w spiffe.Workload, lists wire.Revocations, now func() time.Time) {
	allowed := spiffe.MustParse(names(o.SPIFFE))
	var bundles x509bundle.Source = w
	if o.Workload {
		// Every handshake is a whole one: a resumed one would go on under the SVID that the
		// session began with.
		c.ClientSessionCache = nil
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return showSVID(w) }
	} else {
		authorities, err := spiffe.ParseAuthorities([]byte(o.CA))
		if err != nil {
			panic("BUG: authorities were not checked when their Spec was read")
		}
		bundles = authorities
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		paths, err := spiffe.Verify(cs.PeerCertificates, bundles, allowed, now())
		if err != nil {
			return fmt.Errorf("verify the upstream's identity: %w", err)
		}
		if err := lists.Judge(paths, now()); err != nil {
			return fmt.Errorf("verify the upstream's identity: %w", err)
		}
		return nil
	}
}

// showSVID returns w's SVID as it is now.
func showSVID(w spiffe.Workload) (*tls.Certificate, error) {
	svid, err := w.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSVID, err)
	}
	cert := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// until returns when what secure was verified by is no longer true: the first expiry among the
// upstream's certificate and, of the Workload API, the gateway's. Zero where identities were
// not asked for, or there is no SVID any more, which who asks for the next connection learns.
func (u *Upstream) until(secure *tls.Conn) time.Time {
	if u.spec.TLS.SPIFFE == "" {
		return time.Time{}
	}
	end := leafOf(secure).NotAfter
	if !u.spec.TLS.Workload {
		return end
	}
	if svid, err := u.resolver.opts.Workload.GetX509SVID(); err == nil && svid.Certificates[0].NotAfter.Before(end) {
		end = svid.Certificates[0].NotAfter
	}
	return end
}

func leafOf(secure *tls.Conn) *x509.Certificate { return secure.ConnectionState().PeerCertificates[0] }
