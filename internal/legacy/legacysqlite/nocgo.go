//go:build !cgo

package legacysqlite

import (
	"context"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

// Read fails with ErrUnavailable.
func Read(context.Context, string) (*legacy.Database, error) { return nil, unavailable() }

// Delete fails with ErrUnavailable.
func Delete(context.Context, string, func(*legacy.Database) error) error { return unavailable() }

func unavailable() error {
	return &keystore.Error{Err: keystore.ErrUnavailable,
		Detail: "it is an SQLite database, and this program was built without SQLite (CGO_ENABLED=0)"}
}
