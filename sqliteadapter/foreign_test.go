package sqliteadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestForeignProgramThatHoldsTheDatabase: it is waited for, as long as the context and
// patience last; then the error is ErrBusy, and the same adapter goes on afterwards.
func TestForeignProgramThatHoldsTheDatabase(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		a.opts.patience = 50 * time.Millisecond // before it is opened
		holds(t, a, base, "at first")
		foreign := s.plain(t)
		execute(t, foreign, "BEGIN EXCLUSIVE")
		fails(t, "a put", put(t.Context(), a, "one", "x"), keystore.ErrBusy, s.path)
		_, err := read(t.Context(), a)
		if mode == "WAL" {
			ok(t, "a read, which waits for no writer,", err)
		} else {
			fails(t, "a read", err, keystore.ErrBusy, s.path)
		}
		_, err = read(t.Context(), s.impatient(t))
		if mode == "TRUNCATE" {
			fails(t, "a read of who opens it", err, keystore.ErrBusy, s.path)
		}
		a.opts.patience = patience
		ended, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		cancel(enough)
		if err := put(ended, a, "one", "x"); !errors.Is(err, enough) {
			t.Errorf("a put whose context has ended: %v", err)
		}
		execute(t, foreign, "ROLLBACK")
		ok(t, "a put afterwards", put(t.Context(), a, "one", "x"))
	})
}

func (s site) impatient(t *testing.T) *Adapter {
	a := s.open(t)
	a.opts.patience = 50 * time.Millisecond
	return a
}

// TestForeignWriterIsWaitedFor: one that is done soon costs time, and no error. A writer
// that waits obeys its context.
func TestForeignWriterIsWaitedFor(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		foreign := s.plain(t)
		execute(t, foreign, "BEGIN IMMEDIATE")
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, enough)
		defer cancel()
		if err := put(ctx, a, "one", "x"); !errors.Is(err, enough) {
			t.Errorf("a put that was given up: %v", err)
		}
		done := make(chan error)
		go func() { done <- put(t.Context(), a, "one", "y") }()
		execute(t, foreign, "COMMIT")
		ok(t, "a put that waits", <-done)
		holds(t, s.open(t), with("one", "y"), "afterwards")
	})
}

// TestForeignWriterWithoutOurLock: what it changes under an Update makes that begin anew;
// one that never stops makes it ErrBusy.
func TestForeignWriterWithoutOurLock(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		foreign := s.plain(t)
		for _, stops := range []bool{true, false} {
			calls := 0
			err := a.Update(t.Context(), func(w keystore.Writer) error {
				if calls++; calls == 1 || !stops {
					execute(t, foreign, "UPDATE store SET changes = changes + 1")
				}
				return putAll(w, map[string]string{"one": fmt.Sprint(calls)})
			})
			if stops {
				ok(t, "Update", err)
				holds(t, a, with("one", "2"), "after it")
				continue
			}
			fails(t, "Update", err, keystore.ErrBusy, s.path)
			holds(t, a, with("one", "2"), "after that")
		}
	})
}

