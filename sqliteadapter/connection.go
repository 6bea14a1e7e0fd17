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

	"github.com/globus-keys/globus-keys/internal/sqliteuri"
	"github.com/globus-keys/globus-keys/keystore"
)

// noContext is given to SQLite, which does not wait but for what patiently waits for: the
// driver would start a goroutine for each statement to obey another one.
var noContext = context.Background()

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

func (o Options) prepare(c connection) error {
	for _, p := range o.pragmas() {
		if err := c.exec("PRAGMA " + p); err != nil {
			return err
		}
	}
	return nil
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
	// SQLite answers with the mode that the database is in, which may be the one before.
	if mode, err = c.ask("PRAGMA journal_mode=TRUNCATE"); err != nil {
		return err
	}
	if mode != "truncate" {
		return busy{&keystore.Error{Err: keystore.ErrBusy, Detail: fmt.Sprintf("SQLite keeps it in the mode %q, in which machines cannot share it", mode)}}
	}
	// Here a power cut could do more harm with synchronous=NORMAL than lose updates.
	return c.exec("PRAGMA synchronous=FULL")
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
