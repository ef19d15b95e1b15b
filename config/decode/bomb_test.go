package decode

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Texts that stand for much more than they are. Each must be decoded, or refused,
// in a moment.
func TestSmallTextsThatAreLarge(t *testing.T) {
	doubling := "apiVersion: v1\nkind: List\nitems:\n- &a0 {kind: List, items: []}\n"
	for i := range 60 {
		doubling += strings.NewReplacer("1", string(rune('A'+i+1)), "0", string(rune('A'+i))).Replace("- &a1 {kind: List, items: [*a0, *a0, *a0]}\n")
	}
	many := "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: a}\nspec:\n"
	for i := range 20_000 {
		many += fmt.Sprintf("  field_%d: 1\n", i)
	}
	tests := map[string]string{
		"contains itself":  "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: a}\nspec: &s {prefix: /, service: a, <<: *s, headers: *s}\n",
		"merges itself":    "&s\nkind: Mapping\n<<: [*s, *s, *s, *s]\n",
		"merges in merges": "kind: X\na: &a {x: 1}\nb: &b {<<: [*a, *a, *a, *a, *a, *a, *a, *a]}\nc: &c {<<: [*b, *b, *b, *b, *b, *b, *b, *b]}\nd: &d {<<: [*c, *c, *c, *c, *c, *c, *c, *c]}\ne: &e {<<: [*d, *d, *d, *d, *d, *d, *d, *d]}\n<<: [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
		"deep":             strings.Repeat("[", 9_000),
		"deep objects":     "kind: List\nitems: " + strings.Repeat("[{items: ", 3_000),
		"list in list":     "&l\nkind: List\nitems: [*l, *l, *l, *l, *l]\n",
		"doubling":         doubling,
		"many fields":      many,
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			objects := Bytes(Options{}, "in.yaml", []byte(text))
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			if len(objects) == 0 {
				t.Error("nothing says what became of it")
			}
		})
	}
}
