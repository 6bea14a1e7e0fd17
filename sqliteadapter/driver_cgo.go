//go:build cgo

package sqliteadapter

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"github.com/globus-keys/globus-keys/keystore"
)

// maxValue is the most bytes of one value: a longer one in a damaged database is not
// even read.
const maxValue = 256 << 10

func available() error { return nil }

// connect opens one connection to the database that uri names.
func connect(uri string) (driver.Conn, error) {
	c, err := open(uri)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// serialized returns the bytes of the database that c has open, in one state.
func serialized(c any) ([]byte, error) { return c.(outside).Serialize("main") }

// deserialize makes data the database that c has open.
func deserialize(c driver.Conn, data []byte) error { return c.(outside).Deserialize(data, "main") }

// explain turns an error of SQLite into one of ours. SQLite's own sentence may quote
// what the database holds: only the code is told.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return unquoted(err)
	}
	about := func(sentinel error, detail string) error {
		if e.SystemErrno != 0 {
			sentinel = fmt.Errorf("%w: %w", sentinel, e.SystemErrno)
		}
		return &keystore.Error{Err: sentinel, Detail: fmt.Sprintf("%s (SQLite: %v)", detail, e.Code)}
	}
	if e.Code == sqlite3.ErrFull || e.SystemErrno == syscall.ENOSPC {
		return &keystore.Error{Err: syscall.ENOSPC, Detail: "SQLite needs room for its files"}
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrProtocol:
		return busy{about(keystore.ErrBusy, "another program uses the database")}
	case sqlite3.ErrCorrupt, sqlite3.ErrFormat, sqlite3.ErrMismatch, sqlite3.ErrSchema, sqlite3.ErrError,
		sqlite3.ErrTooBig, sqlite3.ErrConstraint:
		return about(keystore.ErrCorrupt, "the database is damaged")
	case sqlite3.ErrNotADB:
		return about(errNoDatabase, "the database is damaged")
	case sqlite3.ErrReadonly, sqlite3.ErrPerm:
		return about(keystore.ErrReadOnly, "the database cannot be written")
	case sqlite3.ErrCantOpen:
		// What the system said of the last of several tries tells little.
		full := e.SystemErrno == syscall.EMFILE || e.SystemErrno == syscall.ENFILE
		if e.SystemErrno = 0; full {
			return about(keystore.ErrUnavailable, "too many files are open")
		}
		return about(keystore.ErrReadOnly, "SQLite cannot open the database, or make the files that it needs beside it")
	}
	return about(keystore.ErrUnavailable, "the disk or SQLite has failed")
}

// unquoted hides what database/sql quotes: a value that it could not convert.
func unquoted(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "sql: Scan error") {
		return corrupt("a value is not of its type")
	}
	return err
}
