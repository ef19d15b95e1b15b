package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"legate/wire"
)

// A choppy stream has a body that comes in pieces of the given sizes, over and over.
type choppy struct {
	wire.Stream
	body  string
	sizes []int
	reads int
}

func (c *choppy) ReadBody(p []byte) (int, error) {
	if c.body == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), max(c.sizes[c.reads%len(c.sizes)], 1))], c.body)
	c.reads++
	c.body = c.body[n:]
	return n, nil
}

// decoded reads all of body through an unbase64, in reads of that size.
func decoded(body string, sizes []int, read int) ([]byte, error) {
	var (
		u   unbase64
		all []byte
		src = choppy{body: body, sizes: sizes}
		p   = make([]byte, read)
	)
	for {
		n, err := u.read(&src, p)
		all = append(all, p[:n]...)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestUnbase64(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"one quantum", "YWJj", "abc"},
		{"padded by one", "YWI=", "ab"},
		{"padded by two", "YQ==", "a"},
		{"padded in the middle", "YQ==YWI=YWJjYQ==", "aababca"},
		{"every byte of the alphabet's ends", "+/+/AAAA", "\xfb\xff\xbf\x00\x00\x00"},
	} {
		for piece := 1; piece <= 9; piece++ {
			for _, read := range []int{1, 3, 7, 8, 4096} {
				if got, err := decoded(row.text, []int{piece}, read); string(got) != row.want || err != nil {
					t.Errorf("%s, in pieces of %d, read by %d: got %q, %v; want %q", row.name, piece, read, got, err, row.want)
				}
			}
		}
	}
}

func TestUnbase64Refuses(t *testing.T) {
	for _, row := range []struct{ name, text string }{
		{"three digits", "YWJ"},
		{"one digit after a quantum", "YWJjY"},
		{"padding where none can be", "Y==="},
		{"only padding", "===="},
		{"a digit behind padding", "YQ=a"},
		{"a space", "YW Jj"},
		{"a line feed", "YWJj\n"},
		{"the alphabet of URLs", "-_-_"},
		{"a NUL", "YWJ\x00"},
	} {
		for piece := 1; piece <= 5; piece++ {
			if got, err := decoded(row.text, []int{piece}, 4096); !errors.Is(err, errBase64) {
				t.Errorf("%s, in pieces of %d: got %q, %v", row.name, piece, got, err)
			}
		}
	}
}

// What goes in comes out, wherever it is cut and flushed.
func FuzzBase64(f *testing.F) {
	f.Add([]byte("hello, world"), []byte{1, 2, 3, 4}, uint8(3))
	f.Add(bytes.Repeat([]byte{255}, 40_000), []byte{255, 1}, uint8(0))
	f.Fuzz(func(t *testing.T, message, cuts []byte, flush uint8) {
		if len(cuts) == 0 {
			cuts = []byte{100}
		}
		var (
			enc  rebase64
			text strings.Builder
			dst  = make([]byte, 64)
			last [quantum]byte
		)
		rest := message
		for i := 0; len(rest) > 0; i++ {
			piece := rest[:min(len(rest), int(cuts[i%len(cuts)])+1)]
			rest = rest[len(piece):]
			for len(piece) > 0 {
				n, taken := enc.encode(dst, piece)
				text.Write(dst[:n])
				piece = piece[taken:]
			}
			if flush > 0 && i%int(flush) == 0 {
				text.Write(last[:enc.end(last[:])])
			}
		}
		text.Write(last[:enc.end(last[:])])
		if flush == 0 {
			if want := base64.StdEncoding.EncodeToString(message); text.String() != want {
				t.Fatalf("got %q, want %q", text.String(), want)
			}
		}
		sizes := make([]int, len(cuts))
		for i, c := range cuts {
			sizes[i] = int(c)
		}
		if got, err := decoded(text.String(), sizes, 1+int(flush)); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(message))
		}
	})
}

// FuzzUnbase64 compares with encoding/base64 where the text has no padding in its middle.
func FuzzUnbase64(f *testing.F) {
	for _, text := range []string{"YWJj", "YQ==", "YQ==YQ==", "Y", "====", "Zm9v\nYmFy"} {
		f.Add(text, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, piece uint8) {
		got, err := decoded(text, []int{int(piece)}, 512)
		want, stdErr := base64.StdEncoding.DecodeString(text)
		middle := strings.Contains(strings.TrimRight(text, "="), "=")
		newline := strings.ContainsAny(text, "\r\n") // which it passes over, and we do not
		switch {
		case middle || newline:
		case (err == nil) != (stdErr == nil):
			t.Fatalf("%q: got %v, encoding/base64 says %v", text, err, stdErr)
		case err == nil && !bytes.Equal(got, want):
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	})
}

func TestAllocsBase64(t *testing.T) {
	text := strings.Repeat("YWJjYQ==", 1000)
	src := &choppy{sizes: []int{777}}
	p, dst := make([]byte, 4096), make([]byte, 4096)
	var u unbase64
	var enc rebase64
	n := testing.AllocsPerRun(20, func() {
		src.body = text
		for {
			n, err := u.read(src, p)
			for rest := p[:n]; len(rest) > 0; {
				_, taken := enc.encode(dst, rest)
				rest = rest[taken:]
			}
			if err != nil {
				break
			}
		}
		enc.end(dst)
	})
	if n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
