// Package storefile keeps the place of an adapter's one file, and what belongs to
// it: the lock files beside it, the note of which store was here, the backup, and
// the directory to which a reset moves it all. It replaces the file as a whole for
// those that want that. Of what the file holds it is told the id of the store.
//
//	<file>                the store
//	<file><sidecar>       what else is part of it, such as SQLite's -wal
//	<file>.bak            the state before the last change, if the adapter keeps one
//	<file>.locks/store    locked by who changes the store
//	<file>.locks/00…ff    locked for one credential
//	<file>.locks/id       the id of the store that is, or was, here
package storefile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/lockfile"
	"github.com/globus-keys/globus-keys/internal/pae"
	"github.com/globus-keys/globus-keys/keystore"
)

// File is a store's file and what lies beside it. The fields are set before the
// first call and not changed afterwards. Safe for concurrent use.
type File struct {
	Path string           // absolute, as it was given
	FS   atomicfile.FS    // the disk
	Now  func() time.Time // for the names of what is moved aside
	Max  int64            // bytes of a file that is still read

	// Sidecars are what is added to the name of the file for those that belong to it.
	Sidecars []string

	// Patience is how long a writer waits for another one.
	Patience time.Duration

	mu     sync.Mutex
	closed bool // guarded by mu
	calls  sync.WaitGroup
}

// Open returns the file at path with defaults: the operating system's disk and
// clock, and 30 seconds of patience. Nothing is read or made.
func Open(path string, max int64) (*File, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, &keystore.Error{Op: "open", Store: path, Err: err}
	}
	return &File{Path: absolute, FS: atomicfile.OS(), Now: time.Now, Max: max, Patience: 30 * time.Second}, nil
}

// Begin counts a call, so that Close can wait for its end.
func (f *File) Begin(ctx context.Context) (end func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, f.Refuse(keystore.ErrUnavailable, "the adapter is closed")
	}
	if err := keystore.Ended(ctx); err != nil {
		return nil, f.About(err)
	}
	f.calls.Add(1)
	return f.calls.Done, nil
}

// Close lets calls under way end; later ones fail.
func (f *File) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.calls.Wait()
}

// Enter begins a call that reads.
func (f *File) Enter(ctx context.Context) (p Place, end func(), err error) {
	end, err = f.Begin(ctx)
	if err != nil {
		return p, nil, err
	}
	if p, err = f.Find(); err != nil {
		end()
	}
	return p, end, err
}

// Place is where the parts of a store lie, after resolving symbolic links in
// the directory, so that all processes agree on one set of locks.
type Place struct {
	f                              *File
	Dir, File, Backup, locks, Note string
}

// Find returns the place of the store; its directory may be missing.
func (f *File) Find() (Place, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return f.in(filepath.Dir(f.Path)), nil
	}
	if err != nil {
		return Place{}, f.About(err)
	}
	return f.in(dir), atomicfile.CheckDir(f.FS, dir)
}

// Make is Find for a writer: the directory is there afterwards.
func (f *File) Make() (Place, error) {
	p, err := f.Find()
	if err != nil {
		return Place{}, err
	}
	if err := atomicfile.MkdirPrivate(f.FS, p.Dir); err != nil {
		return Place{}, err
	}
	return f.Find()
}

func (f *File) in(dir string) Place {
	file := filepath.Join(dir, filepath.Base(f.Path))
	locks := file + ".locks"
	return Place{f: f, Dir: dir, File: file, Backup: file + ".bak", locks: locks, Note: filepath.Join(locks, "id")}
}

// LockStore takes the lock of all changes. Holders keep it for milliseconds; one
// who does not give it back has been stopped, and is named instead of waited for.
func (p Place) LockStore(ctx context.Context) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.f.Patience)
	defer cancel()
	return p.lock(ctx, "store")
}

// LockCredential takes the lock of k in the store of this id: one of 256 files,
// so that two credentials may share one.
func (p Place) LockCredential(ctx context.Context, id keystore.StoreID, k keystore.RecordKey) (unlock func() error, err error) {
	if id == (keystore.StoreID{}) {
		return nil, &keystore.Error{Op: "lock", Store: p.f.Path, Key: k, Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	sum := sha256.Sum256(pae.Encode("lock", string(id[:]), k.Namespace, string(k.Kind), k.Name))
	return p.lock(ctx, hex.EncodeToString(sum[:1]))
}

func (p Place) lock(ctx context.Context, name string) (func() error, error) {
	if err := atomicfile.MkdirPrivate(p.f.FS, p.locks); err != nil {
		return nil, err
	}
	return lockfile.Lock(ctx, filepath.Join(p.locks, name))
}

// About returns err with the store's name.
func (f *File) About(err error) error {
	return keystore.Annotate(err, keystore.Error{Store: f.Path})
}

// Refuse returns an error about the store as a whole.
func (f *File) Refuse(err error, detail string) error {
	return &keystore.Error{Store: f.Path, Err: err, Detail: detail}
}
