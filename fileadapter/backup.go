package fileadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// ViewBackup implements keystore.BackupAdapter.
func (a *Adapter) ViewBackup(ctx context.Context, fn func(keystore.Reader) error) error {
	p, end, err := a.enter(ctx)
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
	end, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	p, err := a.makePlace()
	if err != nil {
		return err
	}
	doc, data, err := a.loadBackup(p)
	if err != nil {
		return err
	}
	if _, err := a.open(ctx, doc); err != nil { // it has its meta record, and a key
		return keystore.Annotate(err, keystore.Error{Store: p.backup})
	}
	sealer, err := a.restoring(ctx, p, doc)
	if err != nil {
		return err
	}
	if err := a.opensAll(ctx, doc, sealer); err != nil {
		return err
	}
	unlock, err := a.lockStore(ctx, p)
	if err != nil {
		return err
	}
	defer unlock()
	return a.restore(p, data)
}

// restoring returns the Sealer that the backup's records must open with: the
// store's, or, if the store cannot be read, the one its backup names.
func (a *Adapter) restoring(ctx context.Context, p place, backup *document) (keystore.Sealer, error) {
	current, err := a.load(p)
	switch {
	case err != nil || current.header.IsZero():
		current = backup
	case current.header.StoreID != backup.header.StoreID:
		return nil, &keystore.Error{Store: p.backup, Err: keystore.ErrTampered, Detail: "it is the backup of another store"}
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
			return keystore.Annotate(err, keystore.Error{Store: a.path + ".bak", Key: key})
		}
	}
	return nil
}

// restore writes the backup's bytes, if they are still those that were checked.
func (a *Adapter) restore(p place, checked []byte) error {
	doc, data, err := a.loadBackup(p)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, checked) {
		return a.refuse(keystore.ErrBusy, "its backup was changed meanwhile")
	}
	keep := atomicfile.KeepPrevious
	if _, err := a.load(p); err != nil {
		keep = atomicfile.NoBackup
		if err := a.keepDamaged(p); err != nil {
			return err
		}
	}
	if err := atomicfile.Replace(a.fsys, p.file, data, keep); err != nil {
		return err
	}
	return a.remember(p, doc.header.StoreID)
}

// keepDamaged copies a store file that cannot be parsed to a name of its own.
func (a *Adapter) keepDamaged(p place) error {
	data, err := atomicfile.Read(a.fsys, p.file, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	path, err := a.unused(p.file + ".damaged-" + a.stamp())
	if err != nil {
		return err
	}
	return atomicfile.Create(a.fsys, path, data)
}

func (a *Adapter) loadBackup(p place) (*document, []byte, error) {
	data, err := atomicfile.Read(a.fsys, p.backup, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &keystore.Error{Store: p.backup, Err: keystore.ErrNotFound, Detail: "there is no backup"}
	}
	if err != nil {
		return nil, nil, err
	}
	doc, err := parse(data)
	if err != nil {
		return nil, nil, keystore.Annotate(err, keystore.Error{Store: p.backup})
	}
	remembered, err := a.remembered(p)
	if err == nil && remembered != "" && remembered != doc.header.StoreID.String() {
		err = &keystore.Error{Store: p.backup, Err: keystore.ErrTampered, Detail: "it is the backup of another store"}
	}
	return doc, data, err
}

// Reset implements keystore.ResetAdapter: file, backup and the note of the
// store's id move to a new directory beside the store.
func (a *Adapter) Reset(ctx context.Context) (string, error) {
	end, err := a.begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	p, err := a.makePlace()
	if err != nil {
		return "", err
	}
	unlock, err := a.lockStore(ctx, p)
	if err != nil {
		return "", err
	}
	defer unlock()
	return a.moveAside(p)
}

func (a *Adapter) moveAside(p place) (string, error) {
	if err := a.somethingHere(p); err != nil {
		return "", err
	}
	to, err := a.asideDir(p)
	if err != nil {
		return "", err
	}
	inside := a.in(to)
	a.linkKeys(p, to)
	// The note goes first: killed in between, the rest is a store as before.
	for _, move := range [][2]string{{p.id, inside.file + ".id"}, {p.file, inside.file}, {p.backup, inside.backup}} {
		if err := a.fsys.Rename(move[0], move[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", a.about(err)
		}
	}
	return to, a.about(errors.Join(a.fsys.SyncDir(to), a.fsys.SyncDir(p.dir)))
}

func (a *Adapter) somethingHere(p place) error {
	for _, path := range []string{p.file, p.backup, p.id} {
		if _, err := a.fsys.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return a.about(err)
		}
	}
	return a.refuse(keystore.ErrNotFound, "there is no store to move aside")
}

func (a *Adapter) asideDir(p place) (string, error) {
	to, err := a.unused(p.file + ".reset-" + a.stamp())
	if err != nil {
		return "", err
	}
	return to, atomicfile.MkdirPrivate(a.fsys, to)
}

// unused returns a name that nothing has: what is moved aside twice in a second
// must not overwrite itself. The caller holds the store's lock.
func (a *Adapter) unused(base string) (string, error) {
	path := base
	for n := 2; ; n++ {
		_, err := a.fsys.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", a.about(err)
		}
		path = fmt.Sprintf("%s-%d", base, n)
	}
}

// linkKeys gives the store that is moved its passphrase files, as far as they
// are known and links exist: it can be opened where it is then. The files stay
// where they are too.
func (a *Adapter) linkKeys(p place, to string) {
	doc, err := a.load(p)
	if err != nil {
		return
	}
	for _, s := range doc.header.Slots {
		if s.Kind == keystore.SlotPassphrase && filepath.Base(s.Name) == s.Name {
			a.fsys.Link(filepath.Join(p.dir, s.Name), filepath.Join(to, s.Name))
		}
	}
}

// stamp is a file name's part that sorts by time, to the second.
func (a *Adapter) stamp() string { return a.now().UTC().Format("20060102T150405Z") }
