package trace

import "testing"

// Which requests are traced, and what their ids say of it from then on: as Envoy's.
func TestSampling(t *testing.T) {
	t.Parallel()
	const (
		first = "00000000-0000-4000-8000-000000000000" // draws 0
		last  = "0000270f-0000-4000-8000-000000000000" // draws 9,999
	)
	mark := func(id string, m byte) string { return id[:markAt] + string(m) + id[markAt+1:] }
	all := Sampling{100, 100, 100}
	for name, tc := range map[string]struct {
		s              Sampling
		id             string
		client, forced bool
		draw           uint32
		traced         bool
		mark           byte
	}{
		"everything":                       {all, last, false, false, 0, true, '9'},
		"nothing":                          {Sampling{100, 0, 100}, first, false, false, 0, false, '4'},
		"half, within":                     {Sampling{100, 50, 100}, "00001387-0000-4000-8000-000000000000", false, false, 0, true, '9'},
		"half, beyond":                     {Sampling{100, 50, 100}, "00001388-0000-4000-8000-000000000000", false, false, 0, false, '4'},
		"the client asks":                  {Sampling{100, 0, 100}, last, true, false, 99, true, 'b'},
		"the client asks, half the time":   {Sampling{50, 0, 100}, last, true, false, 50, false, '4'},
		"the client asks, the other half":  {Sampling{50, 0, 100}, last, true, false, 149, true, 'b'},
		"forced":                           {Sampling{0, 0, 100}, last, false, true, 0, true, 'a'},
		"the client comes before force":    {all, last, true, true, 0, true, 'b'},
		"not more than overall":            {Sampling{100, 100, 99}, last, true, true, 0, false, '4'},
		"overall within":                   {Sampling{100, 100, 99}, first, false, false, 0, true, '9'},
		"sampled elsewhere":                {Sampling{0, 0, 100}, mark(last, '9'), false, false, 0, true, '9'},
		"forced elsewhere":                 {Sampling{0, 0, 100}, mark(last, 'a'), false, false, 0, true, 'a'},
		"asked for elsewhere":              {Sampling{0, 0, 100}, mark(last, 'b'), false, false, 0, true, 'b'},
		"sampled elsewhere, beyond":        {Sampling{0, 0, 0}, mark(first, '9'), false, false, 0, false, '4'},
		"an id that is none":               {all, "e2e-1", true, true, 0, false, 0},
		"an id that is hexadecimal":        {all, "0123456789", false, false, 0, true, 0},
		"an id that is hexadecimal enough": {Sampling{100, 0, 100}, "01234567-and-more", false, true, 0, true, 0},
		"no id":                            {all, "", true, true, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			traced, m := tc.s.Decide([]byte(tc.id), tc.client, tc.forced, tc.draw)
			if traced != tc.traced || m != tc.mark {
				t.Errorf("traced %v, mark %q; want %v, %q", traced, m, tc.traced, tc.mark)
			}
			id := []byte(tc.id)
			changes := !Marked(id, m)
			if Mark(id, m) != changes || !Marked(id, m) {
				t.Errorf("marking %q with %q: %q", tc.id, m, id)
			}
			if changes && string(id) != mark(tc.id, m) {
				t.Errorf("marked as %q", id)
			}
		})
	}
}
