package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A finding is what testssl.sh says of one thing that it looked at.
type finding struct {
	ID, Severity, Finding string
}

// The findings that are no fault of the gateway's, and why.
var excused = map[string]string{
	"TLS_session_ticket": "the lifetime that crypto/tls hints at; what seals tickets changes daily",
	"cert_revocation":    "the test's authority has no list",
	"engine_problem":     "the auditor's OpenSSL",
	"RC4":                "the auditor's OpenSSL cannot offer it; TestWeakHellos does",
	"secure_renego":      "the auditor's OpenSSL cannot ask; TestWeakHellos does",
}

// tellsOfItself reports whether f is about the run or the test's own certificate.
func (f *finding) tellsOfItself() bool {
	return strings.HasPrefix(f.ID, "cert") || excused[f.ID] == "the auditor's OpenSSL" ||
		f.ID == "scanTime" || f.ID == "DNS_CAArecord" || f.ID == "service" || f.ID == "DROWN_hint"
}

// testssl.sh finds nothing to complain of in a gateway with default settings, and what it
// finds is what docs/security.md says.
func TestAudit(t *testing.T) {
	const document = "../docs/security.md"
	outside(t, "testssl")
	g := start(t, setup{plain: true, manifests: authority.issue(t, "gate.test").secret("cert") + tlsHost("gate", "gate.test", "cert")})
	dir := t.TempDir()
	ca, results := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "results.json")
	must(t, os.WriteFile(ca, authority.pem(), 0o600))
	said, err := output(t, 8*time.Minute, "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--add-ca", ca,
		"--ip", "127.0.0.1", "-oj", results, "-p", "-s", "-P", "-S", "-U", "--fast", strings.Replace(g.secure, "127.0.0.1", "gate.test", 1))
	text, readErr := os.ReadFile(results)
	if readErr != nil {
		t.Fatalf("testssl: %v, %v\n%s", err, readErr, said) // its status counts what it has found
	}
	var findings []finding
	must(t, json.Unmarshal(text, &findings))
	var table strings.Builder
	table.WriteString("| Looked at | Found | Severity |\n|---|---|---|\n")
	known := map[string]bool{}
	for _, f := range findings {
		known[f.ID] = true
		if f.Severity != "OK" && f.Severity != "INFO" && excused[f.ID] == "" && !strings.HasPrefix(f.ID, "cert") {
			t.Errorf("%s: %s, %s", f.ID, f.Severity, f.Finding)
		}
		if !f.tellsOfItself() {
			fmt.Fprintf(&table, "| `%s` | %s | %s |\n", f.ID, strings.ReplaceAll(f.Finding, "|", `\|`), f.Severity)
		}
	}
	for _, id := range []string{"SSLv3", "TLS1", "TLS1_1", "TLS1_3", "cipherlist_LOW", "cipher_order", "secure_client_renego", "CRIME_TLS", "ROBOT", "LUCKY13"} {
		if !known[id] {
			t.Errorf("testssl has not looked at %s:\n%s", id, said)
		}
	}
	between(t, document, "testssl", table.String()+"\n")
}

// between holds what a document has between the marks of a name to what it should have.
func between(t *testing.T, path, name, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	begin, end := "<!-- "+name+" -->\n\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, also := strings.Cut(rest, end)
	switch {
	case !ok || !also:
		t.Errorf("%s has no place for %s", path, name)
	case got == want:
	case *update:
		must(t, os.WriteFile(path, []byte(before+begin+want+end+after), 0o644))
	default:
		t.Errorf("%s is not up to date, go test ./e2e -run %s -update writes:\n%s", path, t.Name(), want)
	}
}
