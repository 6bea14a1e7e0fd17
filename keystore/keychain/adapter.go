package keychain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/erase"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Adapter is a keystore.StorageAdapter whose records are items of a keychain.
// It is also a keystore.ResetAdapter. A small index file without secrets names
// the items; replacing that file is what makes a change. The bytes are described
// in docs/format.md.
//
// Items are written once. An Update first writes into the index which items it
// is about to make, then makes them and reads each back, and then writes the
// index that names them as records. Items that no record has any more are
// deleted by a later Update, a minute later at least.
//
// A record has MaxRecord bytes at most. All names are readable while the
// keychain is locked; only Get and Put need it. Nobody waits behind a person
// who is asked to unlock it; behind one whom the keychain asks about each single
// item, as KeePassXC can, other writers wait, for 30 seconds at most.
//
// The index is not authenticated: whoever may write it can make records
// disappear, or bring back one that was replaced a moment ago, but cannot put
// one in another's place.
type Adapter struct {
	file    *storefile.File
	backend Backend

	last atomic.Pointer[index] // what was parsed or written last; never changes
}

// AdapterOptions are options of an Adapter. The zero value is good.
type AdapterOptions struct {
	// Clock tells the time, for what is deleted later and for the name of
	// what Reset moves aside; nil means time.Now.
	Clock func() time.Time
}

// maxTries is how often View begins anew before it says that it is no use.
const maxTries = 10

// OpenAdapter returns the adapter whose index is the file at path, which need
// not exist, and whose items are in b, which the adapter closes. Nothing is read
// or made before the first call. opts may be nil.
func OpenAdapter(path string, b Backend, opts *AdapterOptions) (*Adapter, error) {
	if b == nil {
		return nil, &keystore.Error{Op: "open", Store: path, Err: keystore.ErrInvalid, Detail: "there is no keychain"}
	}
	file, err := storefile.Open(path, maxIndex)
	if err != nil {
		return nil, err
	}
	if opts != nil && opts.Clock != nil {
		file.Now = opts.Clock
	}
	return &Adapter{file: file, backend: b}, nil
}

// Path returns the path of the index as it was given, made absolute.
func (a *Adapter) Path() string { return a.file.Path }

func (a *Adapter) String() string { return fmt.Sprintf("keychain:%s", a.file.Path) }

// Close closes the keychain. Calls under way end first.
func (a *Adapter) Close() error {
	a.file.Close()
	a.last.Store(nil)
	return a.backend.Close()
}

// View implements keystore.StorageAdapter. It takes no lock, and asks the
// keychain only in Get. If an item is gone because its record has changed, fn is
// called again on the new state, 10 times in all: then View returns ErrBusy.
func (a *Adapter) View(ctx context.Context, fn func(keystore.Reader) error) error {
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	for range maxTries {
		idx, err := a.load(p)
		if err != nil {
			return err
		}
		r := &reader{ctx: ctx, a: a, idx: idx, again: func() (*index, error) { return a.load(p) }}
		if err := fn(r); !r.stale {
			return err
		}
		if err := keystore.Ended(ctx); err != nil {
			return a.file.About(err)
		}
	}
	return a.file.Refuse(keystore.ErrBusy, "its records keep changing")
}

// Update implements keystore.StorageAdapter. It takes effect at the rename of
// the new index over the old one. It waits for other writers as long as ctx
// lasts, but 30 seconds at most: then it is ErrBusy and names the holder.
//
// An Update that only deletes needs no keychain. One that puts fails with what
// the keychain says, a *Problem, and the record concerned; what it had made by
// then is deleted by a later Update.
func (a *Adapter) Update(ctx context.Context, fn func(keystore.Writer) error) error {
	end, err := a.file.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	locked := a.tryUpdate(Silently(ctx), fn)
	var problem *Problem
	if !errors.As(locked, &problem) || problem.State != Locked {
		return locked
	}
	if !a.unlock(ctx) {
		return locked
	}
	return a.tryUpdate(ctx, fn)
}

// unlock has the keychain ask, while no lock is held, by asking for an item that
// never was, and reports whether it is open then. Get alone does not tell: it may
// not have found the item because yet another keyring is locked.
func (a *Adapter) unlock(ctx context.Context) bool {
	a.backend.Get(ctx, newAccount(keystore.StoreID{}, recordKind))
	state, _ := a.backend.Probe(ctx)
	return state == Ready
}

