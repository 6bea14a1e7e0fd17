package fileadapter

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// place is where the parts of a store lie, after resolving symbolic links in
// the directory, so that all processes agree on one set of locks.
type place struct {
	dir, file, backup, locks, id string
}

// place finds the store; its directory may be missing.
func (a *Adapter) place() (place, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(a.path))
	if errors.Is(err, fs.ErrNotExist) {
		return a.in(filepath.Dir(a.path)), nil
	}
	if err != nil {
		return place{}, a.about(err)
	}
	return a.in(dir), atomicfile.CheckDir(a.fsys, dir)
}

// makePlace is place for a writer: the directory is there afterwards.
func (a *Adapter) makePlace() (place, error) {
	p, err := a.place()
	if err != nil {
		return place{}, err
	}
	if err := atomicfile.MkdirPrivate(a.fsys, p.dir); err != nil {
		return place{}, err
	}
	return a.place()
}

func (a *Adapter) in(dir string) place {
	file := filepath.Join(dir, filepath.Base(a.path))
	locks := file + ".locks"
	return place{dir: dir, file: file, backup: file + ".bak", locks: locks, id: filepath.Join(locks, "id")}
}

// load reads the store. A missing file is an empty store only if the lock
// directory does not remember one.
func (a *Adapter) load(p place) (*document, error) {
	remembered, err := a.remembered(p)
	if err != nil {
		return nil, err
	}
	data, err := atomicfile.Read(a.fsys, p.file, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && remembered == "":
		return newDocument(), nil
	case errors.Is(err, fs.ErrNotExist):
		return a.gone(p)
	case err != nil:
		return nil, err
	}
	doc, err := a.parse(data)
	if err != nil {
		return nil, err
	}
	if remembered != "" && remembered != doc.header.StoreID.String() {
		return nil, a.refuse(keystore.ErrTampered, "it is another store than the one that was here: "+p.id+" says so")
	}
	return doc, nil
}

// parse spares the work when the file is as it was: comparing its bytes costs
// a hundredth of parsing them.
func (a *Adapter) parse(data []byte) (*document, error) {
	if last := a.last.Load(); last != nil && bytes.Equal(last.raw, data) {
		return last, nil
	}
	doc, err := parse(data)
	if err != nil {
		return nil, a.about(err)
	}
	a.last.Store(doc)
	return doc, nil
}

// gone looks at the note again: a reset beside us moves both.
func (a *Adapter) gone(p place) (*document, error) {
	remembered, err := a.remembered(p)
	switch {
	case err != nil:
		return nil, err
	case remembered == "":
		return newDocument(), nil
	}
	return nil, a.missing(p)
}

func (a *Adapter) missing(p place) error {
	detail := "the file is gone, but a store was here: " + p.id + " remembers it"
	if _, err := a.fsys.Lstat(p.backup); err == nil {
		detail += "; its backup is " + p.backup
	}
	return a.refuse(keystore.ErrCorrupt, detail)
}

// remembered returns the id of the store that the lock directory knows, or "".
// A power cut may leave the note empty: then it knows none.
func (a *Adapter) remembered(p place) (string, error) {
	err := atomicfile.CheckDir(a.fsys, p.locks)
	var data []byte
	if err == nil {
		data, err = atomicfile.Read(a.fsys, p.id, 64)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if len(data) < 32 {
		return "", nil
	}
	id, err := keystore.ParseStoreID(string(data[:32]))
	if err != nil {
		return "", a.refuse(keystore.ErrCorrupt, p.id+" is not the note of a store id")
	}
	return id.String(), nil
}

// save makes w's document the store.
func (a *Adapter) save(p place, w *writer) error {
	data, err := w.doc.format()
	if err != nil {
		return a.about(err)
	}
	backup := atomicfile.KeepPrevious
	switch {
	case w.created:
		backup = atomicfile.NoBackup
		if err := a.setAside(p.backup, w.doc.header.StoreID.String()); err != nil {
			return err
		}
	case w.retired:
		backup = atomicfile.ReplaceBackup
	}
	if err := atomicfile.Replace(a.fsys, p.file, data, backup); err != nil {
		return err
	}
	w.doc.raw = data
	a.last.Store(w.doc)
	return a.remember(p, w.doc.header.StoreID)
}

// setAside keeps what an earlier store of this name has left from being
// overwritten by the backups of the new one.
func (a *Adapter) setAside(path, id string) error {
	_, err := a.fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = a.fsys.Rename(path, path+".before-"+id[:8])
	}
	return a.about(err)
}

// remember notes the store's id in the lock directory. The store is durable
// already: a note that cannot be written is written by the next Update.
func (a *Adapter) remember(p place, id keystore.StoreID) error {
	known, err := a.remembered(p)
	if err != nil || known != "" {
		return err
	}
	a.fsys.Remove(p.id) // an empty note
	atomicfile.Create(a.fsys, p.id, []byte(id.String()+"\n"))
	return nil
}
