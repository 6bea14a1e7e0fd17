package adaptertest

import (
	"context"
	"os"
	"path/filepath"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/keystore"
)

// KeyFiles is a directory with an identity for each slot that is asked for, the
// same in every process.
type KeyFiles string

// Unseal is a keystore.Unseal for headers with one slot.
func (dir KeyFiles) Unseal(_ context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
	id, err := dir.identity(h.Slots[0].Name)
	if err != nil {
		return nil, err
	}
	if meta == nil {
		return seal.New(id, h.StoreID, nil)
	}
	return seal.Load(id, h.StoreID, meta)
}

func (dir KeyFiles) identity(slot string) (*identity.Identity, error) {
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
func (dir KeyFiles) make(path string) error {
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
