package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// podRole is the variable that makes the test's own binary a process of a pod.
const podRole = "LEGATE_E2E_POD"

// podMain plays a part in a cluster until it is killed.
func podMain(role string) error {
	http.DefaultTransport.(*http.Transport).DialContext = clusterDialer().DialContext
	switch role {
	case "dns":
		return serveZone(os.Getenv("ZONE"))
	case "issuer":
		return serveFiles(os.Getenv("FILES"))
	case "web":
		return http.ListenAndServe(":3000", http.HandlerFunc(answerAsService))
	case "connect":
		return connect(os.Getenv("TARGET"))
	case "database":
		return serveRows()
	default:
		return fmt.Errorf("no such part: %s", role)
	}
}

// clusterDialer asks the cluster's DNS.
func clusterDialer() *net.Dialer {
	return &net.Dialer{Timeout: 3 * time.Second, Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, os.Getenv("DNS"))
	}}}
}

// serveZone is a DNS server that knows the names of a file.
func serveZone(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var zone map[string]string
	if err := json.Unmarshal(text, &zone); err != nil {
		return err
	}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := strings.TrimSuffix(q.Question[0].Name, ".")
		addr, known := zone[name]
		if !known {
			m.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(addr)}}
		}
		_ = w.WriteMsg(m) // who does not hear it asks again
	})
	failed := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() { failed <- (&dns.Server{Addr: ":53", Net: network, Handler: answer}).ListenAndServe() }()
	}
	return <-failed
}

// serveFiles is an identity provider whose documents are files.
func serveFiles(dir string) error {
	return (&http.Server{
		Addr: ":443", Handler: http.FileServer(http.Dir(dir)), ErrorLog: log.New(io.Discard, "", 0), // of whoever only knocks
	}).ListenAndServeTLS(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
}

// A retold is what a service answers: who asked it, by the token, and what the next said.
type retold struct {
	Service, Path   string
	Issuer, Subject string
	Audience        []string
	Next            *retold
	NextStatus      int
	Row             string
	Failure         string
}

// answerAsService answers as the webapp or the api: it looks at the token that the gateway
// minted, asks whom it is retold to ask, handing the token on, and tells of all of it.
func answerAsService(w http.ResponseWriter, r *http.Request) {
	token := r.Header.Get("Authorization")
	claims := tokenClaims(token)
	if claims.Issuer != "ambassador-jwt-issuer" {
		http.Error(w, "not for whom the gateway has not vouched", http.StatusForbidden)
		return
	}
	t := retold{Service: os.Getenv("SERVICE"), Path: r.URL.Path, Issuer: claims.Issuer, Subject: claims.Subject, Audience: claims.Audience}
	if next := os.Getenv("NEXT"); next != "" {
		t.ask(next, token)
	}
	if at := os.Getenv("DATABASE"); at != "" {
		t.read(at)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(t) // who left needs no answer
}

type podClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience []string `json:"aud"`
}

func tokenClaims(authorization string) (c podClaims) {
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return c
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return podClaims{}
	}
	return c
}

// ask hands the token on to another service.
func (t *retold) ask(url, authorization string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Failure = err.Error()
		return
	}
	r.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Failure = err.Error()
		return
	}
	defer resp.Body.Close()
	t.NextStatus, t.Next = resp.StatusCode, &retold{}
	if err := json.NewDecoder(resp.Body).Decode(t.Next); err != nil {
		t.Failure = err.Error()
	}
}

// read takes a row from the database.
func (t *retold) read(at string) {
	c, err := clusterDialer().Dial("tcp", at)
	if err != nil {
		t.Failure = err.Error()
		return
	}
	defer c.Close()
	if t.Row, err = bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Failure = err.Error()
	}
}

// serveRows gives a row to whoever connects.
func serveRows() error {
	ln, err := net.Listen("tcp", ":5432")
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, "a row\n") // who left needs none
		c.Close()
	}
}

// play starts a process of the pod that plays a part until the test ends.
func (c *podNetwork) play(p *pod, role string, env ...string) {
	c.t.Helper()
	self, err := os.Executable()
	must(c.t, err)
	cmd := p.in(self)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), podRole + "=" + role, "DNS=" + c.dns()}, env...)
	cmd.Stderr = os.Stderr
	must(c.t, cmd.Start())
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// dns is the address of the cluster's DNS, whose pod has to be there.
func (c *podNetwork) dns() string {
	for _, p := range c.pods {
		if p.labels["k8s-app"] == "kube-dns" {
			return p.addr + ":53"
		}
	}
	return ""
}

// curl asks from within a pod and returns the status and the body; status 0 says that
// nobody could be reached.
func (p *pod) curl(args ...string) (status int, body string) {
	out, err := p.in(append([]string{"curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}"}, args...)...).Output()
	if err != nil {
		return 0, ""
	}
	i := strings.LastIndexByte(string(out), '\n')
	if _, err := fmt.Sscan(string(out[i+1:]), &status); err != nil {
		return 0, ""
	}
	return status, string(out[:i])
}

// reaches reports whether a TCP connection from the pod comes about.
func (c *podNetwork) reaches(from *pod, addr string) bool {
	c.t.Helper()
	self, err := os.Executable()
	must(c.t, err)
	cmd := from.in(self)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), podRole + "=connect", "TARGET=" + addr}
	return cmd.Run() == nil
}

// connect tries a TCP connection, once.
func connect(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}
