package sqliteadapter

import (
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

func TestConformance(t *testing.T) { conforms(t, &Options{}, true) }

func TestConformanceTruncate(t *testing.T) { conforms(t, &Options{Truncate: true}, true) }

// Without its processes, which take long and are kept apart by what has nothing to do with
// names: TestProcessGoesOnAfterAnotherHasRekeyed is about them.
func TestConformanceHiddenNames(t *testing.T) { conforms(t, &Options{HideNames: true}, false) }

func TestConformanceInMemory(t *testing.T) {
	open := func(dir string) (keystore.StorageAdapter, error) {
		return Open(Memory, adaptertest.KeyFiles(dir).Unseal, nil)
	}
	keystoretest.Run(t, open, &keystoretest.Options{Meta: meta(t), Seals: true})
}

func conforms(t *testing.T, o *Options, processes bool) {
	open := func(dir string) (keystore.StorageAdapter, error) {
		return Open(filepath.Join(dir, "logins.db"), adaptertest.KeyFiles(dir).Unseal, o)
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
