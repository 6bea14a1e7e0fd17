package sqliteadapter

import (
	"context"
	"errors"
	"os"

	"github.com/globus-keys/globus-keys/internal/storefile"
	"github.com/globus-keys/globus-keys/keystore"
)

// ground is where a database lies, with its locks.
type ground interface {
	// database returns the open database, which its caller leaves; nil: there is no
	// store yet.
	database(context.Context) (*database, error)
	// create makes the database with what fill does in its first transaction.
	create(ctx context.Context, fill func(*transaction) error) error
	// committed is told what has been written; db is nil after create.
	committed(db *database, w *writer)
	// failed is told that what is open is not to be trusted any more.
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

// open returns what is open, if it is still the file that has its name, and no other one:
// another process may have moved the store aside, and made another, or linked it.
func (a *Adapter) open() *disk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.disk == nil {
		return nil
	}
	info, err := os.Lstat(a.disk.File)
	if err == nil && os.SameFile(info, a.disk.info) && oneName(a.disk.File, info) {
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

// Reset implements keystore.ResetAdapter: the database, what SQLite keeps beside it, and
// the note of the store's id move to a new directory beside the store.
func (a *Adapter) Reset(ctx context.Context) (string, error) {
	if a.memory != nil {
		return "", a.file.Refuse(keystore.ErrInvalid, "a store in memory cannot be moved aside")
	}
	s, end, err := a.current(ctx) // before the lock, which opening may take
	if err == nil {
		end()
	}
	if errors.Is(err, ErrForeign) || errors.Is(err, errStoreFile) {
		return "", err // others use it
	}
	return a.file.Reset(ctx, func(p storefile.Place, to string) {
		p.LinkKeys(s.Header.Slots, to)
		if d := a.open(); d != nil && d.db.use() {
			d.db.checkpoint() // killed after the first of several moves, the -wal would be lost
			d.db.leave()
		}
		a.letGo()
	})
}
