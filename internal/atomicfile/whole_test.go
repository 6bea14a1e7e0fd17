package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestCreateWholeIsAllOrNothingWhateverFails is about file systems where every file
// has a name; TestExportIsKilled (cmd/globus-keys) is about the others.
func TestCreateWholeIsAllOrNothingWhateverFails(t *testing.T) {
	walk(t, func(t *testing.T, plan faultfs.Plan) int {
		dir := t.TempDir()
		path := filepath.Join(dir, "plain.json")
		f := faultfs.New(disk, plan)
		err := atomicfile.CreateWhole(f, path, new_)
		if (err == nil) != (f.Ops() < plan.Op) {
			t.Errorf("got %v", err)
		}
		switch got := content(t, path); {
		case err == nil:
			mustBe(t, path, new_)
		case !plan.Crash && got != nil:
			t.Error("it is there after an error")
		case got != nil && string(got) != string(new_):
			t.Error("it is torn")
		}
		if left := names(t, dir); err == nil && len(left) != 1 {
			t.Errorf("%q are there", left)
		}
		for _, name := range names(t, dir) {
			if !plan.Crash && err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s is left, and %v does not say so", name, err)
			}
		}
		return f.Ops()
	})
}

func TestCreateWholeIsSyncedBeforeItHasItsName(t *testing.T) {
	f := faultfs.New(disk, faultfs.Plan{})
	check(t, atomicfile.CreateWhole(f, filepath.Join(t.TempDir(), "plain.json"), old))
	at := func(op string) int {
		return slices.IndexFunc(f.Trace(), func(line string) bool { return strings.HasPrefix(line, op+" ") })
	}
	if synced, linked, dir := at("sync"), at("link"), at("syncdir"); synced < 0 || linked < synced || dir < linked || f.Syncs() != 2 {
		t.Errorf("%q", f.Trace())
	}
}

func TestCreateWholeReplacesNothing(t *testing.T) {
	for name, fsys := range map[string]atomicfile.FS{"nameless": disk, "linked": faultfs.New(disk, faultfs.Plan{})} {
		dir := t.TempDir()
		path := filepath.Join(dir, "plain.json")
		check(t, atomicfile.CreateWhole(fsys, path, old))
		for _, fsys := range []atomicfile.FS{fsys, late{fsys}} {
			if err := atomicfile.CreateWhole(fsys, path, new_); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		trace := faultfs.New(disk, faultfs.Plan{})
		if atomicfile.CreateWhole(trace, path, new_); len(trace.Trace()) != 1 {
			t.Errorf("something was written in vain: %q", trace.Trace())
		}
		mustBe(t, path, old)
		if left := names(t, dir); len(left) != 1 {
			t.Errorf("%s: %q", name, left)
		}
	}
}

// late is a file system on which somebody makes a file just after it was looked for.
type late struct{ atomicfile.FS }

func (late) Lstat(name string) (fs.FileInfo, error) {
	return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
}

func TestCreateWholeWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	err := atomicfile.CreateWhole(linkless{faultfs.New(disk, faultfs.Plan{})}, filepath.Join(dir, "plain.json"), old)
	if !errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(err.Error(), "hard links") {
		t.Errorf("got %v", err)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}

type linkless struct{ atomicfile.FS }

func (linkless) Link(oldname, newname string) error {
	return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: syscall.ENOTSUP}
}
