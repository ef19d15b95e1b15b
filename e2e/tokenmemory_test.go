package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Tokens that are shown once take no more memory than the cache of tokens may, with what the
// collector leaves lying about, and once it is full nothing grows. It runs alone: a collector
// that gets no processor leaves more lying about.
func TestTokensShownOnce(t *testing.T) {
	const cache, batch, clients = 64 << 20, 50, 4
	rounds := []int{60_000, 90_000} // the first fills the cache
	g := start(t, setup{plain: true, manifests: everyone + mapping("x", "/x/", "127.0.0.1:1", `labels: {ambassador: [{g: [all]}]}`) +
		manifest("RateLimit", "rl", `{domain: ambassador, limits: [{pattern: [{generic_key: all}], rate: 0, unit: day}]}`) +
		manifest("Filter", "jwt", `{JWT: {validAlgorithms: [none], injectRequestHeaders: [{name: X-User, value: "{{ .token.sub }}"}]}}`) +
		manifest("FilterPolicy", "p", "{rules: [{filters: [{name: jwt}]}]}")})
	header, shown := b64([]byte(`{"alg":"none","typ":"JWT"}`)), 0
	show := func(n int) {
		var all sync.WaitGroup
		for c := range clients {
			from, to := shown+c*n/clients, shown+(c+1)*n/clients
			all.Go(func() {
				conn := g.connect(t)
				for from < to {
					var text strings.Builder
					for range batch {
						payload := fmt.Sprintf(`{"sub":"user-%d","iss":"https://id.example.com","aud":["api","web"],"scope":"read write","groups":["a","b","c"],"exp":4102444800}`, from)
						fmt.Fprintf(&text, "GET /x/ HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer %s.%s.\r\n\r\n", header, b64([]byte(payload)))
						from++
					}
					if _, err := conn.Write([]byte(text.String())); err != nil {
						t.Error(err)
						return
					}
					for range batch {
						a, err := conn.head("GET")
						if err != nil || a.StatusCode != http.StatusTooManyRequests {
							t.Errorf("got %v, %v", a, err)
							return
						}
					}
				}
			})
		}
		all.Wait()
		shown += n
	}
	for range 100 { // what requests take, whoever asks
		show(4 * batch)
		shown = 0
	}
	before := g.memory("VmRSS")
	var grown []int64
	for _, n := range rounds {
		show(n)
		grown = append(grown, g.memory("VmRSS")-before)
	}
	t.Logf("%d tokens: resident memory grew by %d MiB, then to %d MiB", shown, grown[0]>>20, grown[1]>>20)
	// A quarter more is for what the pages of a busy machine add.
	if grown[1] > cache+16<<20 || grown[1] > grown[0]*5/4+8<<20 {
		t.Errorf("resident memory grew by %d, then to %d bytes for a cache of %d", grown[0], grown[1], cache)
	}
}
