package local

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// desktop is a machine with a keychain that a test can look into.
func newDesktop(t *testing.T) (*machine, *keychaintest.Backend) {
	return newMachine(t), keychaintest.New(t.TempDir())
}

func (m *machine) with(b keychain.Backend) *Options {
	opts := m.options()
	opts.Keychain = b
	return opts
}

// in has every call of the keychain fail with this state.
func in(state keychain.State) func(string, int) error {
	return func(string, int) error {
		return &keychain.Problem{State: state, Detail: "the test keychain is " + state.String()}
	}
}

func (m *machine) mustPut(opts *Options, secret string) *Place {
	m.t.Helper()
	p := m.find(opts)
	if err := p.Store().Put(m.t.Context(), login(secret)); err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *machine) mustGet(opts *Options, secret string) {
	m.t.Helper()
	got, err := m.find(opts).Store().Get(m.t.Context(), "rs")
	if err != nil || got.AccessToken.Reveal() != secret {
		m.t.Errorf("got %v, want the token %s", err, secret)
	}
}

func header(t *testing.T, p *Place) (h keystore.Header) {
	t.Helper()
	err := p.Adapter().View(t.Context(), func(r keystore.Reader) error {
		h = r.Header()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func accounts(t *testing.T, b *keychaintest.Backend) []string {
	t.Helper()
	all, err := b.Accounts()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestKeyGoesIntoTheKeychain of a desktop, and nobody is asked for anything.
func TestKeyGoesIntoTheKeychain(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		t.Error("somebody was asked")
		return keystore.Secret{}, keystore.ErrDeclined
	}
	var notices []string
	opts.Notice = func(text string) { notices = append(notices, text) }
	p := m.mustPut(opts, "FakeOne")
	m.mustGet(opts, "FakeOne")
	if len(notices) != 1 || !strings.Contains(notices[0], "is in the test keychain") {
		t.Errorf("said %q, want once where the key is", notices)
	}
	h := header(t, p)
	if len(h.Slots) != 1 || h.Slots[0].Kind != keystore.SlotKeychain {
		t.Fatalf("slots %v, want one in the keychain", h.Slots)
	}
	if all := accounts(t, b); len(all) != 1 || all[0] != h.Slots[0].Name {
		t.Errorf("the keychain has %q, want the item of the header", all)
	}
	for _, file := range filesBelow(t, m.home) {
		if strings.HasPrefix(filepath.Base(file), "identity-") {
			t.Errorf("there is a key file %s beside the keychain", file)
		}
	}
}

// TestReadingMakesNoKeychainCall before there is anything to open.
func TestReadingMakesNoKeychainCall(t *testing.T) {
	m, b := newDesktop(t)
	p := m.find(m.with(b))
	if _, err := p.Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("without a store: %v", err)
	}
	m.mustPut(m.with(b), "FakeOne")
	before := b.Calls()
	header(t, p)
	if _, err := p.Store().Namespaces(t.Context()); err != nil {
		t.Error(err)
	}
	if b.Calls() != before {
		t.Errorf("%d keychain calls for names", b.Calls()-before)
	}
}

// TestNewStoreByKeychainState: only a keychain that is not there lets the key
// go elsewhere.
func TestNewStoreByKeychainState(t *testing.T) {
	for state, want := range map[keychain.State]struct {
		err  error
		slot keystore.SlotKind
	}{
		keychain.Absent:      {nil, keystore.SlotPassphrase},
		keychain.Unsupported: {nil, keystore.SlotPassphrase},
		keychain.Locked:      {keystore.ErrLocked, ""},
		keychain.Declined:    {keystore.ErrDeclined, ""},
		keychain.Unreachable: {keystore.ErrUnavailable, ""},
	} {
		t.Run(state.String(), func(t *testing.T) {
			m, b := newDesktop(t)
			b.Before = in(state)
			opts := m.with(b)
			opts.Prompt = answer("a fine passphrase")
			var notices []string
			opts.Notice = func(text string) { notices = append(notices, text) }
			p := m.find(opts)
			if err := p.Store().Put(t.Context(), login("FakeOne")); !errors.Is(err, want.err) {
				t.Fatalf("%v, want %v", err, want.err)
			}
			h := header(t, p)
			if want.err != nil {
				if !h.IsZero() {
					t.Errorf("a store was made: %v", h)
				}
				return
			}
			if len(h.Slots) != 1 || h.Slots[0].Kind != want.slot {
				t.Errorf("slots %v, want one %s", h.Slots, want.slot)
			}
			if len(notices) != 1 || !strings.Contains(notices[0], "the test keychain is "+state.String()) {
				t.Errorf("said %q, want once why", notices)
			}
		})
	}
}

// TestLockedKeychainIsUsed: its own dialog unlocks it when the key is stored.
func TestLockedKeychainIsUsed(t *testing.T) {
	m, b := newDesktop(t)
	b.Before = func(call string, n int) error {
		if call == "probe" {
			return in(keychain.Locked)(call, n)
		}
		return nil
	}
	if h := header(t, m.mustPut(m.with(b), "FakeOne")); len(h.Slots) != 1 || h.Slots[0].Kind != keystore.SlotKeychain {
		t.Errorf("slots %v, want one in the keychain", h.Slots)
	}
}

// TestNoPassphraseWithoutAKeychain: nobody there, nowhere to put a key.
func TestNoPassphraseWithoutAKeychain(t *testing.T) {
	m, b := newDesktop(t)
	b.Before = in(keychain.Absent)
	if err := m.find(m.with(b)).Store().Put(t.Context(), login("FakeOne")); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
}

// TestStoreKeepsToItsKeychain: whatever the keychain has become, an existing
// store gets no other key, and nobody is asked for a passphrase that it has not.
func TestStoreKeepsToItsKeychain(t *testing.T) {
	item := func(b *keychaintest.Backend) string {
		all, _ := b.Accounts()
		return all[0]
	}
	for name, c := range map[string]struct {
		harm func(*keychaintest.Backend)
		want error
	}{
		"absent":      {func(b *keychaintest.Backend) { b.Before = in(keychain.Absent) }, keystore.ErrUnavailable},
		"unreachable": {func(b *keychaintest.Backend) { b.Before = in(keychain.Unreachable) }, keystore.ErrUnavailable},
		"locked":      {func(b *keychaintest.Backend) { b.Before = in(keychain.Locked) }, keystore.ErrLocked},
		"declined":    {func(b *keychaintest.Backend) { b.Before = in(keychain.Declined) }, keystore.ErrDeclined},
		"item gone":   {func(b *keychaintest.Backend) { b.Delete(t.Context(), item(b)) }, keychain.ErrKeyLost},
		"item empty":  {func(b *keychaintest.Backend) { b.Set(item(b), "") }, keychain.ErrKeyLost},
		"item cut":    {func(b *keychaintest.Backend) { b.Set(item(b), "gk1.key.00") }, keychain.ErrKeyLost},
	} {
		t.Run(name, func(t *testing.T) {
			m, b := newDesktop(t)
			p := m.mustPut(m.with(b), "FakeOne")
			h := header(t, p)
			c.harm(b)
			opts := m.with(b)
			opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
				t.Error("somebody was asked for a passphrase")
				return keystore.Secret{}, keystore.ErrDeclined
			}
			store := m.find(opts).Store()
			if _, err := store.Get(t.Context(), "rs"); !errors.Is(err, c.want) {
				t.Errorf("get: %v, want %v", err, c.want)
			}
			if err := store.Put(t.Context(), login("FakeTwo")); !errors.Is(err, c.want) {
				t.Errorf("put: %v, want %v", err, c.want)
			}
			if now := header(t, p); headerName(now) != headerName(h) {
				t.Errorf("the header is now %v", now)
			}
		})
	}
}

// TestItemOfAnotherStoreIsRefused, in a slot and under this store's name.
func TestItemOfAnotherStoreIsRefused(t *testing.T) {
	m, b := newDesktop(t)
	p := m.mustPut(m.with(b), "FakeOne")
	mine := header(t, p).Slots[0].Name
	other := newMachine(t)
	other.mustPut(other.with(b), "FakeOther")
	for _, account := range accounts(t, b) {
		if account == mine {
			continue
		}
		value, err := b.Get(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Set(mine, value.Reveal()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.find(m.with(b)).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), "another store") {
			t.Errorf("another store's item under the name of ours: %v", err)
		}
		m.plantSlot(account)
		if _, err := m.find(m.with(b)).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), account) {
			t.Errorf("a slot that names another store's item: %v", err)
		}
	}
}

