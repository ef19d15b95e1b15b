// Command istio-check runs Istio's own validation over the objects on standard input and
// prints what it finds, one line each. Its exit status is 1 if that is anything.
package main

import (
	"fmt"
	"io"
	"os"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/schema/collections"
)

func main() {
	if err := check(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check reads everything and validates each object of a kind of Istio's. Objects of other
// kinds are none of its business.
func check(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	objects, _, err := crd.ParseInputs(string(text))
	if err != nil {
		return err
	}
	valid := 0
	for _, o := range objects {
		schema, known := collections.All.FindByGroupVersionAliasesKind(o.GroupVersionKind)
		if !known {
			continue
		}
		if _, err := schema.ValidateConfig(o); err != nil {
			return fmt.Errorf("%s/%s.%s: %w", o.GroupVersionKind.Kind, o.Name, o.Namespace, err)
		}
		valid++
	}
	fmt.Println(valid, "valid")
	return nil
}
