// Package sqliteadapter keeps a store in one SQLite database, each record sealed. It is
// for many logins, namespaces and configuration values: getting one costs the same
// among a million as alone, and an Update writes what has changed. It needs cgo; the
// bytes are described in docs/format.md.
//
//	store, err := local.Open(ctx, &local.Options{
//		Store:  "sqlite:logins.db",
//		SQLite: sqliteadapter.Opener(nil),
//	})
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	err = store.PutConfig(ctx, "settings", settings)
//
// It is package local that makes a store, with its key, when the first record is put. An
// Adapter alone (Open) has the store that is there, and there is none at first:
// keystore.New(adapter, nil) reads, and cannot store into what nobody has made. Who makes
// stores without package local does so in one Update: Writer.SetHeader, and the record of
// keystore.MetaKey (seal.FormatMeta of package crypto/seal) before anything else. Its
// place is keystore.Options.Create.
//
// # Durability
//
// The database is in WAL mode with synchronous=FULL: an Update is one transaction, made
// durable by one sync of the -wal file. On a file system that several machines share it
// is in TRUNCATE mode instead, since WAL needs memory that all its processes share.
// Deleted records are overwritten (secure_delete).
//
// # Among processes
//
// Updates take turns by a lock file beside the database, not by SQLite's own locks, for
// which processes would poll and starve. No transaction is open while fn runs, a key is
// waited for or a record is sealed or opened: reads are single statements that notice
// when another Update came between them. Then View begins anew, and this time in one
// read transaction, which in WAL mode stops nobody. Outside of it View is tried four
// times, and then reads a copy, which takes twice the database's bytes of memory.
//
// Files are made 0600 and directories 0700 whatever the umask is. What is not the
// user's own, or not a regular file, is refused by name. Nothing else may open and
// close the database's file in a process that uses it: that would drop SQLite's locks.
package sqliteadapter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/internal/sealers"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/internal/turn"
	"github.com/globus-keys/globus-keys/keystore"
)

// Memory is the path of a database in memory: each Adapter that is opened with it has
// one of its own, which ends with it. It is for tests of programs.
const Memory = ":memory:"

// Adapter is a keystore.StorageAdapter over one database. It is also a
// keystore.SealingAdapter, a keystore.ResetAdapter and a keystore.CheckingAdapter.
type Adapter struct {
	file *storefile.File
	opts Options
	keys *sealers.Keeper

	memory *memory // of a database in memory; else nil

	opening turn.Turn // of who opens the database

	mu   sync.Mutex
	disk *disk // what is open, nil until it is needed; guarded by mu
}

// Options of an Adapter. The zero value is good.
type Options struct {
	// HideNames makes a new store keep keyed hashes in the place of names: of
	// namespaces, resource servers and configuration values. The names themselves are
	// sealed. Listing them opens each, and needs the key. A store that exists keeps
	// to what it was made with; one with names in clear is ErrNamesInClear.
	HideNames bool

	// Truncate makes a new store with SQLite's rollback journal in TRUNCATE mode, as
	// on a network file system, which is recognised: for disks that are shared by
	// machines in other ways.
	Truncate bool

	// Pragmas are further settings of each connection, by name: cache_size,
	// cache_spill, journal_size_limit, wal_autocheckpoint. Others are ErrInvalid, and
	// so is what is not an integer: nothing here makes a store less durable.
	Pragmas map[string]int64

	// LosesLastUpdatesOnPowerCut sets synchronous=NORMAL: in WAL mode an Update then
	// costs no sync, and those after the last checkpoint may be lost in a power cut,
	// though Update has returned. A refresh token that was rotated is gone then.
	LosesLastUpdatesOnPowerCut bool

	// Clock tells the time, for the name of what Reset moves aside; nil means
	// time.Now.
	Clock func() time.Time

	patience time.Duration // with other programs that hold SQLite's own locks
}

// ErrNamesInClear is the ErrInvalid of a store with names in clear that was opened to hide them.
var ErrNamesInClear = fmt.Errorf("%w", keystore.ErrInvalid)

// Opener is Open for local.Options.SQLite. opts may be nil.
func Opener(opts *Options) func(path string, unseal keystore.Unseal) (keystore.StorageAdapter, error) {
	return func(path string, unseal keystore.Unseal) (keystore.StorageAdapter, error) {
		return Open(path, unseal, opts)
	}
}

