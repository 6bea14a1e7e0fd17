//go:build !darwin && !windows

package dialog

import (
	"os"
	"path/filepath"
	"testing"
)

// TestProgramsOnPath: absolute ones only, and each once.
func TestProgramsOnPath(t *testing.T) {
	p := newPinentries(t)
	real := p.program("answers", "exec $0")
	dir := filepath.Dir(real)
	if err := os.Symlink(real, filepath.Join(dir, "pinentry-x11")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", "."+string(os.PathListSeparator))
	display := func(name string) string { return map[string]string{"WAYLAND_DISPLAY": "wayland-0"}[name] }
	if found := programs(display); len(found) != 0 {
		t.Errorf("%v is relative", found)
	}
	t.Setenv("PATH", dir)
	if found := programs(display); len(found) != 1 || found[0] != real {
		t.Errorf("%v, want %v", found, real)
	}
	if !Possible(display) || Possible(func(string) string { return "" }) {
		t.Error("a window without a screen, or none with one")
	}
}
