package local

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// editSlots changes the header of a store file, as somebody who can write it
// would.
func (m *machine) editSlots(p *Place, edit func([]map[string]string) []map[string]string) {
	m.t.Helper()
	var file map[string]json.RawMessage
	if err := json.Unmarshal([]byte(m.read(p)), &file); err != nil {
		m.t.Fatal(err)
	}
	var slots []map[string]string
	if err := json.Unmarshal(file["slots"], &slots); err != nil {
		m.t.Fatal(err)
	}
	var err error
	if file["slots"], err = json.Marshal(edit(slots)); err != nil {
		m.t.Fatal(err)
	}
	data, err := json.Marshal(file)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(p, string(data))
}

// TestPlantedSlotIsRefused: it would get the next key, or have what it names
// removed; and a slot that was taken away would not get it.
func TestPlantedSlotIsRefused(t *testing.T) {
	add := func(slot map[string]string) func([]map[string]string) []map[string]string {
		return func(slots []map[string]string) []map[string]string { return append(slots, slot) }
	}
	for name, edit := range map[string]func([]map[string]string) []map[string]string{
		"a keychain item":     add(map[string]string{"kind": "keychain", "item": "v1/x"}),
		"a passphrase file":   add(map[string]string{"kind": "passphrase", "file": "identity-00.age"}),
		"taken away":          func(slots []map[string]string) []map[string]string { return slots[:1] },
		"in another order":    func(slots []map[string]string) []map[string]string { slices.Reverse(slots); return slots },
		"the same once again": func(slots []map[string]string) []map[string]string { return append(slots, slots[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			m, b := newDesktop(t)
			p := m.both(b)
			items := accounts(t, b)
			m.editSlots(p, edit)
			opts := m.with(b)
			opts.Prompt = answer("a fine passphrase")
			q := m.find(opts)
			if _, err := q.Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), "slot") {
				t.Errorf("get: %v, want ErrTampered", err)
			}
			if err := q.Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrTampered) {
				t.Errorf("rekey: %v, want ErrTampered", err)
			}
			if now := accounts(t, b); !slices.Equal(now, items) {
				t.Errorf("the keychain has %q, before %q", now, items)
			}
		})
	}
}

// TestKeyOfAnotherStoreIsNotRemoved, whatever a store's header names: two stores
// keep their passphrase files in one directory.
func TestKeyOfAnotherStoreIsNotRemoved(t *testing.T) {
	m, b := newDesktop(t)
	opts := func(name string) *Options {
		o := m.with(b)
		o.Store, o.Key, o.Prompt = "file:"+filepath.Join(m.home, name), keystore.SlotPassphrase, answer("a fine passphrase")
		return o
	}
	victim := m.mustPut(opts("victim.json"), "FakeVictim")
	mine := m.mustPut(opts("mine.json"), "FakeMine")
	file := header(t, victim).Slots[0].Name
	if err := mine.drop(t.Context(), header(t, mine).StoreID, keystore.Slot{Kind: keystore.SlotPassphrase, Name: file}); err != nil {
		t.Fatal(err)
	}
	m.mustGet(opts("victim.json"), "FakeVictim")
	m.editSlots(mine, func(slots []map[string]string) []map[string]string { slots[0]["file"] = file; return slots })
	if _, err := m.find(opts("mine.json")).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("a slot that names another store's file: %v, want ErrTampered", err)
	}
}

// TestCopyDoesNotTakeTheOriginalsKey: a rekey of a copied store, and what tidies
// up after it, leave the keychain item to the original.
func TestCopyDoesNotTakeTheOriginalsKey(t *testing.T) {
	m, b := newDesktop(t)
	now := &clock{time.Unix(1_800_000_000, 0)}
	at := func(dir string) *Options {
		o := m.with(b)
		o.Clock, o.Store = now.time, "file:"+filepath.Join(m.home, dir, "tokens.json")
		return o
	}
	m.mustPut(at("original"), "FakeOne")
	copyOf := func(dir string) {
		if err := os.CopyFS(filepath.Join(m.home, dir), os.DirFS(filepath.Join(m.home, "original"))); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{dir, dir + "/tokens.json.locks"} {
			os.Chmod(filepath.Join(m.home, d), 0o700)
		}
	}
	copyOf("copy")
	if err := m.find(at("copy")).Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	now.now = now.now.Add(time.Hour)
	m.mustPut(at("copy"), "FakeCopy")
	m.mustPut(at("copy"), "FakeCopy")
	m.mustGet(at("original"), "FakeOne")
	m.mustGet(at("copy"), "FakeCopy")

	// A copy that is made between the rekey and the tidying up.
	if err := m.find(at("original")).Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	copyOf("second")
	now.now = now.now.Add(time.Hour)
	before := accounts(t, b)
	m.mustPut(at("second"), "FakeSecond")
	if after := accounts(t, b); !slices.Equal(before, after) {
		t.Errorf("the copy has removed items: %q, before %q", after, before)
	}
	m.mustPut(at("original"), "FakeTwo") // which does remove its old one
	if after := accounts(t, b); len(after) != len(before)-1 {
		t.Errorf("the original has left %q of %q", after, before)
	}
}

