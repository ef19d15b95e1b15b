package gateway

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"legate/config"
	"legate/wire"
)

// A Question is a request that is asked about rather than sent.
type Question struct {
	Method  string   `json:"method"`            // GET if empty
	URL     string   `json:"url"`               // absolute
	Headers []string `json:"headers,omitempty"` // "Name: value"; a Host takes the place of the URL's
	From    string   `json:"from,omitempty"`    // the peer's address; nobody's if empty
	TLSSNI  string   `json:"tls_sni,omitempty"` // the name in the handshake; the URL's host if empty
	Roll    *int     `json:"roll,omitempty"`    // 0 to 99, decides by weight; drawn if missing
}

// nobody is an address from which no request comes (RFC 5737): that of a client
// somewhere in the Internet.
const nobody = "192.0.2.1"

// An asked is a Question understood.
type asked struct {
	url      *url.URL
	head     []byte // as a client would write it
	from     netip.Addr
	sni      string
	listener int // index in the World's Listeners
}

// understand reads q against the Listeners of s; an error says what of q makes no sense.
func (q *Question) understand(s *Snapshot) (*asked, error) {
	a := &asked{sni: q.TLSSNI}
	var err error
	if a.url, err = url.Parse(q.URL); err != nil || a.url.Host == "" || a.url.Scheme != "http" && a.url.Scheme != "https" {
		return nil, fmt.Errorf("url: must be like https://shop.example.com/orders/, got %q", q.URL)
	}
	if a.from, err = netip.ParseAddr(cmp.Or(q.From, nobody)); err != nil {
		return nil, fmt.Errorf("from: must be an IP address, got %q", q.From)
	}
	if q.Roll != nil && (*q.Roll < 0 || *q.Roll > 99) {
		return nil, fmt.Errorf("roll: must be from 0 to 99, got %d", *q.Roll)
	}
	if a.head, err = q.written(a.url); err != nil {
		return nil, err
	}
	if name := a.url.Hostname(); a.sni == "" && a.url.Scheme == "https" {
		if _, err := netip.ParseAddr(name); err != nil { // addresses are not named (RFC 6066 §3)
			a.sni = name
		}
	}
	a.listener = s.chooseListener(a.url)
	if a.listener < 0 {
		return nil, fmt.Errorf("url: no Listener serves %s", a.url.Scheme)
	}
	return a, nil
}

// written is the head that q stands for.
func (q *Question) written(u *url.URL) ([]byte, error) {
	if strings.ContainsAny(q.Method+u.Host, " \r\n\x00") {
		return nil, fmt.Errorf("method: must be like GET, got %q", q.Method)
	}
	host := u.Host
	var fields bytes.Buffer
	for _, line := range q.Headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(line, "\r\n\x00") {
			return nil, fmt.Errorf("headers: each must be like \"Accept: text/html\", and one is not")
		}
		if strings.EqualFold(name, "host") {
			host = strings.TrimSpace(value)
			continue
		}
		fmt.Fprintf(&fields, "%s: %s\r\n", name, strings.TrimSpace(value)) //nolint:forbidigo // because it writes to memory
	}
	head := cmp.Or(strings.ToUpper(q.Method), "GET") + " " + u.RequestURI() + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields.String() + "\r\n"
	return []byte(head), nil
}

// chooseListener returns the Listener that a URL leads to: the one of its port, or the
// first that speaks its scheme, as ports in front of us are others. -1 is none.
func (s *Snapshot) chooseListener(u *url.URL) int {
	best, bestScore := -1, 0
	for i := range s.world.Listeners {
		l := &s.world.Listeners[i]
		secure := l.Has(config.ProtoTLS)
		if !s.listeners[i].served || !l.Has(config.ProtoHTTP) || u.Scheme == "https" && !secure {
			continue
		}
		score := 1
		if secure == (u.Scheme == "https") {
			score = 2
		}
		if strconv.Itoa(l.Port) == u.Port() {
			score = 3
		}
		if score > bestScore {
			best, bestScore = i, score
		}
	}
	return best
}

// stream is a stream by which a would come.
func (a *asked) stream(g *Gateway) *dryStream {
	remote := netip.AddrPortFrom(a.from.Unmap(), 50000)
	s := &dryStream{start: g.clock(), peer: wire.Peer{Remote: remote, Physical: remote, Listener: a.listener}}
	if a.url.Scheme == "https" {
		s.peer.TLS = &wire.TLSInfo{Version: 0x0304, ServerName: a.sni, Protocol: "http/1.1"}
	}
	return s
}
