package main

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// A control stands before the provider: it does to it what a test asks for, and counts.
type control struct {
	mux      *http.ServeMux
	store    *store
	provider http.Handler

	mu     sync.Mutex
	faults map[string]string // by path
	target string            // of redirects
	counts map[string]int    // of requests, by path and, for tokens, the grant
}

func newControl(s *store, provider http.Handler) *control {
	c := &control{mux: http.NewServeMux(), store: s, provider: provider, faults: map[string]string{}, counts: map[string]int{}}
	c.mux.HandleFunc("POST /control/client", c.client)
	c.mux.HandleFunc("POST /control/rotate", c.rotate)
	c.mux.HandleFunc("POST /control/life", c.life)
	c.mux.HandleFunc("POST /control/fault", c.fault)
	c.mux.HandleFunc("GET /control/counts", c.counted)
	c.mux.HandleFunc("/", c.pass)
	return c
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// client makes a client known: id, secret, redirect and logout (each as often as needed), method
// (client_secret_basic, client_secret_post or private_key_jwt), key (PEM, of its assertions), and
// tokens=opaque for access tokens that say nothing.
func (c *control) client(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := r.PostForm
	one := &client{
		Client: storage.WebClient(f.Get("id"), f.Get("secret"), f["redirect"]...), secret: f.Get("secret"), logouts: f["logout"],
		method: oidc.AuthMethod(cmp.Or(f.Get("method"), string(oidc.AuthMethodBasic))), tokens: op.AccessTokenTypeJWT,
	}
	if f.Get("tokens") == "opaque" {
		one.tokens = op.AccessTokenTypeBearer
	}
	if block, _ := pem.Decode([]byte(f.Get("key"))); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		one.public = public
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.clients[f.Get("id")] = one
}

// rotate makes another signing key: alg (RS256 or ES256), and retire=1 to publish no other.
func (c *control) rotate(w http.ResponseWriter, r *http.Request) {
	if err := c.store.rotate(cmp.Or(r.FormValue("alg"), "RS256"), r.FormValue("retire") != ""); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// life says how long access tokens are good: milliseconds.
func (c *control) life(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.FormValue("milliseconds"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.life = time.Duration(ms) * time.Millisecond
}

// fault has a path answered wrongly from now on: kind is one of 500, slow, html, invalid_grant and
// redirect (to the address to), or empty for as it should be.
func (c *control) fault(_ http.ResponseWriter, r *http.Request) {
	path, kind := r.FormValue("path"), r.FormValue("kind")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[path], c.target = kind, r.FormValue("to")
}

func (c *control) counted(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(c.counts) // who left needs none
}

// pass hands a request on to the provider, or answers it as the fault there has it.
func (c *control) pass(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	if grant := r.FormValue("grant_type"); grant != "" {
		name += " " + grant
	}
	c.mu.Lock()
	c.counts[name]++
	kind, target := c.faults[r.URL.Path], c.target
	c.mu.Unlock()
	switch kind {
	case "":
		c.provider.ServeHTTP(w, r)
	case "slow":
		<-r.Context().Done() // who asks loses patience first
	case "html":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>Welcome to the hotel's network</html>")
	case "invalid_grant":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
	case "redirect":
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	default:
		http.Error(w, "something broke", http.StatusInternalServerError)
	}
}
