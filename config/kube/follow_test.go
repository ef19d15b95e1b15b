package kube

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// After a connection that is refused the library is not left to wait as long as it likes: whoever
// ends meanwhile would wait with it. That the API server does not answer is noted all the same.
func TestEndsWhileTheServerIsAway(t *testing.T) {
	away := httptest.NewServer(nil)
	away.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: "+away.URL+"}}]\n"+
		"contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(kubeconfig, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f := &following{resource: mappings, source: s, store: newStore(mappings, s.opts.Decode, s.changed)}
	_, err = f.watch(t.Context(), metav1.ListOptions{})
	if err == nil || utilnet.IsConnectionRefused(err) || s.health.silent().IsZero() {
		t.Errorf("error %v, silent since %v", err, s.health.silent())
	}
}
