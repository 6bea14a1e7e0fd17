package sqliteadapter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// onTmpfs returns a store's place on a small disk.
func onTmpfs(t *testing.T, mode string) site {
	t.Helper()
	testenv.NeedRoot(t)
	s := newSite(t, mode)
	if err := syscall.Mount("tmpfs", filepath.Dir(s.path), "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		testenv.Missing(t, "a tmpfs cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(filepath.Dir(s.path), syscall.MNT_DETACH) })
	return s
}

// TestFullDisk fills a small disk to the last byte: the write fails and names the reason,
// the store stays as it was, and the same process goes on when there is room again.
func TestFullDisk(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := onTmpfs(t, mode)
		a := s.made(t)
		holds(t, a, base, "before it") // with all files that SQLite needs
		filler := filepath.Join(filepath.Dir(s.path), "filler")
		fill(t, filler)
		long := strings.Repeat("does not fit ", 1000)
		err := put(t.Context(), a, "one", long)
		fails(t, "a put on a full disk", err, syscall.ENOSPC, s.path)
		holds(t, a, base, "after it")
		ok(t, "a View beside it", a.View(t.Context(), func(r keystore.Reader) error {
			if err := put(t.Context(), a, "one", long); err == nil {
				t.Error("a put on a full disk says nothing")
			}
			_, err := text(r, "two")
			return err
		}))
		holds(t, s.open(t), base, "for who opens it then")
		ok(t, "make room", os.Remove(filler))
		ok(t, "a put with room again", put(t.Context(), a, "one", long))
		holds(t, s.open(t), with("one", long), "with room again")
	})
}

// TestFullDiskOpensNoWAL: in WAL mode who opens a store first needs room for the files
// beside it, and is told so.
func TestFullDiskOpensNoWAL(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := onTmpfs(t, mode)
		ok(t, "Close", s.made(t).Close())
		fill(t, filepath.Join(filepath.Dir(s.path), "filler"))
		a := s.open(t)
		if mode == "TRUNCATE" {
			holds(t, a, base, "on a full disk")
			return
		}
		_, err := read(t.Context(), a)
		fails(t, "a read", err, syscall.ENOSPC, s.path)
	})
}

// TestFullDiskHasNoHalfStore: what cannot be made leaves nothing.
func TestFullDiskHasNoHalfStore(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := onTmpfs(t, mode)
		filler := filepath.Join(filepath.Dir(s.path), "filler")
		fill(t, filler)
		ok(t, "make a little room", os.Truncate(filler, 200<<10))
		a := s.open(t)
		fails(t, "create", makeStore(t.Context(), a, map[string]string{"one": strings.Repeat("x", 60000)}), syscall.ENOSPC, s.path)
		ok(t, "make room", os.Remove(filler))
		s.leftovers(t, "create")
		ok(t, "create with room", makeStore(t.Context(), a, base))
	})
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	ok(t, "create", err)
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// TestReadOnlyFileSystem: a store that was closed properly cannot be opened in WAL mode,
// which needs files beside it; the sentence says so. Nothing is "not found".
func TestReadOnlyFileSystem(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := onTmpfs(t, mode)
		ok(t, "Close", s.made(t).Close())
		ok(t, "remount", syscall.Mount("", filepath.Dir(s.path), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		a := s.open(t)
		fails(t, "a put", put(t.Context(), a, "one", "x"), keystore.ErrReadOnly, filepath.Dir(s.path))
		if mode == "TRUNCATE" {
			holds(t, a, base, "read-only")
			return
		}
		_, err := read(t.Context(), a)
		fails(t, "a read", err, keystore.ErrReadOnly, s.path)
	})
}

// TestReadOnlyDirectory is the same for a user who may not write a directory.
func TestReadOnlyDirectory(t *testing.T) {
	testenv.NeedRoot(t)
	mortal := []string{testenv.Need(t, "setpriv"), "--bounding-set=-dac_override,-dac_read_search"}
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		ok(t, "Close", s.made(t).Close())
		ok(t, "chmod", errors.Join(os.Chmod(s.path+".locks", 0o500), os.Chmod(filepath.Dir(s.path), 0o500)))
		out, err := s.script(mortal, "put one x").Output()
		if err == nil || !strings.Contains(string(out), "read-only") || !strings.Contains(string(out), s.path) {
			t.Errorf("a put says %q (%v)", out, err)
		}
	})
}
