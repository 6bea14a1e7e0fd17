//go:build !cgo

package legacysqlite

import (
	"context"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

// Read fails with ErrUnavailable.
func Read(context.Context, string) (*legacy.Database, error) { return nil, unavailable("it is") }

// Delete fails with ErrUnavailable.
func Delete(context.Context, string, func(*legacy.Database) error) error { return unavailable("it is") }

// Encode fails with ErrUnavailable.
func Encode(context.Context, *legacy.Database) ([]byte, error) {
	return nil, unavailable("it would be")
}

func unavailable(it string) error {
	return &keystore.Error{Err: keystore.ErrUnavailable,
		Detail: it + " an SQLite database, and this program was built without SQLite (CGO_ENABLED=0)"}
}
