package decode

import (
	"fmt"
	"strings"
	"testing"

	"legate/config"
)

// The kinds that decide about who asks, and how often, are read in every version in which
// clusters have them; one that there was never closes what it would guard.
func TestFamilyVersions(t *testing.T) {
	specs := map[string]string{
		"AuthService":      `{auth_service: "who:3000"}`,
		"RateLimitService": `{service: "limits:8081", protocol_version: v3}`,
		"Filter":           `{JWT: {jwksURI: "https://id.example.com/keys"}}`,
		"FilterPolicy":     `{rules: [{path: /x/*, filters: [{name: jwt}]}]}`,
		"RateLimit":        `{domain: ambassador, limits: [{pattern: [{a: b}], rate: 1, unit: minute}]}`,
	}
	for _, row := range []struct {
		kind, version string
		read          bool
	}{
		{"AuthService", "getambassador.io/v1", true},
		{"AuthService", "getambassador.io/v2", true},
		{"AuthService", "getambassador.io/v3alpha1", true},
		{"AuthService", "getambassador.io/v1beta1", false},
		{"RateLimitService", "getambassador.io/v1", true},
		{"RateLimitService", "getambassador.io/v2", true},
		{"RateLimitService", "getambassador.io/v3alpha1", true},
		{"Filter", "getambassador.io/v1beta1", true},
		{"Filter", "getambassador.io/v1beta2", true},
		{"Filter", "getambassador.io/v2", true},
		{"Filter", "getambassador.io/v3alpha1", true},
		{"Filter", "getambassador.io/v4", false},
		{"FilterPolicy", "getambassador.io/v1beta1", true},
		{"FilterPolicy", "getambassador.io/v1beta2", true},
		{"FilterPolicy", "getambassador.io/v2", true},
		{"FilterPolicy", "getambassador.io/v3alpha1", true},
		{"FilterPolicy", "getambassador.io/v4", false},
		{"RateLimit", "getambassador.io/v1beta1", true},
		{"RateLimit", "getambassador.io/v1beta2", true},
		{"RateLimit", "getambassador.io/v2", true},
		{"RateLimit", "getambassador.io/v3alpha1", true},
		{"WebApplicationFirewall", "gateway.getambassador.io/v1alpha1", false},
		{"WebApplicationFirewallPolicy", "gateway.getambassador.io/v1alpha1", false},
	} {
		spec := specs[row.kind]
		if spec == "" {
			spec = "{}"
		}
		o := one(t, row.version, row.kind, spec)
		_, guard := o.Value.(*config.Guard)
		if _, value := o.Value.(config.Guard); value {
			guard = true
		}
		read := o.Value != nil && !guard
		if read != row.read || read && len(o.Problems) > 0 {
			t.Errorf("%s %s: read %v as %T: %v", row.version, row.kind, read, o.Value, o.Problems)
		}
		guards := row.kind != "Filter" && !strings.HasPrefix(row.kind, "WebApp") // a rule that names no Filter that is there is closed all the same
		if !row.read && (len(o.Problems) != 1 || (o.Problems[0].Effect == config.RouteClosed) != guards) {
			t.Errorf("%s %s: says %v", row.version, row.kind, o.Problems)
		}
	}
}

// one reads an object.
func one(t *testing.T, version, kind, spec string) *config.Object {
	t.Helper()
	list := Bytes(Options{}, "in.yaml", fmt.Appendf(nil, "apiVersion: %s\nkind: %s\nmetadata: {name: x}\nspec: %s\n", version, kind, spec))
	if len(list) != 1 {
		t.Fatalf("%s %s: %d objects", version, kind, len(list))
	}
	return list[0]
}

// Where Edge Stack's own filters and limits listened is the gateway itself, however it is
// written, and nowhere else is.
func TestBuiltInServices(t *testing.T) {
	for service, want := range map[string]bool{
		"127.0.0.1:8500": true, "127.9.9.9:8500": true, "localhost:8500": true, "Localhost:8500": true, "[::1]:8500": true,
		"http://127.0.0.1:8500": true, "https://localhost:8500": true, "http://127.0.0.1:8500/": true, "http://localhost:8500/auth": true,
		"127.0.0.1:8501": false, "127.0.0.1": false, "10.0.0.1:8500": false, "localhost.default:8500": false, "http://auth/127.0.0.1:8500": false, "": false,
	} {
		if got := isBuiltIn(service); got != want {
			t.Errorf("%q: %v, want %v", service, got, want)
		}
	}
}

// What a cluster stores as v2 is written with v3 before names, and with what a conversion
// noted down for the way back.
func TestStoredSpellings(t *testing.T) {
	for _, row := range []struct {
		kind, spec, want string
		get              func(value any) any
	}{
		{"AuthService", `{auth_service: who, v3StatsName: short}`, "short", func(v any) any { return v.(*config.AuthService).StatsName }},
		{"AuthService", `{auth_service: who, v3CircuitBreakers: [{max_requests: 7}]}`, "7", func(v any) any { return v.(*config.AuthService).CircuitBreakers.Default.Requests }},
		{"AuthService", `{auth_service: who, tls: true}`, "true", func(v any) any { return v.(*config.AuthService).OriginateTLS }},
		{"AuthService", `{auth_service: who, tls: false}`, "false", func(v any) any { return v.(*config.AuthService).OriginateTLS }},
		{"AuthService", `{auth_service: who, tls: context}`, "context", func(v any) any { return v.(*config.AuthService).TLSContext }},
		{"AuthService", `{auth_service: who, v2ExplicitTLS: {tls: "bool:true"}}`, "true", func(v any) any { return v.(*config.AuthService).OriginateTLS }},
		{"AuthService", `{auth_service: who, v2ExplicitTLS: {serviceScheme: "https://"}}`, "https://who", func(v any) any { return v.(*config.AuthService).Service }},
		{"Filter", `{JWT: {jwksURI: "https://x/", v3MaxStale: 1h}}`, "1h0m0s", func(v any) any { return v.(*config.Filter).JWT.Fetch.MaxStale }},
		{"Filter", `{v3APIKey: {keys: [{secretName: a}]}}`, "a", func(v any) any { return v.(*config.Filter).APIKey.Secrets[0].Name }},
		{"Filter", `{OAuth2: {authorizationURL: "https://x", clientID: a, secret: s, protectedOrigins: [{origin: "https://y"}], v3postLogoutRedirectURI: "https://y/bye"}}`, "https://y/bye",
			func(v any) any { return v.(*config.Filter).OAuth2.PostLogoutRedirectURI }},
		{"Filter", `{External: {auth_service: who, proto: grpc, v3ProtocolVersion: v3}}`, "true", func(v any) any { return v.(*config.Filter).External.GRPC }},
		{"Filter", `{External: {auth_service: "https://who", v3TLSConfig: {caCertificate: {fromSecret: {name: ca}}}}}`, "{ca default}", func(v any) any { return v.(*config.Filter).External.CACertificate }},
		{"FilterPolicy", `{rules: [{path: /x/*, v3Precedence: 7, filters: [{name: a}]}]}`, "7", func(v any) any { return v.(*config.FilterPolicy).Rules[0].Precedence }},
	} {
		o := one(t, "getambassador.io/v2", row.kind, row.spec)
		if len(o.Problems) > 0 {
			t.Errorf("%s %s: says %v", row.kind, row.spec, o.Problems)
			continue
		}
		if got := fmt.Sprint(row.get(o.Value)); got != row.want {
			t.Errorf("%s %s: got %s, want %s", row.kind, row.spec, got, row.want)
		}
	}
}