// TestRetiredPassphraseFileIsRemoved, by the process that has rekeyed too, and
// whatever its clock said.
func TestRetiredPassphraseFileIsRemoved(t *testing.T) {
	m, b := newDesktop(t)
	now := &clock{time.Unix(1_900_000_000, 0)} // three years ahead
	opts := m.with(b)
	opts.Clock, opts.Prompt = now.time, answer("a fine passphrase")
	p := m.mustPut(opts, "FakeOne")
	for range 2 {
		if err := p.Rekey(t.Context(), Change{Passphrase: Add}); err != nil {
			t.Fatal(err)
		}
		if err := p.Rekey(t.Context(), Change{Passphrase: Remove}); err != nil {
			t.Fatal(err)
		}
		now.now = now.now.Add(5 * time.Minute)
		if err := p.Store().Put(t.Context(), login("FakeTwo")); err != nil {
			t.Fatal(err)
		}
		for _, file := range filesBelow(t, m.home) {
			if strings.HasPrefix(filepath.Base(file), "identity-") {
				t.Errorf("%s is left", file)
			}
		}
		if all := accounts(t, b); len(all) != 1 {
			t.Errorf("the keychain has %q", all)
		}
	}
	if err := p.Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	now.now = time.Unix(1_800_000_000, 0) // the clock is set right
	m.mustPut(opts, "FakeThree")
	if all := accounts(t, b); len(all) != 1 {
		t.Errorf("after a clock that was ahead the keychain has %q", all)
	}
}

// TestSlotInUseIsNeverRemoved, even if the list of retired ones says so.
func TestSlotInUseIsNeverRemoved(t *testing.T) {
	m, b := newDesktop(t)
	p := m.mustPut(m.with(b), "FakeOne")
	slot := header(t, p).Slots[0]
	p.setRetired(seal.Meta{Home: p.home(), Retired: []seal.Retired{{Kind: slot.Kind, Name: slot.Name, At: 1}}})
	p.tidy(t.Context())
	m.mustGet(m.with(b), "FakeOne")
}

// TestRespiteBeginsWithTheCommit: a person was asked in between for an hour.
func TestRespiteBeginsWithTheCommit(t *testing.T) {
	m, b := newDesktop(t)
	now := &clock{time.Unix(1_800_000_000, 0)}
	opts := m.with(b)
	opts.Clock = now.time
	opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		now.now = now.now.Add(time.Hour)
		return keystore.NewSecret("a fine passphrase"), nil
	}
	p := m.mustPut(opts, "FakeOne")
	old := header(t, p).Slots[0].Name
	if err := p.Rekey(t.Context(), Change{Passphrase: Add}); err != nil {
		t.Fatal(err)
	}
	m.mustPut(opts, "FakeTwo")
	if !slices.Contains(accounts(t, b), old) {
		t.Error("the old item is gone at once")
	}
}

