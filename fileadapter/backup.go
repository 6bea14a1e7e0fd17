package fileadapter

import (
	"bytes"
	"context"
	"errors"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/keystore"
)

// ViewBackup implements keystore.BackupAdapter.
func (a *Adapter) ViewBackup(ctx context.Context, fn func(keystore.Reader) error) error {
	p, end, err := a.file.Enter(ctx)
	if err != nil {
		return err
	}
	defer end()
	doc, _, err := a.loadBackup(p)
	if err != nil {
		return err
	}
	return fn(&reader{ctx: ctx, a: a, doc: doc})
}

// RestoreBackup implements keystore.BackupAdapter. A store file that cannot be
// read is kept under another name.
func (a *Adapter) RestoreBackup(ctx context.Context) error {
	end, err := a.file.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	p, err := a.file.Make()
	if err != nil {
		return err
	}
	doc, data, err := a.loadBackup(p)
	if err != nil {
		return err
	}
	if _, err := a.keys.Open(ctx, doc.state()); err != nil { // it has its meta record, and a key
		return keystore.Annotate(err, keystore.Error{Store: p.Backup})
	}
	sealer, err := a.restoring(ctx, p, doc)
	if err != nil {
		return err
	}
	if err := a.opensAll(ctx, doc, sealer); err != nil {
		return err
	}
	unlock, err := p.LockStore(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return a.restore(p, data)
}

// restoring returns the Sealer that the backup's records must open with: the
// store's, or, if the store cannot be read, the one its backup names.
func (a *Adapter) restoring(ctx context.Context, p storefile.Place, backup *document) (keystore.Sealer, error) {
	current, err := a.load(p)
	switch {
	case err != nil || current.header.IsZero():
		current = backup
	case current.header.StoreID != backup.header.StoreID:
		return nil, &keystore.Error{Store: p.Backup, Err: keystore.ErrTampered, Detail: "it is the backup of another store"}
	}
	sealer, err := a.sealer(ctx, current)
	if lost(err) { // the key slots or the meta record are what is damaged
		return a.sealer(ctx, backup)
	}
	return sealer, err
}

func lost(err error) bool {
	return errors.Is(err, keystore.ErrTampered) || errors.Is(err, keystore.ErrCorrupt) || errors.Is(err, keystore.ErrLocked)
}

func (a *Adapter) opensAll(ctx context.Context, doc *document, sealer keystore.Sealer) error {
	for _, key := range doc.sortedKeys() {
		sealed, _, err := doc.sealed(key)
		if err == nil {
			_, err = sealer.Open(ctx, key, sealed)
		}
		if err != nil {
			return keystore.Annotate(err, keystore.Error{Store: a.file.Path + ".bak", Key: key})
		}
	}
	return nil
}

// restore writes the backup's bytes, if they are still those that were checked.
func (a *Adapter) restore(p storefile.Place, checked []byte) error {
	doc, data, err := a.loadBackup(p)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, checked) {
		return a.file.Refuse(keystore.ErrBusy, "its backup was changed meanwhile")
	}
	keep := atomicfile.KeepPrevious
	if _, err := a.load(p); err != nil {
		keep = atomicfile.NoBackup
		if err := p.KeepDamaged(); err != nil {
			return err
		}
	}
	return p.Save(data, doc.header.StoreID, false, keep)
}

func (a *Adapter) loadBackup(p storefile.Place) (doc *document, data []byte, err error) {
	err = p.LoadBackup(func(read []byte) (id keystore.StoreID, err error) {
		doc, err = parse(read)
		data = read
		return doc.id(), err
	})
	return doc, data, err
}

// Reset implements keystore.ResetAdapter: file, backup and the note of the
// store's id move to a new directory beside the store. An SQLite database is refused: it
// is of use to somebody.
func (a *Adapter) Reset(ctx context.Context) (string, error) {
	err := a.View(ctx, func(keystore.Reader) error { return nil })
	if errors.Is(err, errDatabase) {
		return "", err
	}
	return a.file.Reset(ctx, func(p storefile.Place, to string) {
		if doc, err := a.load(p); err == nil {
			p.LinkKeys(doc.header.Slots, to)
		}
	})
}
