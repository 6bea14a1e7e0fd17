package sqliteadapter

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/internal/sqliteuri"
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

// noContext is given to SQLite, which does not wait but for what patiently waits for: the
// driver would start a goroutine for each statement to obey another one.
var noContext = context.Background()

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

// connector makes connections, each with the same settings.
type connector struct {
	uri     string
	prepare func(connection) error
}

func (c connector) Driver() driver.Driver { return nil }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := connect(c.uri)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(connection{conn}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connection is one of the driver's, before it is database/sql's.
type connection struct{ driver.Conn }

func (c connection) exec(statement string) error {
	_, err := c.Conn.(driver.ExecerContext).ExecContext(noContext, statement, nil)
	return err
}

// ask returns the one value of the one row that query has.
func (c connection) ask(query string) (string, error) {
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(noContext, query, nil)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	value := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(value); err != nil && err != io.EOF {
		return "", err
	}
	return fmt.Sprint(value[0]), nil
}

// pragmas are the settings of every connection.
func (o Options) pragmas() []string {
	all := []string{
		"secure_delete=ON",        // the driver has it off: what is deleted stays readable
		"trusted_schema=OFF",      // a schema that somebody has changed calls nothing
		"cell_size_check=ON",      // damaged pages are found before they are used
		"temp_store=MEMORY",       // no other files
		"synchronous=" + o.sync(), // the driver sets NORMAL, which loses acknowledged updates
	}
	if runtime.GOOS == "darwin" {
		all = append(all, "fullfsync=ON", "checkpoint_fullfsync=ON") // fsync leaves data in the disk's cache there
	}
	for _, name := range slices.Sorted(maps.Keys(o.Pragmas)) {
		all = append(all, fmt.Sprintf("%s=%d", name, o.Pragmas[name]))
	}
	return all
}

func (o Options) sync() string {
	if o.LosesLastUpdatesOnPowerCut {
		return "NORMAL"
	}
	return "FULL"
}

func (o Options) prepare(c connection) error {
	for _, p := range o.pragmas() {
		if err := c.exec("PRAGMA " + p); err != nil {
			return err
		}
	}
	return nil
}

// openFile opens the database at path, which exists. On a shared disk it is taken out of
// WAL mode; else it keeps to the mode it was made in.
func openFile(ctx context.Context, path string, shared bool, o Options) (*database, error) {
	uri, err := sqliteuri.File(path, fmt.Sprintf("mode=rw&_busy_timeout=%d&_stmt_cache_size=32", timeout))
	if err != nil {
		return nil, err
	}
	prepare := func(c connection) error { return errors.Join(o.prepare(c), journal(c, shared)) }
	db := &database{DB: sql.OpenDB(connector{uri, prepare}), patience: o.patience}
	db.SetMaxIdleConns(idle)
	var mode string
	err = patiently(ctx, db.patience, func() error {
		return explain(db.QueryRowContext(noContext, "PRAGMA journal_mode").Scan(&mode))
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	db.wal = mode == "wal"
	return db, nil
}

// journal sets the mode of a connection. WAL is what the file itself says.
func journal(c connection, shared bool) error {
	mode, err := c.ask("PRAGMA journal_mode")
	if err != nil || mode == "wal" && !shared {
		return err
	}
	// Here a power cut could do more harm with synchronous=NORMAL than lose updates.
	return errors.Join(c.exec("PRAGMA journal_mode=TRUNCATE"), c.exec("PRAGMA synchronous=FULL"))
}

// makeFile makes the empty file at path a database in which fill has done its part.
func makeFile(ctx context.Context, path string, rollback bool, o Options, fill func(*transaction) error) error {
	uri, err := sqliteuri.File(path, fmt.Sprintf("mode=rw&_busy_timeout=%d", timeout))
	if err != nil {
		return err
	}
	db := &database{DB: sql.OpenDB(connector{uri, o.prepare}), patience: o.patience}
	defer db.Close()
	if err := db.make(ctx, fill); err != nil || rollback {
		return err
	}
	_, err = db.ExecContext(noContext, "PRAGMA journal_mode=WAL")
	return errors.Join(explain(err), explain(db.Close()))
}

func makeMemory(ctx context.Context, o Options, fill func(*transaction) error) (*database, error) {
	db := &database{DB: sql.OpenDB(connector{"file::memory:", o.prepare}), patience: o.patience}
	db.SetMaxOpenConns(1) // each connection has a database of its own
	db.SetConnMaxLifetime(0)
	if err := db.make(ctx, fill); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (db *database) make(ctx context.Context, fill func(*transaction) error) error {
	return db.transact(ctx, func(t *transaction) error {
		t.run(fmt.Sprintf("PRAGMA application_id=%d", applicationID))
		for n, part := range versions(schema) {
			t.run(part)
			t.run(fmt.Sprintf("PRAGMA user_version=%d", n+1))
		}
		if t.err != nil {
			return t.err
		}
		return fill(t)
	})
}

// upToDate checks what the database is, and brings one of an earlier version up to date,
// under the lock of the store.
func (db *database) upToDate(ctx context.Context, lock func(context.Context) (func() error, error)) error {
	known := versions(schema)
	l, err := db.layout(ctx)
	if err != nil || l.version == len(known) {
		return errors.Join(err, l.check(len(known)))
	}
	if err := l.check(len(known)); err != nil {
		return err
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if l, err = db.layout(ctx); err != nil {
		return err
	}
	return db.transact(ctx, func(t *transaction) error {
		for n := l.version; n < len(known); n++ {
			t.run(known[n])
			t.run(fmt.Sprintf("PRAGMA user_version=%d", n+1))
		}
		return t.err
	})
}

func (db *database) layout(ctx context.Context) (l layout, err error) {
	db.shape = new(int)
	err = patiently(ctx, db.patience, func() error { return explain(db.QueryRowContext(noContext, askShape).Scan(db.shape)) })
	for query, to := range map[string]*int{
		"PRAGMA application_id":              &l.application,
		"PRAGMA user_version":                &l.version,
		"SELECT count(*) FROM sqlite_schema": &l.tables,
	} {
		err = errors.Join(err, patiently(ctx, db.patience, func() error { return explain(db.QueryRowContext(noContext, query).Scan(to)) }))
	}
	if err != nil || l.application != applicationID {
		return l, err
	}
	l.strange, err = db.strange(ctx, l.version)
	return l, err
}

const askShape = "PRAGMA schema_version"

// errReshaped says that the schema is not the one that was looked at: of a later version
// of this program, or with something planted in it.
var errReshaped = errors.New("the tables have been changed")

// change is transact for a database that was looked at, if its schema still is the same.
func (db *database) change(ctx context.Context, fn func(*transaction) error) error {
	return db.transact(ctx, func(t *transaction) error {
		var now int
		if err := t.conn.QueryRowContext(noContext, askShape).Scan(&now); err != nil {
			return explain(err)
		}
		if db.shape != nil && now != *db.shape {
			return errReshaped
		}
		return fn(t)
	})
}

// strange counts the objects of a database of this version that are not a store's.
func (db *database) strange(ctx context.Context, version int) (n int, err error) {
	known := versions(schema)
	ours, err := madeBy(noContext, known[:max(0, min(version, len(known)))])
	if err != nil {
		return 0, err
	}
	var found []object
	err = patiently(ctx, db.patience, func() (err error) { found, err = objectsOf(noContext, db); return err })
	for _, o := range found {
		if !slices.Contains(ours, o) {
			n++
		}
	}
	return n, err
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
