package e2e

import (
	"crypto/rand"
	be "encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// A hello is what a client begins a TLS connection with (RFC 5246 §7.4.1.2), also of such
// clients as crypto/tls does not let one be.
type hello struct {
	version     uint16
	suites      []uint16
	compression []byte
	signatures  []uint16
}

// Code points of RFC 5246, RFC 8446 and their like.
const (
	alertRecord, handshakeRecord = 21, 22
	clientHello, serverHello     = 1, 2
	serverHelloDone              = 14
	renegotiationInfo            = 0xff01

	ssl3, tls10, tls11, tls12 = 0x0300, 0x0301, 0x0302, 0x0303

	ecdsaSHA256, ecdsaSHA1 = 0x0403, 0x0203
	ecdheECDSAAES128GCM    = 0xc02b
	fallback               = 0x5600 // TLS_FALLBACK_SCSV
)

// bytes renders h for name in one record.
func (h *hello) bytes(name string) []byte {
	uint16s := func(vs []uint16) (b []byte) {
		for _, v := range vs {
			b = be.BigEndian.AppendUint16(b, v)
		}
		return b
	}
	short := func(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }
	long := func(b []byte) []byte { return append(be.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	extension := func(id uint16, b []byte) []byte { return append(be.BigEndian.AppendUint16(nil, id), long(b)...) }
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	extensions := slices.Concat(
		extension(0, long(append([]byte{0}, long([]byte(name))...))), // server_name
		extension(10, long(uint16s([]uint16{29, 23}))),               // supported_groups: X25519, P-256
		extension(11, short([]byte{0})),                              // ec_point_formats
		extension(13, long(uint16s(h.signatures))),                   // signature_algorithms
		extension(renegotiationInfo, short(nil)),                     // renegotiation_info
	)
	body := slices.Concat(uint16s([]uint16{h.version}), random, short(nil), long(uint16s(h.suites)), short(h.compression), long(extensions))
	message := append([]byte{clientHello, 0}, long(body)...)
	return slices.Concat([]byte{handshakeRecord}, uint16s([]uint16{min(h.version, tls10)}), long(message))
}

// answered says what came for h: an alert, or what a ServerHello has chosen that no alert
// follows.
func (h *hello) answered(t *testing.T, addr, name string) (what string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Write(h.bytes(name))
	must(t, err)
	for {
		head := make([]byte, 5)
		_, err = io.ReadFull(c, head)
		must(t, err)
		record := make([]byte, be.BigEndian.Uint16(head[3:]))
		_, err = io.ReadFull(c, record)
		must(t, err)
		switch {
		case head[0] == alertRecord && len(record) == 2:
			return fmt.Sprintf("alert %d", record[1])
		case head[0] != handshakeRecord:
			return fmt.Sprintf("record %d of %x", head[0], record)
		case record[0] == serverHello:
			what = chosen(record)
		case record[0] == serverHelloDone:
			return what
		}
	}
}

// chosen says what a ServerHello chose.
func chosen(message []byte) string {
	const fixed = 4 + 2 + 32 // header, version, random
	rest := message[fixed+1+int(message[fixed]):]
	what := fmt.Sprintf("version %x, suite %x, compression %d", message[4:6], rest[:2], rest[2])
	for extensions := rest[5:]; len(extensions) >= 4; extensions = extensions[4+int(be.BigEndian.Uint16(extensions[2:])):] {
		if be.BigEndian.Uint16(extensions) == renegotiationInfo {
			what += ", renegotiation only of this connection"
		}
	}
	return what
}

// What is weak is refused with default settings, whatever a client offers, and nothing worse
// than what it could have is agreed on.
func TestWeakHellos(t *testing.T) {
	t.Parallel()
	g := start(t, setup{manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert")})
	const (
		protocolVersion, handshakeFailure, illegalParameter, inappropriateFallback = "alert 70", "alert 40", "alert 47", "alert 86"
		good                                                                       = "version 0303, suite c02b, compression 0, renegotiation only of this connection"
	)
	fine := []uint16{ecdheECDSAAES128GCM}
	for _, row := range []struct {
		offered string
		hello   hello
		want    string
	}{
		{"TLS 1.2", hello{suites: fine}, good},
		{"compression beside none", hello{suites: fine, compression: []byte{1, 0}}, good},
		{"compression alone", hello{suites: fine, compression: []byte{1}}, illegalParameter},
		{"SSL 3.0", hello{version: ssl3, suites: fine}, protocolVersion},
		{"TLS 1.0", hello{version: tls10, suites: []uint16{0xc009, 0xc013}}, protocolVersion},
		{"TLS 1.1", hello{version: tls11, suites: []uint16{0xc009, 0xc013}}, protocolVersion},
		{"TLS 1.2 by who says that more was refused", hello{suites: []uint16{ecdheECDSAAES128GCM, fallback}}, inappropriateFallback},
		{"CBC with ECDHE", hello{suites: []uint16{0xc009, 0xc00a, 0xc013, 0xc014}}, handshakeFailure},
		{"CBC with SHA-256 and SHA-384", hello{suites: []uint16{0xc023, 0xc024, 0xc027, 0xc028, 0x003c, 0x003d}}, handshakeFailure},
		{"RSA key exchange", hello{suites: []uint16{0x009c, 0x009d, 0x002f, 0x0035}}, handshakeFailure},
		{"DHE", hello{suites: []uint16{0x009e, 0x009f, 0x0033, 0x0039, 0xccaa}}, handshakeFailure},
		{"3DES", hello{suites: []uint16{0x000a, 0xc008, 0xc012, 0x0016}}, handshakeFailure},
		{"RC4", hello{suites: []uint16{0x0004, 0x0005, 0xc007, 0xc011}}, handshakeFailure},
		{"no encryption", hello{suites: []uint16{0x0001, 0x0002, 0x003b, 0xc006, 0xc010}}, handshakeFailure},
		{"EXPORT", hello{suites: []uint16{0x0003, 0x0006, 0x0008, 0x0014}}, handshakeFailure},
		{"nobody's certificate", hello{suites: []uint16{0x0018, 0x0034, 0x006c, 0x00a6, 0xc018}}, handshakeFailure},
		{"CBC before what is good", hello{suites: []uint16{0xc009, 0x009c, ecdheECDSAAES128GCM}}, good},
		{"signatures by SHA-1 alone", hello{suites: fine, signatures: []uint16{ecdsaSHA1}}, handshakeFailure},
	} {
		h := row.hello
		if h.version == 0 {
			h.version = tls12
		}
		if h.compression == nil {
			h.compression = []byte{0}
		}
		if h.signatures == nil {
			h.signatures = []uint16{ecdsaSHA256}
		}
		if got := h.answered(t, g.secure, "gate.test"); got != row.want {
			t.Errorf("%s: %s, want %s", row.offered, got, row.want)
		}
	}
}
