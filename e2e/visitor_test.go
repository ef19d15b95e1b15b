package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A visitor is a browser as far as cookies go. It follows redirects only when told, and so
// does what no page could.
type visitor struct {
	*http.Client
	w       *shop
	through *gateway // which of several with the same origins it comes through
	secrets []string // that it has seen
}

// visitor returns one that knows nothing yet.
func (w *shop) visitor(t testing.TB) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	v := &visitor{w: w, through: w.gateway}
	port := portOf(w.secure)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if portOf(addr) == port {
			addr = v.through.secure
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	v.Client = &http.Client{
		Jar: jar, Timeout: patience(30 * time.Second),
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.pool, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return v
}

// A reply is what a visitor was answered.
type reply struct {
	status int
	header http.Header
	body   string
	id     string // of the request, for the access log
}

// to is where the visitor is sent, "" for nowhere.
func (r reply) to() string { return r.header.Get("Location") }

// get asks for a page; fields are names and values.
func (v *visitor) get(t testing.TB, address string, fields ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	must(t, err)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return v.send(t, r)
}

// post sends a form.
func (v *visitor) post(t testing.TB, address string, form url.Values, fields ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return v.send(t, r)
}

func (v *visitor) send(t testing.TB, r *http.Request) reply {
	t.Helper()
	id := newID()
	r.Header.Set("X-Request-Id", id)
	resp, err := v.Do(r)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	for _, c := range resp.Cookies() {
		v.secrets = append(v.secrets, c.Value)
	}
	if to, err := resp.Location(); err == nil {
		for _, name := range []string{"code", "state", "nonce", "ticket", "login", "id_token_hint"} {
			v.secrets = append(v.secrets, to.Query()[name]...)
		}
	}
	return reply{resp.StatusCode, resp.Header, string(body), id}
}

// atProvider logs user in at the provider, where address sends people, and returns where
// the provider sends them.
func (v *visitor) atProvider(t testing.TB, address, user string) string {
	t.Helper()
	r := v.get(t, address)
	form, err := url.Parse(v.w.idp.issuer + strings.TrimPrefix(r.to(), "/"))
	must(t, err)
	r = v.post(t, v.w.idp.issuer+"login/username", url.Values{"username": {user}, "password": {theirPassword}, "id": form.Query()["authRequestID"]})
	callback := r.to()
	if strings.HasPrefix(callback, "/") {
		callback = v.w.idp.issuer + callback[1:]
	}
	return v.get(t, callback).to()
}

// callback begins a login and returns where the provider sends the visitor back to.
func (v *visitor) callback(t testing.TB, user string) string {
	t.Helper()
	return v.atProvider(t, v.get(t, v.w.first+"/data").to(), user)
}

// logIn logs user in and follows all redirects from address.
func (v *visitor) logIn(t testing.TB, address, user string) reply {
	t.Helper()
	for range 10 {
		r := v.get(t, address)
		switch {
		case r.to() == "":
			return r
		case strings.HasPrefix(r.to(), v.w.idp.issuer):
			address = v.atProvider(t, r.to(), user)
		default:
			address = r.to()
		}
	}
	t.Fatal("the redirects do not end")
	return reply{}
}

// judged compares the record of r with what it should be.
func (v *visitor) judged(t testing.TB, r reply, want verdict) {
	t.Helper()
	got := v.through.log.next(t, 0, func(l *record) bool { return l.RequestID == r.id })
	if got.verdict != want || r.status != want.Status {
		t.Errorf("answered %d, %+v (%s), want %+v", r.status, got.verdict, r.body, want)
	}
}

// cookie returns what the visitor keeps under a name for address.
func (v *visitor) cookie(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	for _, c := range v.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// cookieLine is what the visitor sends to address of what it keeps.
func (v *visitor) cookieLine(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	var pairs []string
	for _, c := range v.Jar.Cookies(u) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// A dataReply is what the shop's service tells scripts.
type dataReply struct{ Sub, Email, Token, Cookies string }

func (r reply) data(t testing.TB) (d dataReply) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &d); err != nil {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	return d
}
