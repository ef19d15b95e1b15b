package decode

import (
	"cmp"
	"strings"

	"legate/config"
)

// apiKey reads an APIKey Filter.
func (f *fields) apiKey() *config.APIKeyFilter {
	k := &config.APIKeyFilter{Header: strings.ToLower(cmp.Or(f.text("httpHeader"), "X-API-Key"))}
	if !isToken(k.Header) {
		f.wrong(f.find("httpHeader"), "the name of a header")
	}
	for _, key := range f.objects("keys") {
		k.Secrets = append(k.Secrets, config.SecretName{Name: key.required("secretName"), Namespace: f.o.Meta.Namespace})
		key.finishLock("secretName")
	}
	if len(k.Secrets) == 0 {
		f.missing("keys")
	}
	f.finishLock("httpHeader", "keys")
	return k
}
