package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestExportToAFullDisk names the file's disk: that of the store has room.
func TestExportToAFullDisk(t *testing.T) {
	testenv.NeedRoot(t)
	h, full := newHome(t, oauthtest.Static), t.TempDir()
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=4k,mode=0700"); err != nil {
		testenv.Missing(t, "a tmpfs cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(full, syscall.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(full, "filler"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("import", "../../internal/legacy/testdata/globus-sdk-4.9.0/jsontokenstorage-2.0.json")
	path := filepath.Join(full, "logins")
	for _, flags := range [][]string{
		{"--format", "globus-sdk-json", "--plaintext", path},
		{"--recipient", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p", "-o", path},
	} {
		_, said := h.exitsWith(6, append([]string{"export"}, flags...)...)
		if !strings.Contains(said, "hint: make room on the disk of "+path) {
			t.Errorf("%s: %s", flags, said)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s left a file", flags)
		}
	}
}