func (a *Adapter) tryUpdate(ctx context.Context, fn func(keystore.Writer) error) error {
	p, err := a.file.Make()
	if err != nil {
		return err
	}
	unlock, err := p.LockStore(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	base, err := a.load(p)
	if err != nil {
		return err
	}
	w := newWriter(ctx, a, base)
	if err := fn(w); err != nil {
		return err
	}
	if !w.changed() {
		return nil
	}
	erase.Do(func() { err = a.commit(ctx, p, w) })
	return err
}

// commit writes the index twice: before items are made or deleted it says which,
// so that they are found again whatever happens; then it names the new ones.
func (a *Adapter) commit(ctx context.Context, p storefile.Place, w *writer) error {
	if err := a.ended(ctx); err != nil {
		return err
	}
	base := w.base.clone()
	if base.header.StoreID != w.idx.header.StoreID {
		base.pending = nil // of a store that was never finished; its id, and so its items, are nobody's
	}
	base.tidy(a.file.Now())
	if err := a.backlog(ctx, p, base, w); err != nil {
		return err
	}
	if _, err := w.result(base, a.file.Now()).format(); err != nil {
		return a.file.About(err) // too large: said before anything is made
	}
	due := base.due(a.file.Now())
	if len(w.made) > 0 || len(due) > 0 {
		if err := a.write(p, w.announced(base, a.file.Now()), false); err != nil {
			return err
		}
		a.sweepSome(ctx, base, due)
	}
	if err := a.create(ctx, w); err != nil {
		return err
	}
	if err := a.ended(ctx); err != nil {
		return err
	}
	return a.write(p, w.result(base, a.file.Now()), !base.made)
}

// create makes the items of all new records, in the order of their places.
func (a *Adapter) create(ctx context.Context, w *writer) error {
	for _, k := range sortedKeys(w.made) {
		place := w.idx.records[k]
		for part, item := range w.made[k].items {
			if err := createItem(ctx, a.backend, place.account(w.idx.header.StoreID, part), item); err != nil {
				return a.about(err, k)
			}
		}
	}
	return nil
}

// LockCredential implements keystore.StorageAdapter with one of 256 lock files
// beside the index; two credentials may share one. The keychain is not asked.
func (a *Adapter) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	idx, err := a.load(p)
	if err != nil {
		return nil, err
	}
	return p.LockCredential(ctx, idx.visible().StoreID, k)
}

// Reset implements keystore.ResetAdapter: it moves the index aside. The items
// stay in the keychain, and the index can be opened where it is then.
func (a *Adapter) Reset(ctx context.Context) (moved string, err error) {
	return a.file.Reset(ctx, nil)
}

// load reads the index; without one it is empty.
func (a *Adapter) load(p storefile.Place) (*index, error) {
	idx := newIndex()
	exists, err := p.Load(func(data []byte) (id keystore.StoreID, err error) {
		if idx, err = a.parse(data); err == nil {
			id = idx.header.StoreID
		}
		return id, err
	})
	if err == nil && exists && !idx.made {
		err = a.onlyBegun(p)
	}
	return idx, err
}

// onlyBegun refuses the index of a store that is being made where one was: the
// note is written when a store is complete.
func (a *Adapter) onlyBegun(p storefile.Place) error {
	remembered, err := p.Remembered()
	if err == nil && remembered != "" {
		err = a.file.Refuse(keystore.ErrTampered, "it says that no store is here yet, but one was: "+p.Note+" remembers it")
	}
	return err
}

// parse spares the work when the file is as it was.
func (a *Adapter) parse(data []byte) (*index, error) {
	if last := a.last.Load(); last != nil && bytes.Equal(last.raw, data) {
		return last, nil
	}
	idx, err := parseIndex(data)
	if err == nil {
		a.last.Store(idx)
	}
	return idx, err
}

// write makes idx the index, durably. One of a store that is only being made is
// not noted as the store that is here.
func (a *Adapter) write(p storefile.Place, idx *index, created bool) error {
	data, err := idx.format()
	if err != nil {
		return a.file.About(err)
	}
	// An older index names items that are deleted: no backup.
	if idx.made {
		err = p.Save(data, idx.header.StoreID, created, atomicfile.NoBackup)
	} else {
		err = atomicfile.Replace(a.file.FS, p.File, data, atomicfile.NoBackup)
	}
	if err != nil {
		return err
	}
	kept := idx.clone()
	kept.raw = data
	a.last.Store(kept)
	return nil
}

func (a *Adapter) ended(ctx context.Context) error { return a.file.About(keystore.Ended(ctx)) }

// about returns err with the record and the store that it concerns. An error
// about an item keeps its own words.
func (a *Adapter) about(err error, k keystore.RecordKey) error {
	var known *keystore.Error
	if errors.As(err, &known) && known.Store != "" {
		return &keystore.Error{Store: a.file.Path, Key: k, Err: err}
	}
	return keystore.Annotate(err, keystore.Error{Store: a.file.Path, Key: k})
}
