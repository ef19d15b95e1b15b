package h1

import (
	"bytes"
	"io"

	"legate/wire"
)

// readChunked reads content of a chunked body (RFC 9112 §7.1).
func (b *body) readChunked(p []byte) (int, error) {
	for {
		switch b.state {
		case chunkSize:
			if err := b.readSizeLine(); err != nil {
				return 0, err
			}
		case chunkData:
			n, err := b.readRaw(p, b.remaining)
			b.remaining -= int64(n)
			if b.remaining == 0 {
				b.state = chunkDataEnd
				if b.rd.buffered() >= 2 { // so that the end is seen without another read
					if err := b.endData(); err != nil {
						return n, err
					}
				}
			}
			return n, err
		case chunkDataEnd:
			if err := b.need(2); err != nil {
				return 0, err
			}
			if err := b.endData(); err != nil {
				return 0, err
			}
		case chunkTrailer:
			if err := b.readTrailer(); err != nil {
				return 0, err
			}
			b.done = true
			return 0, io.EOF
		}
	}
}

// maxChunksAhead is how many chunks are looked at ahead of their reading: who cuts a body
// finer would have us look at the same bytes again and again.
const maxChunksAhead = 64

// chunksAtHand reports whether the rest of a chunked body is buffered, its trailer included.
// It takes nothing. Budget: 0 allocs.
func (b *body) chunksAtHand() bool {
	p := b.rd.buf[b.rd.r:b.rd.w]
	state, left := b.state, b.remaining
	for range maxChunksAhead {
		if state == chunkData {
			if int64(len(p)) < left {
				return false
			}
			p, state = p[left:], chunkDataEnd
		}
		if state == chunkDataEnd {
			if !bytes.HasPrefix(p, crlf) {
				return false
			}
			p, state = p[len(crlf):], chunkSize
		}
		if state == chunkSize {
			line, rest, ends := bytes.Cut(p, crlf[1:])
			if !ends {
				return false
			}
			size, err := parseChunkLine(p[:len(line)+1])
			if err != nil {
				return false
			}
			p, left, state = rest, size, chunkData
			if size == 0 {
				state = chunkTrailer
			}
		}
		if state == chunkTrailer {
			return bytes.HasPrefix(p, crlf) || bytes.Contains(p, crlfcrlf)
		}
	}
	return false
}

var crlf, crlfcrlf = []byte("\r\n"), []byte("\r\n\r\n")

// endData takes the CRLF behind a chunk's data.
func (b *body) endData() error {
	rd := b.rd
	if rd.buf[rd.r] != '\r' || rd.buf[rd.r+1] != '\n' {
		return errChunkEnd
	}
	rd.r += 2
	b.state = chunkSize
	return nil
}

// readSizeLine reads "size [;extensions] CRLF".
func (b *body) readSizeLine() error {
	for {
		line := b.rd.buf[b.rd.r:b.rd.w]
		i := bytes.IndexByte(line, '\n')
		if i > maxChunkLine || i < 0 && len(line) > maxChunkLine {
			return errChunkExtension
		}
		if i < 0 {
			if err := b.more(); err != nil {
				return err
			}
			continue
		}
		size, err := parseChunkLine(line[:i+1])
		if err != nil {
			return err
		}
		b.rd.r += i + 1
		b.remaining, b.state = size, chunkData
		if size == 0 {
			b.state = chunkTrailer
		}
		return nil
	}
}

// parseChunkLine reads a size line with its CRLF. Extensions are checked and
// skipped; white space before their ";" is what RFC 9112 §7.1.1 tolerates, and no
// other is.
func parseChunkLine(line []byte) (int64, *wire.ProtocolError) {
	end := len(line) - 2
	if end < 1 || line[end] != '\r' {
		return 0, errChunkSize
	}
	var n int64
	i := 0
	for ; i < end; i++ {
		d := hexValue(line[i])
		if d < 0 {
			break
		}
		if n >= 1<<59 { // the next digit would overflow
			return 0, errChunkSize
		}
		n = n<<4 | int64(d)
	}
	if i == 0 || i > 16 {
		return 0, errChunkSize
	}
	if i == end {
		return n, nil
	}
	return n, checkExtension(line[i:end])
}

// checkExtension accepts *( BWS ";" BWS name [ BWS "=" BWS value ] ) by its
// characters: what matters is that no line end hides in it and that it begins as an
// extension does.
func checkExtension(ext []byte) *wire.ProtocolError {
	rest := wire.TrimOWS(ext)
	if len(rest) < 2 || rest[0] != ';' {
		return errChunkSize
	}
	for _, c := range ext {
		if class[c]&isValue == 0 {
			return errChunkExtension
		}
	}
	if first := wire.TrimOWS(rest[1:]); len(first) == 0 || class[first[0]]&isToken == 0 {
		return errChunkExtension
	}
	return nil
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// readTrailer reads the trailer section and its empty line.
func (b *body) readTrailer() error {
	if err := b.need(2); err != nil {
		return err
	}
	rd := b.rd
	if rd.buf[rd.r] == '\r' && rd.buf[rd.r+1] == '\n' {
		rd.r += 2
		return nil
	}
	s := scanner{lines: 1} // a trailer has no start line
	var n int
	for {
		var perr *wire.ProtocolError
		n, perr = s.scan(rd.buf[rd.r:rd.w], maxTrailerBytes, maxTrailerBytes)
		if perr != nil {
			return errTrailer
		}
		if n > 0 {
			break
		}
		if err := b.more(); err != nil {
			return err
		}
	}
	b.trailerBuf = append(b.trailerBuf[:0], rd.buf[rd.r:rd.r+n]...)
	rd.r += n
	b.trailer.Reset(b.trailerBuf)
	if err := parseFields(&b.trailer, b.trailerBuf, 0, 64); err != nil {
		return errTrailer
	}
	b.hasTrailer = true
	return nil
}

// need waits until n bytes are buffered.
func (b *body) need(n int) error {
	for b.rd.buffered() < n {
		if err := b.more(); err != nil {
			return err
		}
	}
	return nil
}
