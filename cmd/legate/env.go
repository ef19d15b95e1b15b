package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"legate/gateway"
	"legate/telemetry/statsd"
)

// environment gives every flag that was not set the value of LEGATE_<FLAG>, if there
// is one, and then what Ambassador's own variables say.
func environment(flags *pflag.FlagSet, getenv func(string) string) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || failed != nil {
			return
		}
		name := "LEGATE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, err := getenv(name), error(nil)
		if translate := ambassadorFlags[f.Name]; value == "" && translate != nil {
			name, value, err = translate(getenv)
		}
		if err == nil && value != "" {
			err = flags.Set(f.Name, value)
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
	})
	return failed
}

// ambassadorFlags say what Ambassador's variables, and those that others have agreed upon, make
// of a flag: which variable, and the flag's value, "" for none. They lose against the flag and against LEGATE_<FLAG>.
var ambassadorFlags = map[string]func(getenv func(string) string) (name, value string, err error){
	"admin": adminFromEnv,
	"bind":  sameAs("AMBASSADOR_ENVOY_BIND_ADDRESS"),
	"file":  sameAs("AMBASSADOR_CONFIG_DIR"),
	"redis": sameAs("REDIS_URL"),
	// SPIFFE's own (Workload Endpoint §4).
	"spiffe-socket": sameAs("SPIFFE_ENDPOINT_SOCKET"),
	"drain-timeout": func(getenv func(string) string) (string, string, error) {
		const name = "AMBASSADOR_DRAIN_TIME"
		d, err := seconds(getenv(name))
		if err != nil || d == 0 {
			return name, "", err
		}
		return name, d.String(), nil
	},
	"log-level": func(getenv func(string) string) (string, string, error) {
		const name = "AES_LOG_LEVEL"
		text := getenv(name)
		level, known := logLevels[strings.ToLower(text)]
		if text != "" && !known {
			return name, "", fmt.Errorf("must be a level such as info, got %q", text)
		}
		return name, level, nil
	},
}

// logLevels are Ambassador's levels and ours.
var logLevels = map[string]string{
	"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn",
	"error": "error", "fatal": "error", "panic": "error",
}

func sameAs(name string) func(getenv func(string) string) (string, string, error) {
	return func(getenv func(string) string) (string, string, error) { return name, getenv(name), nil }
}

// adminFromEnv returns the admin port's address. Where only the port is given, it stays
// closed to others: nobody opened it.
func adminFromEnv(getenv func(string) string) (name, value string, err error) {
	host, port := getenv("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS"), getenv("AMBASSADOR_HEALTHCHECK_BIND_PORT")
	if host == "" && port == "" {
		return "", "", nil
	}
	if _, err := strconv.ParseUint(cmp.Or(port, "0"), 10, 16); err != nil {
		return "AMBASSADOR_HEALTHCHECK_BIND_PORT", "", fmt.Errorf("must be a port, got %q", port)
	}
	host = strings.Trim(cmp.Or(host, "127.0.0.1"), "[]")
	return "AMBASSADOR_HEALTHCHECK_BIND_ADDRESS", net.JoinHostPort(host, cmp.Or(port, "8877")), nil
}

// seconds reads a time as Ambassador's variables give it; 0 is none.
func seconds(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x >= 0 && x <= 1e9) {
		return 0, fmt.Errorf("must be a number of seconds, got %q", text)
	}
	return time.Duration(x * float64(time.Second)), nil
}

// process are settings that only Ambassador's variables have, as they concern how the
// process does its work.
type process struct {
	adminNetwork string          // "tcp", or "tcp4" and "tcp6" for one family only
	threads      int             // how many work at the same time; 0 leaves it to the runtime
	readyPort    string          // where /ready is answered too; "" for nowhere
	maxDelay     time.Duration   // the longest a change waits for others; 0 for the default
	patience     time.Duration   // that all Filters of a request have
	statsd       *statsd.Options // where numbers are sent; nil for nowhere
	nearLimit    float64         // from which part of a rate limit on a request counts as near it
	clusterID    string          // a label of metrics
	istioCerts   string          // where Istio's sidecar leaves its certificate
}

