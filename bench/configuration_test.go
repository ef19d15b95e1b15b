package main

import (
	"os"
	"strings"
	"testing"
)

// Every prefix is in every configuration, and all have the length that HAProxy
// cuts off.
func TestConfigurationsNameEveryRoute(t *testing.T) {
	for _, name := range []string{"nginx.conf", "legate.yaml"} {
		s := settings{Dir: t.TempDir(), Prefixes: prefixes(), Upgraded: upgraded, Called: called, Upstream: "127.0.0.1:1"}
		file, err := s.write(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(s.Prefixes, called) {
			if !strings.Contains(string(text), p) {
				t.Errorf("%s does not route %s", name, p)
			}
			if len(p) != len(measured) {
				t.Errorf("prefix %s is not as long as %s", p, measured)
			}
		}
	}
}

func TestCertificateFiles(t *testing.T) {
	c, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(c.bothFile)
	if err != nil || string(both) != string(c.certPEM)+string(c.keyPEM) {
		t.Errorf("%s does not hold certificate and key: %v", c.bothFile, err)
	}
}
