package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// comesTo waits until r is answered with status.
func (g *gateway) comesTo(t testing.TB, r request, status int) {
	t.Helper()
	eventually(t, patience(10*time.Second), r.target+" is answered as the cluster says", func() bool {
		return g.send(t, r).StatusCode == status
	})
}

// What is applied to an API server serves, and changes as it changes: kinds that come
// later, objects in whatever version they were written, Secrets that are named only then.
func TestKubernetes(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	g := c.gateway(setup{})
	if !g.tells("notice", "has none of Ambassador's kinds; they are waited for") {
		t.Errorf("without CRDs: %+v", g.problems())
	}

	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	c.apply(everyone + mapping("a", "/a/", up) + manifest("Mapping", "nowhere", "{prefix: /nowhere/, service: "+up+"}") +
		strings.Replace(manifest("Mapping", "old", "{prefix: /old/, service: "+up+"}"), "v3alpha1", "v2", 1))
	g.comesTo(t, request{target: "/a/"}, 200)
	g.comesTo(t, request{target: "/old/"}, 200)
	if a := g.send(t, request{target: "/nowhere/"}); g.verdict(t, a) != noRoute {
		t.Errorf("a Mapping of v3alpha1 without a host: %v", g.verdict(t, a))
	}

	c.apply(mapping("a", "/(a/", up, "prefix_regex: true") + mapping("b", "/b/", up, "prefex: /b/"))
	g.comesTo(t, request{target: "/b/"}, 200)
	if a := g.send(t, request{target: "/a/"}); a.StatusCode != 200 {
		t.Errorf("the last good version answers %d", a.StatusCode)
	}
	for effect, text := range map[string]string{
		"object_stale":  `Mapping/a.default: prefix: `,
		"field_ignored": `Mapping/b.default: prefex: there is no such field, did you mean "prefix"?`,
	} {
		if !g.tells(effect, text) {
			t.Errorf("no %s says %q: %+v", effect, text, g.problems())
		}
	}

	c.do("", "delete", "mapping", "a", "b")
	g.comesTo(t, request{target: "/a/"}, 404)
	g.comesTo(t, request{target: "/b/"}, 404)

	c.apply(authority.issue(t, "gate.test").secret("cert"))
	c.apply(tlsHost("gate", "gate.test", "cert", route) + mapping("tls", "/tls/", up))
	g.comesTo(t, request{target: "/tls/"}, 200)
	eventually(t, patience(10*time.Second), "the certificate serves", func() bool {
		_, list := g.operator("/api/v1/certificates")
		return strings.Contains(list, "gate.test")
	})
	if a := g.send(t, request{target: "/tls/", secure: true}); a.StatusCode != 200 {
		t.Errorf("over TLS: status %d", a.StatusCode)
	}
	c.do("", "delete", "crd", "mappings.getambassador.io")
	g.comesTo(t, request{target: "/tls/"}, 404)
}

// What an older version of an object needs stays as long as that serves in the place of a newer
// one, and no longer.
func TestKubernetesLastGoodVersion(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	c.install(looseCRDs("{strategy: None}"))
	c.apply(authority.issue(t, "gate.test").secret("cert") + authority.issue(t, "gate.test").secret("other") + tlsHost("gate", "gate.test", "cert", route) + mapping("tls", "/tls/", up))
	c.apply(authority.issue(t, "file.test").secret("named-by-a-file"))
	g := c.gateway(setup{manifests: tlsHost("file", "file.test", "named-by-a-file", route)})
	eventually(t, patience(10*time.Second), "a Secret that a file names serves", func() bool {
		_, list := g.operator("/api/v1/certificates")
		return strings.Contains(list, "default/named-by-a-file")
	})
	serves := func(what, from string) {
		t.Helper()
		g.comesTo(t, request{target: "/tls/", secure: true}, 200)
		eventually(t, patience(10*time.Second), what, func() bool {
			_, list := g.operator("/api/v1/certificates")
			return strings.Contains(list, from)
		})
	}
	serves("the first version serves", "default/cert")
	for _, broken := range []string{tlsHost("gate", "gate.test", "missing", route), manifest("Host", "gate", "{hostname: [gate.test], tlsSecret: {name: missing}}")} {
		c.apply(broken)
		eventually(t, patience(10*time.Second), "the last good version serves", func() bool { return g.tells("object_stale", "Host/gate.default") })
		c.apply(mapping("more", "/more/", up)) // by which all is made anew
		g.comesTo(t, request{target: "/more/"}, 200)
		serves("the last good version serves with its certificate", "default/cert")
		c.do("", "delete", "mapping", "more")
		g.comesTo(t, request{target: "/more/"}, 404)
	}
	c.apply(tlsHost("gate", "gate.test", "other", route))
	serves("what was mended serves", "default/other")
}