// plantSlot writes another keychain item into the header, as somebody who can
// write the file would.
func (m *machine) plantSlot(account string) {
	m.t.Helper()
	path := m.find(m.options()).Path()
	data, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		m.t.Fatal(err)
	}
	file["slots"] = []map[string]string{{"kind": "keychain", "item": account}}
	if data, err = json.Marshal(file); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// TestKeyMayBeAsked for by name, for a new store and for one with both.
func TestKeyMayBeAsked(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Key, opts.Prompt = keystore.SlotPassphrase, answer("a fine passphrase")
	p := m.mustPut(opts, "FakeOne")
	if h := header(t, p); len(h.Slots) != 1 || h.Slots[0].Kind != keystore.SlotPassphrase {
		t.Errorf("slots %v, want a passphrase", h.Slots)
	}
	if b.Calls() > 0 {
		t.Errorf("%d keychain calls", b.Calls())
	}
	opts = m.with(b)
	opts.Key = keystore.SlotKeychain
	if _, err := m.find(opts).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("a key that the store has not: %v, want ErrInvalid", err)
	}
}

// TestUnusedItemIsRemoved when another process made the store first.
func TestUnusedItemIsRemoved(t *testing.T) {
	m, b := newDesktop(t)
	first := true
	b.After = func(call string, _ int) error {
		if call == "create" && first {
			first = false
			m.mustPut(m.with(keychaintest.New(b.Dir)), "FakeOther")
		}
		return nil
	}
	p := m.mustPut(m.with(b), "FakeOne")
	if all := accounts(t, b); len(all) != 1 || all[0] != header(t, p).Slots[0].Name {
		t.Errorf("the keychain has %q", all)
	}
	m.mustGet(m.with(b), "FakeOne")
}

