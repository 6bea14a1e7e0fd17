//go:build cgo

package legacysqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/globus-keys/globus-keys/internal/sqliteuri"
	"github.com/globus-keys/globus-keys/keystore"
)

const (
	patience = 5 * time.Second       // with others that hold the database's locks
	pause    = 25 * time.Millisecond // between two tries
	maxValue = 1 << 20               // bytes of one value; a record of ours has at most 60 KiB
)

// access is how a database is opened and locked.
type access struct {
	query string   // of the URI; busy_timeout is 0 since SQLite's own waiting obeys no context
	begin []string // leaves a transaction open that holds the locks
}

// reading sees one state, rows in the -wal included. mode=ro writes nothing;
// immutable would not read the -wal.
func reading() access {
	return access{
		query: "mode=ro&_query_only=1&_busy_timeout=0",
		begin: []string{"PRAGMA trusted_schema=OFF", "BEGIN", "SELECT 1 FROM sqlite_schema"},
	}
}

// excluding lets nobody else read or write. locking_mode=EXCLUSIVE does what
// BEGIN EXCLUSIVE does not do for a database in WAL mode: it fails while any
// other connection is open. The locks stay from the first transaction on; the
// checkpoint leaves the -wal empty, so that the removal of several files has no
// instant in which the newest rows are gone and the others are not.
func excluding() access {
	return access{
		query: "mode=rw&_locking_mode=EXCLUSIVE&_busy_timeout=0",
		begin: []string{"PRAGMA trusted_schema=OFF", "BEGIN EXCLUSIVE", "COMMIT", "PRAGMA wal_checkpoint(TRUNCATE)", "BEGIN EXCLUSIVE"},
	}
}

// connection is a database that is open, inside a transaction.
type connection struct {
	db *sql.DB
	*sql.Conn
}

// patient returns what open asks between two tries: whether to go on. It says so
// after a pause, until patience or ctx ends.
func patient(ctx context.Context) (again func() bool, stop func()) {
	deadline, stop := context.WithTimeout(ctx, patience)
	return func() bool {
		select {
		case <-time.After(pause):
			return true
		case <-deadline.Done():
			return false
		}
	}, stop
}

// open tries to get what a asks for, as long as others are in the way and again
// says so. If ctx ends meanwhile the error is ErrBusy too.
func open(ctx context.Context, path string, a access, again func() bool) (*connection, error) {
	uri, err := sqliteuri.File(path, a.query)
	if err != nil {
		return nil, err
	}
	var busy error // the last refusal
	for {
		c, err := try(ctx, uri, a.begin)
		switch {
		case errors.Is(err, keystore.ErrBusy):
			busy = err
		case err == nil || busy == nil || ctx.Err() == nil:
			return c, err
		}
		if ctx.Err() == nil && again() {
			continue
		}
		if ctx.Err() != nil {
			busy = fmt.Errorf("%w (%w)", busy, context.Cause(ctx))
		}
		return nil, busy
	}
}

func try(ctx context.Context, uri string, begin []string) (*connection, error) {
	db, err := sql.Open("sqlite3", uri)
	if err != nil {
		return nil, explain(err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, explain(err)
	}
	c := &connection{db, conn}
	if err := c.begin(ctx, begin); err != nil {
		c.close()
		return nil, explain(err)
	}
	return c, nil
}

func (c *connection) begin(ctx context.Context, statements []string) error {
	err := c.Raw(func(driver any) error {
		driver.(*sqlite3.SQLiteConn).SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, maxValue)
		return nil
	})
	for _, statement := range statements {
		if err == nil {
			_, err = c.ExecContext(ctx, statement)
		}
	}
	return err
}

// close gives up the locks. What the transaction might have changed is undone.
func (c *connection) close() {
	c.ExecContext(context.Background(), "ROLLBACK")
	c.Conn.Close()
	c.db.Close()
}

// explain turns an error of SQLite into one of ours. SQLite's own sentence may
// quote what the database holds: only the code is told.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	about := func(sentinel error, detail string) error {
		return &keystore.Error{Err: sentinel, Detail: fmt.Sprintf("%s (SQLite: %v)", detail, e.Code)}
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrProtocol:
		return about(keystore.ErrBusy, "another program uses the database; end it, or try again later")
	case sqlite3.ErrError, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat, sqlite3.ErrMismatch, sqlite3.ErrSchema:
		return about(keystore.ErrCorrupt, "it is not a sound SQLite database of tokens")
	case sqlite3.ErrTooBig:
		return about(keystore.ErrTooLarge, fmt.Sprintf("a value has more than %d bytes", maxValue))
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen:
		return about(keystore.ErrUnavailable, "SQLite must write beside the database to read it, as after a crash, and cannot: "+
			"open it once with the program that wrote it, or copy it with its -wal and -journal to a directory of yours")
	}
	return about(keystore.ErrUnavailable, "SQLite cannot use the database")
}
