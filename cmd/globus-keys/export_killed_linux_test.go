package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// entries are what lies in a directory.
func (h *home) entries(dir string) []os.DirEntry {
	h.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		h.Fatal(err)
	}
	return all
}

// TestExportIsKilled at every system call: the plain file is there, whole and closed to
// others, or it is not, and nothing of it is anywhere else. It is a database, with which
// SQLite might leave more; the same function writes JSON.
func TestExportIsKilled(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.must("import", "../../internal/legacy/testdata/globus-sdk-4.9.0/jsontokenstorage-2.0.json")
	h.env = slices.Concat(h.env, []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"})
	export := func(dir string) []string {
		return []string{h.globusKeys(), "export", "--format", "globus-sdk-sqlite", "--plaintext", filepath.Join(dir, "plain.db")}
	}
	first := t.TempDir()
	h.must(export(first)[1:]...)
	whole := h.read(filepath.Join(first, "plain.db"))
	written := 0
	const token = "Ag03FakeRefreshToken0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
	points := faultcalls.Walk(t, faultcalls.Kill, faultcalls.Program{
		Fresh: func() string {
			dir := filepath.Join(h.dir, "out")
			if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		Command: func(dir string, tracer []string) *exec.Cmd {
			args := append(slices.Clone(tracer), export(dir)...)
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Env = h.env
			return cmd
		},
		Check: func(dir string, acknowledged bool, point string) {
			path := filepath.Join(dir, "plain.db")
			info, err := os.Lstat(path)
			switch {
			case err != nil && acknowledged:
				t.Errorf("%s: acknowledged, and not there", point)
			case err == nil && (h.read(path) != whole || info.Mode() != 0o600):
				t.Errorf("%s: it is torn, or has mode %v", point, info.Mode())
			case err == nil:
				written++
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			if found := keystoretest.FindCanary(h.dir, token); len(found) > 0 {
				t.Errorf("%s: a token lies in %v", point, found)
			}
			for _, e := range h.entries(dir) {
				t.Errorf("%s: %s is left", point, e.Name())
			}
		},
	})
	t.Logf("killed at %d points, the file was there %d times", points, written)
	if written == 0 || written == points {
		t.Errorf("of %d kills %d came before the file was there", points, points-written)
	}
	if !strings.Contains(whole, token) {
		t.Error("the export holds no logins")
	}
}
