package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/keystore"
)

var (
	makers    = map[string]func() (*Identity, error){X25519: New, PostQuantum: NewPostQuantum}
	testStore = keystore.StoreID{0xab, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

func made(t testing.TB, make func() (*Identity, error)) *Identity {
	t.Helper()
	id, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestANewIdentityIsAnAgeIdentity(t *testing.T) {
	for typ, make := range makers {
		id := made(t, make)
		again, err := Parse(id.Text().Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if id.Type() != typ || again.Type() != typ || again.Seed() != id.Seed() || again.RecipientString() != id.RecipientString() {
			t.Errorf("%s: the identity does not come back", typ)
		}
		if got := ageParse(id.Text().Reveal()); got != id.RecipientString() {
			t.Errorf("%s: age finds recipient %q, we %q", typ, got, id.RecipientString())
		}
		if got := decrypted(t, encrypted(t, id.Recipient()), again.AgeIdentity()); got != "text" {
			t.Errorf("%s: decrypted to %q", typ, got)
		}
	}
}

func encrypted(t *testing.T, to age.Recipient) []byte {
	t.Helper()
	file, err := encrypt([]byte("text"), to)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func decrypted(t *testing.T, file []byte, id age.Identity) string {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(file), id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNextIsAnotherIdentityOfTheSameType(t *testing.T) {
	for typ, make := range makers {
		id := made(t, make)
		next := made(t, id.Next)
		if next.Type() != typ || next.Seed() == id.Seed() {
			t.Errorf("the next %s identity is %s, same seed: %t", typ, next.Type(), next.Seed() == id.Seed())
		}
	}
}

// Two texts of one X25519 scalar have one recipient, and must have one seed:
// another tool may have written the identity clamped.
func TestTheSeedOfX25519IsClamped(t *testing.T) {
	raw := bytes.Repeat([]byte{0xff}, seedSize)
	clamped := bytes.Clone(raw)
	clamped[0], clamped[31] = 0xf8, 0x7f
	low := make([]byte, seedSize)
	lowClamped := bytes.Clone(low)
	lowClamped[31] = 0x40
	for _, pair := range [][2][]byte{{raw, clamped}, {low, lowClamped}} {
		var ids [2]*Identity
		for i, b := range pair {
			var err error
			if ids[i], err = Parse(bech32Encode(x25519Prefix, b)); err != nil {
				t.Fatal(err)
			}
		}
		if ids[0].RecipientString() != ids[1].RecipientString() || ids[0].Seed() != ids[1].Seed() || ids[1].Seed() != [32]byte(pair[1]) {
			t.Errorf("%x: the seeds are %x and %x", pair[0], ids[0].Seed(), ids[1].Seed())
		}
		if ids[0].Text().Equal(ids[1].Text()) {
			t.Error("Text does not keep the identity as it was")
		}
	}
	if id, err := Parse(bech32Encode(postQuantumPrefix, raw)); err != nil || id.Seed() != [32]byte(raw) {
		t.Errorf("a post-quantum seed is changed: %v", err)
	}
}

func TestParseRefusesWhatIsNotOneNativeIdentity(t *testing.T) {
	text := made(t, New).Text().Reveal()
	for _, s := range []string{
		"", text + "\n", " " + text, text + " ", strings.ToLower(text), text[:len(text)-1], text + text,
		"AGE-PLUGIN-YUBIKEY-1QQQQQQ", "-----BEGIN OPENSSH PRIVATE KEY-----", made(t, New).RecipientString(),
	} {
		id, err := Parse(s)
		if !errors.Is(err, keystore.ErrCorrupt) || id != nil {
			t.Errorf("Parse(%q): %v", s, err)
		} else if strings.Contains(err.Error(), text[20:40]) {
			t.Errorf("the error quotes the identity: %v", err)
		}
	}
}

func TestAnIdentityPrintsNothingOfItself(t *testing.T) {
	for _, make := range makers {
		id := made(t, make)
		values := []any{id, *id, []*Identity{id}, struct{ ID *Identity }{id}, struct{ id *Identity }{id}, struct{ id Identity }{*id}}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
			for _, v := range values {
				hides(t, id, fmt.Sprintf(verb, v))
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "id", id, "in", values)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "id", id, "in", values)
		hides(t, id, log.String())
		data, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		hides(t, id, string(data))
		if got := id.String() + id.GoString() + fmt.Sprintf("%v%s%#v", id, *id, id); got != strings.Repeat(redacted, 5) {
			t.Errorf("an identity prints as %q", got)
		}
	}
}

func hides(t *testing.T, id *Identity, text string) {
	t.Helper()
	seed := []byte(id.seed.Reveal())
	for _, form := range []string{
		id.Text().Reveal()[20:40], string(seed[:8]), fmt.Sprintf("%x", seed[:4]), fmt.Sprintf("%X", seed[:4]),
		strings.Trim(fmt.Sprint(seed[:4]), "[]"), fmt.Sprintf("%#x, %#x, %#x", seed[0], seed[1], seed[2]),
	} {
		if strings.Contains(text, form) {
			t.Errorf("the identity is shown: %s", text)
		}
	}
}
