package gateway

import (
	"encoding/json"
	"strings"
)

// appendMetadata appends what who decided left for the access log: NAMESPACE:KEY:KEY… leads
// to it. A text is written as it is, anything else as JSON.
func (x *Exchange) appendMetadata(dst []byte, path string) ([]byte, bool) {
	namespace, keys, below := strings.Cut(path, ":")
	values, ok := x.metadata[namespace]
	if !ok && namespace == limitNamespace {
		values, ok = x.limitMetadata()
	}
	if !ok {
		return dst, false
	}
	var value any = values
	for below && ok {
		var key string
		key, keys, below = strings.Cut(keys, ":")
		if values, ok = value.(map[string]any); ok {
			value, ok = values[key]
		}
	}
	if text, is := value.(string); ok && is {
		return append(dst, text...), true
	}
	text, err := json.Marshal(value)
	if !ok || err != nil || value == nil {
		return dst, false
	}
	return append(dst, text...), true
}
