package decode

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"legate/config"
)

// A kind is what becomes of the objects of one kind: they are decoded, or there is
// a reason why not.
type kind struct {
	decode     func(o *object, spec *fields) any // nil for a kind that is not served
	ambassador bool                              // has an ambassador_id, and its fields below spec
	protector  bool                              // guards routes: broken, it closes them
	bypassable bool                              // a protector that bypass_auth opens
	selected   bool                              // has an ambassadorSelector
	annotated  bool                              // says something in annotations
	versions   []string
	early      []string // of the versions, those in which Ambassador does not have the kind
	why        string
	effect     config.Effect
	instead    string
}

// kindOf returns what becomes of a kind, and whether it is served in that version.
func kindOf(apiVersion, name string) (kind, bool) {
	group, version, grouped := strings.Cut(apiVersion, "/")
	switch {
	case apiVersion == "" && ambassadorKinds[name].versions != nil:
		k := ambassadorKinds[name]
		k.ambassador = true
		return k, false
	case group == ambassadorGroup || group == "ambassador":
		k, ok := ambassadorKinds[name]
		if !ok {
			return unknownKind(name), false
		}
		k.ambassador = true
		return k, slices.Contains(k.versions, version)
	case group == gatewayGroup:
		return gatewayKind(version, name)
	case strings.HasSuffix(group, ".getambassador.io") || strings.HasSuffix(group, ".ambassador.io"):
		k := kind{ambassador: true, why: string(notYet), effect: config.ObjectIgnored}
		if protector := ambassadorKinds[name]; protector.protector {
			k = protector
			k.ambassador = true
		}
		return k, false
	case !grouped && apiVersion == "v1" && name == "Secret":
		return kind{decode: decodeSecret}, true
	case !grouped && apiVersion == "v1" && name == "Service":
		return kind{decode: decodeService, annotated: true}, true
	case !grouped && apiVersion == "v1" && name == "Endpoints":
		return kind{decode: decodeEndpoints}, true
	case name == "EndpointSlice" && (apiVersion == "discovery.k8s.io/v1" || apiVersion == "discovery.k8s.io/v1beta1"):
		return kind{decode: decodeEndpointSlice}, true
	case name == "Ingress" && (group == "networking.k8s.io" || group == "extensions"):
		return kind{decode: decodeIngress, annotated: true}, version == "v1beta1" || version == "v1" && group != "extensions"
	case name == "IngressClass" && group == "networking.k8s.io":
		return kind{decode: decodeIngressClass, annotated: true}, version == "v1" || version == "v1beta1"
	}
	// A protector under a mistyped group is a lock that somebody believes in.
	if k := ambassadorKinds[name]; k.protector && strings.Contains(group, "ambassador") {
		k.ambassador = true
		return k, false
	}
	return kind{why: "is not a kind that a gateway reads", effect: config.Notice, instead: "it is passed over"}, false
}

// ambassadorGroup is the group of Ambassador's kinds.
const ambassadorGroup = "getambassador.io"

var (
	coreVersions   = []string{"v1", "v2", "v3alpha1"}
	filterVersions = []string{"v1beta1", "v1beta2", "v2", "v3alpha1"}
	limitVersions  = []string{"v1beta1", "v1beta2", "v2", "v3alpha1"}
)

// unknownKind is a kind that Ambassador does not have. A misspelt protector is one
// that its author believes in.
func unknownKind(name string) kind {
	k := kind{effect: config.ObjectIgnored}
	why := "Ambassador has no such kind"
	if guess := closest(name, slices.Sorted(maps.Keys(ambassadorKinds))); guess != "" {
		why += fmt.Sprintf(", did you mean %q?", guess)
		if ambassadorKinds[guess].protector {
			k = ambassadorKinds[guess]
		}
	}
	k.ambassador, k.why = true, why
	return k
}

// ambassadorKinds is the table of Ambassador's kinds.
var ambassadorKinds = map[string]kind{
	"Mapping":    {decode: decodeMapping, versions: coreVersions},
	"Host":       {decode: decodeHost, versions: coreVersions, early: []string{"v1"}},
	"Listener":   {decode: decodeListener, versions: coreVersions, early: []string{"v1", "v2"}},
	"TCPMapping": {decode: decodeTCPMapping, versions: coreVersions},
	"TLSContext": {decode: decodeTLSContext, versions: coreVersions},
	"Module":     {decode: decodeModule, versions: coreVersions},

	"KubernetesServiceResolver":  {decode: decodeResolver, versions: coreVersions},
	"KubernetesEndpointResolver": {decode: decodeResolver, versions: coreVersions},
	"ConsulResolver":             {decode: decodeResolver, versions: coreVersions},

	"LogService":     {decode: decodeLogService, versions: coreVersions},
	"TracingService": {decode: decodeTracingService, versions: coreVersions},

	"AuthService":  {decode: decodeAuthService, versions: coreVersions, protector: true, bypassable: true},
	"Filter":       {decode: decodeFilter, versions: filterVersions},
	"FilterPolicy": {decode: decodeFilterPolicy, versions: filterVersions, protector: true, bypassable: true},

	"RateLimit":        {decode: decodeRateLimit, versions: limitVersions},
	"RateLimitService": {decode: decodeRateLimitService, versions: coreVersions},

	"DevPortal": {why: "the developer portal is not part of this gateway", effect: config.ObjectIgnored},
}
