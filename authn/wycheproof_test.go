package authn

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"
)

// stricter are the vectors that are valid and that we refuse on purpose.
var stricter = map[string]string{
	"json_web_signature_test/346": "the key says that it is for PS256, the token is signed by PS384",
	"json_web_signature_test/347": `the key says that it is for "ES521", which is no algorithm`,
	"json_web_signature_test/350": "the key says that it is for PS256, the token is signed by PS384",
	"json_web_signature_test/351": `the key says that it is for "ES521", which is no algorithm`,
	"json_web_signature_test/372": "a question mark in the header, which is no base64url",
	"json_web_signature_test/373": "a question mark in the payload",
}

// mistaken are the vectors that are said to be invalid for a padding that their text does
// not have: they are vector 357, which is valid.
var mistaken = []string{"json_web_signature_test/367", "json_web_signature_test/370"}

// A vectors is one of Project Wycheproof's files of JOSE vectors.
type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []struct {
			TCID            int `json:"tcId"`
			Comment, Result string
			JWS             json.RawMessage
		}
	}
}

// keySetOf returns what a group's tokens are to be verified with, as one would publish it.
func keySetOf(public, private json.RawMessage) []byte {
	raw := public
	if raw == nil {
		raw = private
	}
	var set struct{ Keys json.RawMessage }
	if json.Unmarshal(raw, &set) == nil && set.Keys != nil {
		return raw
	}
	return fmt.Appendf(nil, `{"keys":[%s]}`, raw)
}

// holds reports whether raw is a token whose signature a key of set made.
func holds(t *testing.T, set []byte, raw string) bool {
	t.Helper()
	list, err := parseKeys(set)
	if err != nil {
		t.Fatalf("%v in %s", err, set)
	}
	k := keys{list: list}
	token, err := parseJWS(raw)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(k.fitting(token.kid, token.alg), func(k *key) bool {
		return k.verify(token.alg, token.signed, token.signature) == nil
	})
}

// Every vector of Project Wycheproof about signatures and keys gets its documented
// verdict, but for the few that we are stricter about.
func TestWycheproof(t *testing.T) {
	for _, name := range []string{"json_web_signature_test", "json_web_key_test", "json_web_crypto_test"} {
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(wycheproof.TestVectors, name+".json")
			if err != nil {
				t.Fatal(err)
			}
			var v vectors
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, g := range v.TestGroups {
				set := keySetOf(g.Public, g.Private)
				for _, c := range g.Tests {
					if c.JWS == nil {
						continue // JWE: no token here is encrypted
					}
					seen++
					var raw string
					if json.Unmarshal(c.JWS, &raw) != nil {
						raw = string(c.JWS) // the JSON serialisation
					}
					id := fmt.Sprintf("%s/%d", name, c.TCID)
					want := c.Result == "valid" && stricter[id] == "" || slices.Contains(mistaken, id)
					if got := holds(t, set, raw); got != want {
						t.Errorf("%s (%s, %s): got %t, want %t", id, g.Comment, c.Comment, got, want)
					}
				}
			}
			if seen == 0 {
				t.Error("no vector was looked at")
			}
			t.Logf("%d of %d vectors", seen, v.NumberOfTests)
		})
	}
}
