package sqliteadapter

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// operation is a change that a second process makes while it is killed or its system
// calls fail. Afterwards the store must be before or after, and after if the process
// had said so.
type operation struct {
	before, after map[string]string // nil: no store
	line          string            // for the process
}

var operations = map[string]operation{
	"create": {after: base, line: "create"},
	"put":    {before: base, after: with("two", "second"), line: "put two second"},
	"delete": {before: base, after: with("two", ""), line: "delete two"},
	// Only for calls that fail: the process goes on.
	"put and go on": {before: base, after: with("two", "second"), line: "put-and-go-on"},
	"rekey":         {before: base, after: base, line: "rekey " + slotB},
}

// prepared makes the state before in a directory.
func (op operation) prepared(t testing.TB, s site) {
	if op.before == nil {
		return
	}
	a := s.open(t)
	ok(t, "prepare", makeStore(t.Context(), a, op.before))
	ok(t, "prepare", a.Close())
}

// check opens the store at s as the next process does: it is before or after, it can be
// written, and nothing is left of who was interrupted.
func (op operation) check(t testing.TB, s site, acknowledged bool, point string) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	got, err := read(t.Context(), a)
	switch {
	case err != nil:
		t.Errorf("%s: the store cannot be read: %v", point, err)
		return
	case acknowledged && !maps.Equal(got, op.after):
		t.Errorf("%s: acknowledged, but the store holds %v", point, got)
	case !equal(got, op.before) && !equal(got, op.after):
		t.Errorf("%s: torn: the store holds %v", point, got)
	}
	if err := join(t.Context(), a, "next"); err != nil {
		t.Errorf("%s: the next process cannot write: %v", point, err)
	}
	if got, err := get(t.Context(), a, "next"); err != nil || got != "next" {
		t.Errorf("%s: what the next process has written is %q (%v)", point, got, err)
	}
	if err := a.Check(t.Context()); err != nil {
		t.Errorf("%s: %v", point, err)
	}
	s.leftovers(t, point)
}

func equal(a, b map[string]string) bool { return (a == nil) == (b == nil) && maps.Equal(a, b) }

// leftovers checks that there is nothing beside the store that is not of it.
func (s site) leftovers(t testing.TB, point string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(s.path))
	ok(t, point, err)
	for _, e := range entries {
		if !slices.Contains([]string{"logins.db", "logins.db-wal", "logins.db-shm", "logins.db-journal", "logins.db.locks"}, e.Name()) {
			t.Errorf("%s: %s is left", point, e.Name())
		}
	}
}
