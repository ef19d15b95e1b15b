package gateway

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"time"

	"legate/format"
	"legate/wire"
)

// appendConnection appends what one command stands for in the connection of peer, whose
// client has that address. Budget: 0 allocs.
func appendConnection(dst []byte, c *format.Command, peer *wire.Peer, client netip.Addr, s *Snapshot) ([]byte, bool) {
	switch c.Op {
	case format.ConnectionID:
		return strconv.AppendUint(dst, peer.Conn, 10), true
	case format.DownstreamRemoteAddress:
		return appendAddrPort(dst, remote(peer, client))
	case format.DownstreamRemoteAddressWithoutPort:
		return appendAddr(dst, client)
	case format.DownstreamRemotePort:
		return appendPort(dst, remote(peer, client))
	case format.DownstreamDirectRemoteAddress:
		return appendAddrPort(dst, peer.Physical)
	case format.DownstreamDirectRemoteAddressWithoutPort:
		return appendAddr(dst, peer.Physical.Addr())
	case format.DownstreamDirectRemotePort:
		return appendPort(dst, peer.Physical)
	case format.DownstreamLocalAddress:
		return appendAddrPort(dst, local(peer))
	case format.DownstreamLocalAddressWithoutPort:
		return appendAddr(dst, local(peer).Addr())
	case format.DownstreamLocalPort:
		return appendPort(dst, local(peer))
	default:
		return appendTLS(dst, c, peer, s)
	}
}

// appendTLS appends what one command stands for in a handshake and its certificates.
func appendTLS(dst []byte, c *format.Command, peer *wire.Peer, s *Snapshot) ([]byte, bool) {
	if peer.TLS == nil {
		return dst, false
	}
	switch c.Op {
	case format.RequestedServerName:
		return appendString(dst, peer.TLS.ServerName)
	case format.DownstreamTLSVersion:
		return append(dst, tlsVersion(peer.TLS.Version)...), true
	case format.DownstreamTLSCipher:
		return appendString(dst, cipherNames[peer.TLS.Cipher])
	case format.DownstreamPeerCert:
		pem := peer.TLS.ClientPEM(false)
		return append(dst, pem...), pem != nil
	case format.DownstreamLocalSubject, format.DownstreamLocalURISAN, format.DownstreamLocalDNSSAN:
		return appendCert(dst, c, s.serverFacts(peer))
	default:
		return appendCert(dst, c, peer.TLS.Client())
	}
}

// remote is where a client is, as far as it is known: behind a proxy its port is not.
func remote(peer *wire.Peer, client netip.Addr) netip.AddrPort {
	if peer.Remote.Addr() == client {
		return peer.Remote
	}
	return netip.AddrPortFrom(client, 0)
}

// local is where a client connected to.
func local(peer *wire.Peer) netip.AddrPort {
	if peer.Proxy != nil && peer.Proxy.Destination.IsValid() {
		return peer.Proxy.Destination
	}
	return peer.Local
}

func appendAddr(dst []byte, a netip.Addr) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return a.WithZone("").Unmap().AppendTo(dst), true // a zone may be anything that a PROXY header says
}

func appendAddrPort(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return netip.AddrPortFrom(a.Addr().WithZone("").Unmap(), a.Port()).AppendTo(dst), true
}

func appendPort(dst []byte, a netip.AddrPort) ([]byte, bool) {
	return strconv.AppendUint(dst, uint64(a.Port()), 10), a.IsValid()
}

// appendCert appends what one command stands for in a certificate; there is none if
// f is nil.
func appendCert(dst []byte, c *format.Command, f *wire.CertFacts) ([]byte, bool) {
	if f == nil {
		return dst, false
	}
	switch c.Op {
	case format.DownstreamPeerSubject, format.DownstreamLocalSubject:
		return append(dst, f.Subject...), len(f.Subject) > 0
	case format.DownstreamPeerIssuer:
		return append(dst, f.Issuer...), len(f.Issuer) > 0
	case format.DownstreamPeerURISAN, format.DownstreamLocalURISAN:
		return appendList(dst, f.URIs)
	case format.DownstreamPeerDNSSAN, format.DownstreamLocalDNSSAN:
		return appendList(dst, f.DNS)
	case format.DownstreamPeerFingerprint256:
		return append(dst, f.SHA256...), true
	case format.DownstreamPeerFingerprint1:
		return append(dst, f.SHA1...), true
	case format.DownstreamPeerSerial:
		return append(dst, f.Serial...), len(f.Serial) > 0
	case format.DownstreamPeerCertVStart:
		return appendValidity(dst, c, f.NotBefore)
	case format.DownstreamPeerCertVEnd:
		return appendValidity(dst, c, f.NotAfter)
	default:
		return dst, false
	}
}

func appendValidity(dst []byte, c *format.Command, t time.Time) ([]byte, bool) {
	return c.AppendTime(dst, t), true
}

func appendList(dst []byte, list []string) ([]byte, bool) {
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, s...)
	}
	return dst, len(list) > 0
}

// serverFacts are those of the certificate that the gateway has for the name that the
// client asked for, nil for none.
func (s *Snapshot) serverFacts(peer *wire.Peer) *wire.CertFacts {
	i := s.listener(peer.Listener)
	if i < 0 || s.TLS == nil || peer.TLS == nil {
		return nil
	}
	c := s.TLS.Config(i, peer.TLS.ServerName)
	if c == nil || len(c.Certificates) == 0 || c.Certificates[0].Leaf == nil {
		return nil
	}
	if f, ok := s.certFacts.Load(c); ok {
		return f.(*wire.CertFacts) //nolint:forcetypeassert // nothing else is stored
	}
	f := wire.NewCertFacts(c.Certificates[0].Leaf)
	s.certFacts.Store(c, f)
	return f
}

// cipherNames are OpenSSL's, which Envoy writes, too.
var cipherNames = map[uint16]string{
	tls.TLS_AES_128_GCM_SHA256:                        "TLS_AES_128_GCM_SHA256",
	tls.TLS_AES_256_GCM_SHA384:                        "TLS_AES_256_GCM_SHA384",
	tls.TLS_CHACHA20_POLY1305_SHA256:                  "TLS_CHACHA20_POLY1305_SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA",
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256:               "AES128-GCM-SHA256",
	tls.TLS_RSA_WITH_AES_128_CBC_SHA:                  "AES128-SHA",
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384:               "AES256-GCM-SHA384",
	tls.TLS_RSA_WITH_AES_256_CBC_SHA:                  "AES256-SHA",
}
