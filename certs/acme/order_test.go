package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"legate/config"
)

// A setClock is one that is set, as by hand or by a virtual machine that was asleep.
type setClock struct{ ahead atomic.Int64 }

func (c *setClock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *setClock) set(by time.Duration) { c.ahead.Store(int64(by)) }
func (c *setClock) valid(t *testing.T, life time.Duration) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a.example.com"}, DNSNames: []string{"a.example.com"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// A bench is one order at an authority that refuses everything, stepped by hand.
type bench struct {
	*order
	clock   setClock
	storage *Files
	asked   atomic.Int64 // how often the authority was
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{storage: NewFiles(t.TempDir())}
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(refuses.Close)
	c := New(Options{Storage: b.storage, Log: slog.New(slog.DiscardHandler), Now: b.clock.now})
	t.Cleanup(c.Close)
	b.order = newOrder(c, subject{refuses.URL, "a.example.com"}, account{})
	return b
}

// put stores a certificate and a key as certmagic does.
func (b *bench) put(t *testing.T, cert, key []byte) {
	t.Helper()
	issuer, name := b.issuer.IssuerKey(), "a.example.com"
	for path, text := range map[string][]byte{
		certmagic.StorageKeys.SiteCert(issuer, name): cert, certmagic.StorageKeys.SitePrivateKey(issuer, name): key, certmagic.StorageKeys.SiteMeta(issuer, name): []byte("{}"),
	} {
		if err := b.storage.Store(t.Context(), path, text); err != nil {
			t.Fatal(err)
		}
	}
}

// A clock that jumps is noticed within a small part of a certificate's life. One that is ahead
// has a renewal tried too early, and not again and again; once it is right again, nothing is
// wrong any more.
func TestClockJumps(t *testing.T) {
	b := newBench(t)
	cert, key := b.clock.valid(t, 90*24*time.Hour)
	b.put(t, cert, key)
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		ahead time.Duration
		phase string
		error string // part of it
		tried bool   // whether the authority is asked
	}{
		{"right", 0, "Ready", "", false},
		{"a day ahead", 24 * time.Hour, "Ready", "", false},
		{"a year ahead", 365 * 24 * time.Hour, "Error", "403", true},
		{"a year ahead, again", 365 * 24 * time.Hour, "Error", "403", false},
		{"right again", 0, "Ready", "", false},
		{"a year behind", -365 * 24 * time.Hour, "Ready", "", false},
		{"ten years ahead", 10 * 365 * 24 * time.Hour, "Error", "403", true},
		{"back by eight", 2 * 365 * 24 * time.Hour, "Error", "403", true}, // what is to be waited for is not believed
		{"right in the end", 0, "Ready", "", false},
	} {
		b.clock.set(row.ahead)
		b.hint = hint{of: b.held(), next: b.clock.now().Add(time.Hour)} // when to renew is asked elsewhere
		before := b.asked.Load()
		wait := b.step()
		s := b.state()
		if s.Phase != row.phase || !strings.Contains(s.Error, row.error) || row.error == "" && s.Error != "" {
			t.Errorf("%s: %s, %q", row.name, s.Phase, s.Error)
		}
		if tried := b.asked.Load() > before; tried != row.tried {
			t.Errorf("%s: authority asked: %v", row.name, tried)
		}
		if wait <= 0 || wait > time.Hour {
			t.Errorf("%s: looks again in %v", row.name, wait)
		}
		if b.held() == nil {
			t.Errorf("%s: the certificate is gone", row.name)
		}
	}
}

