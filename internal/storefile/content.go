package storefile

import (
	"errors"
	"io/fs"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Load reads the file and hands it to parse, which returns the id of the store
// in it. Without a file parse is not called and there is no store; but a file
// that is missing where the lock directory remembers a store is ErrCorrupt, and
// one with another id ErrTampered.
func (p Place) Load(parse func(data []byte) (keystore.StoreID, error)) (exists bool, err error) {
	remembered, err := p.Remembered()
	if err != nil {
		return false, err
	}
	data, err := atomicfile.Read(p.f.FS, p.File, p.f.Max)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, p.Gone(remembered)
	case err != nil:
		return false, err
	}
	id, err := parse(data)
	if err != nil {
		return false, p.f.About(err)
	}
	return true, p.Is(remembered, id)
}

// Is reports ErrTampered if another store than id was here by what Remembered has said
// before the store was read.
func (p Place) Is(remembered string, id keystore.StoreID) error {
	if remembered == "" || remembered == id.String() {
		return nil
	}
	return p.f.Refuse(keystore.ErrTampered, "it is another store than the one that was here: "+p.Note+" says so")
}

// Gone says what it means that there is no file where a store was by what Remembered has
// said before the file was looked for, "" if none was. It looks at the note again: a reset
// beside us moves both.
func (p Place) Gone(remembered string) error {
	if remembered == "" {
		return nil
	}
	remembered, err := p.Remembered()
	if err != nil || remembered == "" {
		return err
	}
	return p.missing()
}

func (p Place) missing() error {
	detail := "the file is gone, but a store was here: " + p.Note + " remembers it"
	if _, err := p.f.FS.Lstat(p.Backup); err == nil {
		detail += "; its backup is " + p.Backup
	}
	return p.f.Refuse(keystore.ErrCorrupt, detail)
}

// LoadBackup is Load of the backup. ErrNotFound if there is none.
func (p Place) LoadBackup(parse func(data []byte) (keystore.StoreID, error)) error {
	data, err := atomicfile.Read(p.f.FS, p.Backup, p.f.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return &keystore.Error{Store: p.Backup, Err: keystore.ErrNotFound, Detail: "there is no backup"}
	}
	if err != nil {
		return err
	}
	id, err := parse(data)
	if err != nil {
		return keystore.Annotate(err, keystore.Error{Store: p.Backup})
	}
	remembered, err := p.Remembered()
	if err == nil && remembered != "" && remembered != id.String() {
		err = &keystore.Error{Store: p.Backup, Err: keystore.ErrTampered, Detail: "it is the backup of another store"}
	}
	return err
}

// Remembered returns the id of the store that the lock directory knows, or "".
// A power cut may leave the note empty: then it knows none.
func (p Place) Remembered() (string, error) {
	err := atomicfile.CheckDir(p.f.FS, p.locks)
	var data []byte
	if err == nil {
		data, err = atomicfile.Read(p.f.FS, p.Note, 64)
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
		return "", p.f.Refuse(keystore.ErrCorrupt, p.Note+" is not the note of a store id")
	}
	return id.String(), nil
}

// Save makes data the store of this id, durably. The caller holds the lock of
// LockStore. For a store that is new here (created) nothing that an earlier one
// has left is overwritten.
func (p Place) Save(data []byte, id keystore.StoreID, created bool, backup atomicfile.Backup) error {
	if created {
		backup = atomicfile.NoBackup
		if err := p.setAside(id.String()); err != nil {
			return err
		}
	}
	if err := atomicfile.Replace(p.f.FS, p.File, data, backup); err != nil {
		return err
	}
	return p.Remember(id)
}

// setAside keeps what an earlier store of this name has left from being
// overwritten by the backups of the new one.
func (p Place) setAside(id string) error {
	_, err := p.f.FS.Lstat(p.Backup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = p.f.FS.Rename(p.Backup, p.Backup+".before-"+id[:8])
	}
	return p.f.About(err)
}

// Remember notes the store's id in the lock directory. The store is durable
// already: a note that cannot be written is written by the next change.
func (p Place) Remember(id keystore.StoreID) error {
	known, err := p.Remembered()
	if err != nil || known != "" {
		return err
	}
	p.f.FS.Remove(p.Note) // an empty note
	atomicfile.Create(p.f.FS, p.Note, []byte(id.String()+"\n"))
	return nil
}
