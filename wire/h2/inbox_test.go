package h2

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What goes in comes out, in order, whatever the pieces.
func TestInbox(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var in inbox
	var want, got []byte
	next := byte(0)
	for range 2000 {
		if rng.IntN(2) == 0 {
			p := make([]byte, rng.IntN(20000))
			for i := range p {
				p[i] = next
				next++
			}
			in.push(p)
			want = append(want, p...)
			continue
		}
		p := make([]byte, rng.IntN(40000))
		n := in.pull(p)
		if left := len(want) - len(got); n != min(len(p), left) {
			t.Fatalf("pulled %d of %d into %d", n, left, len(p))
		}
		got = append(got, p[:n]...)
	}
	if left := in.size; left != len(want)-len(got) || in.drop() != left || in.size != 0 {
		t.Errorf("%d left, want %d", left, len(want)-len(got))
	}
	if !bytes.Equal(got, want[:len(got)]) {
		t.Error("the bytes changed")
	}
}

func TestCredit(t *testing.T) {
	c := newCredit(1000)
	for _, step := range []struct {
		spend, earn int
		ok          bool
		back        int64
	}{
		{spend: 1000, ok: true},
		{earn: 249, ok: true},
		{earn: 1, ok: true, back: 250},
		{spend: 250, ok: true},
		{spend: 1, ok: false},
	} {
		ok, back := true, int64(0)
		if step.spend > 0 {
			ok = c.spend(step.spend)
		}
		if step.earn > 0 {
			back = c.earn(step.earn)
		}
		if ok != step.ok || back != step.back {
			t.Errorf("%+v: got %v, %d", step, ok, back)
		}
	}
}

func TestHistory(t *testing.T) {
	var h history
	h.note(1, completed)
	h.note(3, resetByUs)
	h.note(5, resetByThem)
	for id, want := range map[uint32]ending{1: completed, 3: resetByUs, 5: resetByThem, 7: never} {
		if got := h.of(id); got != want {
			t.Errorf("stream %d: got %d, want %d", id, got, want)
		}
	}
	for id := uint32(7); id < 7+2*64; id += 2 {
		h.note(id, completed)
	}
	if got := h.of(1); got != forgotten {
		t.Errorf("a stream of long ago: got %d", got)
	}
}
