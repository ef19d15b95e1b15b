package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// example starts the gateway on the example as it stands, on other ports. Beside it are
// only the Secret that it names and services for the names that it routes to.
func example(t *testing.T) *gateway {
	t.Helper()
	content, err := os.ReadFile("../config.example.yaml")
	must(t, err)
	ports := freePorts(t, 3)
	text := strings.NewReplacer("port: 8080\n  protocol", fmt.Sprintf("port: %d\n  protocol", ports[0]),
		"port: 8443\n  protocol", fmt.Sprintf("port: %d\n  protocol", ports[1]),
		"port: 9000\n", fmt.Sprintf("port: %d\n", ports[2])).Replace(string(content))
	if strings.Contains(text, "port: 8443") {
		t.Fatal("the example's Listeners look otherwise than this test expects")
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Powered-By", "elephants")
		echoHandler("hello").ServeHTTP(w, r)
	})
	var args []string
	for name, addr := range map[string]string{
		"hello.shop": serve(t, hello), "hello-next.shop": serve(t, echoHandler("next")), "items.shop": serve(t, echoHandler("items")),
		"chat.shop": serve(t, echoHandler("chat")), "basket.shop": serve(t, echoHandler("basket")), "catalogue.shop": serve(t, echoHandler("catalogue")),
		"queue.shop": serve(t, echoHandler("queue")), "hello-shadow.shop": serve(t, echoHandler("shadow")),
		"admin.shop": serveTLS(t, "admin.shop", echoHandler("admin")),
	} {
		args = append(args, "--resolve", name+"="+addr)
	}
	g := start(t, setup{bare: true, args: args, manifests: text + authority.issue(t, "localhost").secret("legate-dev-cert")})
	g.clear, g.secure = loopback(ports[0]), loopback(ports[1])
	return g
}

// Every route of the example does what its comment says, in the clear and over TLS.
func TestExample(t *testing.T) {
	t.Parallel()
	g := example(t)
	// Who has not said who they are does not learn which paths there are.
	unknown := verdict{"authn", "identity_missing", 401}
	schemes := map[bool]string{false: "http", true: "https"}
	for _, c := range []struct {
		method, target string
		want           verdict
		service, path  string // who answers, and the path that it sees
	}{
		{"GET", "/hello/world?a=b", served, "hello|next", "/world?a=b"},
		{"POST", "/hello/", served, "hello|next", "/"},
		{"GET", "/hello/admin/users", served, "admin", "/hello/admin/users"},
		{"POST", "/hello/admin/users", served, "hello|next", "/admin/users"},
		{"GET", "/items/42", served, "items", "/v2/item/42"},
		{"GET", "/items/word", unknown, "", ""},
		{"GET", "/basket/7", served, "basket", "/7"},
		{"GET", "/catalogue/", served, "catalogue", "/"},
		{"GET", "/chat/", served, "chat", "/"}, // no WebSocket is asked for
		{"GET", "/old-shop/shoes?size=42", verdict{"proxy", "redirect", 308}, "", ""},
		{"GET", "/nowhere/", unknown, "", ""},
		{"GET", "/orders/7", verdict{"authn", "token_missing", 401}, "", ""},
		{"GET", "/api/service-a/", verdict{"authn", "token_missing", 401}, "", ""},
		{"GET", "/ambassador/v0/check_ready", verdict{"match", "health_check", 200}, "", ""},
	} {
		for _, secure := range []bool{false, true} {
			r := request{method: c.method, host: "localhost", target: c.target, secure: secure}
			if c.method == "POST" {
				r.body = "content"
			}
			a := g.send(t, r)
			if got := g.verdict(t, a); got != c.want {
				t.Errorf("%s %s, TLS %v: %v, want %v", c.method, c.target, secure, got, c.want)
				continue
			}
			if a.Header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s: the script has not seen %v", c.target, a.Header)
			}
			if server := a.Header.Get("Server"); server != "legate" {
				t.Errorf("%s: server %q", c.target, server)
			}
			if to := a.Header.Get("Location"); c.want.Status == 308 && to != schemes[secure]+"://shop.example.com/shop/shoes?size=42" {
				t.Errorf("%s, TLS %v: Location %q", c.target, secure, to)
			}
			if c.service == "" {
				continue
			}
			if !strings.Contains("|"+c.service+"|", "|"+a.saw.Service+"|") || a.saw.Target != c.path {
				t.Errorf("%s %s: %s saw %s", c.method, c.target, a.saw.Service, a.saw.Target)
			}
			if a.saw.Service == "hello" && (a.saw.Header.Get("X-From-The-Edge") != "yes" || a.Header.Get("X-Served-By") != "legate" || a.Header.Get("X-Powered-By") != "") {
				t.Errorf("%s: the service saw %v, the client %v", c.target, a.saw.Header, a.Header)
			}
			if a.saw.TLS != (a.saw.Service == "admin") {
				t.Errorf("%s: TLS to the service is %v", c.target, a.saw.TLS)
			}
		}
	}
	if a := g.send(t, request{host: "localhost", target: "/hello/?design=new", header: []string{"X-Preview: yes"}}); a.saw.Service != "next" || a.saw.Host != "preview.shop" {
		t.Errorf("the preview: %s saw %s", a.saw.Service, a.saw.Host)
	}
	shares := map[string]int{}
	for range 300 {
		shares[g.send(t, request{host: "localhost", target: "/hello/"}).saw.Service]++
	}
	if next := shares["next"]; next < 5 || next > 75 || shares["hello"]+next != 300 {
		t.Errorf("of 300 requests the canary had %v, want about one in ten", shares)
	}
}

// Nothing of the example is broken or misspelt.
func TestExampleIsClean(t *testing.T) {
	t.Parallel()
	out, _ := legate(t, "check", "-f", "../config.example.yaml")
	for line := range strings.Lines(out) {
		if strings.Contains(line, "there is no such field") || strings.Contains(line, "is dropped") {
			t.Error(strings.TrimSpace(line))
		}
	}
}
