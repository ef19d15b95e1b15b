package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// parseV1 reads a line that ends in CRLF (§2.1). Between its parts stands one space
// each: two ways to write a line would be two ways to read it.
func parseV1(b []byte) (Header, error) {
	line := bytes.TrimSuffix(bytes.TrimPrefix(b, signatureV1), []byte("\r\n"))
	family, rest, _ := strings.Cut(string(line), " ")
	h := Header{Version: 1}
	if family == "UNKNOWN" {
		return h, nil // whatever follows means nothing
	}
	parts := strings.Split(rest, " ")
	if family != "TCP4" && family != "TCP6" || len(parts) != 4 {
		return Header{}, errForm
	}
	var err error
	if h.Source, err = addressV1(family, parts[0], parts[2]); err != nil {
		return Header{}, err
	}
	h.Destination, err = addressV1(family, parts[1], parts[3])
	if err != nil {
		return Header{}, err
	}
	return h, nil
}

func addressV1(family, address, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, errAddress
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, errPort
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
