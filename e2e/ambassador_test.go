package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"legate/e2e/ambassador"
)

// TestAmbassador runs the cases of e2e/ambassador. A subtest's name begins with the id of
// the row that it proves.
func TestAmbassador(t *testing.T) {
	t.Parallel()
	files, err := ambassador.Files()
	must(t, err)
	for i := range files {
		f := &files[i]
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			newProof(t, f).run(t)
		})
	}
}

// A proof is a process at work on one file of cases.
type proof struct {
	*gateway
	file  *ambassador.File
	rest  string            // manifests that every world has
	ports map[string]string // addresses of Listeners by name
	args  []string
	words *strings.Replacer // what ${…} stands for
}

func newProof(t *testing.T, f *ambassador.File) *proof {
	t.Helper()
	p := &proof{file: f, ports: map[string]string{}, args: slices.Clone(f.Args), words: strings.NewReplacer()}
	if f.Tokens != nil {
		p.words = signed(t, f.Tokens)
	}
	for _, name := range append([]string{"up"}, f.Services...) {
		p.args = append(p.args, "--resolve", name+"="+echo(t, name))
	}
	for _, name := range f.Secured {
		p.args = append(p.args, "--resolve", name+"="+serveTLS(t, "service.test", echoHandler(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Certificates)) {
		p.rest += authority.issue(t, f.Certificates[name]).secret(name)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Listeners)) {
		port := freePorts(t, 1)[0]
		spec := maps.Clone(f.Listeners[name])
		spec["port"] = port
		p.ports[name] = loopback(port)
		p.rest += object(t, "Listener", name, spec)
	}
	return p
}

// signed starts an issuer, and returns what puts its tokens and its address in place.
func signed(t *testing.T, tokens map[string]map[string]any) *strings.Replacer {
	t.Helper()
	i := startIssuer(t)
	words := []string{"${issuer}", i.url}
	for name, claims := range tokens {
		payload, err := json.Marshal(claims)
		must(t, err)
		words = append(words, "${"+name+"}", i.sign(t, strings.ReplaceAll(string(payload), "${issuer}", i.url)))
	}
	return strings.NewReplacer(words...)
}

func (p *proof) run(t *testing.T) {
	t.Helper()
	for i := range p.file.Worlds {
		w := &p.file.Worlds[i]
		manifests := p.words.Replace(p.manifests(t, w))
		if p.gateway == nil {
			p.gateway = start(t, setup{manifests: manifests, args: p.args, env: p.file.Env})
		} else {
			p.replace(manifests)
		}
		all := make([]*asked, 0, len(w.Cases))
		for j := range w.Cases {
			all = append(all, p.ask(t, &w.Cases[j]))
		}
		for _, c := range all {
			t.Run(c.ID[0], func(t *testing.T) { p.check(t, c) })
		}
		p.told(t, w)
	}
}

// manifests renders a world.
func (p *proof) manifests(t *testing.T, w *ambassador.World) string {
	t.Helper()
	text := p.rest
	for _, name := range slices.Sorted(maps.Keys(w.Hosts)) {
		text += object(t, "Host", name, w.Hosts[name])
	}
	if len(w.Hosts) == 0 && !strings.Contains(w.Manifests, "kind: Host") {
		text += everyone
	}
	if w.Module != nil {
		text += object(t, "Module", "ambassador", map[string]any{"config": w.Module})
	}
	for _, name := range slices.Sorted(maps.Keys(w.Mappings)) {
		spec := maps.Clone(w.Mappings[name])
		_, hostname := spec["hostname"]
		_, host := spec["host"]
		if !hostname && !host {
			spec["hostname"] = "*"
		}
		if spec["service"] == nil {
			spec["service"] = "up"
		}
		text += object(t, "Mapping", name, spec)
	}
	if w.Manifests != "" {
		text += "---\n" + w.Manifests
	}
	return text
}

// object renders one object, whose name may have a namespace before it.
func object(t *testing.T, kind, name string, spec map[string]any) string {
	t.Helper()
	metadata := map[string]any{"name": name}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		metadata = map[string]any{"name": rest, "namespace": namespace}
	}
	if labels := spec["metadata-labels"]; labels != nil {
		spec = maps.Clone(spec)
		delete(spec, "metadata-labels")
		metadata["labels"] = labels
	}
	text, err := yaml.Marshal(map[string]any{"apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": metadata, "spec": spec})
	must(t, err)
	return "---\n" + string(text)
}

// An asked is a case whose request was sent, and what came back.
type asked struct {
	*ambassador.Case
	answer  answer
	record  *record // where it was awaited already
	refused error   // the connection was not to be had
	err     error
}

