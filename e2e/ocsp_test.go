package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// answering signs a certificate that names who answers about it, and must be shown with that.
func (a *ca) answering(t testing.TB, name, responder string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := certificate{serial: 1000 + a.serial.Add(1)}
	template := certificateFor(name, c.serial)
	template.DNSNames, template.OCSPServer = []string{name}, []string{responder}
	template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}} // RFC 7633
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	c.cert = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.pem()...)
	c.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return c
}

// A certificate of a Secret that names who answers about it is shown with the answer. One whose
// responder says nothing is shown without, at once, and that is told.
func TestAuthorityAnswersAboutCertificates(t *testing.T) {
	t.Parallel()
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		must(t, err)
		q, err := ocsp.ParseRequest(text)
		must(t, err)
		text, err = ocsp.CreateResponse(authority.cert, authority.cert, ocsp.Response{
			Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		}, authority.key)
		must(t, err)
		_, _ = w.Write(text)
	}))
	t.Cleanup(answers.Close)
	end := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(end) })
	g := start(t, setup{manifests: authority.answering(t, "good.example.com", answers.URL).secret("good") + authority.answering(t, "mute.example.com", hangs.URL).secret("mute") +
		manifest("Host", "good", "{hostname: good.example.com, tlsSecret: {name: good}}") + manifest("Host", "mute", "{hostname: mute.example.com, tlsSecret: {name: mute}}")})
	shown := func(name string) []byte {
		c, err := tls.Dial("tcp", g.secure, &tls.Config{ServerName: name, RootCAs: authority.pool})
		must(t, err)
		defer c.Close()
		return c.ConnectionState().OCSPResponse
	}
	if shown("mute.example.com") != nil {
		t.Error("an answer is shown that nobody gave")
	}
	eventually(t, 20*time.Second, "the answer is shown", func() bool { return shown("good.example.com") != nil })
	answer, err := ocsp.ParseResponse(shown("good.example.com"), authority.cert)
	must(t, err)
	if answer.Status != ocsp.Good {
		t.Errorf("the answer is %d", answer.Status)
	}
	if got := g.certificate("good.example.com").OCSP; got.Status != "good" || !got.Must || !got.Ends.Equal(answer.NextUpdate) || got.Error != "" {
		t.Errorf("/api/v1/certificates says %+v", got)
	}
	eventually(t, 30*time.Second, "the other is told", func() bool {
		for _, p := range g.problems() {
			if p.Name == "mute" && strings.Contains(p.Message, "must be shown with its authority's answer, and there is none") {
				return g.certificate("mute.example.com").OCSP.Error != ""
			}
		}
		return false
	})
}
