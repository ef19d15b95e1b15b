package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// v2 renders a header of version 2 whose length is right.
func v2(command, family byte, parts ...string) string {
	body := strings.Join(parts, "")
	return lying(command, family, len(body), body)
}

// lying renders a header of version 2 that says it has n bytes.
func lying(command, family byte, n int, body string) string {
	return startOfV2 + string([]byte{command, family, byte(n >> 8), byte(n)}) + body
}

func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// summed sets the checksum in a header of version 2 that has one of zeros.
func summed(header string) string {
	at := strings.Index(header, tlv(3, "\x00\x00\x00\x00")) + 3
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return header[:at] + string(binary.BigEndian.AppendUint32(nil, sum)) + header[at+4:]
}

const (
	noSum = "\x03\x00\x04\x00\x00\x00\x00"
	from4 = "\xc6\x33\x64\x07" + "\x0a\x00\x00\x01" + "\xdb\xcd" + "\x01\xbb" // 198.51.100.7:56269 to 10.0.0.1:443
	from6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\xdb\xcd" + "\x01\xbb"
	mapped6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x07" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01" + "\xdb\xcd" + "\x01\xbb"
)

var (
	plain4 = Header{Version: 2, Source: netip.MustParseAddrPort("198.51.100.7:56269"), Destination: netip.MustParseAddrPort("10.0.0.1:443")}
	plain6 = Header{Version: 2, Source: netip.MustParseAddrPort("[2001:db8::7]:56269"), Destination: netip.MustParseAddrPort("[2001:db8::1]:443")}
	line4  = Header{Version: 1, Source: plain4.Source, Destination: plain4.Destination}
	line6  = Header{Version: 1, Source: plain6.Source, Destination: plain6.Destination}
)

func throughEndpoint(h Header, name string) Header {
	h.VPCEndpoint = name
	return h
}

// errMore stands for a header that is not complete.
var errMore = errors.New("more is needed")

