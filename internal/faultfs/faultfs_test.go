package faultfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
)

// write makes a file of four bytes with five operations: open, write, sync,
// close and syncdir. It goes on after errors.
func write(f atomicfile.FS, path string) (errs [5]error) {
	file, err := f.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	errs[0] = err
	if err != nil {
		return errs
	}
	_, errs[1] = file.Write([]byte("1234"))
	errs[2] = file.Sync()
	errs[3] = file.Close()
	errs[4] = f.SyncDir(filepath.Dir(path))
	return errs
}

func run(t *testing.T, plan faultfs.Plan) (f *faultfs.FS, errs [5]error, content string) {
	path := filepath.Join(t.TempDir(), "x")
	f = faultfs.New(atomicfile.OS(), plan)
	errs = write(f, path)
	data, _ := os.ReadFile(path)
	return f, errs, string(data)
}

func TestTheZeroPlanLetsEverythingPass(t *testing.T) {
	f, errs, content := run(t, faultfs.Plan{})
	if errs != [5]error{} || content != "1234" || f.Ops() != 5 || f.Syncs() != 2 {
		t.Errorf("%v, %q, %d operations, %d syncs", errs, content, f.Ops(), f.Syncs())
	}
}

func TestOneOperationFails(t *testing.T) {
	f, errs, content := run(t, faultfs.Plan{Op: 3, Err: syscall.ENOSPC})
	for i, err := range errs {
		if want := i == 2; errors.Is(err, syscall.ENOSPC) != want || (err != nil) != want {
			t.Errorf("operation %d: %v", i+1, err)
		}
	}
	if content != "1234" || f.Syncs() != 1 {
		t.Errorf("%q, %d syncs", content, f.Syncs())
	}
}

func TestATornWriteLeavesHalf(t *testing.T) {
	if _, errs, content := run(t, faultfs.Plan{Op: 2, Torn: true}); content != "12" || !errors.Is(errs[1], syscall.EIO) {
		t.Errorf("%q, %v", content, errs)
	}
	if _, _, content := run(t, faultfs.Plan{Op: 2}); content != "" {
		t.Errorf("%q", content)
	}
}

func TestAfterACrashNothingHasAnEffect(t *testing.T) {
	f, errs, content := run(t, faultfs.Plan{Op: 2, Crash: true})
	for i, err := range errs {
		if (err != nil) != (i >= 1) {
			t.Errorf("operation %d: %v", i+1, err)
		}
	}
	if content != "" || f.Syncs() != 0 || f.Ops() != 5 {
		t.Errorf("%q, %d syncs, %d operations", content, f.Syncs(), f.Ops())
	}
}

func TestAfterATornWriteNothingIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f := faultfs.New(atomicfile.OS(), faultfs.Plan{Op: 2, Torn: true, Crash: true})
	file, err := f.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	file.Write([]byte("1234"))
	file.Write([]byte("5678"))
	file.Close()
	if data, err := os.ReadFile(path); err != nil || string(data) != "12" {
		t.Errorf("%q, %v", data, err)
	}
}