// Open returns the adapter over the database at path, which need not exist, or over
// one in memory (Memory). Nothing is read or made before the first call. unseal must
// not be nil. opts may be.
func Open(path string, unseal keystore.Unseal, opts *Options) (*Adapter, error) {
	if opts == nil {
		opts = &Options{}
	}
	if err := available(); err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Op: "open", Store: path})
	}
	if unseal == nil {
		return nil, &keystore.Error{Op: "open", Store: path, Err: keystore.ErrInvalid, Detail: "there is no Unseal"}
	}
	if err := checkPragmas(opts.Pragmas); err != nil {
		return nil, keystore.Annotate(err, keystore.Error{Op: "open", Store: path})
	}
	file, err := storefile.Open(path, 0)
	if err != nil {
		return nil, err
	}
	file.Sidecars = sidecars
	if opts.Clock != nil {
		file.Now = opts.Clock
	}
	a := &Adapter{file: file, opts: *opts, keys: sealers.New(unseal, raw), opening: turn.New()}
	a.opts.Pragmas = maps.Clone(opts.Pragmas)
	a.opts.patience = patience
	if path == Memory {
		file.Path = Memory
		a.memory = newMemory(a)
	}
	return a, nil
}

// raw undoes the encoding of a meta record in a sealers.State: there is none.
func raw(meta string) ([]byte, error) { return []byte(meta), nil }

func checkPragmas(pragmas map[string]int64) error {
	for name := range pragmas {
		if !slices.Contains([]string{"cache_size", "cache_spill", "journal_size_limit", "wal_autocheckpoint"}, name) {
			return &keystore.Error{Err: keystore.ErrInvalid, Detail: fmt.Sprintf("the pragma %q cannot be set", name)}
		}
	}
	return nil
}

// Path returns the path of the database as it was given, made absolute.
func (a *Adapter) Path() string { return a.file.Path }

func (a *Adapter) String() string { return "sqlite:" + a.file.Path }

// Close closes the database and forgets the key. Calls under way end first.
func (a *Adapter) Close() error {
	a.file.Close()
	a.keys.Forget()
	if a.memory != nil {
		return a.memory.close()
	}
	return a.letGo()
}

// View implements keystore.StorageAdapter. It takes no lock, and waits for other
// programs that hold SQLite's own for 30 seconds at most: then it is ErrBusy.
func (a *Adapter) View(ctx context.Context, fn func(keystore.Reader) error) error {
	g, end, err := a.enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	db, err := g.database(ctx)
	if err != nil {
		return err
	}
	defer db.leave()
	keyed := false
	for range db.tries() {
		r, err := a.read(ctx, db)
		if err != nil {
			return err
		}
		if err := fn(r); !r.stale {
			return err
		}
		keyed = r.keyed
	}
	return a.viewSnapshot(ctx, db, keyed, fn)
}

// viewSnapshot is View after an Update has come between two reads, each time it was tried.
func (a *Adapter) viewSnapshot(ctx context.Context, db *database, keyed bool, fn func(keystore.Reader) error) error {
	r, err := a.read(ctx, db)
	if err == nil && keyed {
		_, err = r.sealer() // while nothing is open: it may be waited for
	}
	if err != nil {
		return err
	}
	src, done, err := db.snapshot(ctx)
	if err != nil {
		return a.file.About(err)
	}
	defer done()
	r, err = a.readFrom(ctx, db, src)
	if err != nil {
		return err
	}
	return fn(r)
}

// Update implements keystore.StorageAdapter. It takes effect at the commit of one
// transaction. It waits for other writers as long as ctx lasts, but 30 seconds at
// most: then it is ErrBusy and names the holder.
func (a *Adapter) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	end, err := a.file.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for range 10 {
		again, err := a.tryUpdate(ctx, fn)
		if !again {
			return a.file.About(err)
		}
	}
	return a.file.Refuse(keystore.ErrBusy, "its key keeps changing, or a program that does not take its lock writes to it")
}

