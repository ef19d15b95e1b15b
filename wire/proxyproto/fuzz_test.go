package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// FuzzHeader compares with a second reading of the specification that is written for
// nothing but to be compared with.
func FuzzHeader(f *testing.F) {
	for _, c := range headers {
		f.Add([]byte(c.text))
		f.Add([]byte(c.text + "GET / HTTP/1.1\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 4096)] // read goes byte by byte
		got, n, err := read(string(b))
		want, length, ok := oracle(b)
		if !ok {
			want, length = Header{}, 0
		}
		if ok != (err == nil) || got != want || n != length && ok {
			t.Errorf("got %+v of %d bytes, %v; want %+v of %d, %v", got, n, err, want, length, ok)
		}
		if err != nil && !errors.Is(err, ErrAbsent) && !errors.Is(err, errMore) && !begins(b, signatureV1) && !begins(b, signatureV2) {
			t.Errorf("what begins with no signature is malformed: %v", err)
		}
	})
}

var lineV1 = regexp.MustCompile(`^PROXY (?:(TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})|UNKNOWN(?: [^\n]*)?)\r\n$`)

func oracle(b []byte) (h Header, n int, ok bool) {
	if bytes.HasPrefix(b, []byte("\r\n\r\n\x00\r\nQUIT\n")) {
		return oracleV2(b)
	}
	line, _, found := bytes.Cut(b, []byte("\n"))
	line = append(slices.Clone(line), '\n')
	m := lineV1.FindSubmatch(line)
	if !found || m == nil || len(line) > 107 {
		return h, 0, false
	}
	h.Version = 1
	if len(m[1]) == 0 {
		return h, len(line), true
	}
	for i, to := range []*netip.AddrPort{&h.Source, &h.Destination} {
		ip := net.ParseIP(string(m[2+i]))
		port, err := strconv.Atoi(string(m[4+i]))
		if ip == nil || err != nil || port > 65535 || bytes.ContainsRune(m[2+i], ':') != (string(m[1]) == "TCP6") {
			return Header{}, 0, false
		}
		addr, _ := netip.AddrFromSlice(ip)
		*to = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return h, len(line), true
}

func oracleV2(b []byte) (h Header, n int, ok bool) {
	r := bytes.NewReader(b[12:])
	var fixed struct {
		Command, Family byte
		Length          uint16
	}
	if binary.Read(r, binary.BigEndian, &fixed) != nil || int(fixed.Length) > r.Len() || fixed.Command != 0x20 && fixed.Command != 0x21 {
		return h, 0, false
	}
	n = 16 + int(fixed.Length)
	if fixed.Command == 0x20 {
		return Header{Version: 2, Local: true}, n, true
	}
	body := bytes.NewReader(b[16:n])
	sizes := map[byte]int{0x00: 0, 0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16, 0x31: 108, 0x32: 108}
	size, known := sizes[fixed.Family]
	source, destination, ports := make([]byte, size), make([]byte, size), [2]uint16{}
	if _, err := io.ReadFull(body, source); !known || err != nil {
		return h, 0, false
	}
	if _, err := io.ReadFull(body, destination); err != nil {
		return h, 0, false
	}
	h.Version = 2
	if size == 4 || size == 16 {
		if binary.Read(body, binary.BigEndian, &ports) != nil {
			return Header{}, 0, false
		}
		from, _ := netip.AddrFromSlice(source)
		to, _ := netip.AddrFromSlice(destination)
		h.Source, h.Destination = netip.AddrPortFrom(from.Unmap(), ports[0]), netip.AddrPortFrom(to.Unmap(), ports[1])
	}
	sums := 0
	for {
		var head struct {
			Kind   byte
			Length uint16
		}
		if err := binary.Read(body, binary.BigEndian, &head); errors.Is(err, io.EOF) {
			return h, n, sums < 2
		} else if err != nil {
			return Header{}, 0, false
		}
		value := make([]byte, head.Length)
		if _, err := io.ReadFull(body, value); err != nil {
			return Header{}, 0, false
		}
		end := int64(n-16) - int64(body.Len())
		switch {
		case head.Kind == 3:
			whole := slices.Clone(b[:n])
			if sums++; len(value) != 4 {
				return Header{}, 0, false
			}
			clear(whole[16+end-4 : 16+end])
			if crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(value) {
				return Header{}, 0, false
			}
		case head.Kind == 0xea && len(value) >= 2 && len(value) <= 65 && value[0] == 1:
			h.VPCEndpoint = string(value[1:])
		}
	}
}
