package migration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/identity"
	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/internal/keychaintest"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// What a test has started this binary for, if it has: one of jobs, in a directory.
const (
	jobVariable = "GLOBUS_KEYS_TEST_MIGRATION"
	dirVariable = "GLOBUS_KEYS_TEST_MIGRATION_DIR"
)

// jobs are what other processes of a test do.
var jobs = map[string]func(ctx context.Context, dir string) error{}

// TestMain is also those processes, each on one thread as far as can be.
func TestMain(m *testing.M) {
	rundir.FirstOnly = true
	name := os.Getenv(jobVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if err := jobs[name](context.Background(), os.Getenv(dirVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sort is a sort of store, as --store has it.
type sort string

const (
	file     sort = "file"
	database sort = "sqlite"
	items    sort = "keychain"
)

// open opens the store of this sort in dir, and with it that of its key.
func (s sort) open(dir string) (*keystore.Store, error) { return s.openWith(dir, local.Options{}) }

func (s sort) openWith(dir string, opts local.Options) (*keystore.Store, error) {
	opts.Store = string(s) + ":" + filepath.Join(dir, string(s))
	if s == items {
		opts.Store = "keychain:Ünicode"
		opts.Getenv = func(name string) string { // of its index, and of the spool
			return map[string]string{"HOME": dir, "LOCALAPPDATA": dir, "XDG_DATA_HOME": dir, "XDG_RUNTIME_DIR": os.Getenv("XDG_RUNTIME_DIR")}[name]
		}
	} else {
		opts.IdentityFile = filepath.Join(dir, "key")
	}
	opts.Keychain = keychaintest.New(filepath.Join(dir, "keychain"))
	opts.SQLite = sqliteadapter.Opener(nil)
	return local.Open(context.Background(), &opts)
}

func (s sort) mustOpen(t *testing.T, dir string) *keystore.Store {
	t.Helper()
	store, err := s.open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// newDir returns a directory for stores, with what keeps their keys.
func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "stores")
	for _, made := range []string{dir, filepath.Join(dir, "keychain")} {
		if err := os.Mkdir(made, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	id, err := identity.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), identity.FormatFile(id, keystore.StoreID{}), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// content is all that a store holds, pending records too, but not that of the store
// itself.
type content map[keystore.RecordKey]string

func contentOf(store *keystore.Store) (content, error) {
	all, err := adaptertest.Records(context.Background(), store.Adapter())
	delete(all, keystore.MetaKey)
	return all, err
}

func (c content) equal(other content) bool { return maps.Equal(c, other) }

func mustHold(t *testing.T, store *keystore.Store) content {
	t.Helper()
	c, err := contentOf(store)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// migrate returns the first error of a migration, of a record or of all.
func migrate(ctx context.Context, from, to *keystore.Store, opts *keystore.MigrateOptions) (first error) {
	for m, err := range keystore.Migrate(ctx, from, to, opts) {
		if first == nil {
			first = err
		}
		if first == nil && m.Outcome == keystore.Kept {
			first = fmt.Errorf("%v: %s", m.Key, m.Reason)
		}
	}
	return first
}

// needDatabase is for tests that skip where SQLite is not linked in.
func needDatabase(t *testing.T) {
	t.Helper()
	store, err := database.open(newDir(t))
	if err == nil {
		err = errors.Join(store.Probe(t.Context()), store.Close())
	}
	if errors.Is(err, keystore.ErrUnavailable) {
		testenv.Missing(t, "there is no SQLite: "+err.Error())
	}
}
