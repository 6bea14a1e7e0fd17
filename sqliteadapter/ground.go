package sqliteadapter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/netdisk"
	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/internal/turn"
	"github.com/globus-keys/globus-keys/keystore"
)

// ground is where a database lies, with its locks.
type ground interface {
	// database returns the open database, which its caller leaves; nil: there is no
	// store yet.
	database(context.Context) (*database, error)
	// create makes the database with what fill does in its first transaction.
	create(ctx context.Context, fill func(*transaction) error) error
	committed(db *database, w *writer) // db is nil after create
	failed()
	lockStore(context.Context) (unlock func() error, err error)
	lockCredential(context.Context, keystore.StoreID, keystore.RecordKey) (unlock func() error, err error)
}

// enter begins a call that reads.
func (a *Adapter) enter(ctx context.Context) (g ground, end func(), err error) {
	end, err = a.file.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	if g, err = a.ground(false); err != nil {
		end()
	}
	return g, end, err
}

// ground returns where the store lies; for a writer its directory is made.
func (a *Adapter) ground(forWriter bool) (ground, error) {
	if a.memory != nil {
		return a.memory, nil
	}
	if d := a.open(); d != nil {
		return d, nil
	}
	find := a.file.Find
	if forWriter {
		find = a.file.Make
	}
	p, err := find()
	return &disk{a: a, Place: p}, err
}

// open returns what is open, if it is still the file that has its name: another process
// may have moved the store aside, and made another.
func (a *Adapter) open() *disk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.disk == nil {
		return nil
	}
	info, err := os.Lstat(a.disk.File)
	if err == nil && os.SameFile(info, a.disk.info) {
		return a.disk
	}
	a.disk.db.retire()
	a.disk = nil
	return nil
}

// letGo closes the database, as soon as no call uses it.
func (a *Adapter) letGo() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.disk == nil {
		return nil
	}
	err := a.disk.db.retire()
	a.disk = nil
	return a.file.About(explain(err))
}

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
	if err != nil {
		return nil, d.a.file.About(err)
	}
	d.a.mu.Lock()
	defer d.a.mu.Unlock()
	d.a.disk = &disk{a: d.a, Place: d.Place, info: info, db: db, noted: remembered != ""}
	db.use()
	return db, nil
}

// check refuses what are not files of ours, and closes them to others.
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
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = closeToOthers(path)
	}
	return info, err
}

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
		return &keystore.Error{Err: ErrClear, Detail: "the store keeps names in clear"}
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

// Reset implements keystore.ResetAdapter: the database, what SQLite keeps beside it, and
// the note of the store's id move to a new directory beside the store.
func (a *Adapter) Reset(ctx context.Context) (string, error) {
	if a.memory != nil {
		return "", a.file.Refuse(keystore.ErrInvalid, "a store in memory cannot be moved aside")
	}
	s, end, err := a.current(ctx)
	if err == nil {
		end()
	}
	return a.file.Reset(ctx, func(p storefile.Place, to string) {
		for _, slot := range s.Header.Slots {
			if slot.Kind == keystore.SlotPassphrase && filepath.Base(slot.Name) == slot.Name {
				p.Link(slot.Name, to)
			}
		}
		if d := a.open(); d != nil && d.db.use() {
			d.db.checkpoint() // killed after the first of several moves, the -wal would be lost
			d.db.leave()
		}
		a.letGo()
	})
}

// memory is a database in memory.
type memory struct {
	a      *Adapter
	writer turn.Turn

	mu    sync.Mutex
	db    *database                        // guarded by mu
	locks map[keystore.RecordKey]turn.Turn // guarded by mu; grows with the credentials ever locked
}

func newMemory(a *Adapter) *memory {
	return &memory{a: a, writer: turn.New(), locks: make(map[keystore.RecordKey]turn.Turn)}
}

func (m *memory) database(context.Context) (*database, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db != nil {
		m.db.use()
	}
	return m.db, nil
}

func (m *memory) create(ctx context.Context, fill func(*transaction) error) error {
	db, err := makeMemory(ctx, m.a.opts, fill)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.db = db
	return nil
}

func (m *memory) committed(*database, *writer) {}
func (m *memory) failed()                      {}

func (m *memory) lockStore(ctx context.Context) (func() error, error) {
	return m.take(ctx, m.writer)
}

func (m *memory) lockCredential(ctx context.Context, id keystore.StoreID, k keystore.RecordKey) (func() error, error) {
	if id == (keystore.StoreID{}) {
		return nil, &keystore.Error{Op: "lock", Store: Memory, Key: k, Err: keystore.ErrNotFound, Detail: "there is no store yet"}
	}
	m.mu.Lock()
	if _, ok := m.locks[k]; !ok {
		m.locks[k] = turn.New()
	}
	lock := m.locks[k]
	m.mu.Unlock()
	return m.take(ctx, lock)
}

func (m *memory) take(ctx context.Context, lock turn.Turn) (func() error, error) {
	if err := lock.Take(ctx); err != nil {
		return nil, &keystore.Error{Store: Memory, Err: fmt.Errorf("%w (%w)", keystore.ErrBusy, err), Detail: "this process holds the lock"}
	}
	var once sync.Once
	return func() error { once.Do(lock.Give); return nil }, nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil {
		return nil
	}
	return m.db.Close()
}
