package fileadapter

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestFullDisk fills a small disk to the last byte: the write fails and names
// the reason, the store stays as it was, and goes on when there is room again.
func TestFullDisk(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96k,mode=0700"); err != nil {
		testenv.Missing(t, "a tmpfs cannot be mounted: "+err.Error())
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	k := newKeychain(t)
	a := k.open(t, filepath.Join(dir, "tokens.json"))
	if err := makeStore(t.Context(), a, base); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	err := put("one", "does not fit")(t.Context(), a)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a put on a full disk: %v, want ENOSPC", err)
	}
	if got, err := read(t.Context(), k.open(t, a.Path())); err != nil || !maps.Equal(got, base) {
		t.Errorf("after it: %v, %v", got, err)
	}
	if left := tempLeft(t, dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := put("one", "fits")(t.Context(), a); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if _, err := fmt.Fprint(f, "x"); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
}
