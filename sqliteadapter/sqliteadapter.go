// Package sqliteadapter keeps a store in one SQLite database, each record sealed.
package sqliteadapter

import "github.com/globus-keys/globus-keys/keystore"

// Opener is Open for local.Options.SQLite.
func Opener(opts *Options) func(path string, unseal keystore.Unseal) (keystore.StorageAdapter, error) {
	return func(path string, unseal keystore.Unseal) (keystore.StorageAdapter, error) {
		return Open(path, unseal, opts)
	}
}

// Options of an Adapter. The zero value is good.
type Options struct{}

// Open returns the adapter over the database at path.
func Open(path string, unseal keystore.Unseal, opts *Options) (keystore.StorageAdapter, error) {
	return nil, &keystore.Error{Op: "open", Store: path, Err: keystore.ErrUnavailable, Detail: "not there yet"}
}
