package h1

import (
	"bytes"

	"legate/wire"
)

// parseRequest reads the request head buf, complete with its empty line, into h and
// checks everything that could be read in two ways. Budget: 0 allocs.
func parseRequest(h *wire.Head, buf []byte, lim *Limits) *wire.ProtocolError {
	h.Reset(buf)
	at, absolute, err := parseRequestLine(h, buf)
	if err != nil {
		return err
	}
	if err := parseFields(h, buf, at, lim.MaxFields); err != nil {
		return err
	}
	if err := checkAuthority(h, absolute); err != nil {
		return err
	}
	if err := requestFraming(h, lim.AllowChunkedLength); err != nil {
		return err
	}
	if err := connectionOptions(h); err != nil {
		return err
	}
	if h.Has(wire.FieldTransferEncoding) && h.Has(wire.FieldContentLength) {
		h.Close = true // whoever sent both may see another end than we do: RFC 9112 §6.1
	}
	return nil
}

// parseRequestLine reads "method SP target SP version CRLF" (RFC 9112 §3) and
// returns where the fields begin. absolute is the scheme's default port when the
// target is in absolute form.
func parseRequestLine(h *wire.Head, buf []byte) (at int, absolute string, err *wire.ProtocolError) {
	i := 0
	for class[buf[i]]&isToken != 0 {
		i++
	}
	if i == 0 || buf[i] != ' ' {
		return 0, "", errRequestLine
	}
	h.SetMethod(span(0, i))
	start := i + 1
	for i = start; class[buf[i]]&isTarget != 0; i++ {
	}
	if i == start || buf[i] != ' ' {
		return 0, "", targetError(buf[i])
	}
	end := i
	at, err = parseVersion(h, buf, end+1)
	if err != nil {
		return 0, "", err
	}
	absolute, err = parseTarget(h, buf, start, end)
	return at, absolute, err
}

// targetError tells a malformed target from a request line that ends too early.
func targetError(c byte) *wire.ProtocolError {
	if c == '\r' || c == '\n' || c == ' ' {
		return errRequestLine
	}
	return errTarget
}

// parseVersion reads "HTTP/1.x CRLF". A higher minor version is served as 1.1
// (RFC 9110 §2.5).
func parseVersion(h *wire.Head, buf []byte, i int) (int, *wire.ProtocolError) {
	const form = "HTTP/1.1\r\n"
	if len(buf) < i+len(form) || string(buf[i:i+5]) != "HTTP/" || buf[i+6] != '.' ||
		!isDigit(buf[i+5]) || !isDigit(buf[i+7]) || string(buf[i+8:i+10]) != "\r\n" {
		return 0, errRequestLine
	}
	h.Major, h.Minor = buf[i+5]-'0', buf[i+7]-'0'
	if h.Major != 1 {
		return 0, errVersion
	}
	return i + len(form), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseTarget tells the forms of RFC 9112 §3.2 apart.
func parseTarget(h *wire.Head, buf []byte, start, end int) (absolute string, err *wire.ProtocolError) {
	target := buf[start:end]
	switch {
	case h.Method() == wire.CONNECT:
		return "", errConnect
	case target[0] == '/':
		setTarget(h, buf, start, start, end)
		return "", nil
	case len(target) == 1 && target[0] == '*' && h.Method() == wire.OPTIONS:
		setTarget(h, buf, start, start, end)
		return "", nil
	}
	var rest int
	var port string
	switch {
	case hasFoldPrefix(target, "http://"):
		rest, port = len("http://"), "80"
	case hasFoldPrefix(target, "https://"):
		rest, port = len("https://"), "443"
	default:
		return "", errTarget
	}
	stop := start + rest
	for stop < end && buf[stop] != '/' && buf[stop] != '?' {
		stop++
	}
	h.Absolute = true
	h.SetHost(span(start+rest, stop))
	setTarget(h, buf, start, stop, end)
	return port, nil
}

func hasFoldPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && wire.EqualFold(b[:len(prefix)], prefix)
}

// setTarget notes the target buf[start:end] whose path begins at path.
func setTarget(h *wire.Head, buf []byte, start, path, end int) {
	p, q, hasQuery := wire.SplitTarget(buf[path:end], uint32(path)) //nolint:gosec // heads are bounded
	h.SetTarget(span(start, end), p, q, hasQuery)
}

// checkAuthority demands exactly one valid Host (RFC 9112 §3.2) that does not
// contradict an absolute-form target. The target's authority is the one that
// counts.
func checkAuthority(h *wire.Head, defaultPort string) *wire.ProtocolError {
	switch h.Count(wire.FieldHost) {
	case 0:
		return errNoHost
	case 1:
	default:
		return errTwoHosts
	}
	value := h.Get(wire.FieldHost)
	if !wire.ValidAuthority(value) {
		return errHost
	}
	if !h.Absolute {
		h.SetHost(h.SpanOf(wire.FieldHost))
		return nil
	}
	if !wire.ValidAuthority(h.Host()) {
		return errHost
	}
	if !wire.SameAuthority(value, h.Host(), defaultPort) {
		return errHostDisagrees
	}
	return nil
}

// connectionOptions reads Connection (RFC 9110 §7.6.1): whether the connection goes
// on, whether an upgrade is asked for, and which fields never existed for anyone
// behind the engine.
func connectionOptions(h *wire.Head) *wire.ProtocolError {
	h.Close = h.Minor == 0
	if !h.Has(wire.FieldConnection) {
		return nil
	}
	h.Close = false
	keepAlive := false
	options := 0
	for n := 0; ; n++ { // by number: removing lines moves the others
		list, ok := h.Nth(wire.FieldConnection, n)
		if !ok {
			break
		}
		for len(list) > 0 {
			var token []byte
			token, list = wire.NextToken(list)
			if options++; options > maxOptions {
				return errOptions
			}
			switch {
			case len(token) == 0:
			case wire.EqualFold(token, "close"):
				h.Close = true
			case wire.EqualFold(token, "keep-alive"):
				keepAlive = true
			case wire.EqualFold(token, "upgrade"):
				h.UpgradeTo = h.Has(wire.FieldUpgrade)
			case nominatable(token):
				h.RemoveNamed(token)
			}
		}
	}
	if h.Minor == 0 && !keepAlive {
		h.Close = true
	}
	return nil
}

// maxOptions bounds the work that one message can ask for by naming options.
const maxOptions = 64

// nominatable reports whether a Connection option may take a field away: not those
// that every recipient needs (RFC 9110 §7.6.1 forbids naming them), and those the
// engine owns are dealt with anyway.
func nominatable(token []byte) bool {
	for _, c := range token {
		if class[c]&isToken == 0 {
			return false
		}
	}
	var low [32]byte
	if len(token) > len(low) {
		return true
	}
	n := copy(low[:], bytes.TrimSpace(token))
	wire.LowerInPlace(low[:n])
	f := wire.LookupField(low[:n])
	return f != wire.FieldHost && !wire.HopByHop.Has(f)
}

// ReadRequest reads a whole request head from buf as the server does, so that what it
// would say can be told without a connection.
func ReadRequest(h *wire.Head, buf []byte, lim *Limits) *wire.ProtocolError {
	return parseRequest(h, buf, lim)
}
