package sqliteadapter

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/netdisk"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/keystore"
)

// disk is a database in a file. Once its db is set it does not change.
type disk struct {
	a *Adapter
	storefile.Place
	info  fs.FileInfo // of the file, as it was opened
	db    *database   // nil: not open
	noted bool        // the lock directory has the store's id
}

// sidecars are what SQLite adds to a database's name for the files that it keeps beside
// it: they are as much of the store as the database.
var sidecars = []string{"-wal", "-shm", "-journal"}

func (d *disk) database(ctx context.Context) (*database, error) {
	if d.db != nil && d.db.use() {
		return d.db, nil
	}
	if err := d.a.opening.Take(ctx); err != nil {
		return nil, err
	}
	defer d.a.opening.Give()
	if now := d.a.open(); now != nil && now.db.use() { // another goroutine was quicker
		return now.db, nil
	}
	remembered, err := d.Remembered()
	if err != nil {
		return nil, err
	}
	info, err := d.check()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.Gone(remembered)
	}
	if err != nil {
		return nil, err
	}
	db, err := d.connect(ctx, remembered)
	if errors.Is(err, errNoDatabase) {
		err = d.whatElse(err)
	}
	if err != nil {
		return nil, d.a.file.About(err)
	}
	d.a.mu.Lock()
	defer d.a.mu.Unlock()
	d.a.disk = &disk{a: d.a, Place: d.Place, info: info, db: db, noted: remembered != ""}
	db.use()
	return db, nil
}

// check refuses what are not files of ours, and closes them to others. SQLite gives what
// it makes the mode of the database: while that was 0400, files that we cannot write.
func (d *disk) check() (fs.FileInfo, error) {
	for _, suffix := range sidecars {
		if _, err := d.checkFile(d.File + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return d.checkFile(d.File)
}

func (d *disk) checkFile(path string) (fs.FileInfo, error) {
	info, err := atomicfile.CheckFile(d.a.file.FS, path)
	if err == nil {
		err = atomicfile.CheckOneName(path, info) // SQLite keeps a -wal, and locks, for each
	}
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 || path != d.File && mode != 0o600 {
		err = closeToOthers(path)
	}
	return info, err
}

// whatElse says better than err what a file is that is no database. It can be opened and
// closed here: nobody has SQLite's locks of it.
func (d *disk) whatElse(err error) error {
	f, _, failed := atomicfile.Open(d.a.file.FS, d.File, os.O_RDONLY, 0)
	if failed != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(storeFile))
	if _, failed := io.ReadFull(f, head); failed != nil || string(head) != storeFile {
		return err
	}
	return &keystore.Error{Err: errStoreFile, Detail: "it is a store in a file: name it file:" + d.a.file.Path}
}

// storeFile is how a store in a file begins (docs/format.md, section 5.1).
const storeFile = `{"globus_keys": `

// connect opens the database, checks that it is this store's, and brings it up to date.
func (d *disk) connect(ctx context.Context, remembered string) (*database, error) {
	shared, err := netdisk.Find(d.Dir)
	if err != nil {
		return nil, err
	}
	db, err := openFile(ctx, d.File, shared != "", d.a.opts)
	if err != nil {
		return nil, err
	}
	if err := d.admit(ctx, db, remembered); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (d *disk) admit(ctx context.Context, db *database, remembered string) error {
	if err := db.upToDate(ctx, d.lockStore); err != nil {
		return err
	}
	r, err := d.a.readFrom(ctx, db, db)
	if err != nil {
		return err
	}
	if err := r.checkNames(); err != nil {
		return err
	}
	if d.a.opts.HideNames && !r.hashed {
		return &keystore.Error{Err: ErrNamesInClear, Detail: "the store keeps names in clear"}
	}
	return d.Is(remembered, r.state.Header.StoreID)
}

// create makes the database under another name and gives it its own when it is whole:
// nobody sees half a store. The caller holds the store's lock.
func (d *disk) create(ctx context.Context, fill func(*transaction) error) error {
	if _, err := d.a.file.FS.Lstat(d.File); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, d.a.file.Refuse(keystore.ErrBusy, "it has just been made"))
	}
	shared, err := netdisk.Find(d.Dir)
	if err != nil {
		return err
	}
	temp := d.File + ".new"
	if err := d.clear(temp); err != nil {
		return err
	}
	if err := atomicfile.Create(d.a.file.FS, temp, nil); err != nil {
		return err
	}
	err = makeFile(ctx, temp, shared != "" || d.a.opts.Truncate, d.a.opts, fill)
	if err == nil {
		// What SQLite could not remove, and what is there of a database that somebody has.
		err = errors.Join(d.clearSidecars(temp), d.clearSidecars(d.File))
	}
	if err != nil {
		return errors.Join(err, d.clear(temp))
	}
	if err := d.a.file.FS.Rename(temp, d.File); err != nil {
		return err
	}
	return d.a.file.FS.SyncDir(d.Dir)
}

// clear removes what a process that was killed has left of a database it was making.
func (d *disk) clear(path string) error {
	if err := d.a.file.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.clearSidecars(path)
}

func (d *disk) clearSidecars(path string) error {
	for _, suffix := range sidecars {
		if err := d.a.file.FS.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// committed notes which store is here. What was removed stays in the -wal until that is
// emptied, which is tried at once: a reader beside us is no error.
func (d *disk) committed(db *database, w *writer) {
	if !d.noted {
		d.Remember(w.header().StoreID)
	}
	if w.retires && db != nil {
		db.checkpoint()
	}
}

// failed lets go of the database after an error of the disk: what SQLite has in memory
// is not trusted any more.
func (d *disk) failed() { d.a.letGo() }

func (d *disk) lockStore(ctx context.Context) (func() error, error) { return d.LockStore(ctx) }

func (d *disk) lockCredential(ctx context.Context, id keystore.StoreID, k keystore.RecordKey) (func() error, error) {
	return d.LockCredential(ctx, id, k)
}
