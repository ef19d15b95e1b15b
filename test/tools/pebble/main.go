// Command pebble is Let's Encrypt's test authority on a free loopback port, with real
// validation: it prints where its directory is. Environment: HTTP_PORT and TLS_PORT are where
// names are looked at, LIFE how many seconds certificates are good for, EAB a key's id and
// its base64url MAC key, joined by a colon, without which no account is made, REJECT of how
// many requests one fails without being looked at, of those whose answer can say so.
// PEBBLE_… are Pebble's own. At /control/ca is the certificate of its server, at
// /control/root the root that it signs with, at /control/counts how often each path was
// asked for.
package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

func main() {
	log.SetOutput(os.Stderr)
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return n
}

func serve() error {
	resolver, err := everythingHere()
	if err != nil {
		return err
	}
	quiet := log.New(os.Stderr, "", log.Lmicroseconds)
	if os.Getenv("VERBOSE") == "" {
		quiet.SetOutput(io.Discard)
	}
	store := db.NewMemoryStore()
	kid, mac, bound := strings.Cut(os.Getenv("EAB"), ":")
	if bound {
		if err := store.AddExternalAccountKeyByID(kid, mac); err != nil {
			return err
		}
	}
	life := uint64(number("LIFE")) //nolint:gosec // it is set by tests
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: life}})
	validator := va.New(quiet, number("HTTP_PORT"), number("TLS_PORT"), false, resolver, store)
	front := wfe.New(quiet, store, validator, authority, []string{"pebble.test"}, false, bound, 1, 1)
	every := 0
	if os.Getenv("REJECT") != "" {
		every = number("REJECT")
	}
	c := &control{pebble: front.Handler(), store: store, every: every, counts: map[string]int{}, accounts: map[string]int{}}
	server := httptest.NewTLSServer(c)
	c.answers = map[string]string{
		"/control/ca":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
		"/control/root": string(authority.GetRootCert(0).PEM()),
	}
	fmt.Println(server.URL)
	select {}
}

// A control stands before Pebble: it counts, and can have it fail.
type control struct {
	pebble  http.Handler
	store   *db.MemoryStore
	answers map[string]string

	mu       sync.Mutex
	counts   map[string]int
	accounts map[string]int
	fail     map[string]int // status by path
	every    int            // so many requests one fails; 0 for none
	seen     int
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text, ok := c.answers[r.URL.Path]; ok {
		_, _ = io.WriteString(w, text)
		return
	}
	c.mu.Lock()
	switch r.URL.Path {
	case "/control/counts":
		_ = json.NewEncoder(w).Encode(c.counts)
		c.mu.Unlock()
		return
	case "/control/accounts": // their places, and how often they were given out
		_ = json.NewEncoder(w).Encode(c.accounts)
		c.mu.Unlock()
		return
	case "/control/fail": // path and status; status 0 to mend it
		status, _ := strconv.Atoi(r.FormValue("status"))
		c.fail = map[string]int{r.FormValue("path"): status}
		c.mu.Unlock()
		return
	case "/control/revoke": // serial, in hexadecimal
		serial, _ := new(big.Int).SetString(r.FormValue("serial"), 16)
		if cert := c.store.GetCertificateBySerial(serial); cert != nil {
			c.store.RevokeCertificate(&core.RevokedCertificate{Certificate: cert, RevokedAt: time.Now()})
			// Pebble's own answer has a window of one second, which clients may not take for one.
			ago := func(d time.Duration) string { return time.Now().UTC().Add(-d).Format(time.RFC3339) }
			_ = c.store.SetARIResponse(serial, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, ago(time.Hour), ago(time.Hour/2)))
		}
		c.mu.Unlock()
		return
	}
	c.counts[r.URL.Path]++
	status := c.fail[r.URL.Path]
	if r.Method != http.MethodHead { // whose answer cannot say what is wrong, and ends the attempt
		c.seen++
		if c.every > 0 && c.seen%c.every == 0 {
			status = http.StatusServiceUnavailable
			c.counts["rejected"]++
		}
	}
	c.mu.Unlock()
	if status != 0 {
		kind := "serverInternal"
		if status == http.StatusTooManyRequests {
			kind = "rateLimited"
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","detail":"as the test has it","status":%d}`, kind, status)
		return
	}
	c.pebble.ServeHTTP(w, r)
	if at := w.Header().Get("Location"); strings.Contains(at, "/my-account/") && strings.Contains(r.URL.Path, "sign-me-up") {
		c.mu.Lock()
		c.accounts[at]++
		c.mu.Unlock()
	}
}

// everythingHere serves DNS that says of every name that it is this machine, over UDP and TCP.
func everythingHere() (string, error) {
	udp, tcp, err := samePort()
	if err != nil {
		return "", err
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		go func() { log.Fatal(s.ActivateAndServe()) }()
	}
	return udp.LocalAddr().String(), nil
}

// samePort is a port that is free for both.
func samePort() (net.PacketConn, net.Listener, error) {
	var last error
	for range 100 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close()
		last = err
	}
	return nil, nil, last
}
