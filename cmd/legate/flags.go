package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"legate/authn"
	"legate/certs"
	"legate/certs/workload"
	"legate/config"
	"legate/gateway"
	"legate/redis"
	"legate/routes"
	"legate/upstream"
	"legate/wire/listen"
)

// serveFlags are the flags of run and dev.
type serveFlags struct {
	files         []string
	kubernetes    bool
	status        bool
	bind          string
	admin         string
	resolve       []string
	dns           string
	clusterDomain string
	zone          string
	drainDelay    time.Duration
	drainTimeout  time.Duration
	logLevel      string
	logFormat     string
	maxAge        time.Duration
	maxRequests   int
	maxQueueing   time.Duration
	tokenCache    int
	tokenFailures int
	keepInjected  bool
	pprof         bool
	redis         string
	state         string
	acmeStorage   string
	spiffeSocket  string
	proxyProtocol string
	proxyTrust    []string
}

func (f *serveFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "file", "f", nil, "file or folder of manifests, watched; repeatable")
	flags.BoolVar(&f.kubernetes, "kubernetes", false, "watch the API server that KUBECONFIG names, or that of the cluster around")
	flags.BoolVar(&f.status, "status", true, "with --kubernetes, write what becomes of objects into their status, where this replica leads")
	flags.StringVar(&f.bind, "bind", "", "address on which Listeners bind, * for all interfaces (the default)")
	flags.StringVar(&f.admin, "admin", "127.0.0.1:8877", "address of the admin port")
	flags.StringArrayVar(&f.resolve, "resolve", nil, "NAME[:PORT]=ADDR[:PORT]: an upstream's address, before DNS; * matches all; repeatable")
	flags.StringVar(&f.dns, "dns", "", "DNS server for upstream names (default the system's)")
	flags.StringVar(&f.clusterDomain, "cluster-domain", "cluster.local", "domain of the cluster's names")
	flags.StringVar(&f.zone, "zone", "", "zone whose endpoints are preferred (default that of the node that NODE_NAME names)")
	flags.DurationVar(&f.drainDelay, "drain-delay", 0, "on SIGTERM, keep accepting, not ready, for this long")
	flags.DurationVar(&f.drainTimeout, "drain-timeout", time.Minute, "then finish what is in flight within this long")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "json", "json, or text for people")
	flags.StringVar(&f.proxyProtocol, "proxy-protocol", "required", "on Listeners with PROXY in their stack: required, or optional to serve connections without a header too")
	flags.StringSliceVar(&f.proxyTrust, "proxy-protocol-trust", nil, "ADDR or CIDR whose PROXY headers are believed; comma-separated, repeatable (default everybody)")
	flags.IntVar(&f.tokenCache, "token-cache", 64, "MiB that verified tokens are remembered in; 0 remembers none")
	flags.IntVar(&f.tokenFailures, "token-failures", authn.DefaultTokenFailures, "tokens that do not hold, each second from one address, before no more of them are looked at; 0 for any number")
	flags.BoolVar(&f.keepInjected, "keep-injected", false, "let clients send headers that Filters and Mapping.jwt set, as Ambassador does")
	flags.DurationVar(&f.maxAge, "max-connection-age", 0, "close HTTP/2 connections gracefully after about this long, so that clients spread anew (default never)")
	flags.IntVar(&f.maxRequests, "max-requests", 0, "requests served at once; those beyond are refused (default one for each 64 KiB that may be used)")
	flags.DurationVar(&f.maxQueueing, "max-queueing", 0, "how long requests may wait for a processor, all of them, before some are refused, such as 2ms (default any time)")
	flags.StringVar(&f.redis, "redis", "", "URL, or HOST:PORT, of the Redis that replicas share (default none: state of this process)")
	flags.StringVar(&f.state, "state", "", "folder for what must outlive the process: signing keys (default none)")
	flags.StringVar(&f.acmeStorage, "acme-storage", "", "folder for certificates that are ordered, and the keys of accounts (default the Redis of --redis, else the Secrets of --kubernetes, else a folder of this machine)")
	flags.StringVar(&f.spiffeSocket, "spiffe-socket", "", "URL, or path, of the SPIFFE Workload API that says who the gateway is in the mesh (default none)")
	flags.BoolVar(&f.pprof, "pprof", false, "serve /debug/pprof/ on the admin port")
}