// outageTime is how long an API server is away: as LEGATE_OUTAGE says, otherwise long enough
// for it to be a Problem and for whoever asks again to have lost patience.
func outageTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("LEGATE_OUTAGE")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// While the API server is away everything keeps serving, no request fails, and operators
// are told, once. What changed meanwhile is found out once it is back.
func TestKubernetesOutage(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	c.install(looseCRDs("{strategy: None}"))
	c.apply(everyone + mapping("a", "/a/", up))
	g := c.gateway(setup{})
	g.comesTo(t, request{target: "/a/"}, 200)
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, "legate_kubernetes_up 1\n") {
		t.Error("legate_kubernetes_up is not 1")
	}
	generation := g.generation()

	end := everybodyAsks(t, g, "/a/")
	c.stop()
	over := time.After(outageTime(t))
	eventually(t, patience(20*time.Second), "the outage is a Problem", func() bool {
		return g.tells("notice", "the API server does not answer: ") && g.tells("notice", "what was read last keeps serving")
	})
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, "legate_kubernetes_up 0\n") {
		t.Error("legate_kubernetes_up is not 0")
	}
	if status, _ := g.operator("/ambassador/v0/check_ready"); status != 200 {
		t.Errorf("not ready without the API server: %d", status)
	}
	<-over

	c.start()
	c.apply(mapping("b", "/b/", up))
	g.comesTo(t, request{target: "/b/"}, 200)
	eventually(t, patience(20*time.Second), "the Problem is gone", func() bool { return len(g.problems()) == 0 })
	g.errors.await(t, "the API server answers again")
	if g.generation() <= generation {
		t.Error("nothing was applied")
	}
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, "legate_kubernetes_up 1\n") {
		t.Error("legate_kubernetes_up is not 1 again")
	}
	end()
	for _, said := range []string{"the API server does not answer", "the API server answers again"} {
		if n := len(slices.DeleteFunc(g.errors.all(), func(line string) bool { return !strings.Contains(line, `"msg":"`+said) })); n != 1 {
			t.Errorf("it is said %d times that %s", n, said)
		}
	}
}

// Rules by which everything may be read but Ambassador's kinds, and what may be done with these.
const (
	lists  = `verbs: [list, watch]`
	others = `{apiGroups: [""], resources: [services, secrets], ` + lists + `}, {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], ` + lists + `},
		{apiGroups: [discovery.k8s.io], resources: [endpointslices], ` + lists + `}, {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], ` + lists + `}`
)

// A gateway that may not read what protects routes does not begin to serve them, and says
// what it is that it may not read.
func TestKubernetesForbidden(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	c.install(looseCRDs("{strategy: None}"))
	c.apply(everyone + mapping("a", "/a/", up))
	without := c.as("without", "["+others+", {apiGroups: [getambassador.io], resources: [mappings, hosts, filters], "+lists+"}]")
	g := launch(t, setup{args: []string{"--kubernetes"}, env: []string{"KUBECONFIG=" + without}})
	g.errors.await(t, `the API server refuses.*list filterpolicies\.getambassador\.io.*forbidden`)
	if status, _ := g.operator("/ambassador/v0/check_ready"); status != 503 {
		t.Errorf("ready without having read all: %d", status)
	}
	c.as("without", "["+others+", {apiGroups: [getambassador.io], resources: [mappings, hosts, filters, filterpolicies], "+lists+"}]")
	g.awaitReady()
	g.comesTo(t, request{target: "/a/"}, 200)
}

