package sqliteadapter

import (
	"fmt"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// pragma returns a setting of a connection that an Adapter has.
func pragma(t *testing.T, a *Adapter, name string) (value string) {
	t.Helper()
	g, end, err := a.enter(t.Context())
	ok(t, "enter", err)
	defer end()
	db, err := g.database(t.Context())
	ok(t, "database", err)
	defer db.leave()
	ok(t, name, db.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&value))
	return value
}

// TestPragmas: those that are asked for are set, and what keeps a store durable and its
// deleted records overwritten is as without them.
func TestPragmas(t *testing.T) {
	for mode, journal := range map[string]string{"WAL": "wal", "TRUNCATE": "truncate"} {
		s := newSite(t, mode)
		o := modes[mode]
		o.Pragmas = map[string]int64{"cache_size": -500, "cache_spill": 0, "journal_size_limit": 9999, "wal_autocheckpoint": 50}
		a, err := Open(s.path, s.keys.Unseal, &o)
		ok(t, "Open", err)
		defer a.Close()
		ok(t, "create", makeStore(t.Context(), a, base))
		for name, value := range o.Pragmas {
			if got := pragma(t, a, name); got != fmt.Sprint(value) {
				t.Errorf("%s: %s is %s, want %d", mode, name, got, value)
			}
		}
		for name, want := range map[string]string{"synchronous": "2", "secure_delete": "1", "trusted_schema": "0", "cell_size_check": "1", "journal_mode": journal} {
			if got := pragma(t, a, name); got != want {
				t.Errorf("%s: %s is %s, want %s", mode, name, got, want)
			}
		}
	}
}

// TestPragmasThatAreRefused: whatever could make a store less durable, or is no setting.
func TestPragmasThatAreRefused(t *testing.T) {
	s := newSite(t, "WAL")
	for _, name := range []string{"synchronous", "journal_mode", "secure_delete", "locking_mode", "fullfsync", "checkpoint_fullfsync", "trusted_schema",
		"ignore_check_constraints", "writable_schema", "temp_store", "mmap_size", "CACHE_SIZE", "cache_size=1; PRAGMA synchronous", ""} {
		_, err := Open(s.path, s.keys.Unseal, &Options{Pragmas: map[string]int64{name: 0}})
		fails(t, name, err, keystore.ErrInvalid, s.path)
	}
}

// TestLossyOptionLosesNothingMore: in TRUNCATE mode, where a power cut could damage the
// database with synchronous=NORMAL, it changes nothing.
func TestLossyOptionLosesNothingMore(t *testing.T) {
	for truncate, want := range map[bool]string{false: "1", true: "2"} {
		s := newSite(t, "WAL")
		a, err := Open(s.path, s.keys.Unseal, &Options{Truncate: truncate, LosesLastUpdatesOnPowerCut: true})
		ok(t, "Open", err)
		defer a.Close()
		ok(t, "create", makeStore(t.Context(), a, base))
		if got := pragma(t, a, "synchronous"); got != want {
			t.Errorf("Truncate=%v: synchronous is %s, want %s", truncate, got, want)
		}
	}
}
