package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// What an API server has of Ambassador's kinds, by version and plural.
func TestDiscover(t *testing.T) {
	for name, row := range map[string]struct {
		has  map[string][]string // Kind of plural, by version
		want string              // what is followed, or what is wrong
	}{
		"nothing": {nil, ""},
		"two versions": {map[string][]string{
			"v2": {"Mapping of mappings"}, "v3alpha1": {"Mapping of mappings", "FilterPolicy of filterpolicies"},
		}, "mappings v3alpha1 v2, filterpolicies v3alpha1"},
		"a version that nobody knows": {map[string][]string{"v9": {"Mapping of mappings"}}, ""},
		"policies in a version that nobody knows, too": {map[string][]string{
			"v3alpha1": {"FilterPolicy of filterpolicies"}, "v9": {"FilterPolicy of filterpolicies"},
		}, "filterpolicies v3alpha1"},
		"policies in a version that nobody knows": {map[string][]string{
			"v3alpha1": {"Mapping of mappings"}, "v9": {"FilterPolicy of filterpolicies", "FilterPolicy of filterpolicies/status"},
		}, "filterpolicies.getambassador.io is served as v9, which this gateway does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(groups(row.has))
			t.Cleanup(server.Close)
			client, err := rest.UnversionedRESTClientFor(dynamic.ConfigFor(&rest.Config{Host: server.URL}))
			if err != nil {
				t.Fatal(err)
			}
			found, err := discover(t.Context(), client)
			var got []string
			for i := range found {
				got = append(got, found[i].plural+" "+strings.Join(found[i].versions, " "))
			}
			if err != nil {
				got = []string{err.Error()}
			}
			if text := strings.Join(got, ", "); text != row.want {
				t.Errorf("got %q, want %q", text, row.want)
			}
		})
	}
}

// groups tells what it has of getambassador.io, as an API server does.
func groups(has map[string][]string) http.Handler {
	mux := http.NewServeMux()
	var versions []string
	for _, version := range []string{"v2", "v3alpha1", "v9"} {
		if has[version] == nil {
			continue
		}
		versions = append(versions, fmt.Sprintf(`{"groupVersion":"getambassador.io/%[1]s","version":%[1]q}`, version))
		var kinds []string
		for _, k := range has[version] {
			kind, plural, _ := strings.Cut(k, " of ")
			kinds = append(kinds, fmt.Sprintf(`{"name":%q,"kind":%q,"namespaced":true,"verbs":["list","watch"]}`, plural, kind))
		}
		mux.HandleFunc("GET /apis/getambassador.io/"+version, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"APIResourceList","apiVersion":"v1","resources":[%s]}`, strings.Join(kinds, ","))
		})
	}
	if versions != nil {
		mux.HandleFunc("GET /apis/getambassador.io", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"kind":"APIGroup","apiVersion":"v1","name":"getambassador.io","versions":[%s]}`, strings.Join(versions, ","))
		})
	}
	return mux
}