// settings are the flags understood.
type settings struct {
	flags    serveFlags
	process  process
	config   config.Options
	upstream upstream.Options
	level    slog.LevelVar
	proxy    listen.ProxyMode
	redis    *redis.Shared           // nil for none
	trust    []netip.Prefix          // whose PROXY headers are believed; empty: everybody's
	also     map[string]http.Handler // what else the admin port answers, by pattern
	local    *certs.CA               // of dev; nil for none
	applied  func(*gateway.Gateway)  // called once a configuration serves; may be nil
}

// understand turns flags into settings; an error names the flag.
func (f *serveFlags) understand(getenv func(string) string) (*settings, error) {
	s := &settings{flags: *f}
	if f.bind == "*" {
		s.flags.bind = "" // all interfaces, of both families
	}
	var err error
	if s.config, err = config.OptionsFromEnv(getenv); err != nil {
		return nil, err
	}
	if s.process, err = processFromEnv(getenv); err != nil {
		return nil, err
	}
	if err := s.level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: must be debug, info, warn or error, got %q", f.logLevel)
	}
	if f.logFormat != "json" && f.logFormat != "text" {
		return nil, fmt.Errorf("--log-format: must be json or text, got %q", f.logFormat)
	}
	if s.proxy, err = listen.ParseProxyMode(f.proxyProtocol); err != nil {
		return nil, fmt.Errorf("--proxy-protocol: %w", err)
	}
	if f.tokenFailures < 0 || f.tokenFailures > authn.MaxTokenFailures {
		return nil, fmt.Errorf("--token-failures: must be between 0 and %d, got %d", authn.MaxTokenFailures, f.tokenFailures)
	}
	if s.trust, err = prefixes(f.proxyTrust); err != nil {
		return nil, fmt.Errorf("--proxy-protocol-trust: %w", err)
	}
	if s.redis, err = redis.Read(f.redis, getenv); err != nil {
		return nil, err
	}
	if f.spiffeSocket != "" {
		if s.flags.spiffeSocket, err = workload.Address(f.spiffeSocket); err != nil {
			return nil, fmt.Errorf("--spiffe-socket: %w", err)
		}
	}
	s.upstream = upstreamOptions(s.config, getenv)
	s.upstream.NoWorkload = f.spiffeSocket == ""
	s.upstream.DNS, s.upstream.ClusterDomain = f.dns, f.clusterDomain
	s.upstream.Zone, s.upstream.Node = f.zone, getenv("NODE_NAME")
	for _, r := range f.resolve {
		o, err := upstream.ParseOverride(r)
		if err != nil {
			return nil, fmt.Errorf("--resolve: %w", err)
		}
		s.upstream.Resolve = append(s.upstream.Resolve, o)
	}
	return s, nil
}

// upstreamOptions are those that running and checking have in common.
func upstreamOptions(opts config.Options, getenv func(string) string) upstream.Options {
	return upstream.Options{Namespace: opts.Namespace, DisableEndpoints: getenv("AMBASSADOR_DISABLE_ENDPOINTS") != ""}
}

// routesOptions are those that running and checking have in common.
func routesOptions(opts config.Options, getenv func(string) string) routes.Options {
	return routes.Options{Namespace: opts.Namespace, LooseSelectors: looseSelectors(getenv)}
}

// prefixes reads addresses and ranges of addresses.
func prefixes(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range list {
		text = strings.TrimSpace(text)
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			all = append(all, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("must be an address or a range such as 10.0.0.0/16, got %q", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}
