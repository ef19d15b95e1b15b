package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const mintManifests = `
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: jwt-auth, namespace: ambassador}
spec: {Mint: {lifetime: 5m, claims: [{name: team}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: a, namespace: shop}
spec: {hostname: "*", prefix: /a/, service: "orders:8080", cors: {origins: "https://app.example.com"}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: b, namespace: shop}
spec: {hostname: "*", prefix: /b/, service: "https://pay.bank.svc.cluster.local"}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: r, namespace: bank}
spec: {jwtRules: [{issuer: ambassador-jwt-issuer, audiences: [pay.bank], forwardOriginalToken: true}]}
`

const mintModule = `
apiVersion: getambassador.io/v3alpha1
kind: Module
metadata: {name: ambassador}
spec: {config: {cors: {origins: "https://all.example.com"}}}
`

func TestMintCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.yaml")
	if err := os.WriteFile(path, []byte(mintManifests), 0o600); err != nil {
		t.Fatal(err)
	}
	mint := func(args ...string) (string, int) {
		var out bytes.Buffer
		p := &Program{Stdout: &out, Stderr: &out, LookupEnv: func(string) (string, bool) { return "", false }}
		status := p.Main(t.Context(), append([]string{"mint"}, args...))
		return out.String(), status
	}
	refused := []struct {
		args []string
		says string
	}{
		{[]string{"--sub", "alice"}, "name files with -f"},
		{[]string{"-f", path}, "--sub"},
		{[]string{"-f", path, "--sub", "alice"}, "there are 2 Mappings"},
		{[]string{"-f", path, "--sub", "alice", "--mapping", "c"}, "there is no Mapping c"},
		{[]string{"-f", path, "--sub", "alice", "--mapping", "a", "--claim", "x"}, "name=value"},
		{[]string{"-f", path, "--sub", "alice", "--mapping", "a", "-o", "xml"}, "text or json"},
		{[]string{"-f", path + "x", "--sub", "alice"}, "no such file"},
	}
	for _, r := range refused {
		if out, status := mint(r.args...); status != exitUsage || !strings.Contains(out, r.says) {
			t.Errorf("%q: status %d, says %q", r.args, status, out)
		}
	}
	out, status := mint("-f", path, "--sub", "alice", "--mapping", "b.shop", "--claim", "team=red", "--claim", `jti="j1"`, "--source-issuer", "https://id.example.com", "-o", "json")
	var said mintedSpecimen
	if err := json.Unmarshal([]byte(out), &said); err != nil || status != exitFine {
		t.Fatalf("status %d, %v: %s", status, err, out)
	}
	c := said.Claims
	if c["sub"] != "alice" || c["team"] != "red" || c["src_jti"] != "j1" || c["src_iss"] != "https://id.example.com" || c["exp"].(float64)-c["iat"].(float64) != 300 {
		t.Errorf("claims are %v", c)
	}
	if len(said.Istio) != 1 || !said.Istio[0].Satisfied {
		t.Errorf("of Istio's rules it says %+v", said.Istio)
	}
	if out, status := mint("-f", path, "--sub", "alice", "--mapping", "a"); status != exitFine || !strings.Contains(out, `"allowed_origins"`) || !strings.Contains(out, "jwtRules[0]: not satisfied") {
		t.Errorf("status %d, says %s", status, out)
	}
	module := filepath.Join(t.TempDir(), "module.yaml")
	if err := os.WriteFile(module, []byte(mintModule), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := mint("-f", path, "-f", module, "--sub", "alice", "--mapping", "b"); status != exitFine || !strings.Contains(out, `"https://all.example.com"`) {
		t.Errorf("with the Module's cors: status %d, says %s", status, out)
	}
}
