package e2e

import (
	"strconv"
	"strings"
	"testing"
)

// The dashboard is public where the Module says so, and nowhere else; probes are where it
// says; what Mappings lead to on this machine is there.
func TestDiagnostics(t *testing.T) {
	t.Parallel()
	local := mapping("stats", "/stats/", "127.0.0.1:8001", `rewrite: /stats/`) + mapping("docs", "/docs/", "http://localhost:8500", `rewrite: /docs/`) +
		mapping("metrics", "/metrics", "localhost:8877", `rewrite: /metrics`)
	g := start(t, setup{manifests: everyone + local})
	status := func(target string) (int, string) {
		t.Helper()
		a := g.send(t, request{target: target})
		return a.StatusCode, string(a.body)
	}
	for target, want := range map[string]string{
		"/ambassador/v0/diag/": "404 ", "/ambassador/v0/check_ready": "200 Ambassador is ready", "/stats/prometheus": "200 # HELP", "/docs/": "404 The developer portal",
		"/metrics": "200 # HELP",
	} {
		code, wants, _ := strings.Cut(want, " ")
		if got, body := status(target); code != strconv.Itoa(got) || !strings.HasPrefix(body, wants) {
			t.Errorf("%s: %d %.80q, want %s", target, got, body, want)
		}
	}
	g.replace(everyone + manifest("Host", "selecting", `{hostname: b.test, mappingSelector: {matchLabels: {a: b}}, requestPolicy: {insecure: {action: Route}}}`) +
		module(`diagnostics: {enabled: true}, readiness_probe: {prefix: /ready}, liveness_probe: {enabled: false}`))
	for target, want := range map[string]string{
		"/ambassador/v0/diag/?json=true&filter=errors": "200 []\n", "/ambassador/v0/diag/?json=true&filter=nothing": "200 null", "/ready": "200 Ambassador is ready",
		"/ambassador/v0/favicon.ico": "200 ", "/ambassador/v0/diag/nothing": "404 nothing here",
	} {
		code, wants, _ := strings.Cut(want, " ")
		for _, host := range []string{"", "b.test"} {
			a := g.send(t, request{target: target, host: host})
			if code != strconv.Itoa(a.StatusCode) || !strings.HasPrefix(string(a.body), wants) {
				t.Errorf("%s of %q: %d %.80q, want %s", target, host, a.StatusCode, a.body, want)
			}
		}
	}
	g.replace(everyone + module(`diagnostics: {enabled: false}, readiness_probe: {enabled: false}`))
	for _, target := range []string{"/ambassador/v0/diag/", "/ambassador/v0/check_ready", "/ready"} {
		if got, body := status(target); got != 404 {
			t.Errorf("%s, turned off: %d %.80q", target, got, body)
		}
	}
}