// A certificate that is to be renewed as soon as it is there says that a clock is wrong. It
// serves, and asking for the next waits longer each time.
func TestClockWrongWhenOrdered(t *testing.T) {
	b := newBench(t)
	b.clock.set(80 * 24 * time.Hour)
	var waits []time.Duration
	for range 3 {
		if err := b.client.attempt(t.Context(), b.subject); err != nil {
			t.Fatal(err)
		}
		cert, key := b.clock.valid(t, 90*24*time.Hour)
		b.put(t, cert, key)
		if err := b.event("cert_obtained", nil); err != nil {
			t.Fatal(err)
		}
		if b.held() == nil || b.failure == nil || !strings.Contains(b.failure.Error(), "the clock is wrong here or at the authority") {
			t.Fatalf("held %v, failure %v", b.held(), b.failure)
		}
		next := b.client.lastAttempt(t.Context(), b.subject)
		waits = append(waits, next.Sub(b.clock.now()).Round(time.Minute))
		b.clock.set(time.Until(next) + time.Second)
	}
	if waits[0] != backoff(1) || waits[1] != backoff(2) || waits[2] != backoff(3) {
		t.Errorf("waits %v", waits)
	}
	b.clock.set(0)
	b.hint = hint{of: b.held(), next: time.Now().Add(time.Hour)}
	if b.step(); b.state().Phase != "Ready" {
		t.Errorf("once the clock is right: %+v", b.state())
	}
}

// A certificate without its key is what a crash leaves in the middle of writing: nobody is
// asked as long as another replica may be writing, and then it is ordered anew.
func TestCertificateWithoutItsKey(t *testing.T) {
	b := newBench(t)
	cert, _ := b.clock.valid(t, 90*24*time.Hour)
	_, key := b.clock.valid(t, 90*24*time.Hour)
	b.put(t, cert, key)
	if wait := b.step(); wait <= 0 || wait > brokenWait || b.asked.Load() > 0 {
		t.Errorf("looks again in %v, asked %d times", wait, b.asked.Load())
	}
	b.clock.set(brokenWait + time.Second)
	if wait := b.step(); wait < 30*time.Second || b.asked.Load() == 0 || b.state().Phase != "Error" {
		t.Errorf("looks again in %v, asked %d times, %+v", wait, b.asked.Load(), b.state())
	}
	good, goodKey := b.clock.valid(t, 90*24*time.Hour)
	b.put(t, good, goodKey) // by another replica
	b.hint.next = b.clock.now().Add(time.Hour)
	if b.step(); b.held() == nil {
		t.Error("another's is not taken")
	}
}

