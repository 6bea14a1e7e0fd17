package legacy

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

func FuzzJSON(f *testing.F) {
	seed(f, "testdata/globus-sdk-4.9.0/jsontokenstorage-identity.json")
	f.Add([]byte(sdk1("")))
	f.Add([]byte(`{` + good + `}`))
	f.Add([]byte(sdk2(`, "n": {"access_token": "x", "y": {"z": [ 1e400, "\u2028<" ]}, "expires_at_seconds": 1.5e9}`)))
	f.Fuzz(func(t *testing.T, data []byte) { acceptedRecordsComeBack(t, data) })
}

func FuzzINI(f *testing.F) {
	seed(f, "testdata/other/globus-native-apps.cfg")
	f.Add([]byte("[a]\nx_y__access_token = 1%%\nx_y__resource_server = X.y\nx_y__z =\n\n[b]\n"))
	f.Fuzz(func(t *testing.T, data []byte) { acceptedRecordsComeBack(t, data) })
}

func seed(f *testing.F, path string) {
	f.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
}

func acceptedRecordsComeBack(t *testing.T, data []byte) {
	file, err := parse(data, facts{})
	if err != nil {
		return
	}
	for _, c := range file.Contents {
		for _, token := range c.Tokens {
			key := keystore.RecordKey{Namespace: c.Namespace, Kind: keystore.KindToken, Name: token.ResourceServer}
			check(t, key.Check())
			record, err := keystore.FormatTokenRecord(token)
			check(t, err)
			again, err := keystore.ParseTokenRecord(record)
			check(t, err)
			if !equal(token, again) {
				t.Errorf("%s came back as %s", key, record)
			}
		}
	}
}

// equal compares all that a record says; the white space of unknown fields says
// nothing.
func equal(a, b keystore.Token) bool {
	if len(a.Extra) != len(b.Extra) {
		return false
	}
	for name := range a.Extra {
		if !bytes.Equal(squeezed(a.Extra[name]), squeezed(b.Extra[name])) {
			return false
		}
	}
	return a.ResourceServer == b.ResourceServer && a.Scope == b.Scope && a.TokenType == b.TokenType &&
		a.IdentityID == b.IdentityID && a.ExpiresAt.Equal(b.ExpiresAt) &&
		a.AccessToken.Equal(b.AccessToken) && a.RefreshToken.Equal(b.RefreshToken)
}

func squeezed(text keystore.Secret) []byte {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text.Reveal())) != nil {
		return nil
	}
	return b.Bytes()
}
