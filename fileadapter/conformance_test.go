package fileadapter

import (
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
)

func TestConformance(t *testing.T) {
	meta, err := seal.FormatMeta(seal.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	open := func(dir string) (keystore.StorageAdapter, error) {
		return Open(filepath.Join(dir, "tokens.json"), adaptertest.KeyFiles(dir).Unseal, nil)
	}
	keystoretest.Run(t, open, &keystoretest.Options{Persistent: true, Processes: true, Meta: meta, Seals: true})
}