var headers = []struct {
	name string
	text string
	want Header
	err  error
}{
	// Version 1.
	{"TCP4", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r\n", line4, nil},
	{"TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 56269 443\r\n", line6, nil},
	{"TCP6 written out", "PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0007 2001:DB8:0:0:0:0:0:1 56269 443\r\n", line6, nil},
	{"TCP6 of mapped IPv4", "PROXY TCP6 ::ffff:198.51.100.7 ::ffff:10.0.0.1 56269 443\r\n", line4, nil},
	{"port 0", "PROXY TCP4 198.51.100.7 10.0.0.1 0 0\r\n", Header{Version: 1, Source: netip.MustParseAddrPort("198.51.100.7:0"), Destination: netip.MustParseAddrPort("10.0.0.1:0")}, nil},
	{"UNKNOWN", "PROXY UNKNOWN\r\n", Header{Version: 1}, nil},
	{"UNKNOWN with addresses", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", Header{Version: 1}, nil},
	{"UNKNOWN with anything", "PROXY UNKNOWN \x00\xff\r \t?\r\n", Header{Version: 1}, nil},
	{"UNKNOWN run together", "PROXY UNKNOWNX\r\n", Header{}, errForm},
	{"unknown in lower case", "PROXY unknown\r\n", Header{}, errForm},
	{"proxy in lower case", "proxy TCP4 198.51.100.7 10.0.0.1 56269 443\r\n", Header{}, ErrAbsent},
	{"UDP4", "PROXY UDP4 198.51.100.7 10.0.0.1 56269 443\r\n", Header{}, errForm},
	{"no family", "PROXY \r\n", Header{}, errForm},
	{"no addresses", "PROXY TCP4\r\n", Header{}, errForm},
	{"one port", "PROXY TCP4 198.51.100.7 10.0.0.1 56269\r\n", Header{}, errForm},
	{"three ports", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443 1\r\n", Header{}, errForm},
	{"two spaces", "PROXY TCP4  198.51.100.7 10.0.0.1 56269 443\r\n", Header{}, errForm},
	{"space at the end", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443 \r\n", Header{}, errForm},
	{"tab", "PROXY TCP4\t198.51.100.7 10.0.0.1 56269 443\r\n", Header{}, errForm},
	{"IPv6 called TCP4", "PROXY TCP4 2001:db8::7 2001:db8::1 56269 443\r\n", Header{}, errAddress},
	{"IPv4 called TCP6", "PROXY TCP6 198.51.100.7 10.0.0.1 56269 443\r\n", Header{}, errAddress},
	{"a zone", "PROXY TCP6 fe80::7%eth0 2001:db8::1 56269 443\r\n", Header{}, errAddress},
	{"leading zeros in an address", "PROXY TCP4 198.051.100.007 10.0.0.1 56269 443\r\n", Header{}, errAddress},
	{"three numbers", "PROXY TCP4 198.51.100 10.0.0.1 56269 443\r\n", Header{}, errAddress},
	{"a name", "PROXY TCP4 localhost 10.0.0.1 56269 443\r\n", Header{}, errAddress},
	{"bad destination", "PROXY TCP4 198.51.100.7 10.0.0.256 56269 443\r\n", Header{}, errAddress},
	{"port too high", "PROXY TCP4 198.51.100.7 10.0.0.1 65536 443\r\n", Header{}, errPort},
	{"negative port", "PROXY TCP4 198.51.100.7 10.0.0.1 -1 443\r\n", Header{}, errPort},
	{"leading zero in a port", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 0443\r\n", Header{}, errPort},
	{"port with a sign", "PROXY TCP4 198.51.100.7 10.0.0.1 +56269 443\r\n", Header{}, errPort},
	{"LF alone", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\n", Header{}, errLine},
	{"107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", Header{Version: 1}, nil},
	{"108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", Header{}, errLine},
	{"no end", "PROXY UNKNOWN " + strings.Repeat("x", 200), Header{}, errLine},
	{"cut off", "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r", Header{}, errMore},
	{"cut off in the signature", "PROX", Header{}, errMore},

	// Version 2.
	{"v2 TCP over IPv4", v2(0x21, 0x11, from4), plain4, nil},
	{"v2 UDP over IPv4", v2(0x21, 0x12, from4), plain4, nil},
	{"v2 TCP over IPv6", v2(0x21, 0x21, from6), plain6, nil},
	{"v2 UDP over IPv6", v2(0x21, 0x22, from6), plain6, nil},
	{"v2 mapped IPv4", v2(0x21, 0x21, mapped6), plain4, nil},
	{"v2 unspecified", v2(0x21, 0x00), Header{Version: 2}, nil},
	{"v2 unspecified with extensions", v2(0x21, 0x00, tlv(4, "")), Header{Version: 2}, nil},
	{"v2 unix stream", v2(0x21, 0x31, strings.Repeat("/", 216)), Header{Version: 2}, nil},
	{"v2 unix datagram", v2(0x21, 0x32, strings.Repeat("/", 216), tlv(4, "x")), Header{Version: 2}, nil},
	{"v2 LOCAL", v2(0x20, 0x00), Header{Version: 2, Local: true}, nil},
	{"v2 LOCAL with addresses", v2(0x20, 0x11, from4), Header{Version: 2, Local: true}, nil},
	{"v2 LOCAL with nonsense", v2(0x20, 0xff, "nonsense"), Header{Version: 2, Local: true}, nil},
	{"v2 of version 1", v2(0x11, 0x11, from4), Header{}, errVersion},
	{"v2 of version 3", v2(0x31, 0x11, from4), Header{}, errVersion},
	{"v2 other command", v2(0x22, 0x11, from4), Header{}, errVersion},
	{"v2 other family", v2(0x21, 0x41, from4), Header{}, errFamily},
	{"v2 other transport", v2(0x21, 0x13, from4), Header{}, errFamily},
	{"v2 family without transport", v2(0x21, 0x10, from4), Header{}, errFamily},
	{"v2 transport without family", v2(0x21, 0x01, from4), Header{}, errFamily},
	{"v2 without addresses", v2(0x21, 0x11), Header{}, errAddresses},
	{"v2 one byte short of IPv4", v2(0x21, 0x11, from4[:11]), Header{}, errAddresses},
	{"v2 IPv4 called IPv6", v2(0x21, 0x21, from4), Header{}, errAddresses},
	{"v2 one byte short of IPv6", v2(0x21, 0x21, from6[:35]), Header{}, errAddresses},
	{"v2 one byte short of unix", v2(0x21, 0x31, strings.Repeat("/", 215)), Header{}, errAddresses},
	{"v2 cut off in the signature", "\r\n\r\n\x00\r\nQUI", Header{}, errMore},
	{"v2 cut off before the length", lying(0x21, 0x11, 12, "")[:15], Header{}, errMore},
	{"v2 cut off in the addresses", lying(0x21, 0x11, 12, from4[:7]), Header{}, errMore},
	{"v2 whose length is the most", lying(0x21, 0x11, 65535, from4), Header{}, errMore},
	{"v2 whose length takes the addresses apart", lying(0x21, 0x11, 8, from4[:8]), Header{}, errAddresses},
	{"two empty lines and a request", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", Header{}, ErrAbsent},

	// Extensions of version 2.
	{"NOOP", v2(0x21, 0x11, from4, tlv(4, "\x00\x00\x00")), plain4, nil},
	{"empty extension", v2(0x21, 0x11, from4, tlv(4, "")), plain4, nil},
	{"the largest extension", v2(0x21, 0x11, from4, tlv(4, strings.Repeat("x", 65535-15))), plain4, nil},
	{"ALPN, authority, unique id, namespace", v2(0x21, 0x11, from4, tlv(1, "h2"), tlv(2, "a.test"), tlv(5, "id"), tlv(0x30, "ns")), plain4, nil},
	{"SSL with extensions of its own", v2(0x21, 0x11, from4, tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3")+tlv(0x22, "client"))), plain4, nil},
	{"SSL that looks like an endpoint", v2(0x21, 0x11, from4, tlv(0x20, tlv(0xea, "\x01vpce-no"))), plain4, nil},
	{"VPC endpoint", v2(0x21, 0x11, from4, tlv(0xea, "\x01vpce-08d2bf15fac5001c9")), throughEndpoint(plain4, "vpce-08d2bf15fac5001c9"), nil},
	{"VPC endpoint over IPv6", v2(0x21, 0x21, from6, tlv(0xea, "\x01vpce-1")), throughEndpoint(plain6, "vpce-1"), nil},
	{"what else AWS says", v2(0x21, 0x11, from4, tlv(0xea, "\x02vpce-1")), plain4, nil},
	{"VPC endpoint without a name", v2(0x21, 0x11, from4, tlv(0xea, "\x01")), plain4, nil},
	{"AWS without a subtype", v2(0x21, 0x11, from4, tlv(0xea, "")), plain4, nil},
	{"VPC endpoint too long to be one", v2(0x21, 0x11, from4, tlv(0xea, "\x01"+strings.Repeat("v", 65))), plain4, nil},
	{"checksum", summed(v2(0x21, 0x11, from4, noSum)), plain4, nil},
	{"checksum before others", summed(v2(0x21, 0x11, from4, noSum, tlv(0xea, "\x01vpce-1"))), throughEndpoint(plain4, "vpce-1"), nil},
	{"checksum after others", summed(v2(0x21, 0x21, from6, tlv(4, "xx"), noSum)), plain6, nil},
	{"wrong checksum", v2(0x21, 0x11, from4, noSum), Header{}, errChecksum},
	{"checksum of other addresses", strings.Replace(summed(v2(0x21, 0x11, from4, noSum)), "\xc6\x33", "\xc6\x34", 1), Header{}, errChecksum},
	{"checksum of three bytes", v2(0x21, 0x11, from4, tlv(3, "\x00\x00\x00")), Header{}, errChecksum},
	{"two checksums", summed(v2(0x21, 0x11, from4, noSum, tlv(3, "\x01\x02\x03\x04"))), Header{}, errChecksum},
	{"extension that is too long", v2(0x21, 0x11, from4, "\x04\x00\x02x"), Header{}, errTLV},
	{"extension without a length", v2(0x21, 0x11, from4, "\x04"), Header{}, errTLV},
	{"extension with half a length", v2(0x21, 0x11, from4, "\x04\x00"), Header{}, errTLV},
	{"trailing byte", v2(0x21, 0x11, from4, tlv(4, "x"), "\x00"), Header{}, errTLV},
	{"malformed extension beside unspecified addresses", v2(0x21, 0x00, "\x04\x00\x02x"), Header{}, errTLV},

	// What else a connection may begin with.
	{"nothing", "", Header{}, errMore},
	{"a request", "GET / HTTP/1.1\r\n", Header{}, ErrAbsent},
	{"a request that begins alike", "PROPFIND / HTTP/1.1\r\n", Header{}, ErrAbsent},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Header{}, ErrAbsent},
	{"a handshake", "\x16\x03\x01\x02\x00\x01", Header{}, ErrAbsent},
}

// read is how a listener uses the package: byte by byte, which must change nothing.
func read(text string) (h Header, n int, err error) {
	for seen := range len(text) + 1 {
		n, err = Length([]byte(text[:seen]))
		if err != nil {
			return h, 0, err
		}
		if n > 0 {
			break
		}
	}
	if n == 0 || n > len(text) {
		return h, 0, errMore
	}
	h, err = Parse([]byte(text[:n]))
	return h, n, err
}

func TestHeaders(t *testing.T) {
	for _, c := range headers {
		for _, behind := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
			if behind != "" && (c.err != nil || c.text == "") {
				continue
			}
			got, n, err := read(c.text + behind)
			if !errors.Is(err, c.err) || got != c.want {
				t.Errorf("%s: got %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
			}
			if err == nil && n != len(c.text) {
				t.Errorf("%s: %d bytes, want %d", c.name, n, len(c.text))
			}
		}
	}
}

// Parse is given whole headers; anything else is an error, never another header.
func TestParseWholeOnly(t *testing.T) {
	for _, c := range headers {
		if c.err != nil {
			continue
		}
		if got, err := Parse([]byte(c.text + "x")); err == nil {
			t.Errorf("%s and a byte more: got %+v", c.name, got)
		}
		if got, err := Parse([]byte(c.text[:len(c.text)-1])); err == nil {
			t.Errorf("%s without its last byte: got %+v", c.name, got)
		}
	}
}

func TestBegins(t *testing.T) {
	for text, want := range map[string]bool{
		"PROXY TCP4 1.2.3.4": true, "PROXY UNKNOWN\r\n": true, "PROXY T": true, v2(0x21, 0x11, from4): true, startOfV2: true,
		"": false, "PROXY ": false, "PROXY / HTTP/1.1": false, "PROXY * HTTP/1.1": false, "PROXY http://a/": false, "\r\n\r\n": false, startOfV2[:11]: false,
	} {
		if got := Begins([]byte(text)); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

const startOfV2 = "\r\n\r\n\x00\r\nQUIT\n"

func TestAllocsLength(t *testing.T) {
	for _, text := range []string{"PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r\n", v2(0x21, 0x11, from4), "GET / HTTP/1.1\r\n"} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() { _, _ = Length(b) }); n != 0 {
			t.Errorf("%.10q: %v allocations", text, n)
		}
	}
}
