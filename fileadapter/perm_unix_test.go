//go:build unix

package fileadapter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestModesDoNotDependOnTheUmask: directories 0700 and files 0600, sidecars
// included, after every operation. The umask belongs to the process, so each
// runs in one of its own.
func TestModesDoNotDependOnTheUmask(t *testing.T) {
	k := newKeychain(t)
	for _, mask := range []string{"000", "022", "077", "0277"} {
		t.Run(mask, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "store")
			path := filepath.Join(dir, "tokens.json")
			for _, op := range []string{"create", "put", "update", "delete", "header"} {
				cmd := childCommand(t, k, op, path, "sh", "-c", "umask "+mask+`; exec "$0"`)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", op, err, out)
				}
				adaptertest.CheckModes(t, filepath.Dir(dir))
			}
		})
	}
}

// plant puts something in the place of one of the store's files.
var plants = map[string]func(path string) error{
	"a symbolic link":     func(path string) error { return os.Symlink("/etc/hostname", path) },
	"a dangling link":     func(path string) error { return os.Symlink(path+".nowhere", path) },
	"a FIFO":              func(path string) error { return syscall.Mkfifo(path, 0o600) },
	"a directory":         func(path string) error { return os.Mkdir(path, 0o700) },
	"a foreign user's":    func(path string) error { return foreign(path) },
	"writable by others":  func(path string) error { return openToAll(path) },
	"a link to a secret":  func(path string) error { return os.Symlink(path+".victim", path) },
	"a link to a foreign": func(path string) error { return os.Symlink("/proc/self/mem", path) },
}

func foreign(path string) error {
	return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, 65534))
}

func openToAll(path string) error {
	return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666))
}

// TestPlantedFilesAreRefusedByName, whichever of the store's files they stand
// for, and nothing outside of the store is touched.
func TestPlantedFilesAreRefusedByName(t *testing.T) {
	testenv.NeedRoot(t) // to make files of another user
	for what, plant := range plants {
		for _, place := range []string{"tokens.json", "tokens.json.locks/store", "tokens.json.locks/id", "tokens.json.locks"} {
			if what == "a directory" && place == "tokens.json.locks" || what == "writable by others" && strings.HasSuffix(place, "/store") {
				continue // as it should be; a lock file's content is nobody's belief
			}
			t.Run(what+" at "+place, func(t *testing.T) {
				dir := t.TempDir()
				if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "tokens.json.victim"), []byte("secret"), 0o600)); err != nil {
					t.Fatal(err)
				}
				planted := filepath.Join(dir, place)
				if strings.Contains(place, "/") {
					if err := os.Mkdir(filepath.Dir(planted), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				if err := plant(planted); err != nil {
					t.Fatal(err)
				}
				k := newKeychain(t)
				err := makeStore(t.Context(), k.open(t, filepath.Join(dir, "tokens.json")), base)
				if !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), planted) {
					t.Errorf("%v, want ErrTampered that names %s", err, planted)
				}
				if data, err := os.ReadFile(filepath.Join(dir, "tokens.json.victim")); err != nil || string(data) != "secret" {
					t.Errorf("the link's target was written: %q, %v", data, err)
				}
			})
		}
	}
}

// TestDirectoryOfOthersIsRefused: who can write the directory can replace the
// store.
func TestDirectoryOfOthersIsRefused(t *testing.T) {
	k := newKeychain(t)
	for _, mode := range []os.FileMode{0o777, 0o770, 0o777 | os.ModeSticky} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		err := makeStore(t.Context(), k.open(t, filepath.Join(dir, "tokens.json")), base)
		if !errors.Is(err, keystore.ErrTampered) || !strings.Contains(err.Error(), dir) {
			t.Errorf("mode %v: %v, want ErrTampered that names %s", mode, err, dir)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("mode %v: made %v", mode, entries)
		}
	}
}

// TestWiderModesAreTightened: a file that was readable by others is not, after
// the next write.
func TestWiderModesAreTightened(t *testing.T) {
	v := newVictim(t)
	if err := os.Chmod(v.path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := put("four", "4")(t.Context(), v.k.open(t, v.path)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(v.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

// TestLinkedDirectoriesShareTheirLocks: two names of one directory are one store.
func TestLinkedDirectoriesShareTheirLocks(t *testing.T) {
	v := newVictim(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(v.path), link); err != nil {
		t.Fatal(err)
	}
	a := v.k.open(t, v.path)
	unlock, err := a.LockCredential(t.Context(), tokenKey("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	p, err := v.k.open(t, filepath.Join(link, "tokens.json")).file.Find()
	if err != nil || p.File != v.path {
		t.Errorf("through the link the store is %s (%v), want %s", p.File, err, v.path)
	}
}
