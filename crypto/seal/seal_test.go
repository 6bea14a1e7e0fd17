package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

var (
	testStore = keystore.StoreID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	testKey   = keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: "transfer.api.globus.org"}
	testData  = []byte(`{"token":{"access_token":"AgExample"}}`)
)

// variant is one way to set up a store.
type variant struct {
	name     string
	id       *identity.Identity
	recovery *identity.Identity // nil: none
	sealer   *Sealer
}

func variants(t testing.TB) []variant {
	all := []variant{
		{name: "X25519", id: newID(t, identity.New)},
		{name: "X25519 with recovery", id: newID(t, identity.New), recovery: newID(t, identity.New)},
		{name: "post-quantum", id: newID(t, identity.NewPostQuantum)},
		{name: "post-quantum with recovery", id: newID(t, identity.NewPostQuantum), recovery: newID(t, identity.NewPostQuantum)},
	}
	for i, v := range all {
		var recovery []age.Recipient
		if v.recovery != nil {
			recovery = append(recovery, v.recovery.Recipient())
		}
		all[i].sealer = newSealer(t, v.id, testStore, recovery...)
	}
	return all
}

func newID(t testing.TB, make func() (*identity.Identity, error)) *identity.Identity {
	t.Helper()
	id, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newSealer(t testing.TB, id *identity.Identity, store keystore.StoreID, recovery ...age.Recipient) *Sealer {
	t.Helper()
	s, err := New(id, store, recovery)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s *Sealer, k keystore.RecordKey, payload []byte) []byte {
	t.Helper()
	record, err := s.Seal(context.Background(), k, payload)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// class names the sentinel of an Open error, and fails for one that is not a
// *keystore.Error about k, or that age could take for "ask the next identity".
func class(t testing.TB, k keystore.RecordKey, err error) string {
	t.Helper()
	if err == nil {
		return "accepted"
	}
	var e *keystore.Error
	if !errors.As(err, &e) || e.Key != k || e.Detail == "" {
		t.Errorf("error %q does not name the record and say why", err)
	}
	if errors.Is(err, age.ErrIncorrectIdentity) {
		t.Errorf("error %q is age.ErrIncorrectIdentity", err)
	}
	for name, sentinel := range map[string]error{
		"tampered": keystore.ErrTampered, "no seal": keystore.ErrNoSeal, "corrupt": keystore.ErrCorrupt,
	} {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	t.Errorf("error %q is of no class that Open has", err)
	return "other"
}

func TestOpenReturnsWhatWasSealedByteForByte(t *testing.T) {
	for _, v := range variants(t) {
		for _, payload := range []string{`null`, ` {"a" : 1} `, `"<&>\u2028"`, `{"a":"}        "}`, string(testData)} {
			record := sealed(t, v.sealer, testKey, []byte(payload))
			got, err := v.sealer.Open(context.Background(), testKey, record)
			if err != nil || string(got) != payload {
				t.Errorf("%s: Open = %q, %v; want %q", v.name, got, err, payload)
			}
			if err := v.sealer.Verify(context.Background(), testKey, record, v.id.AgeIdentity()); err != nil {
				t.Errorf("%s: Verify: %v", v.name, err)
			}
		}
	}
}

func TestTwoSealsOfOnePayloadShareNothing(t *testing.T) {
	s := variants(t)[0].sealer
	a := parseAge(t, sealed(t, s, testKey, testData))
	b := parseAge(t, sealed(t, s, testKey, testData))
	if a.stanzas[0].Args[1] == b.stanzas[0].Args[1] || bytes.Equal(a.stanzas[0].Body, b.stanzas[0].Body) || bytes.Equal(a.content, b.content) {
		t.Error("salt, body or content repeat")
	}
}

func TestEveryRecipientRecoversTheRecordWithAgeAlone(t *testing.T) {
	for _, v := range variants(t) {
		record := sealed(t, v.sealer, testKey, testData)
		for _, id := range []*identity.Identity{v.id, v.recovery} {
			if id == nil {
				continue
			}
			plaintext := ageDecrypt(t, record, id.AgeIdentity())
			var envelope struct {
				Version                      int
				Store, Namespace, Kind, Name string
				Data                         json.RawMessage
			}
			if err := json.Unmarshal(plaintext, &envelope); err != nil {
				t.Fatal(err)
			}
			if string(envelope.Data) != string(testData) || envelope.Version != 1 || envelope.Store != testStore.String() ||
				envelope.Namespace != "DEFAULT" || envelope.Kind != "token" || envelope.Name != testKey.Name {
				t.Errorf("%s: age recovers %s", v.name, plaintext)
			}
		}
	}
}

func ageDecrypt(t testing.TB, record []byte, id age.Identity) []byte {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(record), id)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plaintext
}

func TestTheAgeCommandRecoversARecord(t *testing.T) {
	command := testenv.Need(t, "age")
	v := variants(t)[1]
	dir := t.TempDir()
	record := filepath.Join(dir, "record.age")
	if err := os.WriteFile(record, sealed(t, v.sealer, testKey, testData), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*identity.Identity{v.id, v.recovery} {
		file := filepath.Join(dir, "identity.txt")
		if err := os.WriteFile(file, identity.FormatFile(id, testStore), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(command, "-d", "-i", file, record).Output()
		if err != nil || !bytes.Contains(out, testData) {
			t.Errorf("age -d -i = %q, %v", out, err)
		}
	}
}

func TestARecordOpensNowhereElse(t *testing.T) {
	for _, v := range variants(t) {
		record := sealed(t, v.sealer, testKey, testData)
		for what, k := range map[string]keystore.RecordKey{
			"namespace": {Namespace: "OTHER", Kind: testKey.Kind, Name: testKey.Name},
			"kind":      {Namespace: testKey.Namespace, Kind: keystore.KindConfig, Name: testKey.Name},
			"name":      {Namespace: testKey.Namespace, Kind: testKey.Kind, Name: "auth.globus.org"},
			"shifted":   {Namespace: "DEFAULTt", Kind: "oken", Name: testKey.Name},
			"zero":      {},
		} {
			_, err := v.sealer.Open(context.Background(), k, record)
			if !errors.Is(err, keystore.ErrTampered) {
				t.Errorf("%s: another %s: %v", v.name, what, err)
			}
		}
		for what, s := range map[string]*Sealer{
			"store":           newSealer(t, v.id, keystore.StoreID{9}),
			"identity":        newSealer(t, newID(t, v.id.Next), testStore),
			"type's identity": newSealer(t, newID(t, otherType(v.id)), testStore),
		} {
			_, err := s.Open(context.Background(), testKey, record)
			if got := class(t, testKey, err); got != "tampered" || !strings.Contains(err.Error(), "sealed with another key") {
				t.Errorf("%s: another %s: %v", v.name, what, err)
			}
		}
	}
}

func otherType(id *identity.Identity) func() (*identity.Identity, error) {
	if id.Type() == identity.X25519 {
		return identity.NewPostQuantum
	}
	return identity.New
}

func TestEveryChangedByteIsRefused(t *testing.T) {
	for _, v := range variants(t) {
		record := sealed(t, v.sealer, testKey, testData)
		classes := make(map[string]int)
		for i := range record {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				changed := bytes.Clone(record)
				changed[i] ^= flip
				classes[refused(t, v, changed, fmt.Sprintf("byte %d xor %#x", i, flip))]++
			}
		}
		if n := classes["tampered"] + classes["corrupt"] + classes["no seal"]; n != 3*len(record) {
			t.Errorf("%s: %d of %d changes refused by name", v.name, n, 3*len(record))
		}
		t.Logf("%s: %v", v.name, classes)
	}
}

func TestEveryTruncationAndAppendedByteIsRefused(t *testing.T) {
	for _, v := range variants(t) {
		record := sealed(t, v.sealer, testKey, testData)
		for n := range record {
			refused(t, v, record[:n], fmt.Sprintf("cut to %d bytes", n))
			refused(t, v, record[n+1:], fmt.Sprintf("first %d bytes cut", n+1))
		}
		for b := range 256 {
			refused(t, v, append(bytes.Clone(record), byte(b)), fmt.Sprintf("byte %#x appended", b))
		}
	}
}

func refused(t *testing.T, v variant, record []byte, what string) string {
	t.Helper()
	payload, err := v.sealer.Open(context.Background(), testKey, record)
	got := class(t, testKey, err)
	if got == "accepted" || payload != nil {
		t.Errorf("%s, %s: %s with payload %q", v.name, what, got, payload)
	}
	return got
}

func TestARecordOverTheLimitIsNotLookedAt(t *testing.T) {
	v := variants(t)[0]
	record := append(sealed(t, v.sealer, testKey, testData), make([]byte, MaxRecord)...)
	_, err := v.sealer.Open(context.Background(), testKey, record)
	if class(t, testKey, err) != "corrupt" || !strings.Contains(err.Error(), "the limit is 131072") {
		t.Errorf("Open of %d bytes: %v", len(record), err)
	}
}

// What only a program with the key can write, and should not.
func TestContentOverTheLimitsIsRefused(t *testing.T) {
	s := variants(t)[0].sealer
	for detail, payload := range map[string]string{
		"longer than any":    `"` + strings.Repeat("x", envelope.Max) + `"`,
		"not one JSON value": `"` + strings.Repeat("x", keystore.MaxPayload) + `"`,
	} {
		record, err := s.encrypt(context.Background(), testKey, envelope.Pack(testStore, testKey, []byte(payload)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Open(context.Background(), testKey, record)
		if class(t, testKey, err) != "tampered" || !strings.Contains(err.Error(), detail) {
			t.Errorf("a payload of %d bytes: %v, want %q", len(payload), err, detail)
		}
	}
}

func TestTheLargestRecordFits(t *testing.T) {
	// Characters that JSON writes longest, for their length in UTF-8.
	for _, name := range []string{strings.Repeat(`"`, 512), strings.Repeat("\u2028", 170), strings.Repeat("ä", 256), strings.Repeat("<", 512)} {
		k := keystore.RecordKey{Namespace: name, Kind: keystore.KindAccount, Name: name}
		payload := []byte(`"` + strings.Repeat("x", keystore.MaxPayload-2) + `"`)
		if err := envelope.Check(k, payload); err != nil {
			t.Fatal(err)
		}
		if n := len(envelope.Pack(testStore, k, payload)); n > envelope.Max {
			t.Errorf("names of %q…: the plaintext has %d bytes", name[:3], n)
		}
		var recovery []age.Recipient
		for range MaxRecovery {
			recovery = append(recovery, newID(t, identity.NewPostQuantum).Recipient())
		}
		s := newSealer(t, newID(t, identity.NewPostQuantum), testStore, recovery...)
		record := sealed(t, s, k, payload)
		got, err := s.Open(context.Background(), k, record)
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("names of %q…, %d bytes: %v", name[:3], len(record), err)
		}
	}
}

func TestLengthsAreMultiplesOf256(t *testing.T) {
	for n := range 600 {
		payload := []byte(`"` + strings.Repeat("x", n) + `"`)
		plaintext := envelope.Pack(testStore, testKey, payload)
		if len(plaintext)%256 != 0 || len(plaintext)-len(bytes.TrimRight(plaintext, " ")) > 255 {
			t.Fatalf("a payload of %d bytes has a plaintext of %d", len(payload), len(plaintext))
		}
		got, err := envelope.Unpack(testStore, testKey, plaintext)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("a payload of %d bytes: %v", len(payload), err)
		}
	}
}

func TestSealRefusesWhatNoReaderCouldTake(t *testing.T) {
	s := variants(t)[0].sealer
	for _, c := range []struct {
		what    string
		k       keystore.RecordKey
		payload string
		want    error
	}{
		{"no JSON", testKey, `{"a":`, keystore.ErrInvalid},
		{"two values", testKey, `1 2`, keystore.ErrInvalid},
		{"nothing", testKey, ``, keystore.ErrInvalid},
		{"escape from the envelope", testKey, `1,"name":2`, keystore.ErrInvalid},
		{"broken UTF-8", testKey, "\"\xff\"", keystore.ErrInvalid},
		{"too large", testKey, `"` + strings.Repeat("x", keystore.MaxPayload) + `"`, keystore.ErrTooLarge},
		{"no name", keystore.RecordKey{Namespace: "n", Kind: keystore.KindToken}, `1`, keystore.ErrInvalid},
		{"no kind", keystore.RecordKey{Namespace: "n", Name: "x"}, `1`, keystore.ErrInvalid},
	} {
		record, err := s.Seal(context.Background(), c.k, []byte(c.payload))
		if !errors.Is(err, c.want) || record != nil {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestAnEndedContextIsObeyed(t *testing.T) {
	v := variants(t)[0]
	record := sealed(t, v.sealer, testKey, testData)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the user went home")
	cancel(cause)
	_, sealErr := v.sealer.Seal(ctx, testKey, testData)
	_, openErr := v.sealer.Open(ctx, testKey, record)
	verifyErr := v.sealer.Verify(ctx, testKey, record, v.id.AgeIdentity())
	for _, err := range []error{sealErr, openErr, verifyErr} {
		if !errors.Is(err, cause) {
			t.Errorf("error %v does not wrap the cause", err)
		}
	}
}

func TestManyGoroutinesShareASealer(t *testing.T) {
	s := variants(t)[1].sealer
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			k := testKey
			k.Name = fmt.Sprint(i)
			for range 10 {
				record, err := s.Seal(context.Background(), k, testData)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Open(context.Background(), k, record); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestVerifySeesWhatOpenDoesNot(t *testing.T) {
	v := variants(t)[1]
	record := sealed(t, v.sealer, testKey, testData)
	f := parseAge(t, record)
	fileKey := fileKeyOf(t, record, v.recovery.AgeIdentity())
	without := f.withStanzas(f.stanzas[0], f.stanzas[2]).signed(t, fileKey) // the owner's stanza is gone
	if _, err := v.sealer.Open(context.Background(), testKey, without); err != nil {
		t.Errorf("Open of a record without the owner's stanza: %v", err)
	}
	err := v.sealer.Verify(context.Background(), testKey, without, v.id.AgeIdentity())
	if class(t, testKey, err) != "tampered" {
		t.Errorf("Verify of a record without the owner's stanza: %v", err)
	}
	if err := v.sealer.Verify(context.Background(), testKey, without, v.recovery.AgeIdentity()); err != nil {
		t.Errorf("Verify by the recovery identity: %v", err)
	}
}

func TestASealerPrintsNothingOfItsKey(t *testing.T) {
	s := variants(t)[0].sealer
	secret := []byte(s.holder.(inHand).Secret.Reveal())
	forms := []string{
		string(secret), fmt.Sprintf("%x", secret[:4]), fmt.Sprintf("%X", secret[:4]),
		strings.Trim(fmt.Sprint(secret[:4]), "[]"), fmt.Sprintf("%#x, %#x", secret[0], secret[1]),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%s", "%q", "%d", "%t"} {
		for _, v := range []any{s, *s, struct{ s *Sealer }{s}, struct{ s Sealer }{*s}, s.holder, s.holder.(inHand).Key, &opener{wrapKey: func(Salt) (keystore.Secret, error) { return s.holder.(inHand).Secret, nil }}} {
			text := fmt.Sprintf(verb, v)
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%s shows the key: %s", verb, text)
				}
			}
		}
	}
}

func TestNewRefusesRecipientsOfAnotherSort(t *testing.T) {
	classic, hybrid := newID(t, identity.New), newID(t, identity.NewPostQuantum)
	scrypt, err := age.NewScryptRecipient("passphrase")
	if err != nil {
		t.Fatal(err)
	}
	var many []age.Recipient
	for range MaxRecovery + 1 {
		many = append(many, classic.Recipient())
	}
	for _, c := range []struct {
		what     string
		id       *identity.Identity
		store    keystore.StoreID
		recovery []age.Recipient
	}{
		{"no identity", nil, testStore, nil},
		{"no store", classic, keystore.StoreID{}, nil},
		{"post-quantum beside classic", classic, testStore, []age.Recipient{hybrid.Recipient()}},
		{"classic beside post-quantum", hybrid, testStore, []age.Recipient{classic.Recipient()}},
		{"scrypt", classic, testStore, []age.Recipient{scrypt}},
		{"own type", classic, testStore, []age.Recipient{&recipient{}}},
		{"nil", classic, testStore, []age.Recipient{nil}},
		{"too many", classic, testStore, many},
	} {
		if s, err := New(c.id, c.store, c.recovery); !errors.Is(err, keystore.ErrInvalid) || s != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestVerifyComparesWhatBothWaysRead(t *testing.T) {
	v := variants(t)[0]
	record := sealed(t, v.sealer, testKey, testData)
	if err := compareNative(envelope.Pack(testStore, testKey, testData), record, v.id.AgeIdentity()); err != nil {
		t.Error(err)
	}
	if err := compareNative(envelope.Pack(testStore, testKey, olderData), record, v.id.AgeIdentity()); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("another plaintext: %v", err)
	}
}
