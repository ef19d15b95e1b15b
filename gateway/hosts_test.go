package gateway

import "testing"

// A Host is assumed where nobody wrote one, and only there: one that cannot be understood
// may have been meant to refuse what the assumed one would serve.
func TestAssumedHost(t *testing.T) {
	up, _ := seeing(t, plainOK)
	for _, row := range []struct {
		name, host string
		serves     bool
	}{
		{"nobody wrote one", "", true},
		{"another object is broken", "\n---\napiVersion: getambassador.io/v3alpha1\nkind: TLSContext\nmetadata: {name: x}\nspec: {min_tls_version: old}\n", true},
		{"a field is wrong", "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: x}\nspec: {hostname: a.example, tlsSecret: [x]}\n", false},
		{"it has no spec", "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: x}\nspec: [x]\n", false},
		{"it is no YAML", "\n---\nkind: Host\nmetadata: {name: x\nspec: {hostname: a.example}\n", false},
		{"a comment speaks of one", "\n---\n# kind: Host\nmetadata: {name: x\n", true},
		{"it is another gateway's", "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: x}\nspec: {ambassador_id: [other], hostname: a.example, tlsSecret: [x]}\n", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, mapping("x", "/x/", up)+row.host)
			if listens := len(g.ports) > 0; listens != row.serves {
				t.Fatalf("listens: %v, want %v", listens, row.serves)
			}
			if !row.serves {
				return
			}
			if _, rec := g.get("/x/"); rec.verdict != served {
				t.Errorf("got %v", rec.verdict)
			}
		})
	}
}
