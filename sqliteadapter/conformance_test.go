package sqliteadapter

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

func TestConformance(t *testing.T) { conforms(t, &Options{}, true) }

func TestConformanceTruncate(t *testing.T) { conforms(t, &Options{Truncate: true}, true) }

// Without its processes, which take long and are kept apart by what has nothing to do with
// names: TestProcessGoesOnAfterAnotherHasRekeyed is about them.
func TestConformanceHiddenNames(t *testing.T) { conforms(t, &Options{HideNames: true}, false) }

func TestConformanceInMemory(t *testing.T) {
	open := func(dir string) (keystore.StorageAdapter, error) { return Open(Memory, keyFiles(dir).unseal, nil) }
	keystoretest.Run(t, open, &keystoretest.Options{Meta: meta(t), Seals: true})
}

func conforms(t *testing.T, o *Options, processes bool) {
	open := func(dir string) (keystore.StorageAdapter, error) {
		return Open(filepath.Join(dir, "logins.db"), keyFiles(dir).unseal, o)
	}
	keystoretest.Run(t, open, &keystoretest.Options{Persistent: true, Processes: processes, Meta: meta(t), Seals: true})
}

func meta(t testing.TB) []byte {
	t.Helper()
	m, err := seal.FormatMeta(seal.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// keyFiles is a directory with an identity for each slot that is asked for, the
// same in every process.
type keyFiles string

func (dir keyFiles) unseal(_ context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	id, err := dir.identity(h.Slots[0].Name)
	if err != nil {
		return nil, err
	}
	if meta == nil {
		return seal.New(id, h.StoreID, nil)
	}
	return seal.Load(id, h.StoreID, meta)
}

func (dir keyFiles) identity(slot string) (*identity.Identity, error) {
	path := filepath.Join(string(dir), slot)
	if _, err := os.Stat(path); err != nil {
		if err := dir.make(path); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id, _, err := identity.ParseFile(data)
	return id, err
}

// make puts a whole file in place at once; who comes second uses the first's.
func (dir keyFiles) make(path string) error {
	id, err := identity.New()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(string(dir), "key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(identity.FormatFile(id, keystore.StoreID{})); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !os.IsExist(err) {
		return err
	}
	return nil
}
