package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"legate/config"
)

// A row is one of Ambassador's variables, a value that people give it, and what of the
// settings it changes: nothing for a variable of something that does not exist here.
type row struct{ variable, value, changes string }

// The table of Ambassador's variables, whole and in its order.
var rows = []row{
	{"AMBASSADOR_ID", "edge", "id=edge"},
	{"AMBASSADOR_NAMESPACE", "gateway", "namespace=gateway upstream-namespace=gateway routes-namespace=gateway"},
	{"AMBASSADOR_SINGLE_NAMESPACE", "true", "single=true"},
	{"AMBASSADOR_CERTS_SINGLE_NAMESPACE", "yes", "certs-single=true"},
	{"AMBASSADOR_LABEL_SELECTOR", "team=shop", "selects=false"},
	{"AMBASSADOR_FIELD_SELECTOR", "metadata.namespace=shop", "selects=false"},
	{"AMBASSADOR_ENVOY_BIND_ADDRESS", "10.0.0.1", "bind=10.0.0.1"},
	{"AMBASSADOR_ENVOY_BIND_ADDRESS", "*", ""},
	{"AMBASSADOR_HEALTHCHECK_BIND_ADDRESS", "0.0.0.0", "admin=0.0.0.0:8877"},
	{"AMBASSADOR_HEALTHCHECK_BIND_ADDRESS", "::", "admin=[::]:8877"},
	{"AMBASSADOR_HEALTHCHECK_BIND_PORT", "8878", "admin=127.0.0.1:8878"},
	{"AMBASSADOR_HEALTHCHECK_IP_FAMILY", "ANY", ""},
	{"AMBASSADOR_HEALTHCHECK_IP_FAMILY", "IPV4_ONLY", "admin-network=tcp4"},
	{"AMBASSADOR_HEALTHCHECK_IP_FAMILY", "IPV6", "admin-network=tcp6"},
	{"AMBASSADOR_READY_PORT", "8006", "ready=8006"},
	{"AMBASSADOR_READY_LOG", "true", ""},
	{"AMBASSADOR_UPDATE_MAPPING_STATUS", "true", ""},
	{"AMBASSADOR_FORCE_SECRET_VALIDATION", "true", ""},
	{"AMBASSADOR_DISABLE_ENDPOINTS", "true", "endpoints=false"},
	{"AMBASSADOR_FORCE_ENDPOINTS", "true", ""},
	{"AMBASSADOR_DRAIN_TIME", "600", "drain-timeout=10m0s"},
	{"AMBASSADOR_RECONFIG_MAX_DELAY", "2", "max-delay=2s"},
	{"AMBASSADOR_ISTIO_SECRET_DIR", "/etc/istio-certs", ""},
	{"AMBASSADOR_ISTIO_SECRET_DIR", "/var/istio", "istio=/var/istio"},
	{"AMBASSADOR_KNATIVE_SUPPORT", "false", ""},
	{"AMBASSADOR_CONFIG_BASE_DIR", "/ambassador", ""},
	{"AMBASSADOR_CONFIG_DIR", "/config", "files=[/config]"},
	{"AMBASSADOR_CLUSTER_ID", "7c9ab8", ""},
	{"AMBASSADOR_JSON_LOGGING", "true", ""},
	{"AES_LOG_LEVEL", "warn", "level=WARN"},
	{"AES_LOG_LEVEL", "WARNING", "level=WARN"},
	{"AES_LOG_LEVEL", "trace", "level=DEBUG"},
	{"AES_LOG_LEVEL", "panic", "level=ERROR"},
	{"AMBASSADOR_DEBUG", "entrypoint,diagd", ""},
	{"AMBASSADOR_AMBEX_NO_RATELIMIT", "true", ""},
	{"AMBASSADOR_AMBEX_SNAPSHOT_COUNT", "30", ""},
	{"AMBASSADOR_SNAPSHOT_COUNT", "4", ""},
	{"AMBASSADOR_DIAGD_BIND_PORT", "8004", ""},
	{"AMBASSADOR_DISABLE_SNAPSHOT_SERVER", "true", ""},
	{"AMBASSADOR_EDS_BYPASS", "true", ""},
	{"ENVOY_CONCURRENCY", "3", "threads=3"},
	{"DISABLE_STRICT_LABEL_SELECTORS", "True", "loose=true"},
	{"AES_AUTH_TIMEOUT", "2s", "patience=2s"},
	{"STATSD_ENABLED", "True", "statsd=statsd-sink:8125/1s"},
	{"STATSD_HOST", "statsd-sink", ""},
	{"STATSD_PORT", "9125", ""},
	{"STATSD_FLUSH_INTERVAL", "1", ""},
	{"DOGSTATSD", "true", ""},
	{"DD_ENTITY_ID", "pod", ""},
	{"REDIS_URL", "rediss://:secret@redis", "redis=SINGLE_redis:6379_over_TLS"},
	{"REDIS_TYPE", "CLUSTER", ""},
	{"REDIS_SOCKET_TYPE", "unix", ""},
	{"REDIS_USERNAME", "legate", ""},
	{"REDIS_PASSWORD", "secret", ""},
	{"REDIS_AUTH", "secret", ""},
	{"REDIS_TLS_ENABLED", "true", ""},
	{"REDIS_TLS_INSECURE", "true", ""},
	{"REDIS_POOL_SIZE", "5", ""},
	{"REDIS_PING_INTERVAL", "1s", ""},
	{"REDIS_TIMEOUT", "1s", ""},
	{"REDIS_PIPELINE_WINDOW", "150us", ""},
	{"REDIS_PIPELINE_LIMIT", "8", ""},
	{"REDIS_SURGE_LIMIT_INTERVAL", "1s", ""},
	{"REDIS_SURGE_LIMIT_AFTER", "5", ""},
	{"REDIS_SURGE_POOL_SIZE", "5", ""},
	{"REDIS_SURGE_POOL_DRAIN_INTERVAL", "1m", ""},
	{"REDIS_PERSECOND", "true", ""},
	{"REDIS_PERSECOND_URL", "redis:6380", ""},
	{"LOCAL_CACHE_SIZE_IN_BYTES", "4096", ""},
	{"EXPIRATION_JITTER_MAX_SECONDS", "60", ""},
	{"NEAR_LIMIT_RATIO", "0.5", "near=0.5"},
	{"USE_STATSD", "true", ""},
	{"GOSTATS_FLUSH_INTERVAL_SECONDS", "5", ""},
	{"AES_RATELIMIT_PREVIEW", "true", ""},
	{"AES_REDIS_EXPERIMENTAL_DRIVER_ENABLED", "true", ""},
	{"SCOUT_DISABLE", "1", ""},
	{"AES_ACME_LEADER_DISABLE", "true", ""},
	{"DEVPORTAL_CONTENT_URL", "https://example.com", ""},
	{"DEVPORTAL_CONTENT_DIR", "/", ""},
	{"DEVPORTAL_CONTENT_BRANCH", "main", ""},
	{"DEVPORTAL_DOCS_BASE_PATH", "/doc/", ""},
	{"POLL_EVERY_SECS", "60", ""},
	{"AMBASSADOR_AES_SECRET_NAME", "ambassador-edge-stack", ""},
	{"AMBASSADOR_AES_SECRET_NAMESPACE", "ambassador", ""},
	{"SOMETHING_ELSE", "for $VAR in manifests", ""},
}