// tryUpdate asks for the key before it takes the lock, since a key may be behind a
// prompt, and wants to be called again if the key has changed by the time the lock is
// there.
func (a *Adapter) tryUpdate(ctx context.Context, fn func(keystore.Writer) error) (again bool, err error) {
	g, err := a.ground(true)
	if err != nil {
		return false, err
	}
	before, err := a.state(ctx, g)
	if err != nil {
		return false, err
	}
	sealer, err := a.keys.Sealer(ctx, before)
	if err != nil {
		return false, err
	}
	unlock, err := g.lockStore(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	return a.updateLocked(ctx, before, sealer, fn)
}

// updateLocked is tryUpdate under the store's lock. It looks for the database anew: while
// the key and the lock were waited for, it may have been moved aside.
func (a *Adapter) updateLocked(ctx context.Context, before sealers.State, sealer keystore.Sealer, fn func(keystore.Writer) error) (again bool, err error) {
	g, err := a.ground(true)
	if err != nil {
		return false, err
	}
	db, err := g.database(ctx)
	if err != nil {
		return false, err
	}
	defer db.leave()
	r, err := a.read(ctx, db)
	if err != nil {
		return false, err
	}
	if !r.state.Equal(before) {
		return true, nil
	}
	w := newWriter(r, sealer)
	if err := fn(w); err != nil || w.stale || !w.changed() {
		return w.stale, err
	}
	if db == nil && w.next().Meta == "" {
		return false, a.file.Refuse(keystore.ErrInvalid, "a store is made with its meta record: nobody opens it without")
	}
	if err := keystore.Ended(ctx); err != nil {
		return false, err
	}
	return a.commit(ctx, g, db, w)
}

// commit makes what w has collected the store, in one transaction. The caller holds
// the store's lock.
func (a *Adapter) commit(ctx context.Context, g ground, db *database, w *writer) (again bool, err error) {
	if db == nil {
		err = g.create(ctx, w.apply)
	} else {
		err = db.change(ctx, w.apply)
	}
	switch {
	case errors.Is(err, errReshaped):
		g.failed() // it is looked at anew
		return true, nil
	case errors.Is(err, errChanged):
		return true, nil
	}
	if err != nil {
		if !errors.Is(err, keystore.ErrBusy) {
			g.failed()
		}
		return false, err
	}
	if w.rekeyed {
		a.keys.Keep(ctx, w.next(), w.now)
	}
	if db != nil {
		db.last.Store(&said{changes: w.changes + 1, state: w.next(), hashed: w.hashed})
	}
	g.committed(db, w)
	return false, nil
}

// LockCredential implements keystore.StorageAdapter with one of 256 lock files beside
// the database; two credentials may share one.
func (a *Adapter) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	g, end, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	s, err := a.state(ctx, g)
	if err != nil {
		return nil, err
	}
	return g.lockCredential(ctx, s.Header.StoreID, k)
}

// Sealer implements keystore.SealingAdapter.
func (a *Adapter) Sealer(ctx context.Context) (keystore.StoreID, keystore.Sealer, error) {
	s, end, err := a.current(ctx)
	if err != nil {
		return keystore.StoreID{}, nil, err
	}
	defer end()
	if s.Header.IsZero() {
		return keystore.StoreID{}, nil, a.file.Refuse(keystore.ErrNotFound, "there is no store yet")
	}
	sealer, err := a.keys.Sealer(ctx, s)
	return s.Header.StoreID, sealer, a.file.About(err)
}

// Reopen asks Unseal anew, for one whose Sealer has lost the key. If that fails, what
// has been begun with the Sealer before can still be finished with it.
func (a *Adapter) Reopen(ctx context.Context) error {
	s, end, err := a.current(ctx)
	if err != nil {
		return err
	}
	defer end()
	return a.file.About(a.keys.Reopen(ctx, s))
}

// current begins a call, and returns what the store's key depends on.
func (a *Adapter) current(ctx context.Context) (s sealers.State, end func(), err error) {
	g, end, err := a.enter(ctx)
	if err != nil {
		return s, nil, err
	}
	if s, err = a.state(ctx, g); err != nil {
		end()
	}
	return s, end, err
}

func (a *Adapter) state(ctx context.Context, g ground) (sealers.State, error) {
	db, err := g.database(ctx)
	if err != nil {
		return sealers.State{}, err
	}
	defer db.leave()
	r, err := a.read(ctx, db)
	if err != nil {
		return sealers.State{}, err
	}
	return r.state, nil
}
