package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// trusting renders a Secret with nothing but the authority's certificate.
func trusting(name string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ndata: {tls.crt: %s}\n", name, base64.StdEncoding.EncodeToString(authority.pem()))
}

// What a client's certificate says is told to the service and to the log, by who has
// seen it, over HTTP/1.1 and in every mode; and nobody else can say it.
func TestClientCertificatesAreTold(t *testing.T) {
	t.Parallel()
	server := authority.issue(t, "gate.test", "spiffe://mesh/edge")
	client := authority.issue(t, "client.test", "spiffe://mesh/client")
	sum := sha256.Sum256(client.pair.Certificate[0])
	hash := hex.EncodeToString(sum[:])
	ours := "By=spiffe://mesh/edge;Hash=" + hash + `;Subject="CN=client.test";URI=spiffe://mesh/client;DNS=client.test`
	log := filepath.Join(t.TempDir(), "access.log")
	rest := server.secret("cert") + trusting("clients") +
		tlsHost("gate", "gate.test", "cert", "tls: {ca_secret: clients}") +
		mapping("x", "/x/", echo(t, "up"), `add_request_headers: {x-subject: "%DOWNSTREAM_PEER_SUBJECT%", x-hash: "%DOWNSTREAM_PEER_FINGERPRINT_256%", x-uri: "%DOWNSTREAM_PEER_URI_SAN%", x-ours: "%DOWNSTREAM_LOCAL_URI_SAN%", x-name: "%REQUESTED_SERVER_NAME%"}`)
	with := func(mode string) string {
		return rest + module("forward_client_cert_details: "+mode+", set_current_client_cert_details: {subject: true, uri: true, dns: true}, envoy_log_type: json, envoy_log_path: "+log+
			`, envoy_log_format: {mode: `+mode+`, subject: "%DOWNSTREAM_PEER_SUBJECT%", tls: "%DOWNSTREAM_TLS_VERSION%", serial: "%DOWNSTREAM_PEER_SERIAL%"}`)
	}
	g := start(t, setup{manifests: with("SANITIZE")})
	ask := func(certs ...tls.Certificate) map[string][]string {
		t.Helper()
		c, err := tls.Dial("tcp", g.secure, &tls.Config{ServerName: "gate.test", RootCAs: authority.pool, Certificates: certs})
		must(t, err)
		to := newClient(c)
		defer to.Close()
		a, err := to.exchange(request{host: "gate.test", target: "/x/", header: []string{"X-Forwarded-Client-Cert: By=claimed"}})
		must(t, err)
		return a.saw.Header
	}
	for _, row := range []struct{ mode, mutual, alone string }{
		{"SANITIZE", "", ""},
		{"FORWARD_ONLY", "By=claimed", ""},
		{"APPEND_FORWARD", "By=claimed," + ours, ""},
		{"SANITIZE_SET", ours, ""},
		{"ALWAYS_FORWARD_ONLY", "By=claimed", "By=claimed"},
	} {
		if row.mode != "SANITIZE" {
			g.replace(with(row.mode))
		}
		if got := strings.Join(ask(client.pair)["X-Forwarded-Client-Cert"], "|"); got != row.mutual {
			t.Errorf("%s: the service saw %q, want %q", row.mode, got, row.mutual)
		}
		if got := strings.Join(ask()["X-Forwarded-Client-Cert"], "|"); got != row.alone {
			t.Errorf("%s without a certificate: the service saw %q, want %q", row.mode, got, row.alone)
		}
		fileHolds(t, log, fmt.Sprintf(`{"mode":%q,"subject":"CN=client.test","tls":"TLSv1.3","serial":"%04x"}`, row.mode, client.serial))
		fileHolds(t, log, fmt.Sprintf(`{"mode":%q,"subject":"-","tls":"TLSv1.3","serial":"-"}`, row.mode))
	}
	saw := ask(client.pair)
	for name, want := range map[string]string{"X-Subject": "CN=client.test", "X-Hash": hash, "X-Uri": "spiffe://mesh/client", "X-Ours": "spiffe://mesh/edge", "X-Name": "gate.test"} {
		if got := strings.Join(saw[name], "|"); got != want {
			t.Errorf("the service saw %s %q, want %q", name, got, want)
		}
	}
}
