package local

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// slotKinds returns which slots a store has.
func slotKinds(h keystore.Header) string {
	var kinds []string
	for _, s := range h.Slots {
		kinds = append(kinds, string(s.Kind))
	}
	return strings.Join(kinds, " ")
}

// TestRekeyMakesAnotherKey: old records and the old key are worth nothing, the
// logins are all there, and a process that had the store open goes on.
func TestRekeyMakesAnotherKey(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	p := m.mustPut(opts, "FakeOne")
	if err := p.Store().In("other").Put(t.Context(), login("FakeOther")); err != nil {
		t.Fatal(err)
	}
	bystander := m.find(m.with(b)).Store()
	if _, err := bystander.Get(t.Context(), "rs"); err != nil {
		t.Fatal(err)
	}
	old := m.read(p)
	before := header(t, p)
	if err := p.Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	after := header(t, p)
	if slotKinds(after) != "keychain" || after.Slots[0] == before.Slots[0] || after.StoreID != before.StoreID {
		t.Errorf("header %v after %v", after, before)
	}
	m.mustGet(opts, "FakeOne")
	if got, err := bystander.In("other").Get(t.Context(), "rs"); err != nil || got.AccessToken.Reveal() != "FakeOther" {
		t.Errorf("a process that had the store open: %v", err)
	}
	if err := bystander.Put(t.Context(), login("FakeTwo")); err != nil {
		t.Errorf("a process that had the store open cannot write: %v", err)
	}
	m.mustGet(opts, "FakeTwo")

	// An old copy with the new header, as somebody would roll it back.
	m.write(p, swapSlot(old, before.Slots[0].Name, after.Slots[0].Name))
	if _, err := m.find(opts).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("old records under the new key: %v, want ErrTampered", err)
	}
}

