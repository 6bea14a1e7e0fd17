//go:build unix

package atomicfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/atomicfile"
	"github.com/globus-keys/globus-keys/internal/faultfs"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// With this variable the test binary makes files in a directory, under the umask
// that it was started with, instead of running tests.
const makeVariable = "ATOMICFILE_TEST_MAKE"

func TestMain(m *testing.M) {
	dir := os.Getenv(makeVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := makeAll(dir); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func makeAll(base string) error {
	dir := filepath.Join(base, "a", "b")
	store := filepath.Join(dir, "store")
	return errors.Join(
		atomicfile.MkdirPrivate(disk, dir),
		atomicfile.Create(disk, filepath.Join(dir, "once"), old),
		atomicfile.CreateWhole(disk, filepath.Join(dir, "whole"), old),
		atomicfile.CreateWhole(faultfs.New(disk, faultfs.Plan{}), filepath.Join(dir, "linked"), old),
		atomicfile.Replace(disk, store, old, atomicfile.NoBackup),
		atomicfile.Replace(noLinks{disk}, store, new_, atomicfile.KeepPrevious),
	)
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	masks := []string{"000", "022", "077", "277"}
	if os.Geteuid() == 0 {
		masks = append(masks, "777") // others cannot open their own directory then
	}
	for _, mask := range masks {
		base := t.TempDir()
		cmd := exec.Command("/bin/sh", "-c", "umask "+mask+`; exec "$0"`, os.Args[0])
		cmd.Env = append(os.Environ(), makeVariable+"="+base, "GORACE=atexit_sleep_ms=0")
		cmd.Stderr = os.Stderr
		check(t, cmd.Run())
		for name, want := range map[string]fs.FileMode{
			"a": 0o700, "a/b": 0o700, "a/b/once": 0o600, "a/b/whole": 0o600, "a/b/linked": 0o600, "a/b/store": 0o600, "a/b/store.bak": 0o600,
		} {
			info, err := os.Lstat(filepath.Join(base, name))
			check(t, err)
			if info.Mode().Perm() != want {
				t.Errorf("umask %s: %s has mode %v", mask, name, info.Mode())
			}
		}
	}
}

// plants put at path what is not a file of ours that others cannot write.
var plants = map[string]func(path string) error{
	"is a symbolic link": func(path string) error { return os.Symlink("target", path) },
	"is a FIFO":          func(path string) error { return unix.Mkfifo(path, 0o600) },
	"is a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	"is a device":        func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, 1<<8|3) },
	"belongs to uid 65534": func(path string) error {
		return errors.Join(os.WriteFile(path, old, 0o600), os.Chown(path, 65534, 65534))
	},
	"can be written by others (mode 0666)": func(path string) error {
		return errors.Join(os.WriteFile(path, old, 0o600), os.Chmod(path, 0o666))
	},
	"can be written by others (mode 0620)": func(path string) error {
		return errors.Join(os.WriteFile(path, old, 0o600), os.Chmod(path, 0o620))
	},
}

func TestWhatIsNotOurFileIsRefusedByName(t *testing.T) {
	for reason, plant := range plants {
		t.Run(reason, func(t *testing.T) {
			if strings.Contains(reason, "uid") || strings.Contains(reason, "device") {
				testenv.NeedRoot(t)
			}
			dir := t.TempDir()
			path, target := filepath.Join(dir, "store"), filepath.Join(dir, "target")
			check(t, os.WriteFile(target, old, 0o600))
			check(t, plant(path))
			_, err := atomicfile.Read(disk, path, 1<<20)
			refused(t, err, path, reason)
			for _, mode := range modes {
				refused(t, atomicfile.Replace(disk, path, new_, mode), path, reason)
			}
			if err := atomicfile.CreateWhole(disk, path, new_); !errors.Is(err, fs.ErrExist) {
				t.Errorf("CreateWhole: %v", err)
			}
			if err := atomicfile.Create(disk, path, new_); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v", err)
			}
			mustBe(t, target, old)
			if hidden(names(t, dir)) {
				t.Errorf("the directory holds %v", names(t, dir))
			}
		})
	}
}

func refused(t *testing.T, err error, path, reason string) {
	t.Helper()
	if !errors.Is(err, keystore.ErrTampered) {
		t.Fatalf("got %v", err)
	}
	if !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), reason) {
		t.Errorf("%q does not say %q", err, reason)
	}
}

