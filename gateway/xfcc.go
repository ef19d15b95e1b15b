package gateway

import (
	"strings"

	"legate/config"
	"legate/wire"
)

// forwardClientCert settles X-Forwarded-Client-Cert: who else than a client with a
// certificate could say what it is, as the Module has it. Budget: 0 allocs.
func (x *Exchange) forwardClientCert(e *edge) {
	mutual := x.peer.TLS != nil && len(x.peer.TLS.Chain) > 0
	switch mode := e.clientCerts; {
	case mode == config.AlwaysForwardCerts, mode == config.ForwardCerts && mutual:
	case mode == config.AppendCerts && mutual, mode == config.SetCerts && mutual:
		start := len(x.arena)
		if mode == config.AppendCerts {
			for n := 0; ; n++ {
				sent, ok := x.Req.Nth(wire.FieldXForwardedClientCert, n)
				if !ok {
					break
				}
				x.arena = append(append(x.arena, sent...), ',')
			}
		}
		x.arena = appendClientCert(x.arena, x.peer.TLS, x.Snap.serverFacts(x.peer), e.certDetails)
		x.ToUp.Set(wire.FieldXForwardedClientCert, x.arena[start:len(x.arena):len(x.arena)])
	default:
		x.ToUp.Drop(wire.FieldXForwardedClientCert)
	}
}

// appendClientCert appends our element: who we are, the hash of the client's
// certificate, and what else of it is asked for.
func appendClientCert(dst []byte, t *wire.TLSInfo, own *wire.CertFacts, details config.CertDetails) []byte {
	client := t.Client()
	if own != nil && len(own.URIs) > 0 {
		dst = append(appendElement(append(dst, "By="...), own.URIs[0]), ';')
	}
	dst = append(append(dst, "Hash="...), client.SHA256...)
	if details.Cert {
		dst = append(append(append(dst, `;Cert="`...), t.ClientPEM(false)...), '"')
	}
	if details.Chain {
		dst = append(append(append(dst, `;Chain="`...), t.ClientPEM(true)...), '"')
	}
	if details.Subject {
		dst = append(append(append(dst, `;Subject="`...), client.Subject...), '"') // RFC 2253 escapes quotes
	}
	if details.URI { // the key is there in any case
		dst = append(dst, ";URI="...)
		if len(client.URIs) > 0 {
			dst = appendElement(dst, client.URIs[0])
		}
	}
	if details.DNS {
		for _, name := range client.DNS {
			dst = appendElement(append(dst, ";DNS="...), name)
		}
	}
	return cleaned(dst)
}

// appendElement appends a value, in quotes if it would end itself otherwise: a
// certificate may name anything.
func appendElement(dst []byte, value string) []byte {
	if !strings.ContainsAny(value, ",;=\"\\") {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for i := range len(value) {
		if value[i] == '"' || value[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, value[i])
	}
	return append(dst, '"')
}

// cleaned blanks what no header can hold.
func cleaned(b []byte) []byte {
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return b
}