// Neither does one that serves already when the kinds come: what it serves goes on, and no more.
func TestKubernetesForbiddenLater(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	without := c.as("without", "["+others+", {apiGroups: [getambassador.io], resources: [mappings, hosts, filters], "+lists+"}]")
	g := start(t, setup{manifests: everyone + mapping("mine", "/mine/", up), args: []string{"--kubernetes"}, env: []string{"KUBECONFIG=" + without}})
	c.install(looseCRDs("{strategy: None}"))
	c.apply(mapping("a", "/a/", up))
	eventually(t, patience(20*time.Second), "it is a Problem", func() bool {
		return g.tells("notice", "the API server does not let us list filterpolicies.getambassador.io")
	})
	for path, status := range map[string]int{"/a/": 404, "/mine/": 200} {
		if a := g.send(t, request{target: path}); a.StatusCode != status {
			t.Errorf("without having read what protects it %s answers %d, want %d", path, a.StatusCode, status)
		}
	}
	c.as("without", "["+others+", {apiGroups: [getambassador.io], resources: [mappings, hosts, filters, filterpolicies], "+lists+"}]")
	g.comesTo(t, request{target: "/a/"}, 200)
	eventually(t, patience(20*time.Second), "the Problem is gone", func() bool { return len(g.problems()) == 0 })
}

