package docs

import (
	"regexp"
	"strings"
	"testing"
)

// The metrics that the documents list are those that there are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSession(t, 100)
	s.write(t, "proxy.yaml", "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: proxy}\n"+
		"spec: {port: 8081, protocol: HTTPPROXY, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}\n")
	for name, field := range map[string]string{"seen": "weight: 100, priority: high, bypass_auth: true", "copied": "shadow: true"} {
		s.write(t, name+".yaml", "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: "+name+"}\nspec: {hostname: \"*\", prefix: /seen/, service: 127.0.0.1, "+field+"}\n")
	}
	s.write(t, "telemetry.yaml", "apiVersion: getambassador.io/v3alpha1\nkind: TracingService\nmetadata: {name: tracing}\nspec: {service: \"127.0.0.1:1\", driver: zipkin}\n"+
		"---\napiVersion: getambassador.io/v3alpha1\nkind: LogService\nmetadata: {name: log}\nspec: {service: \"127.0.0.1:1\", driver: http, protocol_version: v3}\n")
	s.write(t, "mint.yaml", "apiVersion: getambassador.io/v3alpha1\nkind: Filter\nmetadata: {name: mint}\n"+
		"spec: {Mint: {pathPrefix: /minted, credentials: {issuers: [{issuer: i, jwksURI: \"http://127.0.0.1:1/\"}]}}}\n")
	said, err := s.run(t, []step{
		{command: "legate dev -f config.example.yaml -f proxy.yaml -f seen.yaml -f copied.yaml -f telemetry.yaml -f mint.yaml >access.log 2>legate.log &\n"},
		{command: "curl -sS --retry 10 --retry-connrefused http://127.0.0.1:8877/ambassador/v0/check_ready\n"},
		{command: "curl -sS http://127.0.0.1:8080/hello/ http://127.0.0.1:8080/nowhere http://127.0.0.1:8080/basket/\n"}, // answers, and a refusal
		{command: "curl -sS -H 'X-Forwarded-For: 192.0.2.1' http://127.0.0.1:8080/seen/\n"},                              // from outside
		{command: "curl -sS http://127.0.0.1:8877/metrics\n"},
		{command: "kill $!; wait $!\n"},
	})
	if err != nil {
		t.Fatalf("%v: %s", err, said[len(said)-1])
	}
	served := names(said[4], `(?m)^# TYPE ((?:legate|envoy|ambassador)_[a-z0-9_]+) `)
	operating := strings.Join(read(t, "docs/operating.md").lines, "\n")
	_, table, _ := strings.Cut(operating, "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	listed := names(table, "`((?:legate|envoy|ambassador)_[a-z0-9_]+)`")
	for _, label := range []string{"envoy_cluster_name", "envoy_http_conn_manager_prefix", "envoy_response_code_class", "envoy_response_code", "envoy_listener_address", "envoy_tcp_prefix", "ambassador_id"} {
		delete(listed, label)
	}
	for _, elsewhere := range []string{"legate_kubernetes_up", "legate_svid_expiry_seconds", "legate_workload_api_updates_total", "legate_client_certificate_expiry_seconds"} {
		delete(listed, elsewhere) // only with an API server, a Workload API or a client's certificate, where e2e looks at them
	}
	for name := range served {
		if strings.HasPrefix(name, "ambassador_process_") { // as listed for them all
			continue
		}
		if !listed[name] {
			t.Errorf("docs/operating.md does not list %s", name)
		}
	}
	for name := range listed {
		if !served[name] {
			t.Errorf("docs/operating.md lists %s, which is not served", name)
		}
	}
}

// The fields of the access log that the documents list are those that their example shows.
func TestLogFields(t *testing.T) {
	t.Parallel()
	operating := strings.Join(read(t, "docs/operating.md").lines, "\n")
	_, section, _ := strings.Cut(operating, "\n## The access log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	example, table, _ := strings.Cut(section, "\n| Field |")
	listed := map[string]bool{}
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for name := range names(cell, "`([a-z_]+)`") {
			listed[name] = true
		}
	}
	for name := range names(example, `"([a-z_]+)":`) {
		if !listed[name] {
			t.Errorf("docs/operating.md does not explain the field %s", name)
		}
	}
}

// names returns what pattern's group finds in text.
func names(text, pattern string) map[string]bool {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}
