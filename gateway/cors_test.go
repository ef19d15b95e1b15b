package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// corsFields renders the Access-Control fields of an answer in the order of their names.
func corsFields(h http.Header) string {
	var said []string
	for _, name := range []string{"Allow-Credentials", "Allow-Headers", "Allow-Methods", "Allow-Origin", "Expose-Headers", "Max-Age"} {
		for _, v := range h.Values("Access-Control-" + name) {
			said = append(said, strings.ToLower(name)+" "+v)
		}
	}
	return strings.Join(said, "; ")
}

const fullCORS = `cors: {origins: ["https://a.example", "https://b.example:8443"], methods: [GET, POST], headers: [x-one, x-two], exposed_headers: [x-told, x-also], credentials: true, max_age: "600"}`

// What a browser is told, by a route's policy and by what it asks for.
func TestCORS(t *testing.T) {
	preflight := verdict{"cors", "preflight", 200}
	const asks, asksHeaders = "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b"
	for _, row := range []struct {
		name, policy, method string
		header               []string
		want                 verdict
		told                 string
	}{
		{"no origin", fullCORS, "GET", nil, served, ""},
		{"an allowed origin", fullCORS, "GET", []string{"Origin: https://a.example"}, served,
			"allow-credentials true; allow-origin https://a.example; expose-headers x-told, x-also"},
		{"the other one, with its port", fullCORS, "POST", []string{"Origin: https://b.example:8443"}, served,
			"allow-credentials true; allow-origin https://b.example:8443; expose-headers x-told, x-also"},
		{"another port is another origin", fullCORS, "GET", []string{"Origin: https://b.example"}, served, ""},
		{"another scheme is", fullCORS, "GET", []string{"Origin: http://a.example"}, served, ""},
		{"another case is", fullCORS, "GET", []string{"Origin: https://A.example"}, served, ""},
		{"a preflight", fullCORS, "OPTIONS", []string{"Origin: https://a.example", asks}, preflight,
			"allow-credentials true; allow-headers x-one, x-two; allow-methods GET, POST; allow-origin https://a.example; max-age 600"},
		{"a preflight of a stranger goes to the service", fullCORS, "OPTIONS", []string{"Origin: https://c.example", asks}, served, ""},
		{"a preflight without origin does", fullCORS, "OPTIONS", []string{asks}, served, ""},
		{"OPTIONS that asks for no method does", fullCORS, "OPTIONS", []string{"Origin: https://a.example"}, served,
			"allow-credentials true; allow-origin https://a.example; expose-headers x-told, x-also"},
		{"OPTIONS that asks for an empty method does", fullCORS, "OPTIONS", []string{"Origin: https://a.example", "Access-Control-Request-Method:"}, served,
			"allow-credentials true; allow-origin https://a.example; expose-headers x-told, x-also"},
		{"any origin is told its own name", `cors: {origins: ["*"]}`, "GET", []string{"Origin: null"}, served, "allow-origin null"},
		{"a star grants what is asked for", `cors: {origins: ["*"], methods: ["*"], headers: ["*"]}`, "OPTIONS", []string{"Origin: o", asks, asksHeaders}, preflight,
			"allow-headers x-a, x-b; allow-methods PUT; allow-origin o"},
		{"a star where no headers are asked for", `cors: {origins: ["*"], headers: ["*"]}`, "OPTIONS", []string{"Origin: o", asks}, preflight, "allow-origin o"},
		{"silence about all else", `cors: {origins: [o], credentials: false}`, "OPTIONS", []string{"Origin: o", asks, asksHeaders}, preflight, "allow-origin o"},
		{"one text with commas", `cors: {origins: "https://a.example, https://b.example", methods: "GET,PUT", headers: "x-a,  x-b", max_age: 5}`, "OPTIONS",
			[]string{"Origin: https://b.example", asks}, preflight, "allow-headers x-a, x-b; allow-methods GET, PUT; allow-origin https://b.example; max-age 5"},
		{"no policy", "", "OPTIONS", []string{"Origin: o", asks}, served, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", up, row.policy))
			a, rec := g.send(request(row.method, "/x/", "", row.header...))
			body := "ok"
			if row.want == preflight {
				body = ""
			}
			if rec.verdict != row.want || a.StatusCode != 200 || corsFields(a.Header) != row.told || a.body != body || a.Header.Get("Vary") != "" {
				t.Errorf("got %v, %d %q, %q, Vary %q; want %v, %q", rec.verdict, a.StatusCode, a.body, corsFields(a.Header), a.Header.Get("Vary"), row.want, row.told)
			}
		})
	}
}