// effective are the settings that variables may change, by name.
func effective(t *testing.T, args []string, env map[string]string) (map[string]string, error) {
	t.Helper()
	p := &Program{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	var f serveFlags
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.register(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	s, err := p.settings(flags, &f)
	if err != nil {
		return nil, err
	}
	r := routesOptions(s.config, p.getenv)
	selects := s.config.LabelSelector.Matches(nil) && s.config.FieldSelector.Matches("a", "default")
	statsd := ""
	if o := s.process.statsd; o != nil {
		statsd = fmt.Sprintf("%s/%v", o.Address, o.Interval)
	}
	shared := ""
	if s.redis != nil {
		shared = strings.ReplaceAll(s.redis.String(), " ", "_")
	}
	return map[string]string{
		"near": fmt.Sprint(s.process.nearLimit), "redis": shared, "statsd": statsd, "id": s.config.AmbassadorID, "namespace": s.config.Namespace, "upstream-namespace": s.upstream.Namespace, "routes-namespace": r.Namespace,
		"single": fmt.Sprint(s.config.SingleNamespace), "certs-single": fmt.Sprint(s.config.SecretsSingleNamespace), "selects": fmt.Sprint(selects),
		"bind": s.flags.bind, "admin": f.admin, "admin-network": s.process.adminNetwork, "endpoints": fmt.Sprint(!s.upstream.DisableEndpoints),
		"drain-timeout": f.drainTimeout.String(), "max-delay": s.process.maxDelay.String(), "files": fmt.Sprint(f.files),
		"level": s.level.Level().String(), "format": f.logFormat, "threads": fmt.Sprint(s.process.threads), "ready": s.process.readyPort, "loose": fmt.Sprint(r.LooseSelectors),
		"patience": s.process.patience.String(), "istio": s.process.istioCerts,
	}, nil
}

func TestAmbassadorVariables(t *testing.T) {
	t.Parallel()
	without, err := effective(t, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		with, err := effective(t, nil, map[string]string{r.variable: r.value})
		if err != nil {
			t.Errorf("%s=%s: %v", r.variable, r.value, err)
			continue
		}
		var got []string
		for name := range with {
			if with[name] != without[name] {
				got = append(got, name+"="+with[name])
			}
		}
		want := strings.Fields(r.changes)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s=%s changes %v, want %v", r.variable, r.value, got, want)
		}
	}
}

// The document lists every variable, and tells those that do something here.
func TestAmbassadorVariablesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows[:len(rows)-1] {
		if !strings.Contains(string(text), "`"+r.variable+"`") {
			t.Errorf("docs/configuration.md does not name %s", r.variable)
		}
	}
}

