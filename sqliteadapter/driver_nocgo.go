//go:build !cgo

package sqliteadapter

import (
	"database/sql/driver"

	"github.com/globus-keys/globus-keys/keystore"
)

// available says, before a key is asked for, that there is no SQLite.
func available() error {
	return &keystore.Error{Err: keystore.ErrUnavailable,
		Detail: "this program was built without SQLite (CGO_ENABLED=0): name a store in a file, file:PATH"}
}

func connect(string) (driver.Conn, error) { return nil, available() }

func serialized(any) ([]byte, error)        { return nil, nil }
func deserialize(driver.Conn, []byte) error { return nil }
func explain(err error) error               { return err }
