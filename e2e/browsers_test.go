package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pictures is how many pictures the page shows: more than a browser asks for at a
// time where it needs a connection for each.
const pictures = 12

// large is the length of what the page fetches and of what it posts: more than any
// window that a peer begins with.
const large = 1 << 20

const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="7"><rect width="9" height="7"/></svg>`

// pageScript writes down, where a browser can be asked for it, what it could load.
const pageScript = `
const loaded = Array.from(document.images).filter(i => i.complete && i.naturalWidth === 9).length;
const styled = getComputedStyle(document.body).marginTop;
Promise.all([
	fetch('large.bin').then(r => r.arrayBuffer()),
	fetch('count', {method: 'POST', body: new Uint8Array(%d)}).then(r => r.text()),
]).then(([got, sent]) => {
	document.getElementById('story').textContent = ['pictures', loaded, 'margin', styled, 'fetched', got.byteLength, 'posted', sent].join(' ');
});
`

// page serves a page and what belongs to it.
func page(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	serveText := func(path, kind, text string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, text)
		})
	}
	var html strings.Builder
	html.WriteString(`<!doctype html><html><head><title>page</title><link rel="stylesheet" href="style.css"><link rel="icon" href="p0.svg"></head><body><p id="story"></p>`)
	for i := range pictures {
		name := fmt.Sprintf("p%d.svg", i)
		serveText("/"+name, "image/svg+xml", picture)
		fmt.Fprintf(&html, `<img src="%s">`, name)
	}
	html.WriteString(`<script>onload = () => { const s = document.createElement('script'); s.src = 'late.js'; document.body.append(s) }</script>` +
		`<script src="early.js"></script></body></html>`)
	serveText("/index.html", "text/html", html.String())
	serveText("/style.css", "text/css", "body { margin-top: 23px }")
	serveText("/early.js", "text/javascript", "document.title = 'early'")
	serveText("/late.js", "text/javascript", fmt.Sprintf(pageScript, large))
	serveText("/large.bin", "application/octet-stream", strings.Repeat("x", large))
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, "the body is not whole", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	})
	return serve(t, mux)
}

// assets are the files that the page itself names.
func assets() []string {
	names := []string{"index.html", "style.css", "early.js"}
	for i := range pictures {
		names = append(names, fmt.Sprintf("p%d.svg", i))
	}
	return names
}

// pageGateway serves the page in the clear and over TLS.
func pageGateway(t testing.TB) (g *gateway, cert certificate) {
	t.Helper()
	cert = authority.issue(t, "gate.test")
	return start(t, setup{manifests: cert.secret("cert") + tlsHost("all", "*", "cert", route) + mapping("page", "/page/", page(t))}), cert
}

// loaded waits until every one of names has a record from index from on, and judges it.
func (g *gateway) loaded(t testing.TB, from int, protocol, tls string, names ...string) {
	t.Helper()
	for _, name := range names {
		r := g.log.next(t, from, func(r *record) bool { return r.Path == "/page/"+name })
		if r.verdict != (verdict{"proxy", "", 200}) || r.Protocol != protocol || r.TLS != tls {
			t.Errorf("%s: %+v, want %s and TLS %q", name, r, protocol, tls)
		}
	}
}

func TestCurlSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	g, _ := pageGateway(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, authority.pem(), 0o600))
	for _, c := range []struct {
		scheme, addr, flag string
		atOnce             int // how many files one curl loads: 7.88 cannot keep connections that it knew beforehand to be HTTP/2
		protocol, tls      string
	}{
		{"https", g.secure, "--http2", 100, "HTTP/2", "TLSv1.3"},
		{"https", g.secure, "--http1.1", 100, "HTTP/1.1", "TLSv1.3"},
		{"http", g.clear, "--http2-prior-knowledge", 1, "HTTP/2", ""},
		{"http", g.clear, "--http1.1", 100, "HTTP/1.1", ""},
	} {
		from, port := g.log.size(), portOf(c.addr)
		names := append(assets(), "large.bin")
		for some := range slices.Chunk(names, c.atOnce) {
			args := []string{"curl", c.flag, "--silent", "--show-error", "--parallel", "--cacert", ca,
				"--resolve", "gate.test:" + port + ":127.0.0.1", "--write-out", "%{http_version} %{response_code} %{size_download}\n"}
			for _, name := range some {
				args = append(args, "--output", "/dev/null", c.scheme+"://gate.test:"+port+"/page/"+name)
			}
			out, err := output(t, 20*time.Second, args...)
			number := strings.TrimPrefix(c.protocol, "HTTP/")
			if got := strings.Count(out, number+" 200 "); err != nil || got != len(some) {
				t.Errorf("curl %s %s: %v; %d of %d files by %s\n%s", c.flag, c.scheme, err, got, len(some), number, out)
			}
			if whole := fmt.Sprintf("%s 200 %d\n", number, large); slices.Contains(some, "large.bin") && !strings.Contains(out, whole) {
				t.Errorf("curl %s %s: no %q in\n%s", c.flag, c.scheme, whole, out)
			}
		}
		g.loaded(t, from, c.protocol, c.tls, names...)
	}
}

func TestCurlPostsOverHTTP2(t *testing.T) {
	t.Parallel()
	g, _ := pageGateway(t)
	body := filepath.Join(t.TempDir(), "body")
	must(t, os.WriteFile(body, bytes.Repeat([]byte("y"), large), 0o600))
	for _, c := range []struct{ scheme, addr, flag, tls string }{
		{"https", g.secure, "--http2", "TLSv1.3"},
		{"http", g.clear, "--http2-prior-knowledge", ""},
	} {
		from, port := g.log.size(), portOf(c.addr)
		out, err := output(t, 20*time.Second, "curl", c.flag, "--silent", "--show-error", "--insecure", "--resolve", "gate.test:"+port+":127.0.0.1",
			"--data-binary", "@"+body, c.scheme+"://gate.test:"+port+"/page/count")
		if want := strconv.Itoa(large); err != nil || out != want {
			t.Errorf("curl %s: %v, answer %q, want %q", c.flag, err, out, want)
		}
		g.loaded(t, from, "HTTP/2", c.tls, "count")
	}
}

// nghttp reads the page and asks for all that it names, over one connection.
func TestNghttpLoadsAPage(t *testing.T) {
	t.Parallel()
	g, _ := pageGateway(t)
	for _, c := range []struct{ scheme, addr, tls string }{
		{"https", g.secure, "TLSv1.3"},
		{"http", g.clear, ""},
	} {
		from := g.log.size()
		out, err := output(t, 20*time.Second, "nghttp", "--no-verify-peer", "--get-assets", "--null-out", "--stat", "--timeout=15",
			"--header=:authority: gate.test", c.scheme+"://"+c.addr+"/page/index.html")
		if err != nil {
			t.Errorf("nghttp %s: %v\n%s", c.scheme, err, out)
			continue
		}
		for _, name := range assets() {
			if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
				f := strings.Fields(line)
				return len(f) > 2 && f[len(f)-1] == "/page/"+name && slices.Contains(f, "200")
			}) {
				t.Errorf("nghttp %s: no 200 for %s in\n%s", c.scheme, name, out)
			}
		}
		g.loaded(t, from, "HTTP/2", c.tls, assets()...)
	}
}

// A real browser loads the page, its pictures and its scripts, which fetch and post;
// all of it over HTTP/2, as the access log knows.
func TestChromiumLoadsAPage(t *testing.T) {
	t.Parallel()
	g, cert := pageGateway(t)
	key := sha256.Sum256(cert.pair.Leaf.RawSubjectPublicKeyInfo)
	from := g.log.size()
	out, err := output(t, time.Minute, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage",
		"--no-proxy-server", "--user-data-dir="+t.TempDir(),
		"--host-resolver-rules=MAP gate.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
		"--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(key[:]),
		"--virtual-time-budget=30000", "--dump-dom", "https://gate.test:"+portOf(g.secure)+"/page/index.html")
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	if want := fmt.Sprintf("pictures %d margin 23px fetched %d posted %d<", pictures, large, large); !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	g.loaded(t, from, "HTTP/2", "TLSv1.3", append(assets(), "late.js", "large.bin", "count")...)
}
