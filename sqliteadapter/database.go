package sqliteadapter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// database is an open database. It has as many connections as are used at once. One that
// is retired is closed when the last call that uses it has ended.
type database struct {
	*sql.DB
	wal      bool                 // others read on while a transaction is open
	patience time.Duration        // with other programs that hold SQLite's own locks
	last     atomic.Pointer[said] // what the store has said of itself; nil: nothing yet
	shape    *int                 // SQLite's count of changes to the schema when that was looked at; nil: we have made it

	mu      sync.Mutex
	users   int  // calls; guarded by mu
	retired bool // guarded by mu
}

// use begins a call, which ends with leave. One that is retired takes no more.
func (db *database) use() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.retired {
		db.users++
	}
	return !db.retired
}

func (db *database) leave() {
	if db == nil {
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.users--; db.users == 0 && db.retired {
		db.Close()
	}
}

func (db *database) retire() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.retired = true
	if db.users > 0 {
		return nil
	}
	return db.Close()
}

// source is what can be read from: a database, or a snapshot of one.
type source interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

const (
	idle     = 4                     // connections that stay open
	patience = 30 * time.Second      // if nothing else is said
	pause    = 20 * time.Millisecond // between two tries

	// timeout is how long SQLite itself waits, in which it obeys no context.
	timeout = 100 // milliseconds
)

// busy is the error of somebody who holds SQLite's own locks.
type busy struct{ error }

func (b busy) Unwrap() error { return b.error }

// patiently calls try again while other programs hold SQLite's own locks, which ours do
// for moments only, but no longer than limit. try must have changed nothing then.
func patiently(ctx context.Context, limit time.Duration, try func() error) error {
	err := try()
	if _, held := errors.AsType[busy](err); !held {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, keystore.Ended(ctx))
		}
		err = try()
		if _, held := errors.AsType[busy](err); !held {
			return err
		}
	}
}

// tries is how often a View tries to do without a snapshot, which outside of WAL mode is
// a copy of the whole database.
func (db *database) tries() int {
	if db == nil || db.wal {
		return 1
	}
	return 4
}

// snapshot returns a source that nobody changes, until done is called.
func (db *database) snapshot(ctx context.Context) (src source, done func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, explain(err)
	}
	if !db.wal {
		defer conn.Close()
		return db.copied(ctx, conn)
	}
	if _, err := conn.ExecContext(noContext, "BEGIN"); err != nil {
		conn.Close()
		return nil, nil, explain(err)
	}
	return conn, func() { conn.ExecContext(noContext, "ROLLBACK"); conn.Close() }, nil
}

// copied returns a copy in memory: outside of WAL mode whoever has a transaction open
// stops all others.
func (db *database) copied(ctx context.Context, conn *sql.Conn) (source, func(), error) {
	var data []byte
	err := patiently(ctx, db.patience, func() error {
		return conn.Raw(func(c any) (err error) {
			data, err = serialized(c)
			return explain(err)
		})
	})
	if err != nil {
		return nil, nil, err
	}
	c := sql.OpenDB(connector{"file::memory:", func(c connection) error { return deserialize(c.Conn, data) }})
	c.SetMaxOpenConns(1)
	return c, func() { c.Close() }, nil
}

// checkpoint moves what is in the -wal into the database and empties it, if no reader is
// in the way.
func (db *database) checkpoint() {
	if db.wal {
		db.ExecContext(noContext, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
}

// transaction is one that changes the database. After the first error it does nothing.
type transaction struct {
	conn *sql.Conn
	err  error
}

// transact runs fn in one transaction, all or none, which is durable when it returns nil.
func (db *database) transact(ctx context.Context, fn func(*transaction) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return explain(err)
	}
	defer conn.Close()
	return patiently(ctx, db.patience, func() error { return transact(conn, fn) })
}

func transact(conn *sql.Conn, fn func(*transaction) error) error {
	t := &transaction{conn: conn}
	if t.run("BEGIN IMMEDIATE") != nil {
		return t.err
	}
	if err := fn(t); err != nil {
		conn.ExecContext(noContext, "ROLLBACK")
		return err
	}
	if t.run("COMMIT") != nil {
		conn.ExecContext(noContext, "ROLLBACK")
	}
	return t.err
}

func (t *transaction) run(statement string, args ...any) error {
	t.change(statement, args...)
	return t.err
}

// change runs a statement and returns how many rows it has changed.
func (t *transaction) change(statement string, args ...any) (rows int64) {
	if t.err != nil {
		return 0
	}
	result, err := t.conn.ExecContext(noContext, statement, args...)
	if err != nil {
		t.err = explain(err)
		return 0
	}
	rows, _ = result.RowsAffected()
	return rows
}
