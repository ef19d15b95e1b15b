package authn

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// What keys sign holds by the library, also where a half of an ES256 signature is short.
func TestSignatures(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		k, err := makeSigningKey(alg, rand.Reader, midday, midday)
		if err != nil {
			t.Fatal(err)
		}
		text := []byte("header.payload of " + alg + "  ")
		short, many := 0, 1
		if alg == "ES256" {
			many = 1500 // halves that begin with a zero are one in 128 signatures
		}
		for i := range many {
			text[len(text)-1], text[len(text)-2] = byte(i), byte(i>>8)
			sig, err := k.sign(text)
			switch {
			case err != nil:
				t.Fatal(err)
			case len(sig) != k.signatureSize():
				t.Fatalf("%s: %d bytes, announced were %d", alg, len(sig), k.signatureSize())
			case jwt.GetSigningMethod(alg).Verify(string(text), sig, k.private.Public()) != nil:
				t.Fatalf("%s: the signature %x of %q does not hold", alg, sig, text)
			}
			if sig[0] == 0 || sig[len(sig)/2] == 0 {
				short++
			}
			again, err := k.sign(text)
			if err != nil || !bytes.Equal(again, sig) {
				t.Fatalf("%s: two signatures of one text: %x, %x", alg, sig, again)
			}
		}
		if alg == "ES256" && short == 0 {
			t.Errorf("none of %d signatures has a half that begins with a zero", many)
		}
	}
}
