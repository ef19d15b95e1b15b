package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	out, status := legate(t, "version")
	if !regexp.MustCompile(`^legate \S+ commit \S+ go1\.\d+\S*\n$`).MatchString(out) || status != 0 {
		t.Errorf("got %q, status %d", out, status)
	}
}

// What cannot start says why, on standard error, with the status that scripts go by.
func TestCommandsThatCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { taken.Close() })
	good := filepath.Join(t.TempDir(), "good.yaml")
	must(t, os.WriteFile(good, []byte(everyone), 0o600))
	free := loopback(freePorts(t, 1)[0])
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "usage: legate COMMAND"},
		{"fly", 2, `unknown command "fly"`},
		{"run", 2, "nothing to serve: name files with -f"},
		{"run --what", 2, "unknown flag: --what"},
		{"run -f " + good + " more", 2, `unexpected argument "more"`},
		{"run -f " + good + " --log-level loud", 2, "--log-level: must be debug, info, warn or error"},
		{"run -f " + good + " --log-format xml", 2, "--log-format: must be json or text"},
		{"run -f " + good + " --resolve nowhere", 2, "--resolve"},
		{"run -f " + good + " --drain-timeout soon", 2, "--drain-timeout"},
		{"run -f " + good + " --admin " + taken.Addr().String(), 1, "address already in use"},
		{"run -f /nowhere.yaml --admin " + free, 1, "/nowhere.yaml: no such file or directory"},
		{"check", 2, "nothing to check: name files with -f"},
		{"check -f /nowhere.yaml", 2, "/nowhere.yaml: no such file or directory"},
		{"check -f " + good + " -o xml", 2, "--output: must be text or json"},
		{"routes", 2, "name files with -f, or a gateway with --admin"},
		{"routes -f " + good + " -o xml", 2, "--output: must be one of text, wide, json"},
		{"routes --admin nowhere", 2, "--admin: must be a URL"},
		{"explain -f " + good, 2, "name a method and a URL"},
		{"explain -f " + good + " GET /", 2, "url: must be like https://"},
		{"explain -f " + good + " GET http://a/ more", 2, `unexpected argument "more"`},
		{"explain -f " + good + " GET http://a/nowhere", 3, ""},
		{"version now", 2, `unexpected argument "now"`},
		{"help", 0, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binary, strings.Fields(c.args)...)
			cmd.Env = []string{"HOME=" + t.TempDir(), hasty}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			_ = cmd.Run() // the status says it
			if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("status %d, %q; want %d and %q", got, stderr.String(), c.status, c.says)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const good = "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: good}\nspec: {hostname: '*', prefix: /good/, service: good%s}\n"
	dir := t.TempDir()
	for _, c := range []struct {
		name, text      string
		plain, strict   int
		effect, message string
	}{
		{"fine", everyone + fmt.Sprintf(good, ""), 0, 0, "", ""},
		{"warning", everyone + fmt.Sprintf(good, ", time_out_ms: 1"), 0, 1, "field_ignored", `there is no such field, did you mean "timeout_ms"?`},
		{"error", everyone + fmt.Sprintf(good, ", timeout_ms: soon"), 2, 2, "object_dropped", `must be an integer, got "soon"`},
	} {
		path := filepath.Join(dir, c.name+".yaml")
		must(t, os.WriteFile(path, []byte(c.text), 0o600))
		if out, status := legate(t, "check", "-f", path); status != c.plain || (out == "") != (c.message == "") {
			t.Errorf("%s: status %d, %q", c.name, status, out)
		}
		out, status := legate(t, "check", "--strict", "-o", "json", "-f", path)
		var problems []problemView
		if err := json.Unmarshal([]byte(out), &problems); err != nil || status != c.strict {
			t.Errorf("%s, strict: status %d, %v in %q", c.name, status, err, out)
		}
		if c.message == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %+v", c.name, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Effect != c.effect || problems[0].Message != c.message || problems[0].Kind != "Mapping" || problems[0].Name != "good" {
			t.Errorf("%s: %+v", c.name, problems)
		}
	}
	if _, status := legate(t, "check", "-f", dir); status != 2 {
		t.Errorf("the folder: status %d, want 2", status)
	}
}

