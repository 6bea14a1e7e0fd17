// Package fileadapter keeps a store in one JSON file, each record sealed. It
// is the default adapter and works on any disk that has locks, network homes
// included. The bytes are described in docs/format.md.
//
// Every Update writes the whole file anew: into a temporary file beside it,
// synced, renamed over the old one, and the directory synced. The file is
// always whole, and readers need no lock. The state before the last Update is
// kept as FILE.bak, until a record is removed or the key changes. A put costs
// time in proportion to the number of records: good to some hundreds.
//
// Files are made 0600 and directories 0700 whatever the umask is. What is not
// the user's own, or not a regular file, is refused by name.
package fileadapter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/lockfile"
	"github.com/globus-keys/globus-keys/internal/pae"
	"github.com/globus-keys/globus-keys/keystore"
)

// Adapter is a keystore.StorageAdapter over one file. It is also a
// keystore.BackupAdapter and a keystore.ResetAdapter.
type Adapter struct {
	path   string // absolute
	fsys   atomicfile.FS
	now    func() time.Time
	unseal keystore.Unseal

	// patience is how long a writer waits for another one.
	patience time.Duration

	keys keyring
	last atomic.Pointer[document] // what was parsed last

	mu     sync.Mutex
	closed bool // guarded by mu
	calls  sync.WaitGroup
}

// Options of an Adapter. The zero value is good.
type Options struct {
	// Clock tells the time, for the names of what Reset and RestoreBackup
	// move aside; nil means time.Now.
	Clock func() time.Time
}

// Open returns the adapter over the file at path, which need not exist.
// Nothing is read or made before the first call. unseal must not be nil.
// opts may be.
func Open(path string, unseal keystore.Unseal, opts *Options) (*Adapter, error) {
	if unseal == nil {
		return nil, &keystore.Error{Op: "open", Store: path, Err: keystore.ErrInvalid, Detail: "there is no Unseal"}
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, &keystore.Error{Op: "open", Store: path, Err: err}
	}
	a := &Adapter{path: absolute, fsys: atomicfile.OS(), now: time.Now, unseal: unseal, patience: 30 * time.Second, keys: newKeyring()}
	if opts != nil && opts.Clock != nil {
		a.now = opts.Clock
	}
	return a, nil
}

// Path returns the file's path as it was given, made absolute.
func (a *Adapter) Path() string { return a.path }

// Close forgets the key. Calls under way end first.
func (a *Adapter) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.calls.Wait()
	a.keys = newKeyring()
	a.last.Store(nil)
	return nil
}

// begin counts a call, so that Close can wait for its end.
func (a *Adapter) begin(ctx context.Context) (end func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, a.refuse(keystore.ErrUnavailable, "the adapter is closed")
	}
	if err := keystore.Ended(ctx); err != nil {
		return nil, a.about(err)
	}
	a.calls.Add(1)
	return a.calls.Done, nil
}

// enter begins a call that reads.
func (a *Adapter) enter(ctx context.Context) (p place, end func(), err error) {
	end, err = a.begin(ctx)
	if err != nil {
		return p, nil, err
	}
	if p, err = a.place(); err != nil {
		end()
	}
	return p, end, err
}

// View implements keystore.StorageAdapter. It takes no lock.
func (a *Adapter) View(ctx context.Context, fn func(keystore.Reader) error) error {
	p, end, err := a.enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	doc, err := a.load(p)
	if err != nil {
		return err
	}
	return fn(&reader{ctx: ctx, a: a, doc: doc})
}

// Update implements keystore.StorageAdapter. It takes effect at the rename of
// the new file over the old one. It waits for other writers as long as ctx
// lasts, but 30 seconds at most: then it is ErrBusy and names the holder.
func (a *Adapter) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for range 10 {
		again, err := a.tryUpdate(ctx, fn)
		if !again {
			return err
		}
	}
	return a.refuse(keystore.ErrBusy, "its key keeps changing")
}

// tryUpdate asks for the key before it takes the lock, since a key may be
// behind a prompt, and wants to be called again if the key has changed by the
// time the lock is there.
func (a *Adapter) tryUpdate(ctx context.Context, fn func(keystore.Writer) error) (again bool, err error) {
	p, err := a.makePlace()
	if err != nil {
		return false, err
	}
	before, err := a.load(p)
	if err != nil {
		return false, err
	}
	sealer, err := a.sealer(ctx, before)
	if err != nil {
		return false, err
	}
	unlock, err := a.lockStore(ctx, p)
	if err != nil {
		return false, err
	}
	defer unlock()
	doc, err := a.load(p)
	if err != nil {
		return false, err
	}
	if doc.keyed() != before.keyed() {
		return true, nil
	}
	w := &writer{
		reader: reader{ctx: ctx, a: a, doc: doc.clone()},
		found:  sealer, sealer: sealer, by: make(map[keystore.RecordKey]keystore.Sealer),
	}
	if err := fn(w); err != nil {
		return false, err
	}
	if !w.changed {
		return false, nil
	}
	if err := keystore.Ended(ctx); err != nil {
		return false, a.about(err)
	}
	if err := a.save(p, w); err != nil {
		return false, err
	}
	a.keep(ctx, w)
	return false, nil
}

// LockCredential implements keystore.StorageAdapter with one of 256 lock files
// beside the store; two credentials may share one.
func (a *Adapter) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	p, end, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	doc, err := a.load(p)
	if err != nil {
		return nil, err
	}
	if doc.header.IsZero() {
		return nil, &keystore.Error{Op: "lock", Store: a.path, Key: k, Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	return a.lock(ctx, p, lockName(doc.header.StoreID, k))
}

func lockName(id keystore.StoreID, k keystore.RecordKey) string {
	sum := sha256.Sum256(pae.Encode("lock", string(id[:]), k.Namespace, string(k.Kind), k.Name))
	return hex.EncodeToString(sum[:1])
}

// lockStore takes the lock of all changes. Holders keep it for milliseconds; one
// who does not give it back has been stopped, and is named instead of waited for.
func (a *Adapter) lockStore(ctx context.Context, p place) (func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	return a.lock(ctx, p, "store")
}

func (a *Adapter) lock(ctx context.Context, p place, name string) (func() error, error) {
	if err := atomicfile.MkdirPrivate(a.fsys, p.locks); err != nil {
		return nil, err
	}
	return lockfile.Lock(ctx, filepath.Join(p.locks, name))
}

func (a *Adapter) about(err error) error {
	return keystore.Annotate(err, keystore.Error{Store: a.path})
}

func (a *Adapter) refuse(err error, detail string) error {
	return &keystore.Error{Store: a.path, Err: err, Detail: detail}
}

func (a *Adapter) String() string { return fmt.Sprintf("file:%s", a.path) }
