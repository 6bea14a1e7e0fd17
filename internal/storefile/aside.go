package storefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/keystore"
)

// Reset moves file, sidecars, backup and the note of the store's id to a new directory
// beside the store, and returns it. link, if not nil, is called before that, to
// give the store what else it needs there; names are as in the place it gets.
func (f *File) Reset(ctx context.Context, link func(from Place, to string)) (moved string, err error) {
	end, err := f.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	p, err := f.Make()
	if err != nil {
		return "", err
	}
	unlock, err := p.LockStore(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	return p.moveAside(link)
}

func (p Place) moveAside(link func(from Place, to string)) (string, error) {
	if err := p.somethingHere(); err != nil {
		return "", err
	}
	to, err := p.asideDir()
	if err != nil {
		return "", err
	}
	inside := p.f.in(to)
	if link != nil {
		link(p, to)
	}
	// The note goes first: killed in between, the rest is a store as before.
	moves := [][2]string{{p.Note, inside.File + ".id"}, {p.File, inside.File}, {p.Backup, inside.Backup}}
	for _, suffix := range p.f.Sidecars {
		moves = append(moves, [2]string{p.File + suffix, inside.File + suffix})
	}
	for _, move := range moves {
		if err := p.f.FS.Rename(move[0], move[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", p.f.About(err)
		}
	}
	return to, p.f.About(errors.Join(p.f.FS.SyncDir(to), p.f.FS.SyncDir(p.Dir)))
}

func (p Place) somethingHere() error {
	if info, err := p.f.FS.Lstat(p.File); err == nil && (info.IsDir() || info.Mode()&fs.ModeDevice != 0) {
		return p.f.Refuse(keystore.ErrInvalid, "it is a directory or a device: name a file")
	}
	for _, path := range []string{p.File, p.Backup, p.Note} {
		if _, err := p.f.FS.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return p.f.About(err)
		}
	}
	return p.f.Refuse(keystore.ErrNotFound, "there is no store to move aside")
}

func (p Place) asideDir() (string, error) {
	to, err := p.unused(p.File + ".reset-" + p.stamp())
	if err != nil {
		return "", err
	}
	return to, atomicfile.MkdirPrivate(p.f.FS, to)
}

// KeepDamaged copies a file that cannot be parsed to a name of its own. The
// caller holds the lock of LockStore.
func (p Place) KeepDamaged() error {
	data, err := atomicfile.Read(p.f.FS, p.File, p.f.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	path, err := p.unused(p.File + ".damaged-" + p.stamp())
	if err != nil {
		return err
	}
	return atomicfile.Create(p.f.FS, path, data)
}

// unused returns a name that nothing has: what is moved aside twice in a second
// must not overwrite itself. The caller holds the store's lock.
func (p Place) unused(base string) (string, error) {
	path := base
	for n := 2; ; n++ {
		_, err := p.f.FS.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", p.f.About(err)
		}
		path = fmt.Sprintf("%s-%d", base, n)
	}
}

// stamp is a file name's part that sorts by time, to the second.
func (p Place) stamp() string { return p.f.Now().UTC().Format("20060102T150405Z") }

// LinkKeys gives the passphrase files of a store that is moved a second name where it
// goes, as far as links exist: it can be opened where it is then. They stay where they
// are too, since slots are not authentic. Only files beside the store are linked.
func (p Place) LinkKeys(slots []keystore.Slot, to string) {
	for _, s := range slots {
		if s.Kind == keystore.SlotPassphrase && filepath.Base(s.Name) == s.Name {
			p.f.FS.Link(filepath.Join(p.Dir, s.Name), filepath.Join(to, s.Name))
		}
	}
}
