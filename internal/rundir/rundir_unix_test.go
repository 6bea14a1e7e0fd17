//go:build unix && !darwin

package rundir_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

func environment(dir string) func(string) string {
	return func(name string) string {
		if name == "XDG_RUNTIME_DIR" {
			return dir
		}
		return ""
	}
}

func TestMakeAndFind(t *testing.T) {
	dir := t.TempDir()
	if found, err := rundir.Find(environment(dir)); err != nil || below(dir, found) {
		t.Errorf("Find before Make: %q, %v, want none", found, err)
	}
	made, err := rundir.Make(environment(dir))
	if err != nil || made != filepath.Join(dir, "globus-keys") {
		t.Fatalf("Make: %q, %v", made, err)
	}
	if found, err := rundir.Find(environment(dir)); err != nil || len(found) == 0 || found[0] != made {
		t.Errorf("Find: %q, %v", found, err)
	}
}

// below reports whether one of the directories is below dir. Where else they are is
// for the machine to say.
func below(dir string, found []string) bool {
	return slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, dir) })
}

// TestWhatIsPlantedIsRefused by name, and nothing hangs.
func TestWhatIsPlantedIsRefused(t *testing.T) {
	for reason, plant := range map[string]func(path string) error{
		"is a symbolic link":                   func(path string) error { return os.Symlink(filepath.Dir(path), path) },
		"is a FIFO":                            func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"is a file":                            func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"can be written by others (mode 0777)": func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)) },
		"belongs to uid 65534":                 func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 65534, 65534)) },
	} {
		t.Run(reason, func(t *testing.T) {
			if strings.Contains(reason, "uid") {
				testenv.NeedRoot(t)
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "globus-keys")
			if err := plant(path); err != nil {
				t.Fatal(err)
			}
			_, makeErr := rundir.Make(environment(dir))
			_, findErr := rundir.Find(environment(dir))
			for name, err := range map[string]error{"Make": makeErr, "Find": findErr} {
				if !errors.Is(err, keystore.ErrTampered) || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), reason) {
					t.Errorf("%s: %v, want ErrTampered that names it and says that it %s", name, err, reason)
				}
			}
		})
	}
}

// TestDirectoryOfAnotherUser, as sudo and su leave it in the environment, is not
// used: neither a user's by root nor root's by a user. Nor is what is no directory.
func TestDirectoryOfAnotherUser(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dirs := []string{"", "relative", "/nowhere/at/all", file}
	if os.Geteuid() == 0 {
		others := t.TempDir()
		if err := os.Chown(others, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, others)
	}
	for _, dir := range dirs {
		if got, err := rundir.Locate(environment(dir)); err != nil || dir != "" && below(dir, got) {
			t.Errorf("with XDG_RUNTIME_DIR=%q it is one of %q, %v", dir, got, err)
		}
	}
}

// lookerVariable makes the process print what comes of XDG_RUNTIME_DIR.
const lookerVariable = "GLOBUS_KEYS_TEST_RUNDIR"

func TestDirectoryOfRoot(t *testing.T) {
	if os.Getenv(lookerVariable) != "" {
		got, _ := rundir.Locate(os.Getenv)
		fmt.Println("found:", got)
		return
	}
	testenv.NeedRoot(t)
	roots, err := os.MkdirTemp("/tmp", "rundir")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(roots)
	if err := os.Chmod(roots, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(roots, "test")
	data, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(exe, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestDirectoryOfRoot$")
	cmd.Dir = "/"
	cmd.Env = []string{lookerVariable + "=1", "XDG_RUNTIME_DIR=" + roots}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "found: [/") || strings.Contains(string(out), roots) {
		t.Errorf("a user finds %s, %v", out, err)
	}
}