// strangers are what may lie in the place of a store.
var strangers = map[string]struct {
	change func(t *testing.T, s site)
	want   error
	says   string
}{
	"an empty file":     {func(t *testing.T, s site) { s.replace(t, nil) }, keystore.ErrCorrupt, "empty"},
	"no database":       {func(t *testing.T, s site) { s.replace(t, bytes.Repeat([]byte("text "), 2000)) }, keystore.ErrCorrupt, "damaged"},
	"a header of zeros": {func(t *testing.T, s site) { s.damage(t, 0, 100, 0) }, keystore.ErrCorrupt, ""},
	"half a header":     {func(t *testing.T, s site) { s.replace(t, s.bytes(t)[:50]) }, keystore.ErrCorrupt, ""},
	"the first page":    {func(t *testing.T, s site) { s.replace(t, s.bytes(t)[:4096]) }, keystore.ErrCorrupt, ""},
	"a schema of garbage": {func(t *testing.T, s site) {
		s.damage(t, 100, 3900, 0xa5)
	}, keystore.ErrCorrupt, ""},
	"another program's": {by("PRAGMA application_id = 0; PRAGMA user_version = 3; DROP TABLE records; CREATE TABLE token_storage (x)"), keystore.ErrCorrupt, "not a globus-keys store"},
	"another id":        {by("PRAGMA application_id = 7"), keystore.ErrCorrupt, "not a globus-keys store"},
	"a newer version":   {by("PRAGMA user_version = 99"), keystore.ErrCorrupt, "version 99"},
	"no version":        {by("PRAGMA user_version = 0"), keystore.ErrCorrupt, ""},
	"no store row":      {by("DELETE FROM store"), keystore.ErrCorrupt, "does not say which store"},
	"no store table":    {by("DROP TABLE store"), keystore.ErrCorrupt, ""},
	"no records table":  {by("DROP TABLE records"), keystore.ErrCorrupt, ""},
	"another id of the store": {by("UPDATE store SET id = '09000000000000000000000000000000'"),
		keystore.ErrTampered, "another store"},
	"an id that is none":                {by("UPDATE store SET id = 'x'"), keystore.ErrCorrupt, ""},
	"an id that is too long":            {by("UPDATE store SET id = printf('%.*c', 1000000, 'x')"), keystore.ErrCorrupt, ""},
	"a slot that is none":               {by("UPDATE store SET slots = 'evil x' || char(10)"), keystore.ErrCorrupt, "key slot"},
	"changes that are counted in words": {forged("store", "changes", "'SECRET-LOOKING'"), keystore.ErrCorrupt, "not of its type"},
	"no id":                             {forged("store", "id", "NULL"), keystore.ErrCorrupt, "not of its type"},
	"a view for a table": {by("ALTER TABLE records RENAME TO r; CREATE VIEW records AS SELECT * FROM r"),
		keystore.ErrTampered, "views, triggers or indexes"},
	"a view that calls functions": {by("ALTER TABLE store RENAME TO s; CREATE VIEW store AS SELECT one, hex(randomblob(16)) AS id, slots, names, changes FROM s"),
		keystore.ErrTampered, "views, triggers or indexes"},
	"a view that never ends": {by("ALTER TABLE records RENAME TO r; CREATE VIEW records AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) " +
		"SELECT kind, namespace, name, label, age FROM r, n"), keystore.ErrTampered, "views, triggers or indexes"},
	"names in another order": {remade("name TEXT NOT NULL COLLATE NOCASE"), keystore.ErrTampered, "views, triggers or indexes"},
	"a login that removes the others": {remade("name TEXT NOT NULL, x TEXT DEFAULT 1 UNIQUE ON CONFLICT REPLACE"),
		keystore.ErrTampered, "views, triggers or indexes"},
	"a column that is computed": {remade("name TEXT NOT NULL, x TEXT AS (hex(zeroblob(100000)))"), keystore.ErrTampered, "views, triggers or indexes"},
	"an index that computes":    {by("CREATE INDEX evil ON records (abs(length(age)))"), keystore.ErrTampered, "views, triggers or indexes"},
	"a table more":              {by("CREATE TABLE other (x)"), keystore.ErrTampered, "views, triggers or indexes"},
	"a trigger": {by("CREATE TRIGGER evil AFTER INSERT ON records BEGIN DELETE FROM records; END"),
		keystore.ErrTampered, "views, triggers or indexes"},
	"a trigger that ignores": {by("CREATE TRIGGER evil BEFORE INSERT ON records BEGIN SELECT RAISE(IGNORE); END"),
		keystore.ErrTampered, "views, triggers or indexes"},
}

// by is a change by statements.
func by(statements string) func(*testing.T, site) {
	return func(t *testing.T, s site) {
		t.Helper()
		foreign := s.plain(t)
		execute(t, foreign, statements)
		foreign.Close()
	}
}

// remade is a change of the table of records, whose column name is declared so.
func remade(name string) func(*testing.T, site) {
	return by("ALTER TABLE records RENAME TO r; CREATE TABLE records (kind TEXT NOT NULL, namespace TEXT NOT NULL, " + name +
		", label BLOB, age BLOB NOT NULL, UNIQUE (kind, namespace, name)) STRICT;" +
		"INSERT INTO records (kind, namespace, name, label, age) SELECT * FROM r WHERE kind = 'meta'; DROP TABLE r")
}

