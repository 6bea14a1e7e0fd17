package fileadapter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/keystore"
)

// victim is a store whose file a test changes behind its back.
type victim struct {
	t    *testing.T
	k    keychain
	path string
	good []byte
}

func newVictim(t *testing.T) *victim {
	v := &victim{t: t, k: newKeychain(t), path: filepath.Join(t.TempDir(), "store", "tokens.json")}
	if err := makeStore(t.Context(), v.k.open(t, v.path), base); err != nil {
		t.Fatal(err)
	}
	v.good = v.bytes()
	return v
}

func (v *victim) bytes() []byte {
	v.t.Helper()
	data, err := os.ReadFile(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	return data
}

func (v *victim) write(data []byte) {
	v.t.Helper()
	if err := os.WriteFile(v.path, data, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

// document is the file as an attacker edits it.
func (v *victim) edit(change func(*fileJSON)) {
	v.t.Helper()
	var file fileJSON
	if err := json.Unmarshal(v.good, &file); err != nil {
		v.t.Fatal(err)
	}
	change(&file)
	data, err := json.Marshal(file)
	if err != nil {
		v.t.Fatal(err)
	}
	v.write(data)
}

// record finds a record in the attacker's file.
func (f *fileJSON) record(name string) *recordJSON {
	for i := range f.Records {
		if f.Records[i].Name == name {
			return &f.Records[i]
		}
	}
	return nil
}

// get reads one record in a process that has not seen the store before.
func (v *victim) get(name string) (string, error) {
	a := v.k.open(v.t, v.path)
	defer a.Close()
	var got string
	err := a.View(v.t.Context(), func(r keystore.Reader) error {
		payload, err := r.Get(tokenKey(name))
		got = strings.Trim(string(payload), `"`)
		return err
	})
	return got, err
}

func named(err error) bool {
	for _, is := range []error{keystore.ErrTampered, keystore.ErrCorrupt, keystore.ErrNoSeal} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// silent returns how a record can be wrong without anybody being told: another
// value, or "not found".
func (v *victim) silent() error {
	for name, want := range base {
		got, err := v.get(name)
		if err == nil && got != want {
			return fmt.Errorf("record %q is %q", name, got)
		}
		// A changed slot names a key that this test's keychain does not have.
		if err != nil && !named(err) && !errors.Is(err, keystore.ErrLocked) {
			return fmt.Errorf("record %q: %w", name, err)
		}
	}
	return nil
}

// TestEveryByteFlipped: each record has its value or a named error, the file
// stays as it is, and a writer keeps what it cannot read.
func TestEveryByteFlipped(t *testing.T) {
	v := newVictim(t)
	writes := 0
	for i := range v.good {
		for _, x := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(v.good)
			bad[i] ^= x
			v.write(bad)
			if err := v.silent(); err != nil {
				t.Fatalf("byte %d xor %02x: %v", i, x, err)
			}
			if !bytes.Equal(v.bytes(), bad) {
				t.Fatalf("byte %d xor %02x: reading has changed the file", i, x)
			}
			if (i+int(x))%97 == 0 {
				writes++
				v.checkWriter(bad, fmt.Sprintf("byte %d xor %02x", i, x))
			}
		}
	}
	if writes == 0 {
		t.Error("no writer was tried")
	}
	t.Logf("%d mutations, %d writers", 3*len(v.good), writes)
}

// checkWriter lets a writer loose on a bad file: it refuses and changes
// nothing, or it adds its record and keeps every other byte for byte.
func (v *victim) checkWriter(bad []byte, what string) {
	v.t.Helper()
	a := v.k.open(v.t, v.path)
	defer a.Close()
	if err := put("four", "4")(v.t.Context(), a); err != nil {
		if !bytes.Equal(v.bytes(), bad) {
			v.t.Errorf("%s: a writer that failed has changed the file", what)
		}
		return
	}
	before, err := parse(bad)
	if err != nil {
		v.t.Errorf("%s: a writer has overwritten a file that cannot be parsed", what)
		return
	}
	after, err := parse(v.bytes())
	if err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
	delete(after.records, tokenKey("four"))
	if !maps.Equal(before.records, after.records) {
		v.t.Errorf("%s: a writer has changed the other records", what)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	v := newVictim(t)
	for n := range len(v.good) - 1 { // the last byte is a line break
		v.write(v.good[:n])
		if _, err := v.get("one"); !errors.Is(err, keystore.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want ErrCorrupt", n, err)
		}
		if err := put("four", "4")(t.Context(), v.k.open(t, v.path)); !errors.Is(err, keystore.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: writing: %v, want ErrCorrupt", n, err)
		}
		if !bytes.Equal(v.bytes(), v.good[:n]) {
			t.Fatalf("cut to %d bytes: the file was changed", n)
		}
	}
}

// TestTamperedRecordsAreRefused: what somebody who can write the file, and
// knows the store's recipient, can do to its records.
func TestTamperedRecordsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*victim, *fileJSON)
		want   map[string]error // nil: the record opens
	}{
		"swapped": {
			func(_ *victim, f *fileJSON) {
				f.record("one").Age, f.record("two").Age = f.record("two").Age, f.record("one").Age
			},
			map[string]error{"one": keystore.ErrTampered, "two": keystore.ErrTampered, "three": nil},
		},
		"renamed": {
			func(_ *victim, f *fileJSON) { f.record("one").Name = "evil" },
			map[string]error{"one": keystore.ErrTampered, "evil": keystore.ErrTampered, "two": nil},
		},
		"moved to another namespace": {
			func(_ *victim, f *fileJSON) { f.record("one").Namespace = "other" },
			map[string]error{"one": keystore.ErrTampered, "two": nil},
		},
		"made another kind": {
			func(_ *victim, f *fileJSON) { f.record("one").Kind = "config" },
			map[string]error{"one": keystore.ErrTampered, "two": nil},
		},
		"copied to another name": {
			func(_ *victim, f *fileJSON) {
				r := *f.record("one")
				r.Name = "copy"
				f.Records = append(f.Records, r)
			},
			map[string]error{"copy": keystore.ErrTampered, "one": nil},
		},
		"standing twice": {
			func(_ *victim, f *fileJSON) { f.Records = append(f.Records, *f.record("one")) },
			map[string]error{"one": keystore.ErrCorrupt, "two": keystore.ErrCorrupt},
		},
		"encrypted anew to the same recipient": {
			func(v *victim, f *fileJSON) { f.record("one").Age = v.encrypt(`"stolen"`) },
			map[string]error{"one": keystore.ErrNoSeal, "two": nil},
		},
		"not base64": {
			func(_ *victim, f *fileJSON) { f.record("one").Age = "%%%" },
			map[string]error{"one": keystore.ErrCorrupt, "two": nil},
		},
		"the meta record gone": {
			func(_ *victim, f *fileJSON) { f.record("store").Kind, f.record("store").Namespace = "config", "x" },
			map[string]error{"one": keystore.ErrTampered, "two": keystore.ErrTampered},
		},
		"a slot that points to a planted identity": {
			func(_ *victim, f *fileJSON) { f.Slots[0].File = slotB },
			map[string]error{"one": keystore.ErrTampered, "two": keystore.ErrTampered},
		},
		"another store's id": {
			func(_ *victim, f *fileJSON) { f.Store = keystore.StoreID{9}.String() },
			map[string]error{"one": keystore.ErrTampered, "two": keystore.ErrTampered},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.edit(func(f *fileJSON) { c.change(v, f) })
			bad := v.bytes()
			for record, want := range c.want {
				_, err := v.get(record)
				if !errors.Is(err, want) {
					t.Errorf("record %q: %v, want %v", record, err, want)
				}
				if err != nil && !strings.Contains(err.Error(), v.path) {
					t.Errorf("%q does not name the file", err)
				}
			}
			if !bytes.Equal(v.bytes(), bad) {
				t.Error("the file was changed")
			}
		})
	}
}

