package authn

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func newTestSealer(t *testing.T) *sealer {
	t.Helper()
	s, shared, err := newSealer("web.shop", strings.Repeat("s", 40), nil, nil, testDeps(t, new(time.Time)))
	if err != nil || !shared {
		t.Fatalf("shared %v, %v", shared, err)
	}
	return s
}

// What is sealed is what is opened, by as many at once as like, and nothing of one is in
// another; what does not open spoils nothing for the next.
func TestSealsAtOnce(t *testing.T) {
	s := newTestSealer(t)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				want := trip{To: fmt.Sprintf("https://shop.example.com/%d/%d%s", n, i, strings.Repeat("/x", i*n)), Attempt: i}
				sealed, err := s.seal(purposeState, &want)
				if err != nil {
					t.Error(err)
					return
				}
				if s.open(purposeTicket, sealed, &trip{}) == nil || s.open(purposeState, sealed[:len(sealed)-4]+"AAAA", &trip{}) == nil {
					t.Error("it opens for another purpose, or changed")
				}
				if _, err := s.unpack([]byte("no such thing")); err == nil {
					t.Error("it unpacks what nobody packed")
				}
				var got trip
				if err := s.open(purposeState, sealed, &got); err != nil || got.To != want.To || got.Attempt != want.Attempt {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
}

// Who only begins logins, as anybody may, costs no megabytes.
func TestAllocsOfSeals(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector keeps nothing for later")
	}
	s := newTestSealer(t)
	const times, most = 200, 32 << 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		sealed, err := s.seal(purposeState, &trip{To: page, Nonce: strings.Repeat("n", 32)})
		if err == nil {
			err = s.open(purposeState, sealed, &trip{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / times; each > most {
		t.Errorf("one costs %d bytes, want no more than %d", each, most)
	}
}