func (m *machine) read(p *Place) string {
	m.t.Helper()
	data, err := os.ReadFile(p.Path())
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *machine) write(p *Place, data string) {
	m.t.Helper()
	if err := os.WriteFile(p.Path(), []byte(data), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func swapSlot(file, old, name string) string { return strings.Replace(file, old, name, 1) }

// TestRetiredItemIsRemovedLater: not before five minutes are over, then by the next
// who writes, and never while it is a slot.
func TestRetiredItemIsRemovedLater(t *testing.T) {
	m, b := newDesktop(t)
	now := &clock{time.Unix(1_800_000_000, 0)}
	opts := m.with(b)
	opts.Clock = now.time
	p := m.mustPut(opts, "FakeOne")
	old := header(t, p).Slots[0].Name
	if err := p.Rekey(t.Context(), Change{}); err != nil {
		t.Fatal(err)
	}
	now.now = now.now.Add(5*time.Minute - time.Second)
	m.mustPut(opts, "FakeTwo")
	if !slices.Contains(accounts(t, b), old) {
		t.Fatal("the old item is gone too soon")
	}
	now.now = now.now.Add(time.Second)
	m.mustGet(opts, "FakeTwo") // reading removes nothing
	if !slices.Contains(accounts(t, b), old) {
		t.Fatal("a reader has removed the old item")
	}
	q := m.mustPut(opts, "FakeThree")
	if all := accounts(t, b); len(all) != 1 || all[0] != header(t, q).Slots[0].Name {
		t.Errorf("the keychain has %q, want the new item only", all)
	}
	before := b.Calls()
	m.mustPut(opts, "FakeFour")
	if calls := b.Calls() - before; calls != 1 {
		t.Errorf("%d keychain calls by the next writer, want 1: nothing is left to remove", calls)
	}
	m.mustGet(opts, "FakeFour")
}

// TestPassphraseIsSetChangedAndRemoved beside the keychain; what opened the
// store before opens nothing.
func TestPassphraseIsSetChangedAndRemoved(t *testing.T) {
	m, b := newDesktop(t)
	p := m.both(b)
	if got := slotKinds(header(t, p)); got != "keychain passphrase" {
		t.Fatalf("slots %q after set", got)
	}
	words := func(file string) *Options {
		opts := m.with(b)
		opts.Key, opts.PassphraseFile = keystore.SlotPassphrase, file
		return opts
	}
	first, second := m.file("first", "a fine passphrase\n"), m.file("second", "a finer passphrase\n")
	m.mustGet(words(first), "FakeOne")

	if err := m.find(m.with(b)).Rekey(t.Context(), Change{Passphrase: Replace, NewPassphraseFile: second}); err != nil {
		t.Fatal(err)
	}
	m.mustGet(words(second), "FakeOne")
	m.mustGet(m.with(b), "FakeOne")
	if _, err := m.find(words(first)).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("the passphrase before: %v, want ErrLocked", err)
	}

	if err := m.find(m.with(b)).Rekey(t.Context(), Change{Passphrase: Remove}); err != nil {
		t.Fatal(err)
	}
	if got := slotKinds(header(t, p)); got != "keychain" {
		t.Errorf("slots %q after remove", got)
	}
	m.mustGet(m.with(b), "FakeOne")
	for what, c := range map[string]Change{
		"remove what there is not":  {Passphrase: Remove},
		"replace what there is not": {Passphrase: Replace},
		"add what there is":         {Keychain: Add},
		"remove the last":           {Keychain: Remove},
		"identity file":             {NewIdentityFile: first},
	} {
		if err := m.find(m.with(b)).Rekey(t.Context(), c); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

// TestKeychainIsAddedAndRemoved of a store that was made without one.
func TestKeychainIsAddedAndRemoved(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Key, opts.Prompt = keystore.SlotPassphrase, answer("a fine passphrase")
	m.mustPut(opts, "FakeOne")
	opts.Key = ""
	p := m.find(opts)
	if err := p.Rekey(t.Context(), Change{Keychain: Add}); err != nil {
		t.Fatal(err)
	}
	m.mustGet(m.with(b), "FakeOne")
	if err := m.find(opts).Rekey(t.Context(), Change{Keychain: Remove}); err != nil {
		t.Fatal(err)
	}
	if got := slotKinds(header(t, p)); got != "passphrase" {
		t.Errorf("slots %q", got)
	}
	m.mustGet(opts, "FakeOne")
}

// TestRekeyAsksForThePassphraseOnce: the keychain has opened the store, but the
// next key goes behind the passphrase too. A wrong one is not taken.
func TestRekeyAsksForThePassphraseOnce(t *testing.T) {
	m, b := newDesktop(t)
	m.both(b)
	answers := []string{"not the passphrase", "a fine passphrase"}
	opts := m.with(b)
	opts.Prompt = func(_ context.Context, q Question) (keystore.Secret, error) {
		if q.New || len(answers) == 0 {
			t.Fatalf("asked %+v", q)
		}
		a := answers[0]
		answers = answers[1:]
		return keystore.NewSecret(a), nil
	}
	if err := m.find(opts).Rekey(t.Context(), Change{}); err != nil || len(answers) > 0 {
		t.Fatalf("%v with %d answers left", err, len(answers))
	}
	words := m.with(b)
	words.Key, words.Prompt = keystore.SlotPassphrase, answer("a fine passphrase")
	m.mustGet(words, "FakeOne")
	if err := m.find(m.with(b)).Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("with nobody to ask: %v, want ErrLocked", err)
	}
}

// TestRecoveryRecipientReads what is sealed from then on, until he is removed.
func TestRecoveryRecipientReads(t *testing.T) {
	m, b := newDesktop(t)
	p := m.mustPut(m.with(b), "FakeOne")
	friend := newIdentity(t)
	if err := p.Rekey(t.Context(), Change{AddRecovery: []string{friend.RecipientString()}}); err != nil {
		t.Fatal(err)
	}
	if got, err := m.find(m.with(b)).Recovery(t.Context()); err != nil || len(got) != 1 || got[0] != friend.RecipientString() {
		t.Errorf("recovery recipients %q, %v", got, err)
	}
	if !opens(t, p, friend) {
		t.Error("the recovery recipient cannot read what was rewritten")
	}
	m.mustPut(m.with(b), "FakeTwo")
	if !opens(t, p, friend) {
		t.Error("the recovery recipient cannot read a later record")
	}
	if err := m.find(m.with(b)).Rekey(t.Context(), Change{RemoveRecovery: true}); err != nil {
		t.Fatal(err)
	}
	if opens(t, p, friend) {
		t.Error("the recipient who was removed reads on")
	}
	for _, bad := range []string{"age1", friend.Text().Reveal(), "ssh-ed25519 AAAA"} {
		err := p.Rekey(t.Context(), Change{AddRecovery: []string{bad}})
		if !errors.Is(err, keystore.ErrInvalid) || strings.Contains(err.Error(), friend.Text().Reveal()) {
			t.Errorf("recipient %q: %v, want ErrInvalid without the secret", bad, err)
		}
	}
}

// opens reports whether age opens the login with the identity alone.
func opens(t *testing.T, p *Place, id *identity.Identity) bool {
	t.Helper()
	opened := false
	err := p.Adapter().View(t.Context(), func(r keystore.Reader) error {
		sealed, err := r.(keystore.SealedReader).Sealed(keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: "rs"})
		if err != nil {
			return err
		}
		_, err = age.Decrypt(strings.NewReader(string(sealed)), id.AgeIdentity())
		opened = err == nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// TestRekeyOfAnIdentityFileStore needs the next identity from the user.
func TestRekeyOfAnIdentityFileStore(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.IdentityFile = m.file("key", newIdentity(t).Text().Reveal()+"\n")
	p := m.mustPut(opts, "FakeOne")
	if err := p.Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("without the next identity: %v, want ErrInvalid", err)
	}
	if err := p.Rekey(t.Context(), Change{NewIdentityFile: opts.IdentityFile}); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("to the same identity: %v, want ErrInvalid", err)
	}
	next := m.file("next", newIdentity(t).Text().Reveal()+"\n")
	if err := p.Rekey(t.Context(), Change{NewIdentityFile: next}); err != nil {
		t.Fatal(err)
	}
	old := *opts
	opts.IdentityFile = next
	m.mustGet(opts, "FakeOne")
	if _, err := m.find(&old).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("the identity before: %v, want ErrLocked", err)
	}
}

// TestRekeyStopsAtADamagedRecord and leaves everything as it was.
func TestRekeyStopsAtADamagedRecord(t *testing.T) {
	m, b := newDesktop(t)
	p := m.mustPut(m.with(b), "FakeOne")
	if err := p.Store().In("other").Put(t.Context(), login("FakeOther")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(m.read(p), "\n")
	for i, line := range lines {
		if strings.Contains(line, `"other"`) && strings.Contains(line, `"token"`) {
			lines[i] = strings.Replace(line, `"age": "`, `"age": "AAAA`, 1)
			lines[i] = strings.Replace(lines[i], `"age":"`, `"age":"AAAA`, 1)
		}
	}
	m.write(p, strings.Join(lines, "\n"))
	before := header(t, p)
	err := p.Rekey(t.Context(), Change{})
	if !errors.Is(err, keystore.ErrCorrupt) || !strings.Contains(err.Error(), "other") {
		t.Errorf("%v, want the record that is damaged", err)
	}
	if after := header(t, p); headerName(after) != headerName(before) {
		t.Errorf("header %v after %v", after, before)
	}
	if all := accounts(t, b); len(all) != 1 {
		t.Errorf("the keychain has %q: the new key is left", all)
	}
	m.mustGet(m.with(b), "FakeOne")
}

// TestRekeyByTwoAtOnce: one wins, and the other says that it has not.
func TestRekeyByTwoAtOnce(t *testing.T) {
	m, b := newDesktop(t)
	m.mustPut(m.with(b), "FakeOne")
	first := true
	b.After = func(call string, _ int) error {
		if call == "create" && first {
			first = false
			if err := m.find(m.with(keychaintest.New(b.Dir))).Rekey(t.Context(), Change{}); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	if err := m.find(m.with(b)).Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrBusy) {
		t.Errorf("the slower rekey: %v, want ErrBusy", err)
	}
	m.mustGet(m.with(keychaintest.New(b.Dir)), "FakeOne")
}

// TestRekeyNeedsTheKeychain: one that fails costs nothing.
func TestRekeyNeedsTheKeychain(t *testing.T) {
	m, b := newDesktop(t)
	p := m.mustPut(m.with(b), "FakeOne")
	before := header(t, p)
	for _, call := range []string{"create", "get"} {
		b.Before = func(c string, _ int) error {
			if c == call {
				return in(keychain.Unreachable)(c, 0)
			}
			return nil
		}
		if err := p.Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s fails: %v, want ErrUnavailable", call, err)
		}
		b.Before = nil
		if after := header(t, p); headerName(after) != headerName(before) {
			t.Errorf("%s fails: header %v after %v", call, after, before)
		}
		m.mustGet(m.with(b), "FakeOne")
	}
}
