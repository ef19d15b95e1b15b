// Package proxyproto understands the header that a load balancer puts before a
// connection's own bytes to say whose connection it is: the PROXY protocol, versions 1
// and 2, by HAProxy's specification. It reads from no socket and decides nothing.
package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
)

// A Header is what a PROXY header says.
type Header struct {
	Version uint8 // 1 or 2
	// Local says that the sender speaks for itself, as in a health check: the addresses
	// of the socket count.
	Local bool
	// Source and Destination are the client's address and the one that it connected to.
	// They are invalid where the sender knows neither, or has no IP addresses to tell:
	// then those of the socket count.
	Source, Destination netip.AddrPort
	// VPCEndpoint is the AWS VPC endpoint that the connection came through; "" for none.
	VPCEndpoint string
}

// MaxV1 is the longest header of version 1, its line's end included (§2.1).
const MaxV1 = 107

// lenV2 is the length of a version 2 header before its addresses (§2.2).
const lenV2 = 16

// Errors of Length and Parse. Errors that are not ErrAbsent say what is malformed;
// their text holds no byte of the header.
var (
	// ErrAbsent says that what a connection begins with is no PROXY header.
	ErrAbsent = errors.New("no PROXY header")

	errLine      = errors.New("version 1: the line is not ended by CRLF within 107 bytes")
	errForm      = errors.New("version 1: not of the form PROXY TCP4|TCP6|UNKNOWN source destination port port")
	errAddress   = errors.New("version 1: not an address of the family named")
	errPort      = errors.New("version 1: not a port number")
	errVersion   = errors.New("version 2: neither LOCAL nor PROXY of version 2")
	errFamily    = errors.New("version 2: an address family or transport that is not specified")
	errAddresses = errors.New("version 2: shorter than the addresses of its family")
	errTLV       = errors.New("version 2: an extension is longer than the header")
	errChecksum  = errors.New("version 2: the checksum does not fit")
	errLength    = errors.New("version 2: more or fewer bytes than its length says")
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// Length returns how long the header is that b begins with, once that can be told; 0
// asks for more bytes, of which MaxV1 are always enough. Bytes that cannot begin a
// header are ErrAbsent. Budget: 0 allocs.
func Length(b []byte) (int, error) {
	switch {
	case begins(b, signatureV1):
		return lengthV1(b)
	case begins(b, signatureV2):
		return lengthV2(b)
	}
	return 0, ErrAbsent
}

// Begins reports whether b begins like a header of either version and like no request
// of HTTP/1: the target of a method called PROXY would not begin with a family.
func Begins(b []byte) bool {
	return bytes.HasPrefix(b, []byte("PROXY T")) || bytes.HasPrefix(b, []byte("PROXY U")) || bytes.HasPrefix(b, signatureV2)
}

// begins reports whether b and signature are equal as far as both go.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == string(signature[:n])
}

func lengthV1(b []byte) (int, error) {
	end := bytes.IndexByte(b[:min(len(b), MaxV1)], '\n') + 1
	if end == 0 && len(b) < MaxV1 {
		return 0, nil
	}
	if end < 2 || b[end-2] != '\r' {
		return 0, errLine
	}
	return end, nil
}

func lengthV2(b []byte) (int, error) {
	if len(b) > len(signatureV2) && b[12] != commandLocal && b[12] != commandProxy {
		return 0, errVersion
	}
	if len(b) < lenV2 {
		return 0, nil
	}
	return lenV2 + int(b[14])<<8 + int(b[15]), nil
}

// Parse reads a header that b holds from its first byte to its last, see Length.
func Parse(b []byte) (Header, error) {
	n, err := Length(b)
	switch {
	case err != nil:
		return Header{}, err
	case b[0] == signatureV2[0]:
		if n != len(b) {
			return Header{}, errLength
		}
		return parseV2(b)
	case n != len(b):
		return Header{}, errLine
	}
	return parseV1(b)
}