// forged is a change of one column to what its table, by its schema, cannot hold.
func forged(table, column, value string) func(*testing.T, site) {
	return by("PRAGMA writable_schema = ON; CREATE TEMP TABLE was AS SELECT sql FROM sqlite_schema WHERE name = '" + table + "';" +
		"ALTER TABLE " + table + " RENAME TO t; CREATE TABLE " + table + " (one INTEGER PRIMARY KEY, id, slots, names, changes);" +
		"INSERT INTO " + table + " SELECT * FROM t; UPDATE " + table + " SET " + column + " = " + value + "; DROP TABLE t;" +
		"UPDATE sqlite_schema SET sql = (SELECT sql FROM was) WHERE name = '" + table + "'")
}

// TestStoreWithoutMetaIsNotMade: nobody could open it again.
func TestStoreWithoutMetaIsNotMade(t *testing.T) {
	s := newSite(t, "WAL")
	a := s.open(t)
	err := a.Update(t.Context(), func(w keystore.Writer) error {
		return errors.Join(w.SetHeader(header(slotA)), putAll(w, base))
	})
	fails(t, "a store without a meta record", err, keystore.ErrInvalid, s.path)
	ok(t, "with one", makeStore(t.Context(), a, base))
}

// TestAnalysedStoreIsOne: what ANALYZE writes down changes nothing.
func TestAnalysedStoreIsOne(t *testing.T) {
	s := newSite(t, "WAL")
	ok(t, "Close", s.made(t).Close())
	by("ANALYZE")(t, s)
	holds(t, s.open(t), base, "analysed")
}

// damage overwrites a part of the database.
func (s site) damage(t testing.TB, from, n int, with byte) {
	t.Helper()
	data := s.bytes(t)
	copy(data[from:from+n], bytes.Repeat([]byte{with}, n))
	s.replace(t, data)
}

// TestStrangersAreRefusedByName: what is no store of this program, or of this version, is
// neither read nor changed, also when there is no note of what was here.
func TestStrangersAreRefusedByName(t *testing.T) {
	for what, c := range strangers {
		for _, noted := range []bool{true, false} {
			if what == "another id of the store" && !noted {
				continue // nothing can tell; its records do not open
			}
			t.Run(fmt.Sprintf("%s, noted=%v", what, noted), func(t *testing.T) {
				s := newSite(t, "TRUNCATE")
				ok(t, "Close", s.made(t).Close())
				c.change(t, s)
				if !noted {
					ok(t, "remove", os.RemoveAll(s.path+".locks"))
				}
				before := s.bytes(t)
				_, err := read(t.Context(), s.open(t))
				fails(t, "a read", err, c.want, s.path)
				if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET")) {
					t.Errorf("%q does not say %q", err, c.says)
				}
				fails(t, "a put", join(t.Context(), s.open(t), "x"), c.want, s.path)
				fails(t, "create", makeStore(t.Context(), s.open(t), base), c.want, s.path)
				if !bytes.Equal(s.bytes(t), before) {
					t.Error("it was changed")
				}
			})
		}
	}
}

// TestJournalModeThatCannotBeSet, since another program is in the way or SQLite does not:
// the store is not used in the mode that it has.
func TestJournalModeThatCannotBeSet(t *testing.T) {
	s := newSite(t, "WAL")
	ok(t, "Close", s.made(t).Close())
	other := s.plain(t)
	execute(t, other, "BEGIN", "SELECT count(*) FROM records")
	if _, err := openFile(t.Context(), s.path, true, Options{}); !errors.Is(err, keystore.ErrBusy) {
		t.Errorf("while another program reads it in WAL mode: %v, want ErrBusy", err)
	}
	execute(t, other, "ROLLBACK")
	other.Close()

	memory, err := connect("file::memory:") // whose mode is always "memory", without an error
	ok(t, "connect", err)
	defer memory.Close()
	if err := journal(connection{memory}, true); !errors.Is(err, keystore.ErrBusy) || !strings.Contains(err.Error(), `"memory"`) {
		t.Errorf("a mode that stays as it was: %v, want ErrBusy", err)
	}
}