// both makes a store whose key is in the keychain and behind a passphrase.
func (m *machine) both(b keychain.Backend) *Place {
	m.t.Helper()
	opts := m.with(b)
	opts.Prompt = answer("a fine passphrase")
	p := m.mustPut(opts, "FakeOne")
	if err := p.Rekey(m.t.Context(), Change{Passphrase: Add}); err != nil {
		m.t.Fatal(err)
	}
	return p
}

// TestPassphraseOpensWhenTheKeychainFails, but not when somebody said no.
func TestPassphraseOpensWhenTheKeychainFails(t *testing.T) {
	for _, state := range []keychain.State{keychain.Absent, keychain.Locked, keychain.Unreachable, keychain.Declined} {
		m, b := newDesktop(t)
		m.both(b)
		b.Before = in(state)
		asked := 0
		opts := m.with(b)
		opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
			asked++
			return keystore.NewSecret("a fine passphrase"), nil
		}
		_, err := m.find(opts).Store().Get(t.Context(), "rs")
		if state == keychain.Declined {
			if !errors.Is(err, keystore.ErrDeclined) || asked > 0 {
				t.Errorf("%s: %v after %d questions, want ErrDeclined", state, err, asked)
			}
			continue
		}
		if err != nil || asked != 1 {
			t.Errorf("%s: %v after %d questions, want the passphrase asked for once", state, err, asked)
		}
	}
}

// TestKeychainIsSparedByPassphraseFile: what the run names comes first, so that
// a dead keychain is not waited for.
func TestKeychainIsSparedByPassphraseFile(t *testing.T) {
	m, b := newDesktop(t)
	m.both(b)
	before := b.Calls()
	opts := m.with(b)
	opts.PassphraseFile = m.file("words", "a fine passphrase\n")
	m.mustGet(opts, "FakeOne")
	if b.Calls() != before {
		t.Errorf("%d keychain calls", b.Calls()-before)
	}
}

// clock is a machine's clock that a test moves.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

// TestStoreNamesInTheKeychainDoNotCollide, on file systems that fold case or
// Unicode forms either, and their files fit everywhere.
func TestStoreNamesInTheKeychainDoNotCollide(t *testing.T) {
	names := []string{
		"work", "Work", "WORK", "a:b", "a/b", "a", "a.json", "..", "con", "é", "e\u0301", "work-", "-work", "work_", " work",
		strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 300), strings.Repeat("X", 300), strings.Repeat("é", 256),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		name := make([]rune, 1+random.IntN(40))
		for i := range name {
			name[i] = []rune("abAB:/\\.-_ éÉ0")[random.IntN(14)]
		}
		names = append(names, string(name))
	}
	seen := make(map[string]string)
	for _, name := range names {
		file := indexName(name)
		if other, twice := seen[strings.ToLower(file)]; twice && other != name {
			t.Errorf("%q and %q are both %s", name, other, file)
		}
		seen[strings.ToLower(file)] = name
		if len(file) > 100 || strings.Trim(file, "abcdefghijklmnopqrstuvwxyz0123456789_-+.") != "" {
			t.Errorf("%q is in a file %q", name, file)
		}
	}
	for _, bad := range []string{"a\nb", "a\xff", strings.Repeat("x", keystore.MaxName+1)} {
		opts := newMachine(t).options()
		opts.Store = "keychain:" + bad
		if _, err := Find(opts); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("keychain:%q: %v, want ErrInvalid", bad, err)
		}
	}
}