// Files and the gateway that serves them say the same of their routes and of a request.
func TestRoutesAndExplain(t *testing.T) {
	t.Parallel()
	manifests := mapping("orders", "/orders/", "127.0.0.1:1") + manifest("Mapping", "home", `{hostname: shop.example.com, prefix: /, service: "127.0.0.1:2"}`)
	g := start(t, setup{manifests: manifests})
	path, admin := g.file, "http://"+g.admin
	for _, source := range [][]string{{"-f", path}, {"--admin", admin}} {
		out, status := legate(t, append([]string{"routes", "-o", "json"}, source...)...)
		var routes []struct{ Name, Why string }
		if err := json.Unmarshal([]byte(out), &routes); err != nil || status != 0 {
			t.Fatalf("%s: status %d, %v in %q", source, status, err, out)
		}
		if got := fmt.Sprint(routes); got != "[{orders.default } {home.default prefix length 1 < 8}]" {
			t.Errorf("%s: routes %s", source, got)
		}
		if out, _ := legate(t, append([]string{"routes", "--host", "other.example.com"}, source...)...); strings.Contains(out, "home") || !strings.Contains(out, "orders") {
			t.Errorf("%s: of another host: %s", source, out)
		}
		for request, want := range map[string]int{"http://a/orders/1": 0, "http://a/nowhere": 3} {
			if out, status := legate(t, append([]string{"explain", "GET", request}, source...)...); status != want {
				t.Errorf("%s: %s: status %d, want %d: %s", source, request, status, want, out)
			}
		}
	}
	if out, _ := legate(t, "explain", "GET", "http://a/orders/1", "--admin", admin); !strings.Contains(out, "127.0.0.1:1") {
		t.Errorf("a gateway that serves knows its endpoints: %s", out)
	}
}