func TestLeftoversThatAreLinksAreNotFollowed(t *testing.T) {
	path := generations(t)
	dir := filepath.Dir(path)
	target := filepath.Join(t.TempDir(), "target")
	check(t, os.WriteFile(target, old, 0o600))
	for _, name := range []string{".store.json.tmp", ".store.json.bak.tmp"} {
		check(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	check(t, atomicfile.Replace(disk, path, new_, atomicfile.KeepPrevious))
	mustBe(t, target, old)
	mustBe(t, path, new_)
	mustBe(t, path+".bak", old)
}

func TestADirectoryInWhichOthersCanPlantFilesIsRefused(t *testing.T) {
	for reason, plant := range map[string]func(dir string) error{
		"can be written by others (mode 0777)": func(dir string) error { return os.Chmod(dir, 0o777|fs.ModeSticky) },
		"can be written by others (mode 0770)": func(dir string) error { return os.Chmod(dir, 0o770) },
		"belongs to uid 65534":                 func(dir string) error { return os.Chown(dir, 65534, 65534) },
		"is a file":                            func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) },
		"is a symbolic link":                   func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink(".", dir)) },
	} {
		t.Run(reason, func(t *testing.T) {
			if strings.Contains(reason, "uid") {
				testenv.NeedRoot(t) // to give files away
			}
			dir := filepath.Join(t.TempDir(), "dir")
			check(t, os.Mkdir(dir, 0o755))
			check(t, atomicfile.CheckDir(disk, dir))
			check(t, plant(dir))
			refused(t, atomicfile.CheckDir(disk, dir), dir, reason)
			refused(t, atomicfile.MkdirPrivate(disk, dir), dir, reason)
		})
	}
}

func TestReadTriesAgainWhenTheFileWasReplacedOnNFS(t *testing.T) {
	path := generations(t)
	for n := 1; n <= 3; n++ { // open, stat, read
		f := faultfs.New(disk, faultfs.Plan{Op: n, Err: syscall.ESTALE})
		data, err := atomicfile.Read(f, path, 1<<20)
		if err != nil || len(data) != len(old) {
			t.Errorf("operation %d: %v", n, err)
		}
	}
	dead := faultfs.New(disk, faultfs.Plan{Op: 1, Err: syscall.ESTALE, Crash: true})
	if _, err := atomicfile.Read(dead, path, 1<<20); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("got %v", err)
	}
}

