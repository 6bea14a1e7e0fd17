package agent

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

var requestSeeds = []string{
	`{"v":1,"op":"keys",` + benchStore + `}`,
	`{"v":1,"op":"derive",` + benchSeal + `}`,
	`{"v":1,"op":"new",` + benchSeal + `,"count":16}`,
	`{"v":1,"op":"new",` + benchSeal + `,"count":-1}`,
	`{"v":1,"op":"unlock",` + benchKey + benchTo + `,"key":"` + strings.Repeat("A", 43) + `","ttl_seconds":60,"idle_seconds":1,"place":"file:/x"}`,
	`{"v":1,"op":"unlock",` + benchKey + benchTo + `,"key":"` + strings.Repeat("A", 43) + `","successor":true}`,
	`{"v":1,"op":"lock",` + benchKey + `}`,
	`{"v":1,"op":"lock",` + benchStore + `}`,
	`{"v":1,"op":"lock"}`,
	`{"v":1,"op":"status"}`,
	`{"v":1,"op":"stop"}`,
	`{"v":1,"op":"shout"}`,
	`{"v":2}`,
	`{"v":1,"v":1}`,
	`{"V":1}`,
	`[]`,
	"",
	"\xff",
}

// FuzzRequest gives bytes to an agent that has a key. It answers one line of the
// protocol, whatever it is asked, and never with the key.
func FuzzRequest(f *testing.F) {
	for _, seed := range requestSeeds {
		f.Add([]byte(seed))
	}
	secret := []byte("a key that nobody has ever seen.")
	forms := [][]byte{secret, secret[:16], secret[16:], []byte(hex.EncodeToString(secret)), []byte(encodeSecret(keystore.NewSecret(string(secret))))}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.IndexByte(line, '\n') >= 0 || len(line) >= maxLine {
			return
		}
		b := newBench(t)
		name := keyName{keystore.StoreID{1}, seal.KeyID{1, 0, 0, 0}}
		if err := b.keys.add(name, secret, heldKey{recipient: "age1", place: "file:/x"}, MaxTTL); err != nil {
			t.Fatal(err)
		}
		out, then := b.respond(line, nil)
		b.keys.close()
		if len(out) > maxLine || bytes.Count(out, []byte("\n")) != 1 || out[len(out)-1] != '\n' {
			t.Fatalf("%q is no line", out)
		}
		a, err := parseAnswer(out)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if then == hangUp && a.Error != codeInvalid {
			t.Errorf("it hangs up after %q", out)
		}
		for _, form := range forms {
			if bytes.Contains(out, form) {
				t.Errorf("%q shows the key", out)
			}
		}
	})
}

// FuzzAnswer gives bytes to a client. What it takes is an answer that can be written
// and read again; no key has another length.
func FuzzAnswer(f *testing.F) {
	key := strings.Repeat("A", 43)
	for _, seed := range []string{
		`{"v":1}`,
		`{"v":1,"key":"` + key + `"}`,
		`{"v":1,"seals":[{"salt":"AAAAAAAAAAAAAAAAAAAAAA","key":"` + key + `"}]}`,
		`{"v":1,"keys":[{` + benchKey + benchTo + `,"place":"x","left_seconds":1,"idle_seconds":1,"idle_left_seconds":1}]}`,
		`{"v":1,"changed":1,"pid":7}`,
		`{"v":1,"error":"locked","detail":"x"}`,
		`{"v":1,"error":"?"}`,
		`{"v":1,"key":"AA\nAA"}`,
		`{"v":9}`, `null`, `{}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := parseAnswer(line)
		if err != nil {
			return
		}
		if (a.err() == nil) != (a.Error == "") {
			t.Errorf("%q is the error %v", line, a.err())
		}
		if secret, err := wrapKey(a.Key); err == nil && len(secret.Reveal()) != seal.KeySize {
			t.Errorf("%q is a key of %d bytes", a.Key, len(secret.Reveal()))
		}
		for _, s := range a.Seals {
			if salt, err := seal.ParseSalt(s.Salt); err == nil && salt.String() != s.Salt {
				t.Errorf("%q is the salt %v", s.Salt, salt)
			}
		}
	})
}

// TestEncodingIsThatOfTheStandardLibrary but for the order: secrets come last.
func TestEncodingIsThatOfTheStandardLibrary(t *testing.T) {
	for _, a := range []answer{
		{V: 1},
		{V: 1, Key: "AAAA"},
		{V: 1, Seals: []freshAnswer{{"S", "K"}}},
		{V: 1, Seals: []freshAnswer{{"S", "K"}, {"T", "L"}}, Changed: 3, Key: "B"},
		{V: 1, Error: "locked", Detail: "<a> & \"b\""},
	} {
		line, err := a.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, line, want)
	}
	for _, r := range []request{{V: 1, Op: opStatus}, {V: 1, Op: opUnlock, Key: "AAAA", Successor: true, Place: "<x>"}} {
		line, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, line, want)
	}
}

func sameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	var a, b map[string]any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		t.Errorf("%s, want %s", x, y)
	}
}
