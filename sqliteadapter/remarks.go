package sqliteadapter

import (
	"context"
	"errors"
	"io/fs"

	"github.com/globus-keys/globus-keys/internal/netdisk"
	"github.com/globus-keys/globus-keys/keystore"
)

// Remarks returns what a person should know of the store and cannot see, a sentence each:
// where it lies, and what it was made with. It needs no key.
func (a *Adapter) Remarks(ctx context.Context) ([]string, error) {
	if a.memory != nil {
		return []string{"the store is in memory and ends with this program"}, nil
	}
	g, end, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	shared, err := netdisk.Find(g.(*disk).Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, a.file.About(err)
	}
	db, err := g.database(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	defer db.leave()
	r, err := a.read(ctx, db)
	if err != nil {
		return nil, err
	}
	return a.remarks(shared, db.wal, r.hashed), nil
}

func (a *Adapter) remarks(shared string, wal, hashed bool) (all []string) {
	switch {
	case shared != "":
		all = append(all, "the disk is "+shared+", which several machines may share: SQLite's rollback journal is used, and readers wait for writers")
	case !wal:
		all = append(all, "SQLite's rollback journal is used: readers wait for writers")
	}
	if hashed {
		all = append(all, "names are hidden: without the key records can be counted, and not listed")
	}
	if a.opts.LosesLastUpdatesOnPowerCut && wal {
		all = append(all, "a power cut may lose the last changes: this program does not wait for the disk")
	}
	return all
}

// HidesNames reports whether the store keeps hashes in the place of names, or would if it
// were made now. It needs no key.
func (a *Adapter) HidesNames(ctx context.Context) (hidden bool, err error) {
	err = a.View(ctx, func(r keystore.Reader) error {
		hidden = a.opts.HideNames
		if !r.Header().IsZero() {
			hidden = r.(*reader).hashed
		}
		return nil
	})
	return hidden, err
}
