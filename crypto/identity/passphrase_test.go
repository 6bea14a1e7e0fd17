package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/globus-keys/globus-keys/keystore"
)

var (
	words = keystore.NewSecret("correct horse battery staple")
	cheap = &PassphraseOptions{WorkFactor: 1} // so that tests are quick
)

func sealedFile(t testing.TB, id *Identity) []byte {
	t.Helper()
	file, err := SealPassphrase(id, testStore, words, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAPassphraseFileComesBack(t *testing.T) {
	for typ, make := range makers {
		id := made(t, make)
		got, store, err := OpenPassphrase(sealedFile(t, id), words)
		if err != nil || store != testStore || !got.Text().Equal(id.Text()) {
			t.Errorf("%s: OpenPassphrase = store %s, %v", typ, store, err)
		}
	}
}

func TestAgeAloneOpensAPassphraseFile(t *testing.T) {
	id := made(t, New)
	native, err := age.NewScryptIdentity(words.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if got := decrypted(t, sealedFile(t, id), native); got != string(FormatFile(id, testStore)) {
		t.Error("age finds another file in the passphrase file")
	}
}

func TestAPassphraseFileOfTheAgeCommandOpens(t *testing.T) {
	id := made(t, New)
	got, store, err := OpenPassphrase(scryptFile(t, FormatFile(id, keystore.StoreID{}), 2), words)
	if err != nil || store != (keystore.StoreID{}) || !got.Text().Equal(id.Text()) {
		t.Errorf("OpenPassphrase = store %s, %v", store, err)
	}
}

func scryptFile(t testing.TB, plain []byte, factor int) []byte {
	t.Helper()
	r, err := age.NewScryptRecipient(words.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(factor)
	file, err := encrypt(plain, r)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAWrongPassphraseIsLocked(t *testing.T) {
	file := sealedFile(t, made(t, New))
	for _, wrong := range []string{"correct horse battery stapl", "Correct horse battery staple", " " + words.Reveal(), ""} {
		id, _, err := OpenPassphrase(file, keystore.NewSecret(wrong))
		if !errors.Is(err, keystore.ErrLocked) || id != nil {
			t.Errorf("passphrase %q: %v", wrong, err)
		}
	}
}

func TestAWeakPassphraseMakesNoFile(t *testing.T) {
	id := made(t, New)
	for _, weak := range []string{"", "1234567", "äöüäöüä"} {
		if file, err := SealPassphrase(id, testStore, keystore.NewSecret(weak), cheap); !errors.Is(err, keystore.ErrInvalid) || file != nil {
			t.Errorf("passphrase %q: %v", weak, err)
		}
	}
	for _, enough := range []string{"12345678", "äöüäöüäö"} {
		if _, err := SealPassphrase(id, testStore, keystore.NewSecret(enough), cheap); err != nil {
			t.Errorf("passphrase %q: %v", enough, err)
		}
	}
	if _, err := SealPassphrase(id, keystore.StoreID{}, words, cheap); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("without a store: %v", err)
	}
	for _, factor := range []int{-1, 21, 30, 64} {
		if _, err := SealPassphrase(id, testStore, words, &PassphraseOptions{WorkFactor: factor}); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("work factor %d: %v", factor, err)
		}
	}
}

func TestEveryChangedByteOfAPassphraseFileIsRefused(t *testing.T) {
	file := sealedFile(t, made(t, New))
	classes := make(map[error]int)
	for i := range file {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			changed := bytes.Clone(file)
			changed[i] ^= flip
			classes[refusal(t, changed, fmt.Sprintf("byte %d xor %#x", i, flip))]++
		}
		classes[refusal(t, file[:i], fmt.Sprintf("cut to %d bytes", i))]++
	}
	classes[refusal(t, append(bytes.Clone(file), 0), "a byte appended")]++
	for _, want := range []error{keystore.ErrLocked, keystore.ErrCorrupt, keystore.ErrTampered} {
		if classes[want] == 0 {
			t.Errorf("no change is %v", want)
		}
	}
}

func refusal(t *testing.T, file []byte, what string) error {
	t.Helper()
	id, store, err := OpenPassphrase(file, words)
	if err == nil || id != nil || store != (keystore.StoreID{}) {
		t.Errorf("%s: accepted", what)
	}
	for _, sentinel := range []error{keystore.ErrLocked, keystore.ErrCorrupt, keystore.ErrTampered} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	t.Errorf("%s: %v is of no class", what, err)
	return nil
}

func TestWhatIsNoPassphraseFileIsCorrupt(t *testing.T) {
	id := made(t, New)
	plain := FormatFile(id, testStore)
	var armored bytes.Buffer
	w := armor.NewWriter(&armored)
	w.Write(sealedFile(t, id))
	w.Close()
	for what, file := range map[string][]byte{
		"nothing":                      nil,
		"plain":                        plain,
		"armored":                      armored.Bytes(),
		"encrypted to a recipient":     encrypted(t, id.Recipient()),
		"too large":                    append(sealedFile(t, id), make([]byte, MaxPassphraseFile)...),
		"no identity in it":            scryptFile(t, []byte("text"), 1),
		"two identities in it":         scryptFile(t, append(plain, plain...), 1),
		"a larger file in it":          scryptFile(t, append(plain, bytes.Repeat([]byte("#\n"), maxFile/2)...), 1),
		"work factor 21":               withFactor(t, id, "21"),
		"work factor 63":               withFactor(t, id, "63"),
		"work factor 0":                withFactor(t, id, "0"),
		"work factor 01":               withFactor(t, id, "01"),
		"work factor of many digits":   withFactor(t, id, "99999999999999999999"),
		"work factor that is no digit": withFactor(t, id, "x"),
	} {
		if got := refusal(t, file, what); got != keystore.ErrCorrupt {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// withFactor asks for another work factor than the file was made with. If it
// were tried, the test would take hours or all memory.
func withFactor(t *testing.T, id *Identity, factor string) []byte {
	t.Helper()
	head, rest, ok := strings.Cut(string(sealedFile(t, id)), " 1\n")
	if !ok {
		t.Fatal("the file has no work factor 1")
	}
	return []byte(head + " " + factor + "\n" + rest)
}

func TestCalibrationMakesAnUnlockTakeAboutASecond(t *testing.T) {
	for _, c := range []struct {
		probe time.Duration // at work factor 16; each step doubles it
		want  int
	}{
		{-time.Hour, 18}, {0, 18}, // a clock that measures nothing
		{1, 20}, {62 * time.Millisecond, 20},
		{63 * time.Millisecond, 19}, {125 * time.Millisecond, 19},
		{126 * time.Millisecond, 18}, {time.Hour, 18},
	} {
		if got := greatestFactor(c.probe); got != c.want {
			t.Errorf("a probe of %v: work factor %d, want %d", c.probe, got, c.want)
		}
	}
}

func TestTheWorkFactorIsMeasuredUnlessGiven(t *testing.T) {
	asked := 0
	now := func() time.Time {
		asked++
		return time.Unix(0, 0).Add(time.Duration(asked) * 100 * time.Millisecond)
	}
	if got, err := (&PassphraseOptions{Now: now}).workFactor(); err != nil || got != 19 || asked != 2 {
		t.Errorf("work factor %d, %v, the clock was read %d times", got, err, asked)
	}
	if got, err := (&PassphraseOptions{Now: now, WorkFactor: 7}).workFactor(); err != nil || got != 7 || asked != 2 {
		t.Errorf("work factor %d, %v, the clock was read %d times", got, err, asked)
	}
}

func TestWithoutOptionsAFileAsksForAtLeast18(t *testing.T) {
	file, err := SealPassphrase(made(t, New), testStore, words, nil)
	if err != nil {
		t.Fatal(err)
	}
	stanza, _, _ := strings.Cut(strings.TrimPrefix(string(file), "age-encryption.org/v1\n"), "\n")
	factor, err := strconv.Atoi(stanza[strings.LastIndexByte(stanza, ' ')+1:])
	if err != nil || factor < 18 || factor > 20 {
		t.Errorf("the stanza is %q", stanza)
	}
}
