package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keychain"
)

// machine is a user's environment with nothing in it, and no keychain: the
// tester's own is none of our business.
type machine struct {
	t    *testing.T
	home string
	env  map[string]string
}

func newMachine(t *testing.T) *machine {
	home := t.TempDir()
	return &machine{t: t, home: home, env: map[string]string{"HOME": home, "LOCALAPPDATA": home}}
}

func (m *machine) options() *Options {
	none := keychaintest.New(m.home)
	none.Before = in(keychain.Absent)
	return &Options{Getenv: func(name string) string { return m.env[name] }, WorkFactor: 5, Keychain: none}
}

func (m *machine) find(opts *Options) *Place {
	m.t.Helper()
	p, err := Find(opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { p.Adapter().Close() })
	return p
}

// file writes a file that holds a key or passphrase.
func (m *machine) file(name, content string) string {
	m.t.Helper()
	path := filepath.Join(m.home, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func answer(passphrase string) Prompt {
	return func(context.Context, Question) (keystore.Secret, error) { return keystore.NewSecret(passphrase), nil }
}

func login(secret string) keystore.TokenResponse {
	return keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "rs", AccessToken: keystore.NewSecret(secret), ExpiresAt: time.Unix(4070908799, 0),
	}}}
}

func newIdentity(t *testing.T) *identity.Identity {
	t.Helper()
	id, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOpenTouchesNothing(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		t.Error("somebody was asked")
		return keystore.Secret{}, keystore.ErrDeclined
	}
	store, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("get without a store: %v, want ErrNotFound", err)
	}
	if entries, err := os.ReadDir(m.home); err != nil || len(entries) > 0 {
		t.Errorf("made %v (%v)", entries, err)
	}
}

