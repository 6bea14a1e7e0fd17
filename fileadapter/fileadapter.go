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
// Programs have it from package local, which makes a store, with its key, when the
// first record is put:
//
//	store, err := local.Open(ctx, &local.Options{Store: "file:tokens.json"})
//
// An Adapter alone (Open) has the store that is there: keystore.New(adapter, nil)
// cannot store into what nobody has made. Who makes stores without package local
// does so in one Update: Writer.SetHeader, and the record of keystore.MetaKey
// (seal.FormatMeta of package crypto/seal) before anything else. Its place is
// keystore.Options.Create.
//
// Files are made 0600 and directories 0700 whatever the umask is. What is not
// the user's own, or not a regular file, is refused by name.
package fileadapter

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/sealers"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Adapter is a keystore.StorageAdapter over one file. It is also a
// keystore.BackupAdapter, a keystore.ResetAdapter and a keystore.SealingAdapter.
type Adapter struct {
	file *storefile.File
	keys *sealers.Keeper
	last atomic.Pointer[document] // what was parsed last
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
	file, err := storefile.Open(path, maxFile)
	if err != nil {
		return nil, err
	}
	if opts != nil && opts.Clock != nil {
		file.Now = opts.Clock
	}
	return &Adapter{file: file, keys: sealers.New(unseal, decodeMeta)}, nil
}

// Path returns the file's path as it was given, made absolute.
func (a *Adapter) Path() string { return a.file.Path }

// Close forgets the key. Calls under way end first.
func (a *Adapter) Close() error {
	a.file.Close()
	a.keys.Forget()
	a.last.Store(nil)
	return nil
}

// View implements keystore.StorageAdapter. It takes no lock.
func (a *Adapter) View(ctx context.Context, fn func(keystore.Reader) error) error {
	p, end, err := a.file.Enter(ctx)
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
	end, err := a.file.Begin(ctx)
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
	return a.file.Refuse(keystore.ErrBusy, "its key keeps changing")
}

// tryUpdate asks for the key before it takes the lock, since a key may be
// behind a prompt, and wants to be called again if the key has changed by the
// time the lock is there.
func (a *Adapter) tryUpdate(ctx context.Context, fn func(keystore.Writer) error) (again bool, err error) {
	p, err := a.file.Make()
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
	unlock, err := p.LockStore(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	return a.updateLocked(ctx, p, before, sealer, fn)
}

// updateLocked is tryUpdate under the store's lock.
func (a *Adapter) updateLocked(ctx context.Context, p storefile.Place, before *document, sealer keystore.Sealer, fn func(keystore.Writer) error) (again bool, err error) {
	doc, err := a.load(p)
	if err != nil {
		return false, err
	}
	if !doc.state().Equal(before.state()) {
		return true, nil
	}
	w := &writer{
		reader: reader{ctx: ctx, a: a, doc: doc.clone()},
		found:  sealer, sealer: sealer, by: make(map[keystore.RecordKey]keystore.Sealer),
	}
	if err := fn(w); err != nil || !w.changed {
		return false, err
	}
	if w.created && w.doc.state().Meta == "" {
		return false, a.file.Refuse(keystore.ErrInvalid, "a store is made with its meta record: nobody opens it without")
	}
	if err := keystore.Ended(ctx); err != nil {
		return false, a.file.About(err)
	}
	if err := a.save(p, w); err != nil {
		return false, err
	}
	if w.rekeyed {
		a.keys.Keep(ctx, w.doc.state(), w.sealer)
	}
	return false, nil
}

// LockCredential implements keystore.StorageAdapter with one of 256 lock files
// beside the store; two credentials may share one.
func (a *Adapter) LockCredential(ctx context.Context, k keystore.RecordKey) (func() error, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	doc, err := a.load(p)
	if err != nil {
		return nil, err
	}
	return p.LockCredential(ctx, doc.header.StoreID, k)
}

// Sealer implements keystore.SealingAdapter.
func (a *Adapter) Sealer(ctx context.Context) (keystore.StoreID, keystore.Sealer, error) {
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return keystore.StoreID{}, nil, err
	}
	defer end()
	doc, err := a.load(p)
	if err != nil {
		return keystore.StoreID{}, nil, err
	}
	if doc.header.IsZero() {
		return keystore.StoreID{}, nil, a.file.Refuse(keystore.ErrNotFound, "there is no store yet")
	}
	sealer, err := a.sealer(ctx, doc)
	return doc.header.StoreID, sealer, err
}

// load reads the store; without one the document is empty.
func (a *Adapter) load(p storefile.Place) (*document, error) {
	doc := newDocument()
	_, err := p.Load(func(data []byte) (id keystore.StoreID, err error) {
		doc, err = a.parse(data)
		return doc.id(), err
	})
	return doc, err
}

// parse spares the work when the file is as it was: comparing its bytes costs
// a hundredth of parsing them.
func (a *Adapter) parse(data []byte) (*document, error) {
	if last := a.last.Load(); last != nil && bytes.Equal(last.raw, data) {
		return last, nil
	}
	if bytes.HasPrefix(data, []byte(sqliteMagic)) {
		return nil, &keystore.Error{Err: errDatabase, Detail: "it is an SQLite database: name it sqlite:" + a.file.Path}
	}
	doc, err := parse(data)
	if err == nil {
		a.last.Store(doc)
	}
	return doc, err
}

// save makes w's document the store.
func (a *Adapter) save(p storefile.Place, w *writer) error {
	data, err := w.doc.format()
	if err != nil {
		return a.file.About(err)
	}
	backup := atomicfile.KeepPrevious
	switch _, meta := w.by[keystore.MetaKey]; {
	case w.retired:
		backup = atomicfile.ReplaceBackup
	case meta && len(w.by) == 1: // housekeeping, after which the last change can still be undone
		backup = atomicfile.NoBackup
	}
	if err := p.Save(data, w.doc.header.StoreID, w.created, backup); err != nil {
		return err
	}
	w.doc.raw = data
	a.last.Store(w.doc)
	return nil
}

func (a *Adapter) String() string { return fmt.Sprintf("file:%s", a.file.Path) }
