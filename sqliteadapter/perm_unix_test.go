//go:build unix

package sqliteadapter

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/adaptertest"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestModesDoNotDependOnTheUmask: directories 0700 and files 0600, those that SQLite makes
// included, while the store is open and afterwards. The umask belongs to the process, so
// each runs in one of its own.
func TestModesDoNotDependOnTheUmask(t *testing.T) {
	for _, mode := range []string{"WAL", "TRUNCATE"} {
		for _, mask := range []string{"000", "077", "0277"} {
			t.Run(mode+" "+mask, func(t *testing.T) {
				root := t.TempDir()
				s := newSite(t, mode).at(filepath.Join(root, "new", "store"))
				for _, line := range []string{"create", "put two x", "half two x"} {
					cmd := s.script([]string{"sh", "-c", "umask " + mask + `; exec "$0"`}, line)
					if line == "half two x" { // everything is open when stdin ends
						line += "\n"
					}
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s: %v: %s", line, err, out)
					}
					adaptertest.CheckModes(t, filepath.Join(root, "new"))
				}
			})
		}
	}
}

// TestOpenFilesAreClosedToOthers: while a store is in use, and one that others could read
// before.
func TestOpenFilesAreClosedToOthers(t *testing.T) {
	for _, mode := range []string{"WAL", "TRUNCATE"} {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		adaptertest.CheckModes(t, filepath.Dir(s.path))
		for _, suffix := range append(sidecars, "") {
			if err := os.Chmod(s.path+suffix, 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		holds(t, s.open(t), base, "open to others")
		adaptertest.CheckModes(t, filepath.Dir(s.path))
	}
}

// TestSidecarsOfAReadOnlyTimeAreOpened: SQLite gives what it makes the database's mode. Of
// one that was not to be written for a while a -shm stays that nobody can write.
func TestSidecarsOfAReadOnlyTimeAreOpened(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		holds(t, a, base, "at first")
		for _, suffix := range sidecars {
			if err := os.Chmod(s.path+suffix, 0o400); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		ok(t, "a put", put(t.Context(), s.open(t), "one", "x"))
		adaptertest.CheckModes(t, filepath.Dir(s.path))
		ok(t, "chmod", os.Chmod(s.path, 0o400))
		holds(t, s.open(t), with("one", "x"), "not to be written")
		if info, err := os.Stat(s.path); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("the database itself, which may be so by intent: %v, %v", info, err)
		}
	})
}

// plants put something in the place of one of the store's files.
var plants = map[string]func(path string) error{
	"a symbolic link":    func(path string) error { return os.Symlink("/etc/hostname", path) },
	"a dangling link":    func(path string) error { return os.Symlink(path+".nowhere", path) },
	"a link to a secret": func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "victim"), path) },
	"a FIFO":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
	"a directory":        func(path string) error { return os.Mkdir(path, 0o700) },
	"a foreign user's": func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, 65534))
	},
	"writable by others": func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666))
	},
}

// TestPlantedFilesAreRefusedByName, whichever of the store's files they stand for, by who
// reads and by who writes; nothing outside of the store is touched, and nothing is made
// of what is there.
func TestPlantedFilesAreRefusedByName(t *testing.T) {
	testenv.NeedRoot(t) // to make files of another user
	for what, plant := range plants {
		for _, place := range []string{"logins.db", "logins.db-wal", "logins.db-shm", "logins.db-journal",
			"logins.db.locks", "logins.db.locks/store", "logins.db.locks/id"} {
			if what == "a directory" && place == "logins.db.locks" || what == "writable by others" && strings.HasSuffix(place, "/store") {
				continue // as it should be; a lock file's content is nobody's belief
			}
			t.Run(what+" at "+place, func(t *testing.T) {
				s := newSite(t, "WAL")
				ok(t, "Close", s.made(t).Close())
				dir := filepath.Dir(s.path)
				planted, victim := filepath.Join(dir, place), filepath.Join(filepath.Dir(filepath.Join(dir, place)), "victim")
				ok(t, "remove", os.RemoveAll(planted))
				ok(t, "victim", os.MkdirAll(filepath.Dir(victim), 0o700))
				ok(t, "plant", errors.Join(os.WriteFile(victim, []byte("secret"), 0o600), plant(planted)))
				fails(t, "a put", join(t.Context(), s.open(t), "x"), keystore.ErrTampered, planted)
				if !strings.HasSuffix(place, "/store") { // readers take no lock
					_, err := read(t.Context(), s.open(t))
					fails(t, "a read", err, keystore.ErrTampered, planted)
				}
				if data, err := os.ReadFile(victim); err != nil || string(data) != "secret" {
					t.Errorf("the link's target was written: %q, %v", data, err)
				}
			})
		}
	}
}

// TestPlantedLeftoversAreSwept: where a store is made lies what a killed process has left,
// or anything else; it is removed, and what it leads to is not touched.
func TestPlantedLeftoversAreSwept(t *testing.T) {
	for what, plant := range plants {
		if what == "a foreign user's" && os.Getuid() != 0 {
			continue
		}
		t.Run(what, func(t *testing.T) {
			s := newSite(t, "WAL")
			victim := filepath.Join(filepath.Dir(s.path), "victim")
			ok(t, "victim", os.WriteFile(victim, []byte("secret"), 0o600))
			for _, suffix := range append(sidecars, "") {
				ok(t, "plant", plant(s.path+".new"+suffix))
			}
			a := s.made(t)
			holds(t, a, base, "beside "+what)
			if data, err := os.ReadFile(victim); err != nil || string(data) != "secret" {
				t.Errorf("the link's target was written: %q, %v", data, err)
			}
			ok(t, "remove", os.Remove(victim))
			s.leftovers(t, what)
			adaptertest.CheckModes(t, filepath.Dir(s.path))
		})
	}
}

// TestDirectoryOfOthersIsRefused: who can write the directory can replace the store.
func TestDirectoryOfOthersIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o777, 0o770, 0o777 | os.ModeSticky} {
		s := newSite(t, "WAL")
		dir := filepath.Dir(s.path)
		ok(t, "chmod", os.Chmod(dir, mode))
		fails(t, "create", makeStore(t.Context(), s.open(t), base), keystore.ErrTampered, dir)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("mode %v: made %v", mode, entries)
		}
	}
}
