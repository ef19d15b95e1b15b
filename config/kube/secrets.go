package kube

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// attempts are how often a Secret is read anew because another has changed it meanwhile.
const attempts = 5

// EditSecret changes a Secret, or makes it. edit gets its entries, nil where there is none
// yet, and returns them as they are to be, or nil to leave them; it may be called again
// where another was faster. Whoever watches sees the change as any other.
func (s *Source) EditSecret(ctx context.Context, name Name, edit func(data map[string][]byte) (map[string][]byte, error)) error {
	return s.editSecret(ctx, name, "Opaque", edit)
}

// EditTLSSecret is EditSecret for certificates: a Secret that it makes is of their type, and so
// has to have both tls.crt and tls.key.
func (s *Source) EditTLSSecret(ctx context.Context, name Name, edit func(data map[string][]byte) (map[string][]byte, error)) error {
	return s.editSecret(ctx, name, "kubernetes.io/tls", edit)
}

func (s *Source) editSecret(ctx context.Context, name Name, kind string, edit func(data map[string][]byte) (map[string][]byte, error)) error {
	client := s.writer.Resource(secrets).Namespace(name.Namespace)
	for range attempts {
		u, err := client.Get(ctx, name.Name, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return err
		}
		var data map[string][]byte
		if missing {
			u = &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "Secret", "type": kind,
				"metadata": map[string]any{"name": name.Name, "namespace": name.Namespace, "labels": map[string]any{"app.kubernetes.io/managed-by": manager}},
			}}
		} else if data, err = entries(u); err != nil {
			return err
		}
		next, err := edit(maps.Clone(data))
		if err != nil || next == nil || maps.EqualFunc(next, data, bytes.Equal) && !missing {
			return err
		}
		encoded := make(map[string]any, len(next))
		for key, value := range next {
			encoded[key] = base64.StdEncoding.EncodeToString(value)
		}
		u.Object["data"] = encoded
		if missing {
			_, err = client.Create(ctx, u, metav1.CreateOptions{FieldManager: manager})
		} else {
			_, err = client.Update(ctx, u, metav1.UpdateOptions{FieldManager: manager})
		}
		if err == nil || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return fmt.Errorf("the Secret %s/%s is changed by others all the time", name.Namespace, name.Name)
}

// entries decodes the entries of a Secret.
func entries(u *unstructured.Unstructured) (map[string][]byte, error) {
	encoded, _, err := unstructured.NestedStringMap(u.Object, "data")
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte, len(encoded))
	for key, text := range encoded {
		if data[key], err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fmt.Errorf("entry %s: %w", key, err)
		}
	}
	return data, nil
}
