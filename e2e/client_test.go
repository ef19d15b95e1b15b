package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client is one connection to the gateway.
type client struct {
	net.Conn
	r     *bufio.Reader
	state *tls.ConnectionState // nil on cleartext
	told  *secrets             // what the other side was told, and tells; nil where nobody keeps it
}

// dial connects to the Listener that r wants.
func (g *gateway) dial(t testing.TB, r request) (*client, error) {
	t.Helper()
	var c *client
	var err error
	if r.secure {
		c, err = dialTLS(g.secure, or(r.host, defaultHost))
	} else {
		var conn net.Conn
		conn, err = net.Dial("tcp", g.clear)
		c = newClient(conn)
	}
	if c != nil {
		c.told = &g.secrets
	}
	return c, err
}

func newClient(c net.Conn) *client {
	if c == nil {
		return nil
	}
	_ = c.SetDeadline(time.Now().Add(60 * time.Second)) // no test waits for ever
	return &client{Conn: c, r: bufio.NewReader(c)}
}

// dialTLS trusts the authority of the tests and asks for name.
func dialTLS(addr, name string) (*client, error) {
	name, _, _ = strings.Cut(name, ":")
	config := &tls.Config{ServerName: name, RootCAs: authority.pool}
	if net.ParseIP(name) != nil {
		// A literal address is no SNI, so the certificate of Host "*" comes, whatever its name.
		config.InsecureSkipVerify = true
		config.VerifyConnection = verifyChain
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, config)
	if err != nil {
		return nil, err
	}
	client := newClient(c)
	state := c.ConnectionState()
	client.state = &state
	return client, nil
}

func verifyChain(s tls.ConnectionState) error {
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: authority.pool})
	return err
}

// connect is dial for the cleartext Listener.
func (g *gateway) connect(t testing.TB) *client {
	t.Helper()
	c, err := g.dial(t, request{})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends a request and reads all of its answer.
func (c *client) exchange(r request) (answer, error) {
	id := newID()
	if c.told != nil {
		c.told.note(r.header)
	}
	if _, err := c.Write(r.render(id)); err != nil {
		return answer{}, err
	}
	return c.answer(id, or(r.method, "GET"))
}

// answer reads one answer and its body. Interim answers are passed over.
func (c *client) answer(id, method string) (answer, error) {
	resp, err := c.head(method)
	for err == nil && resp.StatusCode < 200 && resp.StatusCode != 101 {
		resp, err = c.head(method)
	}
	if err != nil {
		return answer{}, err
	}
	a := answer{Response: resp, id: id}
	if c.told != nil {
		for _, value := range resp.Header["Set-Cookie"] {
			c.told.note([]string{"Set-Cookie: " + value})
		}
	}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, fmt.Errorf("body of a %d after %d bytes: %w", resp.StatusCode, len(a.body), err)
	}
	if resp.Header.Get(echoField) != "" {
		a.saw = &seen{}
		if err := json.Unmarshal(a.body, a.saw); err != nil && method != "HEAD" {
			return a, err
		}
		if sent := a.saw.Header.Get("X-Request-Id"); sent != "" {
			a.id = sent // the gateway's own, where it does not trust the client
		}
	}
	return a, nil
}

// head reads an answer's head.
func (c *client) head(method string) (*http.Response, error) {
	return http.ReadResponse(c.r, &http.Request{Method: method})
}

// echoField marks the echo service's answers.
const echoField = "X-Echo"

// seen is what a service saw of a request.
type seen struct {
	Service string
	Method  string
	Target  string
	Host    string
	Header  http.Header
	Body    int64
	Trailer http.Header
	TLS     bool
	SNI     string
}
