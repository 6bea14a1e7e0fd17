package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestStatusOfASharedDisk says so, locked too, of a database that is reached through FUSE,
// and not of the same one below.
func TestStatusOfASharedDisk(t *testing.T) {
	testenv.NeedRoot(t)
	bindfs := testenv.Need(t, "bindfs")
	h, shared := newHome(t, oauthtest.Static), t.TempDir()
	below := filepath.Join(h.dir, "data")
	if out, err := exec.Command(bindfs, below, shared).CombinedOutput(); err != nil {
		testenv.Missing(t, "FUSE cannot be mounted: "+string(out))
	}
	t.Cleanup(func() { syscall.Unmount(shared, syscall.MNT_DETACH) })
	there, here := "sqlite:"+filepath.Join(shared, "logins.db"), "sqlite:"+filepath.Join(below, "logins.db")
	h.must("--store", there, "import", "../../internal/legacy/testdata/globus-sdk-4.9.0/jsontokenstorage-2.0.json")
	const note = "the disk is FUSE, which several machines may share"
	for range 2 {
		if got := h.must("--store", there, "status"); !strings.Contains(got, "\nNote:   "+note) {
			t.Errorf("status says %s", got)
		}
		if got := h.must("--store", there, "status", "--json"); !strings.Contains(got, note) {
			t.Errorf("status --json says %s", got)
		}
		if got := h.must("--store", here, "status"); strings.Contains(got, "FUSE") {
			t.Errorf("of a disk of this machine status says %s", got)
		}
		h.env = append(h.env, "GLOBUS_KEYS_PASSPHRASE_FILE=") // now it is locked
	}
}
