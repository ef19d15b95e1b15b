package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const head = "---\napiVersion: getambassador.io/v3alpha1\nkind: "
	mapping := func(name, more string) string {
		return head + "Mapping\nmetadata: {name: " + name + "}\nspec: {hostname: '*', prefix: /" + name + "/, service: s" + more + "}\n"
	}
	mint := head + "Filter\nmetadata: {name: m}\nspec: {Mint: {signingKeys: {secretName: keys}}}\n"
	secret := func(entry string) string {
		return "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {" + entry + "}\n"
	}
	service := func(kind, spec string) string {
		return head + kind + "\nmetadata: {name: s}\nspec: {" + spec + "}\n"
	}
	workload := func(name, label string) string {
		return "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", labels: {app.kubernetes.io/name: '" + label + "'}}\n"
	}
	for _, c := range []struct {
		name, text string
		status     int
		says       []string
	}{
		{"fine", mapping("a", ""), 0, []string{"served  Mapping default/a\n", "objects: 1 served, 1 in all\n"}},
		{"unknown field", mapping("a", ", nonsense: 1"), 0, []string{"unknown  Mapping default/a\n", "nonsense: there is no such field"}},
		{"dropped", mapping("a", ", timeout_ms: soon") + mapping("b", ""), 2, []string{"dropped  Mapping default/a\n", "served   Mapping default/b\n", "objects: 1 served, 1 dropped, 2 in all\n"}},
		{"closed", mapping("a", "") + head + "FilterPolicy\nmetadata: {name: p}\nspec: nonsense\n", 2, []string{"closed  FilterPolicy default/p\n"}},
		{"ignored kind", head + "DevPortal\nmetadata: {name: d}\nspec: {default: true}\n", 2, []string{"ignored  DevPortal default/d\n"}},
		{"keys that run keeps", mint, 0, []string{"served  Filter default/m\n", "objects: 1 served, 1 in all\n"}},
		{"keys that run keeps in a Secret", mint + secret("keys.json: '{}'"), 0, []string{"served  Filter default/m\n"}},
		{"keys that somebody writes and that are none", mint + secret("signing.pem: nonsense"), 2, []string{"ignored  Filter default/m\n", "the Secret keys.default"}},
		{"of another gateway", mapping("a", ", ambassador_id: [internal]"), 0, []string{"objects: 0 in all\n", "1 objects belong to another gateway, with ambassador_id internal\n"}},
		{"services of the gateway's own", service("AuthService", "auth_service: '127.0.0.1:8500', proto: grpc") + service("RateLimitService", "service: '127.0.0.1:8500', protocol_version: v3"), 0, []string{
			"no longer needed: AuthService default/s: filters are asked in the gateway itself\n", "no longer needed: RateLimitService default/s: limits are counted in the gateway itself\n",
		}},
		{"a service that is stood in for", service("AuthService", "auth_service: auth.default, proto: http") + head + "Filter\nmetadata: {name: m}\nspec: {Mint: {signingKeys: {secretName: keys}, authServices: [auth.default]}}\n", 0, []string{
			"no longer needed: AuthService default/s: the Filter m.default stands in for it, and for the service behind it\n",
		}},
		{"a service that is not", service("AuthService", "auth_service: auth.default, proto: http"), 0, nil},
		{"the licence", "apiVersion: v1\nkind: Secret\nmetadata: {name: ambassador-edge-stack}\nstringData: {license-key: x}\n", 0, []string{"no longer needed: Secret default/ambassador-edge-stack: there is no licence\n"}},
		{"workloads", workload("edge-stack-redis", "") + workload("mine-agent", "edge-stack-agent") + workload("emissary-apiext", "") + workload("ambassador", "") + workload("web", ""), 0, []string{
			"no longer needed: Deployment default/ambassador: the gateway that this one", "no longer needed: Deployment default/edge-stack-redis: sessions and counters need no Redis",
			"no longer needed: Deployment default/emissary-apiext: objects are read in the versions", "no longer needed: Deployment default/mine-agent: nothing is told to Ambassador Cloud\n",
		}},
		{"of nobody", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n", 0, []string{"1 of kind Deployment, which no gateway reads\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			p := &Program{Stdout: &out, Stderr: &out, LookupEnv: func(string) (string, bool) { return "", false }}
			if status := p.Main(t.Context(), []string{"report", "-f", path}); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q:\n%s", want, &out)
				}
			}
			if got, want := strings.Count(out.String(), "no longer needed"), strings.Count(strings.Join(c.says, ""), "no longer needed"); got != want {
				t.Errorf("%d are no longer needed, want %d:\n%s", got, want, &out)
			}
		})
	}
}

// What cannot be read is told by where it is, each for itself.
func TestReportOfWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "a: [\n", "b.yaml": "b: {\n",
		"c.yaml": "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nspec: {hostname: '*', prefix: /c/, service: s}\n",
		"d.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: {getambassador.io/config: 'x: ['}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	p := &Program{Stdout: &out, Stderr: &out, LookupEnv: func(string) (string, bool) { return "", false }}
	if status := p.Main(t.Context(), []string{"report", "-f", dir}); status != exitUsage {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{
		"dropped  " + dir + "/a.yaml\n", "dropped  " + dir + "/b.yaml\n", "dropped  Mapping in " + dir + "/c.yaml\n", "dropped  Service default/web\n",
		"dropped: line 1: cannot be read as YAML", "objects: 4 dropped, 4 in all\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, &out)
		}
	}
}