// Probes find /ready where Ambassador's variable says, and Mappings find the admin port
// where Ambassador has it, wherever it is.
func TestReadyPortAndLocalServices(t *testing.T) {
	t.Parallel()
	ready := loopback(freePorts(t, 1)[0])
	_, port, _ := net.SplitHostPort(ready)
	var manifests string
	for i, service := range []string{"localhost:8877", "127.0.0.1:8877"} {
		manifests += mapping(fmt.Sprint("admin", i), fmt.Sprintf("/admin%d/", i), service, "rewrite: /ambassador/v0/check_ready")
	}
	manifests += module("diagnostics: {enabled: false}") + mapping("diag", "/diag/", "localhost:8877", "rewrite: /ambassador/v0/diag/")
	g := start(t, setup{manifests: manifests, env: []string{"AMBASSADOR_READY_PORT=" + port}})
	for url, want := range map[string]string{
		"http://" + ready + "/ready":                                         "200 LIVE\n",
		"http://" + ready + "/metrics":                                       "404 404 page not found\n",
		"http://" + g.clear + "/admin0/":                                     "200 Ambassador is ready and waiting\n",
		"http://" + g.clear + "/admin1/":                                     "200 Ambassador is ready and waiting\n",
		"http://" + g.clear + "/diag/":                                       "404 Not found\n",
		"http://" + g.admin + "/ambassador/v0/diag/?json=true&filter=errors": "200 []\n",
	} {
		resp, err := http.Get(url)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

// In an empty folder dev serves the example that it carries, and every command that
// it prints works as printed.
func TestDev(t *testing.T) {
	t.Parallel()
	curl := outside(t, "curl")
	folder, home := t.TempDir(), t.TempDir()
	bind := ownAddress(t, 0)
	admin := net.JoinHostPort(bind, "8877")
	dev := func() (p *program, commands []string) {
		cmd := exec.Command(binary, "dev", "--bind", bind, "--admin", admin)
		cmd.Dir = folder
		p = run(t, []string{"HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, "cache")}, cmd)
		p.errors.await(t, `^What is not served as written: .*/api/v1/problems`)
		for _, line := range p.errors.all() {
			if strings.HasPrefix(line, "  curl ") {
				commands = append(commands, strings.TrimSpace(line))
			}
		}
		return p, commands
	}
	p, commands := dev()
	if len(commands) != 3 {
		t.Fatalf("printed %q, want three commands", commands)
	}
	for i, command := range commands {
		out, err := exec.Command("/bin/sh", "-c", strings.ReplaceAll(command, "curl", curl+" --silent --show-error --noproxy '*' --max-time 20")).CombinedOutput()
		head, body, _ := strings.Cut(string(out), "\r\n\r\n")
		if err != nil || !regexp.MustCompile(`^HTTP/(1\.1|2) 200 `).MatchString(head) || !json.Valid([]byte(body)) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		if !strings.Contains(body, `"X-Envoy-Original-Path"`) || i == 2 != strings.Contains(body, `"X-User"`) {
			t.Errorf("%s did not reach the echo service through one of the example's routes, in somebody's name if it is the third:\n%s", command, body)
		}
	}
	shown, err := (&http.Client{Timeout: 20 * time.Second}).Get("http://" + admin + "/api/v1/certificates")
	must(t, err)
	defer shown.Body.Close()
	var certs []certificateView
	must(t, json.NewDecoder(shown.Body).Decode(&certs))
	if len(certs) == 0 || certs[0].Source != "local CA" || !strings.HasPrefix(certs[0].From, home) || !slices.Contains(certs[0].Names, "localhost") {
		t.Errorf("/api/v1/certificates says %+v", certs)
	}
	p.signal(os.Interrupt)
	if status := p.exit(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	// The authority is trusted once and stays.
	if _, again := dev(); strings.Join(again, "\n") != strings.Join(commands, "\n") {
		t.Errorf("then printed %q, before %q", again, commands)
	}
}

// Somebody who opens the example's page in a browser is sent to the identity provider of dev,
// logs in as alice, and is known; without anything else on the machine.
func TestDevLogin(t *testing.T) {
	t.Parallel()
	bind := ownAddress(t, 1)
	cmd := exec.Command(binary, "dev", "--bind", bind, "--admin", net.JoinHostPort(bind, "8877"))
	cmd.Dir = t.TempDir()
	p := run(t, []string{"HOME=" + t.TempDir()}, cmd)
	p.errors.await(t, `^A browser that opens http://.*/account/ is sent to log in`)
	jar, err := cookiejar.New(nil)
	must(t, err)
	// A browser on this machine would find localhost there.
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, strings.Replace(addr, "localhost", bind, 1))
	}
	browser := &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	form, err := browser.Get("http://localhost:8080/account/settings?tab=2")
	must(t, err)
	defer form.Body.Close()
	at := form.Request.URL.String()
	if !strings.HasPrefix(at, "http://localhost:8877/idp/authorize?") || form.StatusCode != 200 {
		t.Fatalf("sent to %s, status %d", at, form.StatusCode)
	}
	page, err := browser.PostForm(at, url.Values{"username": {"alice"}, "password": {"alice"}})
	must(t, err)
	defer page.Body.Close()
	var saw struct{ Headers http.Header }
	must(t, json.NewDecoder(page.Body).Decode(&saw))
	if got, want := page.Request.URL.String(), "http://localhost:8080/account/settings?tab=2"; got != want || page.StatusCode != 200 {
		t.Errorf("ended at %s, status %d, want %s", got, page.StatusCode, want)
	}
	claims := decoded(t, strings.TrimPrefix(saw.Headers.Get("Authorization"), "Bearer "))
	if saw.Headers.Get("X-Email") != "alice@example.com" || claims["iss"] != "ambassador-jwt-issuer" || claims["sub"] != "alice" {
		t.Errorf("the service saw %v, a token with %v", saw.Headers, claims)
	}
}

// ownAddress is a loopback address that no other test binds the fixed ports of dev on: number
// tells those of this run apart.
func ownAddress(t testing.TB, number int) string {
	t.Helper()
	return fmt.Sprintf("127.%d.%d.%d", 64+number*32+os.Getpid()>>16&31, os.Getpid()>>8&255, os.Getpid()&127*2+1)
}