// encrypt is what anybody can do who knows the store's recipient.
func (v *victim) encrypt(text string) string {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, v.k[slotA].Recipient())
	if err != nil {
		v.t.Fatal(err)
	}
	fmt.Fprint(w, text)
	if err := w.Close(); err != nil {
		v.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// TestAnotherIDWithoutTheNote: a file that was copied without its lock directory
// is a store, or is refused; never "no store yet", which a writer would overwrite.
func TestAnotherIDWithoutTheNote(t *testing.T) {
	for id, want := range map[string]error{
		keystore.StoreID{}.String():  keystore.ErrCorrupt,
		keystore.StoreID{9}.String(): keystore.ErrTampered,
		testStore.String():           nil,
	} {
		v := newVictim(t)
		if err := os.RemoveAll(v.path + ".locks"); err != nil {
			t.Fatal(err)
		}
		v.edit(func(f *fileJSON) { f.Store = id })
		bad := v.bytes()
		if _, err := v.get("one"); !errors.Is(err, want) {
			t.Errorf("store id %s: %v, want %v", id, err, want)
		}
		if err := makeStore(t.Context(), v.k.open(t, v.path), base); want != nil && (err == nil || !bytes.Equal(v.bytes(), bad)) {
			t.Errorf("store id %s: it was overwritten (%v)", id, err)
		}
	}
}

// A whole store that somebody else has made, with a key of his own that lies in
// a place where this user's keys lie.
func TestForgedStoreIsRefused(t *testing.T) {
	v := newVictim(t)
	forger := keychain{slotA: v.k[slotB]}
	forged := filepath.Join(t.TempDir(), "forged", "tokens.json")
	if err := makeStore(t.Context(), forger.open(t, forged), map[string]string{"one": "stolen"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(forged)
	if err != nil {
		t.Fatal(err)
	}
	v.write(data)
	if _, err := v.get("one"); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a forged store: %v, want ErrTampered", err)
	}
}

func TestRecordFromBeforeARekeyIsRefused(t *testing.T) {
	v := newVictim(t)
	old := v.bytes()
	if err := rekey(t.Context(), v.k.open(t, v.path), slotB); err != nil {
		t.Fatal(err)
	}
	v.good = v.bytes()
	var before fileJSON
	if err := json.Unmarshal(old, &before); err != nil {
		t.Fatal(err)
	}
	v.edit(func(f *fileJSON) { f.record("one").Age = before.record("one").Age })
	if _, err := v.get("one"); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a record from before the rekey: %v, want ErrTampered", err)
	}
	if got, err := v.get("two"); err != nil || got != "2" {
		t.Errorf("a record beside it: %q, %v", got, err)
	}
	if data, err := os.ReadFile(v.path + ".bak"); err != nil || bytes.Contains(data, []byte(before.record("two").Age)) {
		t.Errorf("the backup still holds records of the old key (%v)", err)
	}
}

// TestReplayUnderTheSameKeyCannotBeTold says what is not promised: an older
// state of a record, or of the file, that the present key has sealed.
// SECURITY.md names it.
func TestReplayUnderTheSameKeyCannotBeTold(t *testing.T) {
	v := newVictim(t)
	old := v.bytes()
	if err := put("one", "newer")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	v.write(old)
	if got, err := v.get("one"); err != nil || got != "1" {
		t.Errorf("the older file: %q, %v; if replay can be told now, SECURITY.md must say so", got, err)
	}
}

func TestMissingFileIsNotAnEmptyStore(t *testing.T) {
	v := newVictim(t)
	if err := put("four", "4")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(v.path); err != nil {
		t.Fatal(err)
	}
	_, err := v.get("one")
	if !errors.Is(err, keystore.ErrCorrupt) || !strings.Contains(err.Error(), v.path+".bak") {
		t.Errorf("reading: %v, want ErrCorrupt that names the backup", err)
	}
	if err := makeStore(t.Context(), v.k.open(t, v.path), base); !errors.Is(err, keystore.ErrCorrupt) {
		t.Errorf("writing: %v, want ErrCorrupt", err)
	}
	if err := v.k.open(t, v.path).RestoreBackup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := v.get("one"); err != nil || got != "1" {
		t.Errorf("after RestoreBackup: %q, %v", got, err)
	}
}

// Both gone: nothing is left that could tell. SECURITY.md says so.
func TestFileAndLocksGoneIsANewStore(t *testing.T) {
	v := newVictim(t)
	if err := errors.Join(os.Remove(v.path), os.RemoveAll(v.path+".locks")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.get("one"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("reading: %v, want ErrNotFound", err)
	}
	if err := makeStore(t.Context(), v.k.open(t, v.path), base); err != nil {
		t.Errorf("making it anew: %v", err)
	}
}
