package kube

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"legate/config/decode"
)

// object reads one as the API server sends it.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return u
}

// What is no business of a gateway neither takes its memory nor makes it serve anew.
func TestMeant(t *testing.T) {
	mapping := resource{group: ambassadorGroup, kind: "Mapping"}
	service := resource{kind: "Service", annotated: true}
	for _, test := range []struct {
		name     string
		resource resource
		text     string
		want     string
	}{
		{"a status, and who wrote what", mapping,
			`{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"a","namespace":"shop","uid":"1","resourceVersion":"7","generation":3,"managedFields":[{"manager":"kubectl"}]},"spec":{"prefix":"/"},"status":{"state":"Running"}}`,
			`{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"a","namespace":"shop"},"spec":{"prefix":"/"}}`},
		{"labels select", mapping,
			`{"apiVersion":"getambassador.io/v2","kind":"Mapping","metadata":{"name":"a","labels":{"team":"shop"},"annotations":{"getambassador.io/config":"x"}},"spec":{}}`,
			`{"apiVersion":"getambassador.io/v2","kind":"Mapping","metadata":{"labels":{"team":"shop"},"name":"a"},"spec":{}}`},
		{"annotations for others", service,
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","getambassador.io/config":"x","kubernetes.io/ingress.class":"ambassador"}},"spec":{"clusterIP":"10.0.0.1"},"status":{"loadBalancer":{}}}`,
			`{"apiVersion":"v1","kind":"Service","metadata":{"annotations":{"getambassador.io/config":"x","kubernetes.io/ingress.class":"ambassador"},"name":"a"},"spec":{"clusterIP":"10.0.0.1"}}`},
		{"what has no spec", resource{kind: "Secret"},
			`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"type":"Opaque","data":{"k":"dg=="}}`,
			`{"apiVersion":"v1","data":{"k":"dg=="},"kind":"Secret","metadata":{"name":"a"},"type":"Opaque"}`},
	} {
		got, err := meant(&test.resource, object(t, test.text))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got  %s, %v\nwant %s", test.name, got, err, test.want)
		}
	}
}

// The version that an object was written in says what it means; the one that it is read in
// does not, where nothing is converted.
func TestWritten(t *testing.T) {
	const spec = `"fieldsV1":{"f:spec":{"f:prefix":{}}}`
	for _, test := range []struct{ name, version, fields, want string }{
		{"nobody knows", "getambassador.io/v3alpha1", ``, "getambassador.io/v3alpha1"},
		{"as it is read", "getambassador.io/v3alpha1", `{"apiVersion":"getambassador.io/v3alpha1","time":"2026-01-02T00:00:00Z",` + spec + `}`, "getambassador.io/v3alpha1"},
		{"as v2", "getambassador.io/v3alpha1", `{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `}`, "getambassador.io/v2"},
		{"as v2, then anew", "getambassador.io/v3alpha1",
			`{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `},{"apiVersion":"getambassador.io/v3alpha1","time":"2026-01-03T00:00:00Z",` + spec + `}`, "getambassador.io/v3alpha1"},
		{"a status in another", "getambassador.io/v3alpha1",
			`{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `},{"apiVersion":"getambassador.io/v3alpha1","subresource":"status","time":"2026-01-03T00:00:00Z","fieldsV1":{"f:status":{}}}`, "getambassador.io/v2"},
		{"labels in another", "getambassador.io/v3alpha1",
			`{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `},{"apiVersion":"getambassador.io/v3alpha1","time":"2026-01-03T00:00:00Z","fieldsV1":{"f:metadata":{}}}`, "getambassador.io/v2"},
		{"read as v2: it may have been converted", "getambassador.io/v2", `{"apiVersion":"getambassador.io/v3alpha1","time":"2026-01-02T00:00:00Z",` + spec + `}`, "getambassador.io/v2"},
		{"two that do not say when", "getambassador.io/v3alpha1",
			`{"apiVersion":"getambassador.io/v2",` + spec + `},{"apiVersion":"getambassador.io/v2",` + spec + `}`, "getambassador.io/v2"},
		{"who says when counts before who does not", "getambassador.io/v3alpha1",
			`{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `},{"apiVersion":"getambassador.io/v3alpha1",` + spec + `}`, "getambassador.io/v2"},
		{"another group", "gateway.getambassador.io/v1alpha1", `{"apiVersion":"getambassador.io/v2","time":"2026-01-02T00:00:00Z",` + spec + `}`, "gateway.getambassador.io/v1alpha1"},
	} {
		u := object(t, `{"apiVersion":"`+test.version+`","kind":"Mapping","metadata":{"name":"a","managedFields":[`+test.fields+`]},"spec":{}}`)
		if got := written(u); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// Whatever names a Secret is found, wherever it stands.
func TestMentions(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{`{"apiVersion":"getambassador.io/v3alpha1","kind":"Host","metadata":{"name":"h"},"spec":{"hostname":"*","tlsSecret":{"name":"cert"}}}`, []string{"cert"}},
		{`{"apiVersion":"getambassador.io/v3alpha1","kind":"Host","metadata":{"name":"h"},"spec":{"hostname":"*","tls":{"ca_secret":"ca.other"}}}`, []string{"ca.other"}},
		{`{"apiVersion":"getambassador.io/v3alpha1","kind":"TLSContext","metadata":{"name":"c"},"spec":{"hosts":["a"],"secret":"cert","crl_secret":"crl"}}`, []string{"cert", "crl"}},
		{`{"apiVersion":"getambassador.io/v2","kind":"Module","metadata":{"name":"tls"},"spec":{"config":{"server":{"secret":"cert"}}}}`, []string{"cert"}},
		{`{"apiVersion":"getambassador.io/v3alpha1","kind":"Filter","metadata":{"name":"f"},"spec":{"APIKey":{"keys":[{"secretName":"keys"}]}}}`, []string{"keys"}},
		{`{"apiVersion":"getambassador.io/v3alpha1","kind":"Filter","metadata":{"name":"f"},"spec":{"Mint":{"signingKeys":{"secretName":"keys"},"credentials":{"passwords":{"secretName":"users"}}}}}`, []string{"keys", "users"}},
		{`{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i"},"spec":{"tls":[{"hosts":["a"],"secretName":"cert"}]}}`, []string{"cert"}},
		{`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","annotations":{"getambassador.io/config":"apiVersion: getambassador.io/v2\nkind: TLSContext\nname: c\nhosts: [a]\nsecret: cert\n"}},"spec":{}}`, []string{"cert"}},
	} {
		found := mentions(decode.Resource(decode.Options{}, []byte(test.text)))
		for _, want := range test.want {
			if !slices.Contains(found, want) {
				t.Errorf("%s: %q is not among %q", test.text, want, found)
			}
		}
	}
	if found := mentions(decode.Resource(decode.Options{}, []byte(`{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"m"},"spec":{"hostname":"*","prefix":"/","service":"s"}}`))); found != nil {
		t.Errorf("a Mapping names no Secret: %q", found)
	}
}