// TestTidyingLeavesTheBackup: the last change of the user can still be undone.
func TestTidyingLeavesTheBackup(t *testing.T) {
	m, b := newDesktop(t)
	now := &clock{time.Unix(1_800_000_000, 0)}
	opts := m.with(b)
	opts.Clock = now.time
	p := m.mustPut(opts, "FakeOne")
	if err := p.Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	now.now = now.now.Add(time.Hour)
	p = m.mustPut(opts, "FakeTwo") // and tidies
	if all := accounts(t, b); len(all) != 1 {
		t.Fatalf("nothing was tidied: %q", all)
	}
	if err := p.Adapter().(keystore.BackupAdapter).RestoreBackup(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.mustGet(opts, "FakeOne")
}

// TestFailedKeyItemIsNotLeft: the keychain took it, and then somebody pressed ^C.
func TestFailedKeyItemIsNotLeft(t *testing.T) {
	m, b := newDesktop(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.After = func(call string, _ int) error {
		if call == "create" {
			cancel()
		}
		return nil
	}
	if err := m.find(m.with(b)).Store().Put(ctx, login("FakeOne")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	b.After = nil
	p := m.mustPut(m.with(b), "FakeOne")
	ctx, cancel = context.WithCancel(t.Context())
	b.After = func(call string, _ int) error {
		if call == "create" {
			cancel()
		}
		return nil
	}
	if err := p.Rekey(ctx, Change{}); !errors.Is(err, context.Canceled) {
		t.Errorf("rekey: %v", err)
	}
	if all := accounts(t, b); len(all) != 1 || all[0] != header(t, p).Slots[0].Name {
		t.Errorf("the keychain has %q", all)
	}
}

// TestCancelledIsNotAskedAgain: ^C at the keychain's dialog is no wish to type a
// passphrase.
func TestCancelledIsNotAskedAgain(t *testing.T) {
	m, b := newDesktop(t)
	m.both(b)
	ctx, cancel := context.WithCancel(t.Context())
	b.Before = func(string, int) error { cancel(); return ctx.Err() }
	opts := m.with(b)
	opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		t.Error("somebody was asked for a passphrase")
		return keystore.Secret{}, keystore.ErrDeclined
	}
	if _, err := m.find(opts).Store().Get(ctx, "rs"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

// TestNamedPassphraseFileIsUsedOrRefused: who tests his second way in must not be
// let in by the first.
func TestNamedPassphraseFileIsUsedOrRefused(t *testing.T) {
	m, b := newDesktop(t)
	m.mustPut(m.with(b), "FakeOne")
	opts := m.with(b)
	opts.PassphraseFile = m.file("words", "a fine passphrase\n")
	if _, err := m.find(opts).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("a store without a passphrase: %v, want ErrInvalid", err)
	}
	m.env["GLOBUS_KEYS_PASSPHRASE_FILE"] = opts.PassphraseFile // may be left over
	m.mustGet(m.with(b), "FakeOne")
}

// TestIdentityInPlaceOfAFileIsNotShown.
func TestIdentityInPlaceOfAFileIsNotShown(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.IdentityFile = newIdentity(t).Text().Reveal()
	err := m.find(opts).Store().Put(t.Context(), login("FakeOne"))
	if !errors.Is(err, keystore.ErrInvalid) || strings.Contains(err.Error(), "AGE-SECRET-KEY-1") {
		t.Errorf("%v, want ErrInvalid without the key", err)
	}
}

// TestCloseForgetsTheKey of the place too.
func TestCloseForgetsTheKey(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Prompt = answer("a fine passphrase")
	p := m.both(b)
	store := p.Store()
	if _, err := store.Get(t.Context(), "rs"); err != nil {
		t.Fatal(err)
	}
	store.Close()
	if len(p.found) > 0 || !p.passphrase.IsZero() {
		t.Error("the place keeps a key after Close")
	}
}

// TestTwoRekeysOfAnIdentityFileStore: without slots only the meta record tells
// that another was quicker.
func TestTwoRekeysOfAnIdentityFileStore(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.IdentityFile = m.file("key", newIdentity(t).Text().Reveal()+"\n")
	p := m.mustPut(opts, "FakeOne")
	friend := newIdentity(t).RecipientString()
	r, err := p.plan(t.Context(), Change{NewIdentityFile: m.file("next", newIdentity(t).Text().Reveal()+"\n")})
	if err == nil {
		err = p.fill(t.Context(), r, Change{NewIdentityFile: filepath.Join(m.home, "next")})
	}
	if err != nil {
		t.Fatal(err)
	}
	other := m.file("other", newIdentity(t).Text().Reveal()+"\n")
	if err := m.find(opts).Rekey(t.Context(), Change{NewIdentityFile: other, AddRecovery: []string{friend}}); err != nil {
		t.Fatal(err)
	}
	opts.IdentityFile = other
	q := m.find(opts)
	err = q.adapter.Update(context.WithValue(t.Context(), chosenKey{}, r.chosen), r.apply)
	if !errors.Is(err, keystore.ErrBusy) {
		t.Errorf("the slower one: %v, want ErrBusy", err)
	}
}