func TestFlagsWinOverVariables(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"AMBASSADOR_DRAIN_TIME": "600", "AES_LOG_LEVEL": "error", "AMBASSADOR_HEALTHCHECK_BIND_ADDRESS": "0.0.0.0", "AMBASSADOR_HEALTHCHECK_BIND_PORT": "1",
		"AMBASSADOR_ENVOY_BIND_ADDRESS": "10.0.0.1", "LEGATE_BIND": "10.0.0.2", "LEGATE_LOG_LEVEL": "warn",
		"ENVOY_CONCURRENCY": "4", "GOMAXPROCS": "2",
	}
	got, err := effective(t, []string{"--drain-timeout", "5s", "--admin", ":9", "--log-level", "debug"}, env)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"drain-timeout": "5s", "admin": ":9", "level": "DEBUG", "bind": "10.0.0.2", "threads": "0"} {
		if got[name] != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	if got, _ := effective(t, nil, env); got["level"] != "WARN" || got["admin"] != "0.0.0.0:1" {
		t.Errorf("without flags: level %s, admin %s", got["level"], got["admin"])
	}
}

// What cannot be understood ends the start, and the variable is named.
func TestBadVariables(t *testing.T) {
	t.Parallel()
	for _, r := range []row{
		{"AMBASSADOR_LABEL_SELECTOR", "a in b", ""},
		{"AMBASSADOR_FIELD_SELECTOR", "spec.prefix=/", ""},
		{"AMBASSADOR_DRAIN_TIME", "ten minutes", ""},
		{"AMBASSADOR_DRAIN_TIME", "-1", ""},
		{"AMBASSADOR_RECONFIG_MAX_DELAY", "NaN", ""},
		{"AMBASSADOR_HEALTHCHECK_BIND_PORT", "http", ""},
		{"AMBASSADOR_HEALTHCHECK_IP_FAMILY", "IPX", ""},
		{"AMBASSADOR_READY_PORT", "http", ""},
		{"ENVOY_CONCURRENCY", "many", ""},
		{"AES_LOG_LEVEL", "loud", ""},
		{"AES_AUTH_TIMEOUT", "4", ""},
		{"STATSD_PORT", "statsd", ""},
		{"STATSD_FLUSH_INTERVAL", "soon", ""},
		{"LEGATE_DRAIN_DELAY", "soon", ""},
		{"NEAR_LIMIT_RATIO", "80", ""},
		{"REDIS_URL", "http://redis", ""},
	} {
		if _, err := effective(t, nil, map[string]string{r.variable: r.value}); err == nil || !strings.Contains(err.Error(), r.variable) {
			t.Errorf("%s=%s: %v", r.variable, r.value, err)
		}
	}
}

// A variable that is set and empty is one; what is not set stays as written.
func TestVariablesInManifests(t *testing.T) {
	t.Parallel()
	p := &Program{LookupEnv: func(name string) (string, bool) { return "", name == "EMPTY" }}
	lookup := p.decodeOptions(config.Options{}).Lookup
	if v, set := lookup("EMPTY"); v != "" || !set {
		t.Errorf("EMPTY is %q, %v", v, set)
	}
	if _, set := lookup("UNKNOWN"); set {
		t.Error("UNKNOWN is set")
	}
}

// What StatsD is told, and where, is what several variables say together.
func TestStatsDVariables(t *testing.T) {
	t.Parallel()
	env := map[string]string{"STATSD_ENABLED": "true", "STATSD_HOST": "10.0.0.1", "STATSD_PORT": "9125", "STATSD_FLUSH_INTERVAL": "0.5", "DOGSTATSD": "true", "DD_ENTITY_ID": "pod"}
	got, err := statsdFromEnv(func(name string) string { return env[name] })
	if err != nil || got.Address != "10.0.0.1:9125" || got.Interval != 500*time.Millisecond || !got.Tags || got.EntityID != "pod" {
		t.Errorf("got %+v, %v", got, err)
	}
	delete(env, "DOGSTATSD")
	if got, err = statsdFromEnv(func(name string) string { return env[name] }); err != nil || got.Tags || got.EntityID != "" {
		t.Errorf("without tags: %+v, %v", got, err)
	}
	env["STATSD_ENABLED"] = "1" // Ambassador knows one word only
	if got, err = statsdFromEnv(func(name string) string { return env[name] }); err != nil || got != nil {
		t.Errorf("not enabled: %+v, %v", got, err)
	}
}
