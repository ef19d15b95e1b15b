package decision

import (
	"regexp"
	"testing"
)

func TestEveryReasonIsWhole(t *testing.T) {
	seen := map[string]Reason{}
	form := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for r := None + 1; r < NumReasons; r++ {
		if !form.MatchString(r.String()) {
			t.Errorf("reason %d: name %q does not fit %v", r, r, form)
		}
		if old, ok := seen[r.String()]; ok {
			t.Errorf("reasons %d and %d share the name %q", old, r, r)
		}
		seen[r.String()] = r
		if r.Meaning() == "" || r.Advice() == "" || r.Flag() == "" || len(r.Stages()) == 0 {
			t.Errorf("%v: meaning %q, advice %q, flag %q, stages %v: all must be said", r, r.Meaning(), r.Advice(), r.Flag(), r.Stages())
		}
	}
}

func TestEveryStageHasAName(t *testing.T) {
	for s := range NumStages {
		if s.String() == "" || s.String() == "unknown" {
			t.Errorf("stage %d has no name", s)
		}
	}
}

func TestRecordEnd(t *testing.T) {
	var rec Record
	rec.End(Proxy, UpstreamTimeout, "Mapping shop/orders", nil)
	if rec.Reason() != UpstreamTimeout || rec.Status != 504 || rec.Ended != Proxy {
		t.Errorf("got %v %d %v, want upstream_timeout 504 proxy", rec.Reason(), rec.Status, rec.Ended)
	}
}
