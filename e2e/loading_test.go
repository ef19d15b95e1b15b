package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// tells reports whether some problem of the given effect says text.
func (g *gateway) tells(effect, text string) bool {
	g.t.Helper()
	return slices.ContainsFunc(g.problems(), func(p problemView) bool { return p.Effect == effect && strings.Contains(p.Text, text) })
}

// A change that breaks an object leaves its last good version serving, in whatever way
// it is broken, and the others change as their authors wish. A process that starts with
// the same file has nothing old.
func TestLastGoodVersionsServe(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	certificate := authority.issue(t, "gate.test").secret("cert")
	host := everyone + tlsHost("gate", "gate.test", "cert", route)
	good := mapping("a", "/a/", up, "rewrite: /old/")
	g := start(t, setup{manifests: host + certificate + good + mapping("b", "/b/", up)})
	for i, broken := range []struct{ name, manifests, problem string }{
		{"a value", certificate + mapping("a", "/a/", up, "timeout_ms: soon"), "timeout_ms: must be an integer"},
		{"a missing field", certificate + manifest("Mapping", "a", "{prefix: /a/}"), "service: is required"},
		{"a regular expression", certificate + mapping("a", "/(a/", up, "prefix_regex: true"), "Mapping/a.default: prefix"},
		{"an unknown resolver", certificate + mapping("a", "/a/", up, "resolver: nobody"), "resolver nobody is unknown"},
		{"a version", certificate + strings.Replace(good, "v3alpha1", "v9", 1), "is not a version"},
		{"no spec", certificate + manifest("Mapping", "a", "none"), "must be an object"},
		{"text that cannot be read", certificate + "---\nkind: Mapping\nmetadata: {name: a\n", "keeps serving of Mapping default/a"},
		{"a certificate that is none", good + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert}\ntype: kubernetes.io/tls\ndata: {tls.crt: eA==, tls.key: eA==}\n", "cannot use it"},
		{"a Secret that is no base64", good + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cert}\ndata: {tls.crt: '!'}\n", "must be base64"},
	} {
		path := fmt.Sprintf("/b%d/", i)
		manifests := host + broken.manifests + mapping("b", path, up)
		g.replace(manifests)
		for _, secure := range []bool{false, true} {
			if a := g.send(t, request{target: "/a/x", secure: secure}); a.StatusCode != 200 || a.saw.Target != "/old/x" {
				t.Errorf("%s: over TLS %v: status %d, the service saw %+v", broken.name, secure, a.StatusCode, a.saw)
			}
		}
		if a := g.send(t, request{target: path}); a.StatusCode != 200 {
			t.Errorf("%s: the other Mapping answers %d", broken.name, a.StatusCode)
		}
		if !g.tells("object_stale", broken.problem) {
			t.Errorf("%s: no problem says %q: %+v", broken.name, broken.problem, g.problems())
		}
		if out, status := legate(t, "check", "-f", g.file); status != 2 || strings.Contains(out, "last good") {
			t.Errorf("%s: check knows nothing old: status %d, %s", broken.name, status, out)
		}
	}

	g.replace(host + certificate + mapping("a", "/a/", up, "rewrite: /new/"))
	if a := g.send(t, request{target: "/a/x"}); a.saw == nil || a.saw.Target != "/new/x" || g.tells("object_stale", "") {
		t.Errorf("mended: the service saw %+v, problems %+v", a.saw, g.problems())
	}
	broken := host + certificate + mapping("a", "/a/", up, "timeout_ms: soon")
	g.replace(broken)
	g.replace(host + certificate)
	if a := g.send(t, request{target: "/a/x"}); g.verdict(t, a) != noRoute {
		t.Errorf("deleted: %v", g.verdict(t, a))
	}
	g.replace(broken)
	if a := g.send(t, request{target: "/a/x"}); g.verdict(t, a) != noRoute || !g.tells("object_dropped", "timeout_ms") {
		t.Errorf("broken from the beginning: %v, problems %+v", g.verdict(t, a), g.problems())
	}
}

const dump = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: shop}
- apiVersion: v1
  kind: Service
  metadata:
    name: web
    namespace: shop
    labels: {team: shop}
    annotations:
      getambassador.io/config: |
        apiVersion: ambassador/v1
        kind: Mapping
        name: annotated_mapping
        prefix: /annotated/
        service: $WEB
        ---
        apiVersion: getambassador.io/v2
        kind: Mapping
        name: of_another
        ambassador_id: edge
        prefix: /of-another/
        service: ${WEB}
  spec: {ports: [{name: http, port: %[1]s}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-0, namespace: shop}
- apiVersion: networking.k8s.io/v1
  kind: IngressClass
  metadata: {name: legate}
  spec: {controller: getambassador.io/ingress-controller}
- apiVersion: networking.k8s.io/v1
  kind: Ingress
  metadata: {name: web, namespace: shop, labels: {team: shop}}
  spec:
    ingressClassName: legate
    rules:
    - http:
        paths:
        - {path: /ingress, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
        - {path: /exact, pathType: Exact, backend: {service: {name: web, port: {number: %[1]s}}}}
- apiVersion: getambassador.io/v2
  kind: Mapping
  metadata: {name: old, namespace: default, labels: {team: shop}}
  spec: {prefix: /old/, service: $WEB}
`

// What a cluster's dump holds is taken or passed over, and selected as the API server
// would hand it out.
func TestClusterDump(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	for _, c := range []struct {
		name   string
		env    []string
		serves string
	}{
		{"everything", nil, "/annotated/ /ingress/x /exact /old/"},
		{"another gateway", []string{"AMBASSADOR_ID=edge"}, "/of-another/"},
		{"one namespace", []string{"AMBASSADOR_SINGLE_NAMESPACE=1"}, "/old/"},
		{"the other namespace", []string{"AMBASSADOR_SINGLE_NAMESPACE=true", "AMBASSADOR_NAMESPACE=shop"}, "/annotated/"},
		{"labels", []string{"AMBASSADOR_LABEL_SELECTOR=team=shop"}, "/annotated/ /old/"},
		{"fields", []string{"AMBASSADOR_FIELD_SELECTOR=metadata.namespace!=shop"}, "/old/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := freePorts(t, 1)[0]
			manifests := fmt.Sprintf(dump, portOf(up))
			for _, namespace := range []string{"default", "shop"} { // whatever is selected, one of them is
				manifests += fmt.Sprintf(everywhere, namespace, port)
			}
			g := start(t, setup{bare: true, manifests: manifests, env: append(c.env, "WEB="+up), args: []string{"--resolve", "web.shop=127.0.0.1"}})
			g.clear = loopback(port)
			var served []string
			for _, target := range []string{"/annotated/", "/of-another/", "/ingress/x", "/exact", "/exact/x", "/old/"} {
				if a := g.send(t, request{target: target}); a.StatusCode == 200 {
					served = append(served, target)
				}
			}
			if got := strings.Join(served, " "); got != c.serves {
				t.Errorf("serves %s, want %s; problems %+v", got, c.serves, g.problems())
			}
		})
	}
}

// everywhere is a Listener that every gateway takes.
const everywhere = `---
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http, namespace: %s, labels: {team: shop}}
spec: {port: %d, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}, ambassador_id: [_automatic_]}
`