func TestReadGoesOnBeyondTheSizeThatIsSaid(t *testing.T) {
	if runtime.GOOS != "linux" {
		testenv.Missing(t, "a file in /proc, whose size is 0")
	}
	if data, err := atomicfile.Read(disk, "/proc/self/status", 1<<20); err != nil || len(data) == 0 {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
	if _, err := atomicfile.Read(disk, "/proc/self/status", 10); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestReplaceOnAReadOnlyFileSystemSaysSo(t *testing.T) {
	path := generations(t)
	for _, errno := range []error{syscall.EROFS, syscall.EACCES} {
		f := faultfs.New(disk, faultfs.Plan{Op: 2, Err: errno})
		err := atomicfile.Replace(f, path, new_, atomicfile.KeepPrevious)
		if !errors.Is(err, keystore.ErrReadOnly) || !errors.Is(err, errno) {
			t.Errorf("got %v", err)
		}
	}
	f := faultfs.New(disk, faultfs.Plan{Op: 2, Err: syscall.ENOSPC})
	if err := atomicfile.Replace(f, path, new_, atomicfile.KeepPrevious); errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("a full disk is not read-only: %v", err)
	}
}

func TestAFileThatCannotBeLinkedIsCopied(t *testing.T) {
	for _, errno := range []error{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.EMLINK, syscall.ENOSYS} {
		path := generations(t)
		f := faultfs.New(noLinkFor{disk, errno}, faultfs.Plan{})
		check(t, atomicfile.Replace(f, path, new_, atomicfile.KeepPrevious))
		mustBe(t, path+".bak", old)
		if f.Syncs() != 3 {
			t.Errorf("%v: %d syncs", errno, f.Syncs())
		}
	}
}

type noLinkFor struct {
	atomicfile.FS
	err error
}

func (f noLinkFor) Link(string, string) error { return f.err }

// TestReadTrusted: the same plants are refused, as themselves and behind a link;
// what is root's own is taken.
func TestReadTrusted(t *testing.T) {
	for reason, plant := range plants {
		t.Run(reason, func(t *testing.T) {
			if strings.Contains(reason, "uid") || strings.Contains(reason, "device") {
				testenv.NeedRoot(t)
			}
			dir := t.TempDir()
			path, target := filepath.Join(dir, "settings"), filepath.Join(dir, "target")
			check(t, os.WriteFile(target, old, 0o600))
			if strings.Contains(reason, "link") {
				check(t, os.Symlink("target", path))
				data, err := atomicfile.ReadTrusted(disk, path, 1<<20)
				if err != nil || !bytes.Equal(data, old) {
					t.Errorf("a link: %v", err)
				}
				check(t, os.Remove(target))
				_, err = atomicfile.ReadTrusted(disk, path, 1<<20)
				refused(t, err, path, "leads nowhere")
				return
			}
			check(t, plant(path))
			link := filepath.Join(t.TempDir(), "link")
			check(t, os.Symlink(path, link))
			for _, name := range []string{path, link} {
				_, err := atomicfile.ReadTrusted(disk, name, 1<<20)
				refused(t, err, name, reason)
			}
		})
	}
}

func TestReadTrustedRefusesADirectoryOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "settings")
	check(t, os.WriteFile(path, old, 0o644))
	if data, err := atomicfile.ReadTrusted(disk, path, int64(len(old))); err != nil || !bytes.Equal(data, old) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
	if _, err := atomicfile.ReadTrusted(disk, path, int64(len(old)-1)); !errors.Is(err, keystore.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if _, err := atomicfile.ReadTrusted(disk, path+".not", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	check(t, os.Chmod(dir, 0o777))
	_, err := atomicfile.ReadTrusted(disk, path, 1<<20)
	refused(t, err, dir, "can be written by others")
}

// TestReadTrustedFollowsOwnLinks, and no link that others can have made. In each case
// home/settings is to be read; own/file is what a link is to lead to.
func TestReadTrustedFollowsOwnLinks(t *testing.T) {
	mkdir := func(mode fs.FileMode, dir string) error {
		return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode))
	}
	for name, c := range map[string]struct {
		root bool                               // needed to make it
		make func(in func(string) string) error // in is below the test's directory
		at   string                             // what is refused
		why  string                             // "" is nothing
	}{
		"own link": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../own/file", in("home/settings")))
		}, "", ""},
		"own chain": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink(in("own/./next"), in("home/settings")), os.Symlink("../own//file", in("own/next")))
		}, "", ""},
		"own directory": {false, func(in func(string) string) error {
			return errors.Join(os.Symlink("own", in("home")), os.Symlink("file", in("own/settings")))
		}, "", ""},
		"up from where a link leads": {false, func(in func(string) string) error {
			return errors.Join(os.MkdirAll(in("a/b"), 0o700), os.Mkdir(in("home"), 0o700), os.Symlink("a/b", in("l")),
				os.Symlink("../l/../file", in("home/settings")), os.Rename(in("own/file"), in("a/file")))
		}, "", ""},
		"40 links": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), chain(in("home/settings"), 39, in("own/file")))
		}, "", ""},
		"41 links": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), chain(in("home/settings"), 40, in("own/file")))
		}, "home/settings", "too many symbolic links"},
		"a loop": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("settings", in("home/settings")))
		}, "home/settings", "too many symbolic links"},
		"a loop of directories": {false, func(in func(string) string) error {
			return os.Symlink("home", in("home"))
		}, "home", "too many symbolic links"},
		"sticky": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../store/file", in("home/settings")),
				mkdir(0o777|fs.ModeSticky, in("store")), os.Symlink("end", in("store/file")), os.WriteFile(in("store/end"), old, 0o600))
		}, "", ""},
		"a file where others can put files": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../store/file", in("home/settings")),
				mkdir(0o770, in("store")), os.WriteFile(in("store/file"), old, 0o600))
		}, "store/file", "is in a directory that can be written by others (mode 0770)"},
		"a link in the middle where others can put files": {false, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../store/file", in("home/settings")),
				mkdir(0o777, in("store")), os.Symlink("../own/file", in("store/file")))
		}, "store/file", "is in a directory that can be written by others (mode 0777)"},
		"a directory where others can put files": {false, func(in func(string) string) error {
			return errors.Join(mkdir(0o777, in("store")), os.Symlink("../own", in("store/dir")), os.Symlink("store/dir", in("home")),
				os.Symlink("file", in("own/settings")))
		}, "store/dir", "is in a directory that can be written by others (mode 0777)"},
		"another's link in a sticky directory": {true, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../store/file", in("home/settings")),
				mkdir(0o777|fs.ModeSticky, in("store")), os.Symlink("../own/file", in("store/file")), os.Lchown(in("store/file"), 65534, -1))
		}, "store/file", "is a symbolic link that belongs to uid 65534"},
		"another's link for a directory": {true, func(in func(string) string) error {
			return errors.Join(os.Symlink("own", in("home")), os.Symlink("file", in("own/settings")), os.Lchown(in("home"), 65534, -1))
		}, "home", "is a symbolic link that belongs to uid 65534"},
		"own link in another's directory": {true, func(in func(string) string) error {
			return errors.Join(os.Mkdir(in("home"), 0o700), os.Symlink("../store/file", in("home/settings")),
				mkdir(0o755, in("store")), os.Symlink("../own/file", in("store/file")), os.Chown(in("store"), 65534, -1))
		}, "store/file", "is in a directory that belongs to uid 65534"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root {
				testenv.NeedRoot(t)
			}
			base, err := filepath.EvalSymlinks(t.TempDir())
			check(t, err)
			in := func(name string) string { return filepath.Join(base, name) }
			check(t, errors.Join(os.Mkdir(in("own"), 0o700), os.WriteFile(in("own/file"), old, 0o600)))
			check(t, c.make(in))
			data, err := atomicfile.ReadTrusted(disk, in("home/settings"), 1<<20)
			if c.why != "" {
				refused(t, err, in(c.at), c.why)
			} else if err != nil || !bytes.Equal(data, old) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
}

// chain makes a link at path that leads through n others to a file.
func chain(path string, n int, file string) error {
	for ; n > 0; n-- {
		next := path + "."
		if err := os.Symlink(next, path); err != nil {
			return err
		}
		path = next
	}
	return os.Symlink(file, path)
}

func TestReadTrustedTakesRootsFiles(t *testing.T) {
	if _, err := os.Stat("/etc/passwd"); err != nil {
		testenv.Missing(t, "a file of root")
	}
	if data, err := atomicfile.ReadTrusted(disk, "/etc/passwd", 1<<20); err != nil || len(data) == 0 {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}
