package sqliteadapter

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// TestStoreMovedAsideByAnother: who had it open reads and writes what has its name now,
// and nothing gets into the one that was moved without a word.
func TestStoreMovedAsideByAnother(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		p := s.start(t)
		moved := p.does("reset")
		holds(t, a, nil, "after a reset")
		if err := put(t.Context(), a, "one", "x"); err == nil {
			t.Error("a put into no store says nothing")
		}
		p.does("join new")
		holds(t, a, map[string]string{"new": "new"}, "after it was made anew")
		ok(t, "put", put(t.Context(), a, "two", "x"))
		ok(t, "Close", a.Close()) // touches nothing of the new one
		if got := p.does("get two"); got != "x" {
			t.Errorf("the other process reads %q", got)
		}
		holds(t, s.at(moved).open(t), base, "the one that was moved")
	})
}

// TestStoreMovedAsideWhileItIsWaitedFor: a writer who has asked for the key of a store
// finds another one when he has its lock.
func TestStoreMovedAsideWhileItIsWaitedFor(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		ok(t, "Close", s.made(t).Close())
		p := s.start(t)
		var moved string
		a := s.openWith(t, func(ctx context.Context, h keystore.Header, meta []byte) (keystore.Sealer, error) {
			if moved == "" {
				moved = p.does("reset")
				p.does("join new")
			}
			return s.keys.Unseal(ctx, h, meta)
		})
		ok(t, "View", a.View(t.Context(), func(keystore.Reader) error { return nil })) // opens it, without a key
		ok(t, "put", put(t.Context(), a, "two", "x"))
		holds(t, s.at(moved).open(t), base, "the one that was moved")
		holds(t, s.open(t), map[string]string{"new": "new", "two": "x"}, "the new one")
	})
}

// TestDatabaseReplacedWhileOpen: by a copy of itself it is read on, by another store's it
// is refused, and without one it is said to be gone.
func TestDatabaseReplacedWhileOpen(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		ok(t, "Close", a.Close())
		saved := s.bytes(t)
		other := newSite(t, mode)
		b := other.open(t)
		ok(t, "another store", b.Update(t.Context(), func(w keystore.Writer) error {
			h := header(slotA)
			h.StoreID = keystore.StoreID{9}
			return errors.Join(w.SetHeader(h), putMeta(w))
		}))
		ok(t, "Close", b.Close())

		a = s.open(t)
		ok(t, "put", put(t.Context(), a, "two", "second"))
		s.replace(t, saved)
		holds(t, a, base, "after a copy has come in its place")
		ok(t, "put", put(t.Context(), a, "two", "third"))
		holds(t, s.open(t), with("two", "third"), "after a put")

		s.replace(t, other.bytes(t))
		_, err := read(t.Context(), a)
		fails(t, "another store's database", err, keystore.ErrTampered, s.path)
		fails(t, "a put", put(t.Context(), a, "two", "x"), keystore.ErrTampered, s.path)

		ok(t, "remove", os.Remove(s.path))
		_, err = read(t.Context(), a)
		fails(t, "no database", err, keystore.ErrCorrupt, s.path+".locks")
		fails(t, "a put", join(t.Context(), a, "x"), keystore.ErrCorrupt, s.path+".locks")
		if _, err := os.Lstat(s.path); err == nil {
			t.Error("a store was made in the place of one that is gone")
		}
	})
}

func (s site) bytes(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(s.path)
	ok(t, "read", err)
	return data
}

// replace puts a database in place by renaming, as a backup program may. What the one
// before had beside it goes with it.
func (s site) replace(t testing.TB, data []byte) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "database")
	ok(t, "write", os.WriteFile(temp, data, 0o600))
	for _, suffix := range sidecars {
		os.Remove(s.path + suffix)
	}
	ok(t, "rename", os.Rename(temp, s.path))
}

// TestResetMovesAWholeDatabase: what others that have it open keep in the -wal is in the
// database before that is moved, as the -wal would be lost if Reset were killed before it
// has moved that too.
func TestResetMovesAWholeDatabase(t *testing.T) {
	s := newSite(t, "WAL")
	a, b := s.made(t), s.open(t)
	holds(t, b, base, "of another who has it open")
	ok(t, "put", put(t.Context(), a, "one", "x"))
	moved, err := a.Reset(t.Context())
	ok(t, "Reset", err)
	for _, sidecar := range sidecars {
		if err := os.Remove(filepath.Join(moved, "logins.db"+sidecar)); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	holds(t, s.at(moved).open(t), with("one", "x"), "without its -wal")
}

// TestDatabaseWithTwoNamesIsRefused: SQLite keeps a -wal for each name, and writers by both
// would destroy it. It is refused by name, also by who has it open, and as long as that is so.
func TestDatabaseWithTwoNamesIsRefused(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		for _, suffix := range append([]string{""}, sidecars...) {
			other := filepath.Join(filepath.Dir(s.path), "b.db") + suffix
			if err := os.Link(s.path+suffix, other); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			_, err := read(t.Context(), s.open(t))
			fails(t, "a read of who opens it", err, keystore.ErrTampered, s.path+suffix)
			fails(t, "a put of who opens it", put(t.Context(), s.open(t), "one", "x"), keystore.ErrTampered, s.path+suffix)
			if suffix == "" {
				fails(t, "a put of who has it open", put(t.Context(), a, "one", "x"), keystore.ErrTampered, s.path)
			}
			ok(t, "remove", os.Remove(other))
			holds(t, a, base, "with one name again")
		}
	})
}
