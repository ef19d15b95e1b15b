// Package consul follows the healthy instances of a service in Consul, by blocking
// queries to an agent's health API. It is control plane: no request waits for it. It
// registers nothing and changes nothing in Consul.
package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Query says which instances are meant.
type Query struct {
	Address    string // of the agent: "HOST:PORT", or a URL
	Datacenter string
	Service    string
}

// How Consul is asked.
const (
	longest  = 5 * time.Minute // that a query waits for a change; Consul adds a sixteenth
	leeway   = longest/16 + 10*time.Second
	often    = 100 * time.Millisecond // between queries, however quickly they are answered
	firstTry = time.Second            // after a failure, doubling
	lastTry  = time.Minute
	maxBody  = 32 << 20
)

// A Watcher follows services. It is safe for use by several goroutines.
type Watcher struct{ client *http.Client }

// New returns a Watcher, to be closed.
func New() *Watcher {
	return &Watcher{client: &http.Client{Transport: &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		IdleConnTimeout: 2 * longest,
	}}}
}

// Close closes connections that rest.
func (w *Watcher) Close() { w.client.CloseIdleConnections() }

// Watch calls found with the healthy instances of q's service, sorted, as soon as they
// are known and whenever they change, and with an error where Consul cannot be asked,
// which says nothing about them. It returns when ctx is done.
func (w *Watcher) Watch(ctx context.Context, q Query, found func([]netip.AddrPort, error)) {
	var index uint64
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		list, next, err := w.ask(ctx, q, index)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			found(nil, err)
			index = 0 // who answers next may count from anywhere
			sleep(ctx, backOff(failures))
			failures++
			continue
		}
		if failures > 0 || index == 0 || next != index {
			found(list, nil)
		}
		failures = 0
		if next < index { // as Consul's documentation asks: its state was restored, or is another's
			next = 0
		}
		index = next
		sleep(ctx, often-time.Since(began))
	}
}

// backOff grows from firstTry to lastTry, spread by half.
func backOff(failures int) time.Duration {
	d := min(firstTry<<min(failures, 10), lastTry)
	return d/2 + time.Duration(rand.Int64N(int64(d))) //nolint:gosec // because it is no secret when Consul is asked
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ask makes one query, which blocks until something is newer than index, if that is
// not 0, or for the longest time.
func (w *Watcher) ask(ctx context.Context, q Query, index uint64) ([]netip.AddrPort, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, longest+leeway)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.url(index), http.NoBody)
	if err != nil {
		return nil, 0, fmt.Errorf("ask Consul for service %q: %w", q.Service, err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("ask Consul for service %q: %w", q.Service, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("ask Consul for service %q: %s", q.Service, resp.Status)
	}
	var entries []entry
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&entries); err != nil {
		return nil, 0, fmt.Errorf("read Consul's answer about service %q: %w", q.Service, err)
	}
	list, err := addresses(entries)
	if err != nil {
		return nil, 0, fmt.Errorf("read Consul's answer about service %q: %w", q.Service, err)
	}
	next, _ := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	return list, max(next, 1), nil // Consul's documentation: an index of 0 would not block
}

func (q *Query) url(index uint64) string {
	base := q.Address
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	v := url.Values{"passing": {"true"}, "dc": {q.Datacenter}}
	if index > 0 {
		v.Set("index", strconv.FormatUint(index, 10))
		v.Set("wait", strconv.Itoa(int(longest/time.Second))+"s")
	}
	return strings.TrimSuffix(base, "/") + "/v1/health/service/" + url.PathEscape(q.Service) + "?" + v.Encode()
}

// An entry is what is read of one instance in Consul's answer.
type entry struct {
	Node    struct{ Address string }
	Service struct {
		Address string // "" for the node's
		Port    int
	}
}

var errNoAddress = errors.New("an instance has neither an IP address nor a node that has one")

// addresses returns where the instances listen. One that cannot be understood is as
// good as none only if there are others.
func addresses(entries []entry) ([]netip.AddrPort, error) {
	list := make([]netip.AddrPort, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		a, err := netip.ParseAddr(e.Service.Address)
		if e.Service.Address == "" {
			a, err = netip.ParseAddr(e.Node.Address)
		}
		if err == nil && e.Service.Port > 0 && e.Service.Port < 1<<16 {
			list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(e.Service.Port)))
		}
	}
	if len(list) == 0 && len(entries) > 0 {
		return nil, errNoAddress
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list), nil
}
