package fileadapter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
)

// keychain is the test's place of keys: a slot's name gives its identity.
type keychain map[string]*identity.Identity

// The slots of a store before and after a rekey.
const (
	slotA = "identity-a.age"
	slotB = "identity-b.age"
)

func newKeychain(t testing.TB) keychain {
	t.Helper()
	k := make(keychain)
	for _, slot := range []string{slotA, slotB} {
		id, err := identity.New()
		if err != nil {
			t.Fatal(err)
		}
		k[slot] = id
	}
	return k
}

func (k keychain) unseal(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	if len(h.Slots) != 1 || k[h.Slots[0].Name] == nil {
		return nil, keystore.ErrLocked
	}
	sealer, err := seal.New(k[h.Slots[0].Name], h.StoreID, nil)
	if err != nil || meta == nil {
		return sealer, err
	}
	_, err = sealer.Open(ctx, keystore.MetaKey, meta)
	return sealer, err
}

// String is what keychainFrom reads, for a second process.
func (k keychain) String() string {
	return k[slotA].Text().Reveal() + "," + k[slotB].Text().Reveal()
}

func keychainFrom(s string) (keychain, error) {
	a, b, _ := strings.Cut(s, ",")
	idA, errA := identity.Parse(a)
	idB, errB := identity.Parse(b)
	return keychain{slotA: idA, slotB: idB}, errors.Join(errA, errB)
}

func (k keychain) open(t testing.TB, path string) *Adapter {
	t.Helper()
	a, err := Open(path, k.unseal, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

var testStore = keystore.StoreID{1, 2, 3}

func header(slot string) keystore.Header {
	return keystore.Header{StoreID: testStore, Slots: []keystore.Slot{{Kind: keystore.SlotPassphrase, Name: slot}}}
}

func tokenKey(name string) keystore.RecordKey {
	return keystore.RecordKey{Namespace: "DEFAULT", Kind: keystore.KindToken, Name: name}
}

// makeStore is one Update that makes the store with these records.
func makeStore(ctx context.Context, a *Adapter, records map[string]string) error {
	return a.Update(ctx, func(w keystore.Writer) error {
		if err := w.SetHeader(header(slotA)); err != nil {
			return err
		}
		if err := w.Put(keystore.MetaKey, []byte(`{"recipients":[]}`)); err != nil {
			return err
		}
		return putAll(w, records)
	})
}

func putAll(w keystore.Writer, records map[string]string) error {
	for name, value := range records {
		if err := w.Put(tokenKey(name), []byte(fmt.Sprintf("%q", value))); err != nil {
			return err
		}
	}
	return nil
}

// rekey rewrites every record under the key of slot.
func rekey(ctx context.Context, a *Adapter, slot string) error {
	return adaptertest.Rekey(ctx, a, header(slot))
}

// read returns all token records; nil if there is no store.
func read(ctx context.Context, a *Adapter) (records map[string]string, err error) {
	err = a.View(ctx, func(r keystore.Reader) error {
		records = nil
		if r.Header().IsZero() {
			return nil
		}
		records = make(map[string]string)
		for key, err := range r.Keys(keystore.KindToken) {
			if err != nil {
				return err
			}
			payload, err := r.Get(key)
			if err != nil {
				return err
			}
			records[key.Name] = strings.Trim(string(payload), `"`)
		}
		return nil
	})
	return records, err
}

// tempLeft names what a writer that died has left behind.
func tempLeft(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func copyTree(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}
