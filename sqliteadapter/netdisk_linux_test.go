package sqliteadapter

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/netdisk"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// onFUSE shows the directory of a store through FUSE, which is taken for a file system of
// several machines, and returns the place there.
func (s site) onFUSE(t *testing.T) site {
	t.Helper()
	testenv.NeedRoot(t)
	bindfs, dir := testenv.Need(t, "bindfs"), t.TempDir()
	if out, err := exec.Command(bindfs, filepath.Dir(s.path), dir).CombinedOutput(); err != nil {
		testenv.Missing(t, "FUSE cannot be mounted: "+string(out))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return s.at(dir)
}

// inWAL reports whether the database says in its header that it is in WAL mode.
func (s site) inWAL(t *testing.T) bool { return s.bytes(t)[18] == 2 }

// TestSharedDisk: a store that is made there has the rollback journal, and so has one that
// was moved there when it is opened; Remarks says so. The control is the disk below.
func TestSharedDisk(t *testing.T) {
	for _, moved := range []bool{false, true} {
		below := newSite(t, "WAL")
		if moved {
			ok(t, "Close", below.made(t).Close())
			if !below.inWAL(t) {
				t.Error("on a disk of this machine it is not in WAL mode")
			}
		}
		s := below.onFUSE(t)
		if name, err := netdisk.Find(filepath.Dir(s.path)); err != nil || name != "FUSE" {
			t.Errorf("the disk is %q, %v", name, err)
		}
		a := s.open(t)
		if !moved {
			ok(t, "create", makeStore(t.Context(), a, base))
		}
		holds(t, a, base, "there")
		if s.inWAL(t) {
			t.Error("it is in WAL mode on a disk that machines share")
		}
		together(s.started(t, 4), "count 5")
		if got, err := get(t.Context(), a, "n"); err != nil || got != "20" {
			t.Errorf("4 processes have counted to %q (%v), want 20", got, err)
		}
		got, err := a.Remarks(t.Context())
		if err != nil || len(got) != 1 || !strings.Contains(got[0], "the disk is FUSE") {
			t.Errorf("Remarks: %q, %v", got, err)
		}
		ok(t, "Close", a.Close())
		holds(t, below.open(t), with("n", "20"), "below")
	}
}
