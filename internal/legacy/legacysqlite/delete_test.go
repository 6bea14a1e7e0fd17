//go:build cgo

package legacysqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/internal/legacy"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestReadDatabaseIsDeletedWithItsSidecars(t *testing.T) {
	for what, statements := range map[string][]string{
		"rollback journal":   {insert},
		"persistent journal": {"PRAGMA journal_mode=PERSIST", insert},
		"WAL":                {"PRAGMA journal_mode=WAL", insert},
	} {
		path := edited(t, cliFixture, statements...)
		other := filepath.Join(filepath.Dir(path), "storage.db2")
		check(t, os.WriteFile(other, nil, 0o600))
		f := mustRead(t, path)
		check(t, f.Delete(context.Background(), Delete))
		if left := names(t, filepath.Dir(path)); len(left) != 1 || left[0] != "storage.db2" {
			t.Errorf("%s: %q are left", what, left)
		}
	}
}

func TestDatabaseAfterACrashIsDeletedWithItsWAL(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	conn := program(t, path, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", insert)
	crashed := filepath.Join(dir(t), "storage.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		check(t, err)
		check(t, os.WriteFile(crashed+suffix, data, 0o600))
	}
	check(t, conn.Close())
	f := mustRead(t, crashed)
	if n := len(f.Contents[0].Tokens); n != 4 {
		t.Errorf("%d tokens, want the one in the -wal too", n)
	}
	check(t, f.Delete(context.Background(), Delete))
	if left := names(t, filepath.Dir(crashed)); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}

func TestDatabaseThatMustBeClosedFirstIsDeleted(t *testing.T) {
	path := edited(t, schema1Fixture, "PRAGMA journal_mode=WAL", insert)
	c, err := open(context.Background(), path, excluding(), never)
	check(t, err)
	check(t, c.closeAndRemove(path))
	if c.PingContext(context.Background()) == nil {
		t.Error("it is still open")
	}
	if left := names(t, filepath.Dir(path)); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}

func TestChangedDatabaseStays(t *testing.T) {
	for what, change := range map[string]string{
		"a new token":     insert,
		"a new config":    `INSERT INTO config_storage VALUES('DEFAULT', 'n', '1')`,
		"another token":   `UPDATE token_storage SET token_data_json = '{"access_token": "x"}' WHERE resource_server = 'auth.globus.org'`,
		"a token less":    `DELETE FROM token_storage WHERE resource_server = 'auth.globus.org'`,
		"another name":    `UPDATE token_storage SET namespace = 'x' WHERE resource_server = 'auth.globus.org'`,
		"a table of ours": `CREATE TABLE more(a)`,
	} {
		path := clone(t, schema1Fixture, "storage.db")
		f := mustRead(t, path)
		check(t, program(t, path, change).Close())
		err := f.Delete(context.Background(), Delete)
		refused(t, err, keystore.ErrBusy, path, "has changed")
		if len(names(t, filepath.Dir(path))) != 1 {
			t.Errorf("%s: %q are left", what, names(t, filepath.Dir(path)))
		}
		mustRead(t, path)
	}
}

func TestUnchangedRowsInANewOrderMayGo(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	f := mustRead(t, path)
	check(t, program(t, path, "CREATE TEMP TABLE t AS SELECT * FROM token_storage ORDER BY resource_server DESC",
		"DELETE FROM token_storage", "INSERT INTO token_storage SELECT * FROM t", "VACUUM").Close())
	check(t, f.Delete(context.Background(), Delete))
}

func TestDatabaseUnderAnotherNameOrLinkStays(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	f := mustRead(t, path)
	check(t, os.Link(path, path+".link"))
	refused(t, f.Delete(context.Background(), Delete), keystore.ErrInvalid, path, "2 names")
	check(t, os.Rename(path, path+".old"))
	check(t, os.Symlink(path+".old", path))
	refused(t, f.Delete(context.Background(), Delete), keystore.ErrInvalid, path, "symbolic link")
	check(t, os.Remove(path))
	other := clone(t, schema1Fixture, "storage.db")
	check(t, os.Rename(other, path))
	refused(t, f.Delete(context.Background(), Delete), keystore.ErrBusy, path, "another file")
	refused(t, f.Delete(context.Background(), nil), keystore.ErrBusy, path)
	if left := names(t, filepath.Dir(path)); len(left) != 3 {
		t.Errorf("%q are left", left)
	}
}

func TestDatabaseInUseStays(t *testing.T) {
	for what, statements := range map[string][]string{
		"a reader":          {"BEGIN", "SELECT * FROM token_storage"},
		"a writer":          {"BEGIN IMMEDIATE"},
		"idle, in WAL mode": {"PRAGMA journal_mode=WAL", "SELECT * FROM token_storage"},
	} {
		path := clone(t, schema1Fixture, "storage.db")
		f := mustRead(t, path)
		conn := program(t, path, statements...)
		tries := 1
		err := f.Delete(context.Background(), deleter(func() bool { tries++; return tries < 3 }))
		refused(t, err, keystore.ErrBusy, path, "another program")
		if tries != 3 {
			t.Errorf("%s: it was tried %d times, and not as long as allowed", what, tries)
		}
		check(t, conn.Close())
		mustRead(t, path)
	}
}

// deleter is Delete with another patience.
func deleter(again func() bool) legacy.SQLiteDeleter {
	return func(ctx context.Context, path string, check func(*legacy.Database) error) error {
		return removeIf(ctx, path, check, again)
	}
}

func never() bool { return false }

func TestWaitingEndsWithTheContext(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	program(t, path, "BEGIN EXCLUSIVE")
	for _, a := range []access{reading(), excluding()} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := open(ctx, path, a, func() bool { cancel(); return true })
		refused(t, err, keystore.ErrBusy, "another program")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v does not say that the context ended", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	again, stop := patient(ctx)
	defer stop()
	if again() {
		t.Error("the patience outlasts the context")
	}
}

func TestShortWritersAreWaitedFor(t *testing.T) {
	path := clone(t, schema1Fixture, "storage.db")
	conn := program(t, path, "BEGIN EXCLUSIVE")
	tries := 1
	c, err := open(context.Background(), path, reading(), func() bool {
		tries++
		_, err := conn.ExecContext(context.Background(), "COMMIT")
		return err == nil
	})
	check(t, err)
	c.close()
	if tries != 2 {
		t.Errorf("it took %d tries", tries)
	}
}

func TestNobodyElseGetsInWhileTheContentIsCompared(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		path := edited(t, schema1Fixture, "PRAGMA journal_mode="+mode)
		calls := 0
		err := Delete(context.Background(), path, func(d *legacy.Database) error {
			calls++
			if len(d.Tokens) != 3 {
				t.Errorf("check was given %d tokens", len(d.Tokens))
			}
			for _, a := range []access{reading(), excluding()} {
				if _, err := open(context.Background(), path, a, never); !errors.Is(err, keystore.ErrBusy) {
					t.Errorf("%s: somebody else got in: %v", mode, err)
				}
			}
			return errStay
		})
		if !errors.Is(err, errStay) || calls != 1 {
			t.Errorf("%s: check was called %d times, and the error is %v", mode, calls, err)
		}
		mustRead(t, path)
	}
}

var errStay = errors.New("let it stay")