// Whose policy counts, and over what.
func TestCORSPlaces(t *testing.T) {
	const ours, theirs = `cors: {origins: [ours]}`, `cors: {origins: [theirs]}`
	const reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: +\r\n\r\nok"
	up, _ := seeing(t, reply)
	redirect := []string{"host_redirect: true"}
	for _, row := range []struct {
		name, manifests, header string
		want                    verdict
		told                    string
	}{
		{"the Module's, without one of the Mapping's", module(ours) + mapping("x", "/x/", up), "Origin: ours", served, "allow-origin ours"},
		{"the Mapping's takes its place", module(ours) + mapping("x", "/x/", up, theirs), "Origin: theirs", served, "allow-origin theirs"},
		{"as a whole", module(ours) + mapping("x", "/x/", up, theirs), "Origin: ours", served, "allow-origin *; allow-origin +"},
		{"the last of a group", mapping("a", "/x/", up, ours, "weight: 100") + mapping("b", "/x/", up, theirs, "weight: 0"), "Origin: theirs", served, "allow-origin theirs"},
		{"for all of the group", mapping("a", "/x/", up, "weight: 100") + mapping("b", "/x/", up, theirs, "weight: 0"), "Origin: theirs", served, "allow-origin theirs"},
		{"over the service's word", mapping("x", "/x/", up, ours), "Origin: ours", served, "allow-origin ours"},
		{"over added headers", mapping("x", "/x/", up, ours, `add_response_headers: {access-control-allow-origin: "*"}`), "Origin: ours", served, "allow-origin ours"},
		{"over redirects", mapping("x", "/x/", "other.example", append(redirect, ours)...), "Origin: ours", verdict{"proxy", "redirect", 301}, "allow-origin ours"},
		{"over failures", mapping("x", "/x/", "127.0.0.1:1", ours), "Origin: ours", verdict{"proxy", "dial_refused", 503}, "allow-origin ours"},
		{"over denials", mapping("x", "/x/", up, ours, "jwt: broken"), "Origin: ours", verdict{"authn", "policy_invalid", 503}, "allow-origin ours"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+row.manifests)
			a, rec := g.get("/x/", row.header)
			if rec.verdict != row.want || corsFields(a.Header) != row.told {
				t.Errorf("got %v, %q; want %v, %q", rec.verdict, corsFields(a.Header), row.want, row.told)
			}
		})
	}
}

// A preflight is answered before it is asked who sends it; one whose method no Mapping
// takes is not.
func TestPreflightOfClosedRoutes(t *testing.T) {
	for want, fields := range map[verdict][]string{
		{"cors", "preflight", 200}: {"cors: {origins: [o]}", "jwt: broken"},
		{"match", "no_route", 404}: {"cors: {origins: [o]}", "method: GET"},
	} {
		g := open(t, everyone+mapping("x", "/x/", "127.0.0.1:1", fields...))
		if _, rec := g.send(request("OPTIONS", "/x/", "", "Origin: o", "Access-Control-Request-Method: GET")); rec.verdict != want {
			t.Errorf("%v: got %v, want %v", fields, rec.verdict, want)
		}
	}
}

// What a policy cannot be told as is named and left out.
func TestCORSProblems(t *testing.T) {
	for policy, want := range map[string]string{
		`cors: {origins: [o], max_age: "1\n2"}`: "cors.max_age",
		`cors: {methods: [GET]}`:                "cors.origins",
	} {
		g := newGate(t)
		problems := fmt.Sprint(g.Apply(t.Context(), read(everyone+mapping("x", "/x/", "127.0.0.1:1", policy))))
		if !strings.Contains(problems, want) {
			t.Errorf("%s: got %s", policy, problems)
		}
	}
}
