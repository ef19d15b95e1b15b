package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The thirteenth byte: version 2 and a command (§2.2).
const (
	commandLocal = 0x20
	commandProxy = 0x21
)

// The fourteenth byte: address family and transport (§2.2). Others must be refused.
const (
	unspecified  = 0x00
	tcp4         = 0x11
	udp4         = 0x12
	tcp6         = 0x21
	udp6         = 0x22
	unixStream   = 0x31
	unixDatagram = 0x32
)

// The extensions that mean something here (§2.2.1 to §2.2.7); all others are passed over.
const (
	typeChecksum = 0x03 // PP2_TYPE_CRC32C
	typeAWS      = 0xea // begins with a subtype
	awsEndpoint  = 0x01
)

// maxEndpoint bounds what is kept of a VPC endpoint's name: real ones have 22 bytes.
const maxEndpoint = 64

// parseV2 reads a header whose length fits.
func parseV2(b []byte) (Header, error) {
	h := Header{Version: 2}
	if b[12] == commandLocal {
		h.Local = true
		return h, nil // the rest is to be discarded, whatever it says
	}
	rest, err := h.addresses(b[13], b[lenV2:])
	if err != nil {
		return Header{}, err
	}
	if err := h.extensions(b, len(b)-len(rest)); err != nil {
		return Header{}, err
	}
	return h, nil
}

// addresses reads both addresses and returns what follows them.
func (h *Header) addresses(family byte, b []byte) ([]byte, error) {
	var size int
	switch family {
	case unspecified:
		return b, nil
	case tcp4, udp4:
		size = 4
	case tcp6, udp6:
		size = 16
	case unixStream, unixDatagram:
		const paths = 2 * 108
		if len(b) < paths {
			return nil, errAddresses
		}
		return b[paths:], nil // no address that anything here could use
	default:
		return nil, errFamily
	}
	if len(b) < 2*size+4 {
		return nil, errAddresses
	}
	h.Source = addressV2(b[:size], b[2*size:])
	h.Destination = addressV2(b[size:2*size], b[2*size+2:])
	return b[2*size+4:], nil
}

func addressV2(address, port []byte) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(port))
}

// extensions walks the type-length-values from at to the end.
func (h *Header) extensions(b []byte, at int) error {
	summed := false
	for at < len(b) {
		if len(b)-at < 3 {
			return errTLV
		}
		start, end := at+3, at+3+int(binary.BigEndian.Uint16(b[at+1:]))
		if end > len(b) {
			return errTLV
		}
		switch b[at] {
		case typeChecksum:
			if summed || end-start != 4 || binary.BigEndian.Uint32(b[start:]) != checksum(b, start) {
				return errChecksum
			}
			summed = true
		case typeAWS:
			if name := b[start:end]; len(name) > 1 && name[0] == awsEndpoint && len(name) <= 1+maxEndpoint {
				h.VPCEndpoint = string(name[1:])
			}
		}
		at = end
	}
	return nil
}

// castagnoli is the polynomial of CRC32c (RFC 4960 appendix B).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC32c of the header with its four bytes at at taken for zeros (§2.2.4).
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}