func processFromEnv(getenv func(string) string) (process, error) {
	p := process{adminNetwork: "tcp", clusterID: getenv("AMBASSADOR_CLUSTER_ID"), istioCerts: cmp.Or(getenv("AMBASSADOR_ISTIO_SECRET_DIR"), "/etc/istio-certs")}
	switch family := strings.ToUpper(getenv("AMBASSADOR_HEALTHCHECK_IP_FAMILY")); strings.TrimSuffix(family, "_ONLY") {
	case "", "ANY":
	case "IPV4":
		p.adminNetwork = "tcp4"
	case "IPV6":
		p.adminNetwork = "tcp6"
	default:
		return p, fmt.Errorf("AMBASSADOR_HEALTHCHECK_IP_FAMILY: must be ANY, IPV4_ONLY or IPV6_ONLY, got %q", family)
	}
	if p.readyPort = getenv("AMBASSADOR_READY_PORT"); p.readyPort != "" {
		if n, err := strconv.ParseUint(p.readyPort, 10, 16); err != nil || n == 0 {
			return p, fmt.Errorf("AMBASSADOR_READY_PORT: must be a port, got %q", p.readyPort)
		}
	}
	// GOMAXPROCS, where somebody has set it, is about this very process.
	if text := getenv("ENVOY_CONCURRENCY"); text != "" && getenv("GOMAXPROCS") == "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1<<16 {
			return p, fmt.Errorf("ENVOY_CONCURRENCY: must be a number of threads, got %q", text)
		}
		p.threads = n
	}
	var err error
	if p.maxDelay, err = seconds(getenv("AMBASSADOR_RECONFIG_MAX_DELAY")); err != nil {
		return p, fmt.Errorf("AMBASSADOR_RECONFIG_MAX_DELAY: %w", err)
	}
	if p.patience, err = patience(getenv("AES_AUTH_TIMEOUT")); err != nil {
		return p, fmt.Errorf("AES_AUTH_TIMEOUT: %w", err)
	}
	if p.nearLimit, err = nearLimit(getenv("NEAR_LIMIT_RATIO")); err != nil {
		return p, fmt.Errorf("NEAR_LIMIT_RATIO: %w", err)
	}
	p.statsd, err = statsdFromEnv(getenv)
	return p, err
}

// patience reads the time that all Filters of a request have, four seconds by default.
func patience(text string) (time.Duration, error) {
	if text == "" {
		return 4 * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("must be a time as in 4s, got %q", text)
	}
	return d, nil
}

// nearLimit reads from which part of a rate limit on a request counts as near it.
func nearLimit(text string) (float64, error) {
	if text == "" {
		return gateway.DefaultNear, nil
	}
	near, err := strconv.ParseFloat(text, 64)
	if err != nil || !(near > 0 && near <= 1) {
		return 0, fmt.Errorf("must be a part as in 0.8, got %q", text)
	}
	return near, nil
}

// looseSelectors reports whether a mappingSelector selects by any one of its labels.
func looseSelectors(getenv func(string) string) bool {
	loose, _ := strconv.ParseBool(strings.ToLower(getenv("DISABLE_STRICT_LABEL_SELECTORS")))
	return loose
}

// limitOptions are how rate limits count. The gateway's cluster has the name that Envoy
// has in Ambassador.
func limitOptions(getenv func(string) string, namespace string) gateway.LimitOptions {
	exact, _ := strconv.ParseBool(getenv("RATELIMIT_EXACT_DEPTH")) // anything else is no
	one, _ := strconv.ParseBool(strings.ToLower(getenv("AES_STRICT_RATELIMITSERVICE")))
	return gateway.LimitOptions{ExactDepth: exact, OneService: one, Cluster: nodeCluster(getenv, namespace)}
}

// nodeCluster is by what Ambassador's Envoys of one installation are known.
func nodeCluster(getenv func(string) string, namespace string) string {
	return cmp.Or(getenv("AMBASSADOR_ID"), "ambassador") + "-" + namespace
}

// node is how collectors know the gateway: in a cluster a host is called as its Pod.
func node(getenv func(string) string, namespace string) gateway.Node {
	host, err := os.Hostname()
	if err != nil {
		host = "legate"
	}
	return gateway.Node{ID: host, Cluster: nodeCluster(getenv, namespace), Version: version}
}

// onlyAsk reports whether an AuthService takes the place of all Filters, as it did in Edge
// Stack.
func onlyAsk(getenv func(string) string) bool {
	strict, _ := strconv.ParseBool(strings.ToLower(getenv("AES_STRICT_AUTHSERVICE")))
	return strict
}