// A storage that takes the beginnings of an order but not its end is named, and not what
// certmagic makes of it.
func TestCertificateThatIsNotTaken(t *testing.T) {
	b := newBench(t)
	ended := false
	b.giveUp = func() { ended = true }
	full := keeping{fullStorage{b.storage}, b.lost}
	if err := full.Store(t.Context(), "certificates/a", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if !ended || b.failure == nil || b.failure.Error() != "keep what is ordered: no space left on device" {
		t.Errorf("ended %v, %v", ended, b.failure)
	}
}

type fullStorage struct{ certmagic.Storage }

func (fullStorage) Store(context.Context, string, []byte) error { return syscall.ENOSPC }

// What other programs left in a folder as a lock holds up nobody.
func TestLockFileOfNobody(t *testing.T) {
	dir := t.TempDir()
	f := NewFiles(dir)
	later, err := json.Marshal(map[string]time.Time{"created": time.Now().Add(time.Hour), "updated": time.Now().Add(time.Hour)})
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Join(dir, "locks"), 0o700), os.WriteFile(filepath.Join(dir, "locks", "job.lock"), later, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Lock(t.Context(), "job"); err != nil {
		t.Error(err)
	}
	if err := f.Unlock(t.Context(), "job"); err != nil {
		t.Error(err)
	}
	if f.Unlock(t.Context(), "job") == nil {
		t.Error("a lock is given back twice")
	}
}

// A certificate that was ordered and that the Host's own Secret has too is renewed when its
// authority says; another one there is as good as its own life.
func TestDueOfTheSameCertificate(t *testing.T) {
	b := newBench(t)
	cert, key := b.clock.valid(t, 90*24*time.Hour)
	b.put(t, cert, key)
	if err := b.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	early := time.Now().Add(time.Hour)
	b.hint = hint{of: b.held(), at: early}
	leaf := func(text []byte) *x509.Certificate {
		block, _ := pem.Decode(text)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	longer, _ := b.clock.valid(t, 180*24*time.Hour)
	shorter, _ := b.clock.valid(t, time.Minute)
	for _, row := range []struct {
		name string
		own  *x509.Certificate
		want time.Time
	}{
		{"none", nil, early},
		{"the same", leaf(cert), early},
		{"one that lasts longer", leaf(longer), renewalOf(leaf(longer))},
		{"one that lasts shorter", leaf(shorter), early},
	} {
		b.serves(row.own)
		if got := b.due(); !got.Equal(row.want) {
			t.Errorf("%s: due at %v, want %v", row.name, got, row.want)
		}
	}
}

// Nothing is ordered in place of a certificate that somebody put into the Host's Secret, and
// something is in place of one that was ordered from another authority than the Host names now.
func TestOwnOfAnotherAuthority(t *testing.T) {
	b := newBench(t)
	cert, key := b.clock.valid(t, 90*24*time.Hour)
	const here, before = "https://ca.test/dir", "https://staging.test/dir"
	for _, row := range []struct {
		name, from, host string
		own              bool
	}{
		{"its author's", "", "a.example.com", true},
		{"ordered from there", here, "a.example.com", true},
		{"ordered elsewhere", before, "a.example.com", false},
		{"for another name", "", "c.example.com", false},
	} {
		s := config.Secret{Meta: config.Meta{Name: "cert", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": cert, "tls.key": key}}
		if row.from != "" {
			config.MarkOrdered(s.Data, row.from)
		}
		h := config.Host{Meta: config.Meta{Namespace: "shop"}, Hostname: row.host, TLSSecret: config.SecretRef{Name: "cert"}, ACME: &config.ACME{Authority: here}}
		if own := ownOf(&config.World{Secrets: []config.Secret{s}}, &h); (own != nil) != row.own {
			t.Errorf("%s: own: %v", row.name, own != nil)
		}
	}
}

// A hanging storage answers nothing while it is told so.
type hangingStorage struct {
	certmagic.Storage
	hangs atomic.Bool
}

func (s *hangingStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if s.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Storage.Load(ctx, key)
}

// What a storage had of a Host is served from then on, also by the order that begins, and by the
// next one, which another account makes, before these have heard of the storage. Nobody is told
// of what is asked for.
func TestCertificateServesBeforeItsOrderBegins(t *testing.T) {
	b := newBench(t)
	cert, key := b.clock.valid(t, 90*24*time.Hour)
	b.put(t, cert, key)
	storage := &hangingStorage{Storage: b.storage}
	c := newClient(t, storage)
	w := &config.World{Hosts: []config.Host{{Hostname: "a.example.com", ACME: &config.ACME{Authority: b.subject.authority}}}}
	h := &w.Hosts[0]
	if c.Certificate(h) == nil || len(c.changed) > 0 {
		t.Fatalf("certificate %v, told %d times", c.Certificate(h), len(c.changed))
	}
	storage.hangs.Store(true)
	c.Want(w)
	if c.Certificate(h) == nil {
		t.Error("none once it is wanted")
	}
	h.ACME.Email = "ops@example.com"
	c.Want(w)
	if c.Certificate(h) == nil {
		t.Error("none once another account orders")
	}
	c.Want(&config.World{})
	if len(c.orders) > 0 {
		t.Error("an order that nobody wants is kept")
	}
}

// While an attempt that failed is waited for its error stays as old as it is, and nobody takes
// the lock.
func TestWaitingIsNoAttempt(t *testing.T) {
	b := newBench(t)
	b.step()
	failed, asked := b.state(), b.asked.Load()
	if failed.Phase != "Error" || asked == 0 {
		t.Fatalf("%+v, asked %d times", failed, asked)
	}
	if err := b.storage.Lock(t.Context(), "issue_cert_a.example.com"); err != nil {
		t.Fatal(err)
	}
	b.clock.set(backoff(1) / 2)
	wait := b.step()
	if got := b.state(); got != failed || b.asked.Load() != asked || wait > backoff(1)/2 {
		t.Errorf("%+v, asked %d times, looks again in %v; want %+v", got, b.asked.Load(), wait, failed)
	}
	if err := b.storage.Unlock(t.Context(), "issue_cert_a.example.com"); err != nil {
		t.Fatal(err)
	}
	b.clock.set(2 * backoff(1))
	if b.step(); b.asked.Load() == asked || !b.state().ErrorAt.After(failed.ErrorAt) {
		t.Errorf("after the wait: %+v, asked %d times", b.state(), b.asked.Load())
	}
}
