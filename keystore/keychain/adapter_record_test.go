package keychain_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/quick"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// letters are what names are made of in the property test: what keychains fold,
// join with, or measure otherwise than in bytes.
var letters = []string{"a", "A", ":", "/", ".", "%", " ", "é", "E\u0301", "ß", "İ", "日", "\U0001F511", "\u2028", `"`}

func anyName(random *rand.Rand) string {
	length := []int{1, 2, 3, 300, keystore.MaxName}[random.IntN(5)]
	var b strings.Builder
	for b.Len() < length {
		b.WriteString(letters[random.IntN(len(letters))])
	}
	name := strings.ToValidUTF8(b.String()[:min(b.Len(), length)], "")
	if name == "" {
		return "x"
	}
	return name
}

// TestAccountsOfAnyNames pass every keychain, and no two are the same, not even
// where case does not count.
func TestAccountsOfAnyNames(t *testing.T) {
	seen := make(map[string]bool)
	random := rand.New(rand.NewPCG(1, 2))
	property := func(payload []byte) bool {
		k := keystore.RecordKey{Namespace: anyName(random), Kind: keystore.KindToken, Name: anyName(random)}
		accounts, values, err := keychain.RecordItems(testStore, k, fmt.Appendf(nil, "\"%x\"", payload))
		if err != nil {
			t.Log(err)
			return false
		}
		for i, account := range accounts {
			if err := keychain.CheckItem(account, values[i]); err != nil || seen[strings.ToLower(account)] {
				t.Log(account, err)
				return false
			}
			seen[strings.ToLower(account)] = true
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	t.Logf("%d accounts", len(seen))
}

// TestAnyNamesAreKeptApart in a store.
func TestAnyNamesAreKeptApart(t *testing.T) {
	p := made(t, nil)
	random := rand.New(rand.NewPCG(3, 4))
	want := make(map[keystore.RecordKey]string)
	for i := range 300 {
		kind := []keystore.Kind{keystore.KindToken, keystore.KindConfig}[random.IntN(2)]
		want[keystore.RecordKey{Namespace: anyName(random), Kind: kind, Name: anyName(random)}] = fmt.Sprint(i)
	}
	err := p.open().Update(t.Context(), func(w keystore.Writer) error {
		for k, value := range want {
			if err := w.Put(k, []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.open().View(t.Context(), func(r keystore.Reader) error {
		for k, value := range want {
			if got, err := r.Get(k); err != nil || string(got) != value {
				t.Errorf("%v: %q, %v", k, got, err)
			}
		}
		return nil
	})
	if err != nil || len(want) < 250 {
		t.Errorf("%v, %d names", err, len(want))
	}
}

// TestEncoding of every byte, and that there is one way only.
func TestEncoding(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	text := keychain.Encode(all)
	if back, err := keychain.Decode(text); err != nil || !bytes.Equal(back, all) {
		t.Errorf("%q, %v", back, err)
	}
	if err := keychain.CheckItem("v1/x", keystore.NewSecret(text)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"%", "%4", "x%0", "%0a", "%C3%a9", "%41", "%20", "%7E", "%GG", "%%", "% 1", "\n", "\x7f", "é", "\x00", "%+1", "%0\x00"} {
		if got, err := keychain.Decode(bad); !errors.Is(err, keystore.ErrCorrupt) {
			t.Errorf("%q is decoded to %q, %v", bad, got, err)
		}
	}
}

func FuzzRecordText(f *testing.F) {
	f.Add("plain", []byte("x"))
	f.Add("%25%0A%C3%A9", []byte{0, 0xff, '%'})
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		if back, err := keychain.Decode(keychain.Encode(data)); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%q became %q, %v", data, back, err)
		}
		got, err := keychain.Decode(text)
		switch {
		case err != nil && !errors.Is(err, keystore.ErrCorrupt):
			t.Fatal(err)
		case err == nil && keychain.Encode(got) != text:
			t.Fatalf("%q is read, and would be written as %q", text, keychain.Encode(got))
		}
	})
}