// Ambassador's own CRDs name a webhook that converts between versions. Where it is gone,
// objects are read as they are stored.
func TestKubernetesWithoutWebhook(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	c.install(looseCRDs("{strategy: None}"))
	v2 := func(manifests string) string {
		return strings.ReplaceAll(manifests, "getambassador.io/v3alpha1", "getambassador.io/v2")
	}
	c.apply(v2(everyone + manifest("Mapping", "stored", "{prefix: /stored/, service: "+up+"}")))
	c.apply(looseCRDs(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {name: emissary-apiext, namespace: emissary-system}}}}`))
	g := c.gateway(setup{})
	g.comesTo(t, request{target: "/stored/"}, 200)
	g.errors.await(t, "objects cannot be converted; another version is read.*mappings.getambassador.io.*v3alpha1.*v2")
	c.apply(v2(manifest("Mapping", "later", "{prefix: /later/, service: "+up+"}")))
	g.comesTo(t, request{target: "/later/"}, 200)
}

// A report on a cluster says the same as one on its files.
func TestKubernetesReport(t *testing.T) {
	c := newKubernetes(t)
	c.install(looseCRDs("{strategy: None}"))
	c.apply(everyone + mapping("a", "/a/", "up", "prefex: /b/"))
	out, status := legateIn(t, []string{"KUBECONFIG=" + c.kubeconfig}, "report", "--kubernetes")
	if status != 0 || !strings.Contains(out, "unknown  Mapping default/a") || !strings.Contains(out, "served   Host default/everyone") {
		t.Errorf("report: status %d\n%s", status, out)
	}
}

// says is what an object's condition says: status, reason, message.
func (c *kubernetes) says(object, condition string) string {
	c.t.Helper()
	path := "{.status.conditions[?(@.type=='" + condition + "')]['status','reason','message']}"
	out, err := c.kubectl("", "get", object, "-o", "jsonpath="+path)
	if err != nil {
		return ""
	}
	return out
}

// comesToSay waits until an object's condition says text.
func (c *kubernetes) comesToSay(object, condition, text string) {
	c.t.Helper()
	said := ""
	for end := time.Now().Add(patience(30 * time.Second)); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if said = c.says(object, condition); strings.HasPrefix(said, text) {
			return
		}
	}
	c.t.Errorf("%s of %s says %q, want %q", condition, object, said, text)
}

// What becomes of objects is written into their status, by one of the replicas; another
// goes on when that one ends or dies.
func TestKubernetesStatus(t *testing.T) {
	c := newKubernetes(t)
	up := echo(t, "up")
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	c.apply(everyone + mapping("good", "/good/", up) + mapping("broken", "/(b/", up, "prefix_regex: true") + mapping("odd", "/odd/", up, "prefex: /b/") +
		manifest("Mapping", "nowhere", "{prefix: /nowhere/, service: "+up+"}") + mapping("deserted", "/deserted/", "nobody.invalid") +
		mapping("foreign", "/foreign/", up, "ambassador_id: [other]") + webIngress + frontService +
		manifest("Filter", "keyless", "{JWT: {audience: api}}") + manifest("FilterPolicy", "guard", `{rules: [{host: "*", path: /free/*, filters: null}, {host: "*", path: /shut/*, filters: [{name: nobody}]}]}`))
	c.do("", "patch", "service", "front", "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{"ingress":[{"hostname":"front.elb.amazonaws.com"},{"ip":"192.0.2.7"}]}}}`)
	c.do("", "patch", "mapping", "broken", "--subresource=status", "--type=merge", "-p", `{"status":{"conditions":[{"type":"Theirs","status":"True","reason":"Other","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	replica := func(name string) *gateway {
		return c.gateway(setup{env: []string{"POD_NAME=" + name}})
	}
	first := replica("first")
	first.errors.await(t, `"leading".*first_`)
	second := replica("second")

	c.comesToSay("mapping/good", "Accepted", "True Accepted")
	c.comesToSay("mapping/good", "Attached", "True Attached")
	c.comesToSay("mapping/good", "Resolved", "True EndpointsFound")
	c.comesToSay("mapping/broken", "Accepted", "False Dropped prefix: regex")
	c.comesToSay("mapping/broken", "Attached", "False NotServed")
	c.comesToSay("mapping/broken", "Theirs", "True Other")
	c.comesToSay("mapping/odd", "Accepted", `True FieldsIgnored prefex: there is no such field, did you mean "prefix"?`)
	c.comesToSay("mapping/nowhere", "Attached", "False NoHost")
	c.comesToSay("mapping/deserted", "Resolved", "False NoEndpoints nobody.invalid: ")
	c.comesToSay("host/everyone", "Accepted", "True Accepted")
	c.comesToSay("filter.getambassador.io/keyless", "Accepted", "False RoutesClosed")
	c.comesToSay("filterpolicy.getambassador.io/guard", "Accepted", "False RoutesClosed rules[1].filters[0]")
	if said := c.do("", "get", "filterpolicy.getambassador.io", "guard", "-o", "jsonpath={range .status.rules[*]}{.conditions[0].status} {.conditions[0].reason},{end}"); said != "True Accepted,False RoutesClosed," {
		t.Errorf("the policy's rules say %q", said)
	}
	if said := c.do("", "get", "mapping", "foreign", "-o", "jsonpath={.status}"); said != "" {
		t.Errorf("a Mapping of another gateway says %s", said)
	}
	if said := c.do("", "get", "host", "everyone", "-o", "jsonpath={.status.state} {.metadata.generation} {.status.conditions[0].observedGeneration}"); said != "Ready 1 1" {
		t.Errorf("the Host says %q", said)
	}
	eventually(t, patience(20*time.Second), "the Ingress says where it is", func() bool {
		return c.do("", "get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].hostname}") == "front.elb.amazonaws.com"
	})

	c.apply(mapping("broken", "/b/", up))
	c.comesToSay("mapping/broken", "Accepted", "True Accepted")
	eventually(t, patience(10*time.Second), "Events tell of it", func() bool {
		told := c.do("", "get", "events", "--field-selector", "involvedObject.name=broken", "-o", "jsonpath={range .items[*]}{.type} {.reason},{end}")
		return strings.Contains(told, "Warning Dropped,") && strings.Contains(told, "Normal Accepted,")
	})

	first.program.judged = true
	must(t, first.cmd.Process.Kill())
	eventually(t, patience(30*time.Second), "another leads once the Lease has run out", func() bool {
		return strings.HasPrefix(c.do("", "get", "lease", "legate", "-o", "jsonpath={.spec.holderIdentity}"), "second_")
	})
	c.apply(mapping("later", "/later/", up))
	c.comesToSay("mapping/later", "Accepted", "True Accepted")
	third := replica("third")
	second.signal(syscall.SIGTERM)
	third.errors.await(t, `"leading".*third_`)
	if held := c.do("", "get", "lease", "legate", "-o", "jsonpath={.spec.holderIdentity}"); !strings.HasPrefix(held, "third_") {
		t.Errorf("the Lease is held by %q", held)
	}
}

const webIngress = `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {kubernetes.io/ingress.class: ambassador}}
spec: {defaultBackend: {service: {name: front, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs, annotations: {kubernetes.io/ingress.class: nginx}}
spec: {defaultBackend: {service: {name: front, port: {number: 80}}}}
`

const frontService = `---
apiVersion: v1
kind: Service
metadata: {name: front, labels: {app.kubernetes.io/component: ambassador-service}}
spec: {type: LoadBalancer, ports: [{port: 80}]}
`

// Replicas sign with the same keys, which the one that leads makes, lets come and go, and
// takes away when they are revoked.
func TestKubernetesSigningKeys(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	filter := func(more string) string {
		return everyone + manifest("Filter", "mint", "{Mint: {signingKeys: {secretName: legate-signing-keys"+more+"}}}")
	}
	c.apply(filter(""))
	replicas := []*gateway{c.gateway(setup{}), c.gateway(setup{})}
	published := func(g *gateway) (ids []string) {
		_, body := g.operator("/.well-known/jwks.json")
		var set struct{ Keys []struct{ Kid string } }
		if json.Unmarshal([]byte(body), &set) != nil {
			return nil
		}
		for _, k := range set.Keys {
			ids = append(ids, k.Kid)
		}
		return ids
	}
	agree := func(what string, right func(ids []string) bool) (ids []string) {
		t.Helper()
		eventually(t, patience(20*time.Second), what, func() bool {
			ids = published(replicas[0])
			return slices.Equal(ids, published(replicas[1])) && right(ids)
		})
		return ids
	}
	stored := func() string {
		text, err := base64.StdEncoding.DecodeString(c.do("", "get", "secret", "legate-signing-keys", "-o", `jsonpath={.data.keys\.json}`))
		must(t, err)
		return string(text)
	}
	first := agree("all publish the key of the Secret", func(ids []string) bool { return len(ids) == 1 })
	if len(strings.Split(stored(), `"signs":`)) != 2 {
		t.Errorf("the Secret has %d keys", len(strings.Split(stored(), `"signs":`))-1)
	}

	// A day later the next one has been published.
	dates := regexp.MustCompile(`"(published|signs)":"[^"]*"`)
	older := dates.ReplaceAllString(stored(), `"$1":"`+time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339)+`"`)
	c.do("", "patch", "secret", "legate-signing-keys", "--type=merge", "-p", `{"data":{"keys.json":"`+base64.StdEncoding.EncodeToString([]byte(older))+`"}}`)
	both := agree("the next key is published", func(ids []string) bool { return len(ids) == 2 && ids[0] == first[0] })

	c.apply(filter(", revoked: [" + first[0] + "]"))
	agree("the revoked key is gone", func(ids []string) bool { return slices.Equal(ids, both[1:]) })
	eventually(t, patience(20*time.Second), "also from the Secret", func() bool { return len(strings.Split(stored(), `"signs":`)) == 2 })

	kept := stored()
	c.do("", "delete", "secret", "legate-signing-keys")
	eventually(t, patience(20*time.Second), "a lost Secret comes back", func() bool {
		_, err := c.kubectl("", "get", "secret", "legate-signing-keys")
		return err == nil
	})
	if stored() != kept {
		t.Error("the Secret that came back has other keys than those that sign")
	}
	agree("its key goes on signing", func(ids []string) bool { return slices.Equal(ids, both[1:]) })
	c.do("---\napiVersion: v1\nkind: Secret\nmetadata: {name: legate-signing-keys}\nstringData: {signing.pem: not a key}\n", "replace", "-f", "-")
	eventually(t, patience(10*time.Second), "a key that cannot be read is a Problem", func() bool { return replicas[0].tells("field_ignored", "legate-signing-keys") })
	if text := c.do("", "get", "secret", "legate-signing-keys", "-o", "jsonpath={.data}"); strings.Contains(text, "keys.json") {
		t.Errorf("what somebody put there is written over: %s", text)
	}
}
