package seal

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/envelope"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestAMetaRecordComesBack(t *testing.T) {
	a, b := newID(t, identity.New).RecipientString(), newID(t, identity.NewPostQuantum).RecipientString()
	for _, recipients := range [][]string{{}, {a}, {a, b}} {
		payload, err := FormatMeta(Meta{Recipients: recipients})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseMeta(payload)
		if err != nil || !reflect.DeepEqual(got.Recipients, recipients) {
			t.Errorf("ParseMeta(%s) = %v, %v", payload, got, err)
		}
	}
	retired := []Retired{{keystore.SlotKeychain, "v1/x/key/1", 1700000000}, {keystore.SlotPassphrase, "identity-1.age", 1}}
	payload, err := FormatMeta(Meta{Retired: retired})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseMeta(payload); err != nil || !reflect.DeepEqual(got.Retired, retired) {
		t.Errorf("ParseMeta(%s) = %v, %v", payload, got, err)
	}
	if payload, err := FormatMeta(Meta{}); err != nil || string(payload) != `{"recipients":[]}` {
		t.Errorf("FormatMeta of the zero Meta = %s, %v", payload, err)
	}
}

func TestParseMetaIsStrict(t *testing.T) {
	r := newID(t, identity.New).RecipientString()
	for _, payload := range []string{
		``, `null`, `[]`, `{}`, `{"recipients":null}`, `{"recipients":"` + r + `"}`, `{"recipients":[1]}`, `{"recipients":[null]}`,
		`{"recipients":[],"recipients":["` + r + `"]}`, `{"Recipients":[]}`, `{"recipients":[],"more":1}`, `{"recipients":[]} {}`,
		`{"recipients":[],"retired":[{"kind":"other","name":"x","at":1}]}`, `{"recipients":[],"retired":[{"kind":"keychain","name":"","at":1}]}`,
		`{"recipients":[],"retired":[{"kind":"keychain","name":"x","at":"1"}]}`, `{"recipients":[],"retired":[{"kind":"keychain","name":"x","At":1}]}`,
		`{"recipients":["` + r + `","` + r + `"]}`, `{"recipients":["age1yubikey1qqqqqq"]}`,
	} {
		if m, err := ParseMeta([]byte(payload)); !errors.Is(err, keystore.ErrCorrupt) {
			t.Errorf("ParseMeta(%s) = %v, %v", payload, m, err)
		}
	}
}

// zeroPoint is a recipient to whom nothing can be encrypted, as age finds out
// only when it tries.
const zeroPoint = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"

func TestRecoveryRecipientsAreNative(t *testing.T) {
	if _, err := age.ParseX25519Recipient(zeroPoint); err != nil {
		t.Fatal(err)
	}
	secret := newID(t, identity.New).Text().Reveal()
	for _, text := range []string{
		"", "age1", "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
		"age1../../bin/sh1qqqqqq", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
		strings.ToUpper(newID(t, identity.New).RecipientString()), newID(t, identity.New).RecipientString() + "\n", secret,
		zeroPoint,
	} {
		_, err := ParseRecovery(text)
		if !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("ParseRecovery(%q): %v", text, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows an identity: %v", err)
		}
	}
}

func TestLoadBelievesOnlyTheSealedMetaRecord(t *testing.T) {
	owner, recovery := newID(t, identity.New), newID(t, identity.New)
	first := newSealer(t, owner, testStore, recovery.Recipient())
	payload, err := FormatMeta(Meta{Recipients: []string{recovery.RecipientString()}})
	if err != nil {
		t.Fatal(err)
	}
	meta := sealed(t, first, keystore.MetaKey, payload)
	s, err := Load(owner, testStore, meta)
	if err != nil {
		t.Fatal(err)
	}
	ageDecrypt(t, sealed(t, s, testKey, testData), recovery.AgeIdentity())

	planted := scene{t: t}.ageEncrypted(envelope.Pack(testStore, keystore.MetaKey, payload), owner.Recipient())
	for _, c := range []struct {
		what string
		meta []byte
		want error
	}{
		{"missing", nil, keystore.ErrTampered},
		{"planted by an outsider", planted, keystore.ErrNoSeal},
		{"of another place", sealed(t, first, testKey, payload), keystore.ErrTampered},
		{"of another identity", sealed(t, newSealer(t, recovery, testStore), keystore.MetaKey, payload), keystore.ErrTampered},
		{"not a meta payload", sealed(t, first, keystore.MetaKey, testData), keystore.ErrCorrupt},
		{"no age file", payload, keystore.ErrCorrupt},
	} {
		s, err := Load(owner, testStore, c.meta)
		var e *keystore.Error
		if s != nil || !errors.Is(err, c.want) || !errors.As(err, &e) || e.Key != keystore.MetaKey {
			t.Errorf("meta record %s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestAPostQuantumStoreStaysPostQuantum(t *testing.T) {
	id := newID(t, identity.NewPostQuantum)
	s := newSealer(t, id, testStore)
	seal := &recipient{fresh: func() (Fresh, error) { return s.takeFresh(context.Background(), testKey) }, labels: s.labels}
	for what, other := range map[string]age.Recipient{"post-quantum": id.Recipient(), "classic": newID(t, identity.New).Recipient()} {
		w, err := age.Encrypt(&strings.Builder{}, seal, other)
		if ok := err == nil && w != nil; ok != (what == "post-quantum") {
			t.Errorf("a seal beside a %s recipient: %v", what, err)
		}
	}
	if _, err := s.Seal(context.Background(), testKey, testData); err != nil {
		t.Error(err)
	}
}