// TestSomebodyIsAskedOnce: the passphrase that makes a store opens it too, in
// the same run.
func TestSomebodyIsAskedOnce(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	var asked []Question
	opts.Prompt = func(_ context.Context, q Question) (keystore.Secret, error) {
		asked = append(asked, q)
		return keystore.NewSecret("a fine passphrase"), nil
	}
	p := m.find(opts)
	for _, secret := range []string{"FakeFirst", "FakeSecond"} {
		if err := p.Store().Put(t.Context(), login(secret)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := p.Store().Get(t.Context(), "rs"); err != nil || got.AccessToken.Reveal() != "FakeSecond" {
		t.Errorf("got %v", err)
	}
	if len(asked) != 1 || !asked[0].New {
		t.Errorf("asked %+v, want once, for a new passphrase", asked)
	}
}

func TestWrongPassphraseIsAskedThrice(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.Prompt = answer("a fine passphrase")
	if err := m.find(opts).Store().Put(t.Context(), login("FakeOne")); err != nil {
		t.Fatal(err)
	}
	asked := 0
	opts.Prompt = func(_ context.Context, q Question) (keystore.Secret, error) {
		if asked++; q.Wrong != (asked > 1) {
			t.Errorf("question %d says wrong: %v", asked, q.Wrong)
		}
		return keystore.NewSecret("not the passphrase"), nil
	}
	if _, err := m.find(opts).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrLocked) {
		t.Errorf("wrong passphrase: %v, want ErrLocked", err)
	}
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
}

// TestDeclinedMakesNoStore: no store and no key; an empty lock file is none.
func TestDeclinedMakesNoStore(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.Prompt = func(context.Context, Question) (keystore.Secret, error) {
		return keystore.Secret{}, keystore.ErrDeclined
	}
	if err := m.find(opts).Store().Put(t.Context(), login("FakeOne")); !errors.Is(err, keystore.ErrDeclined) {
		t.Errorf("declined: %v, want ErrDeclined", err)
	}
	for _, file := range filesBelow(t, m.home) {
		if !strings.HasSuffix(file, "tokens.json.locks"+string(filepath.Separator)+"store") {
			t.Errorf("made %s", file)
		}
	}
}

// TestOneStoreIsMade when many try at once, each with a key of his own: all
// write into the same, and no key file is left that opens nothing.
func TestOneStoreIsMade(t *testing.T) {
	m := newMachine(t)
	var all sync.WaitGroup
	for range 8 {
		opts := m.options()
		opts.PassphraseFile = ""
		opts.Prompt = answer("a fine passphrase")
		p := m.find(opts)
		all.Go(func() {
			if err := p.Store().Put(t.Context(), login("FakeOne")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	keys := 0
	for _, f := range filesBelow(t, m.home) {
		if strings.HasPrefix(filepath.Base(f), "identity-") {
			keys++
		}
	}
	if keys != 1 {
		t.Errorf("%d key files are left, want 1", keys)
	}
}

func filesBelow(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestIdentityFileOfAnotherStoreIsRefused(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	id := newIdentity(t)
	opts.IdentityFile = m.file("key", string(identity.FormatFile(id, keystore.StoreID{1})))
	if err := m.find(opts).Store().Put(t.Context(), login("FakeOne")); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"of another store by its own words": identity.FormatFile(id, keystore.StoreID{2}),
		"that opens nothing here":           identity.FormatFile(newIdentity(t), keystore.StoreID{}),
	} {
		opts := m.options()
		opts.IdentityFile = m.file("other", string(file))
		if _, err := m.find(opts).Store().Get(t.Context(), "rs"); !errors.Is(err, keystore.ErrLocked) || !strings.Contains(err.Error(), opts.IdentityFile) {
			t.Errorf("an identity %s: %v, want ErrLocked that names the file", name, err)
		}
	}
}

func TestEnvironmentAloneMakesNoStore(t *testing.T) {
	m := newMachine(t)
	m.env["GLOBUS_KEYS_IDENTITY_FILE"] = m.file("key", newIdentity(t).Text().Reveal()+"\n")
	if err := m.find(m.options()).Store().Put(t.Context(), login("FakeOne")); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	opts := m.options()
	opts.KeyFromEnv = true
	if err := m.find(opts).Store().Put(t.Context(), login("FakeOne")); err != nil {
		t.Errorf("with KeyFromEnv: %v", err)
	}
	if _, err := m.find(m.options()).Store().Get(t.Context(), "rs"); err != nil {
		t.Errorf("opening needs no KeyFromEnv: %v", err)
	}
}

func TestDefaultStore(t *testing.T) {
	m := newMachine(t)
	if got := m.find(m.options()).Path(); !strings.HasPrefix(got, m.home) || filepath.Base(got) != "tokens.json" {
		t.Errorf("default store %s is not a tokens.json below %s", got, m.home)
	}
	m.env["GLOBUS_KEYS_STORE"] = "file:" + filepath.Join(m.home, "x.json")
	if got := m.find(m.options()).Path(); got != filepath.Join(m.home, "x.json") {
		t.Errorf("GLOBUS_KEYS_STORE gives %s", got)
	}
	for bad, want := range map[string]error{"x.json": keystore.ErrInvalid, "file:": keystore.ErrInvalid, "keychain:": keystore.ErrInvalid,
		"sqlite:": keystore.ErrInvalid, "sqlite:x": keystore.ErrUnavailable} { // this program has no SQLite
		opts := m.options()
		opts.Store = bad
		if _, err := Find(opts); !errors.Is(err, want) {
			t.Errorf("store %q: %v, want %v", bad, err, want)
		}
	}
	if _, err := Find(&Options{Getenv: func(string) string { return "" }}); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("without a home: %v, want ErrUnavailable", err)
	}
}

// TestRekeyElsewhereIsFollowed: another process has given an identity-file store
// a new key, and the file with it; its header has no slot that would change.
func TestRekeyElsewhereIsFollowed(t *testing.T) {
	m := newMachine(t)
	opts := m.options()
	opts.IdentityFile = m.file("key", newIdentity(t).Text().Reveal()+"\n")
	if err := m.find(opts).Store().Put(t.Context(), login("FakeOne")); err != nil {
		t.Fatal(err)
	}
	open := m.find(opts)
	if _, err := open.Store().Get(t.Context(), "rs"); err != nil { // remembers the key
		t.Fatal(err)
	}
	next := newIdentity(t)
	ctx := context.WithValue(t.Context(), chosenKey{}, chosen{id: next})
	err := m.find(opts).Adapter().Update(ctx, func(w keystore.Writer) error {
		key := keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: "rs"}
		payload, err := w.Get(key)
		if err != nil {
			return err
		}
		meta, err := w.Get(keystore.MetaKey)
		if err != nil {
			return err
		}
		return errors.Join(w.SetHeader(w.Header()), w.Put(keystore.MetaKey, meta), w.Put(key, payload))
	})
	if err != nil {
		t.Fatal(err)
	}
	m.file("key", next.Text().Reveal()+"\n")
	if got, err := open.Store().Get(t.Context(), "rs"); err != nil || got.AccessToken.Reveal() != "FakeOne" {
		t.Errorf("in the process that stayed open: %v", err)
	}
}
