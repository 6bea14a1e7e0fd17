//go:build cgo

package local

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// TestNothingLeavesAHiddenLoginBehind: a login that can be read, but not listed, since
// what tells its hidden name is damaged, would be lost with the key that it is sealed with.
func TestNothingLeavesAHiddenLoginBehind(t *testing.T) {
	m, b := newDesktop(t)
	opts := m.with(b)
	opts.Store = "sqlite:" + filepath.Join(m.home, "logins.db")
	opts.SQLite = sqliteadapter.Opener(&sqliteadapter.Options{HideNames: true})
	p := m.mustPut(opts, "FakeOne")
	before := header(t, p)
	db, err := sql.Open("sqlite3", p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE records SET label = NULL WHERE kind = 'token'"); err != nil {
		t.Fatal(err)
	}
	if err := p.Rekey(t.Context(), Change{}); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("rekey: %v, want ErrTampered", err)
	}
	if after := header(t, p); headerName(after) != headerName(before) {
		t.Errorf("header %v after %v", after, before)
	}
	m.mustGet(opts, "FakeOne")

	// Who writes all into a file, or another store, is told too.
	if _, err := p.Store().Contents(t.Context()); !errors.Is(err, keystore.ErrTampered) {
		t.Errorf("Contents: %v, want ErrTampered", err)
	}
	into := m.with(b)
	into.Store = "file:" + filepath.Join(m.home, "other.json")
	var last error
	for _, err := range keystore.Migrate(t.Context(), p.Store(), m.find(into).Store(), &keystore.MigrateOptions{DeleteSource: true}) {
		last = err
	}
	if !errors.Is(last, keystore.ErrTampered) {
		t.Errorf("Migrate: %v, want ErrTampered", last)
	}
	m.mustGet(opts, "FakeOne")
}
