package acme

import (
	"testing"
	"testing/synctest"

	"github.com/mholt/acmez/v3/acme"
)

// However many ask for a name, the storage is asked by one at a time, and tells nobody what it
// had before they asked.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l looks
		asked, stored, answer := 0, "", make(chan struct{})
		find := func() *acme.Challenge {
			asked++
			ch := &acme.Challenge{Token: stored}
			<-answer
			return ch
		}
		told := make(chan string, 200)
		for i, row := range []struct {
			stored string // from now on
			asks   int
		}{{"first", 1}, {"second", 99}, {"third", 5}} {
			stored = row.stored
			for range row.asks {
				go func() { told <- l.look("a.example.com", find).Token }()
			}
			synctest.Wait()
			if i > 0 {
				answer <- struct{}{} // to those before
				synctest.Wait()
			}
			if asked != i+1 {
				t.Errorf("%s: the storage is asked %d times", row.stored, asked)
			}
		}
		answer <- struct{}{}
		synctest.Wait()
		close(told)
		got := map[string]int{}
		for token := range told {
			got[token]++
		}
		if got["first"] != 1 || got["second"] != 99 || got["third"] != 5 || len(l.begun)+len(l.next) > 0 {
			t.Errorf("told are %v, left are %d looks", got, len(l.begun)+len(l.next))
		}
	})
}
