package kube

import (
	"bytes"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// An outage is told once, is a Problem when it lasts, and ends when the last question is
// answered. A refusal names what is refused.
func TestHealth(t *testing.T) {
	away := &url.Error{Op: "Get", URL: "https://10.0.0.1/api", Err: errors.New("connection refused")}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Group: ambassadorGroup, Resource: "hosts"}, "", errors.New("no rule"))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var rings atomic.Int32
		h := newHealth(slog.New(slog.NewTextHandler(&log, nil)), func() { rings.Add(1) })
		told := func() string {
			synctest.Wait()
			var all []string
			for _, o := range h.problems() {
				all = append(all, o.Problems[0].String())
			}
			return strings.Join(all, "\n")
		}
		for range 3 {
			h.note("list mappings", away)
			h.note("list hosts", away)
		}
		if told() != "" || h.up() || strings.Count(log.String(), "does not answer") != 1 {
			t.Errorf("at once: %q, up %v, log %s", told(), h.up(), log.String())
		}
		time.Sleep(grace)
		if want := "the API server does not answer: connection refused; what was read last keeps serving"; told() != want || rings.Load() == 0 {
			t.Errorf("after a while: got %q, %d rings", told(), rings.Load())
		}
		h.note("list mappings", nil)
		if told() == "" || strings.Contains(log.String(), "answers again") {
			t.Error("it is over although not everything is answered")
		}
		h.note("list hosts", forbidden)
		if !h.silent().IsZero() || told() != "" {
			t.Errorf("who refuses is there: %q", told())
		}
		time.Sleep(grace)
		if want := "the API server does not let us list hosts: hosts.getambassador.io is forbidden: no rule; what was read last keeps serving"; told() != want {
			t.Errorf("refused: got %q", told())
		}
		if err := h.unsettled(); err == nil || !strings.Contains(err.Error(), "list hosts") {
			t.Errorf("unsettled: %v", err)
		}
		h.note("list hosts", nil)
		if told() != "" || !h.up() || h.unsettled() != nil {
			t.Errorf("answered: %q, up %v", told(), h.up())
		}
	})
}