// ask sends a case's request. Records are awaited later, as they are written together;
// but those of requests that are refused before they have an id that is told, at once.
func (p *proof) ask(t *testing.T, c *ambassador.Case) *asked {
	t.Helper()
	r := request{target: c.Get, host: c.Host, body: c.Body}
	for _, h := range c.Headers {
		r.header = append(r.header, p.words.Replace(h))
	}
	if c.Send != "" {
		r.method, r.target, _ = strings.Cut(c.Send, " ")
	}
	got := &asked{Case: c}
	client, err := p.reach(t, c)
	if err != nil {
		got.refused = err
		return got
	}
	defer client.Close()
	from := p.log.size()
	got.answer, got.err = client.exchange(r)
	got.answer.from = from
	if got.err == nil && strings.Contains(c.Want, " accept ") {
		rec := p.log.next(t, from, func(r *record) bool { return r.Stage == "accept" })
		got.record = &rec
	}
	return got
}

// check holds what came of a case against what has to come.
func (p *proof) check(t *testing.T, c *asked) {
	t.Helper()
	if c.Want == "refused" {
		if c.refused == nil {
			t.Error("the handshake succeeds")
		}
		return
	}
	must(t, c.refused)
	must(t, c.err)
	a := c.answer
	if c.record == nil {
		rec := p.log.next(t, a.from, func(r *record) bool { return r.RequestID == a.id })
		c.record = &rec
	}
	if want := verdictOf(t, c.Want); c.record.verdict != want || a.StatusCode != want.Status {
		t.Fatalf("got %v with status %d, want %v", c.record.verdict, a.StatusCode, want)
	}
	fields(t, "the answer", a.Header, p.worded(c.Answer))
	if c.Text != nil && string(a.body) != *c.Text {
		t.Errorf("the body is %q, want %q", a.body, *c.Text)
	}
	seen := *c.Case
	seen.Saw = p.worded(c.Saw)
	checkSeen(t, &seen, a)
}

// worded returns fields with what ${…} stands for in their values.
func (p *proof) worded(fields map[string]string) map[string]string {
	if fields == nil {
		return nil
	}
	all := map[string]string{}
	for name, value := range fields {
		all[name] = p.words.Replace(value)
	}
	return all
}

// reach connects as c says.
func (p *proof) reach(t *testing.T, c *ambassador.Case) (*client, error) {
	t.Helper()
	g := *p.gateway
	if c.On != "" {
		addr := p.ports[c.On]
		if addr == "" {
			t.Fatalf("there is no Listener %s", c.On)
		}
		g.clear, g.secure = addr, addr
	}
	return g.dial(t, request{secure: c.TLS, host: or(c.SNI, c.Host)})
}

// checkSeen holds what the service saw against c.
func checkSeen(t *testing.T, c *ambassador.Case, a answer) {
	t.Helper()
	if c.By == "" && c.Path == "" && c.Authority == "" && c.Saw == nil && c.Shown == "" {
		return
	}
	if a.saw == nil {
		t.Fatal("no service saw the request")
	}
	for _, f := range []struct{ what, got, want string }{
		{"service", a.saw.Service, c.By}, {"path", a.saw.Target, c.Path}, {"Host", a.saw.Host, c.Authority}, {"SNI", or(a.saw.SNI, "-"), c.Shown},
	} {
		if f.want != "" && f.got != f.want {
			t.Errorf("%s %q, want %q", f.what, f.got, f.want)
		}
	}
	fields(t, "the service", a.saw.Header, c.Saw)
}

// fields compares fields by name; several of one name are joined.
func fields(t *testing.T, whose string, got map[string][]string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		var values []string
		for n, v := range got {
			if strings.EqualFold(n, name) {
				values = append(values, v...)
			}
		}
		if have := strings.Join(values, " + "); have != value {
			t.Errorf("%s has %s %q, want %q", whose, name, have, value)
		}
	}
}

// verdictOf reads "404 match no_route".
func verdictOf(t *testing.T, text string) verdict {
	t.Helper()
	if text == "" {
		return served
	}
	words := append(strings.Fields(text), "proxy", "")
	status, err := strconv.Atoi(words[0])
	must(t, err)
	v := verdict{Stage: words[1], Status: status}
	if len(words) > 4 {
		v.Reason = words[2]
	}
	return v
}

// told holds the problems of a world against those that it has to have, all of them.
func (p *proof) told(t *testing.T, w *ambassador.World) {
	t.Helper()
	got := p.problems()
	for i := range w.Problems {
		want := &w.Problems[i]
		fits := func(g problemView) bool {
			return g.Kind+"/"+g.Name == want.Object && strings.Contains(g.Text, want.Says) && (want.Effect == "" || g.Effect == want.Effect)
		}
		name := want.Object
		if len(want.ID) > 0 {
			name = want.ID[0]
		}
		t.Run(name, func(t *testing.T) {
			at := slices.IndexFunc(got, fits)
			if at < 0 {
				t.Errorf("no problem of %s says %q (%s)", want.Object, want.Says, want.Effect)
				return
			}
			got = slices.Delete(got, at, at+1)
		})
	}
	for _, g := range got {
		t.Errorf("%s: it also says: %s", or(w.About, "a world"), fmt.Sprintf("%s (%s)", g.Text, g.Effect))
	}
}
