//go:build unix

package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

func TestTheModeDoesNotDependOnTheUmask(t *testing.T) {
	for _, mask := range []string{"000", "022", "077", "777"} {
		path := lockPath(t)
		counter := path + ".counter"
		check(t, os.WriteFile(counter, []byte("0"), 0o600))
		cmd := helper(t, "count", path, counter, "1")
		cmd.Args = append([]string{"sh", "-c", "umask " + mask + `; exec "$0" "$@"`}, cmd.Args...)
		cmd.Path = "/bin/sh"
		check(t, cmd.Run())
		info, err := os.Lstat(path)
		check(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("umask %s: mode %v", mask, info.Mode())
		}
	}
}

func TestAWrongModeIsPutRight(t *testing.T) {
	path := lockPath(t)
	check(t, os.WriteFile(path, nil, 0o600))
	check(t, os.Chmod(path, 0o666))
	check(t, lock(t, path)())
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTheLockOfAKilledHolderPassesOn(t *testing.T) {
	path := lockPath(t)
	other, _ := holdElsewhere(t, path)
	waiting := ask(t.Context(), t, path)
	check(t, other.Kill())
	a := <-waiting
	check(t, a.err)
	check(t, a.unlock())
}

// A child has a copy of every descriptor between fork and exec.
func TestUnlockIsNotKeptUpByACopyOfTheDescriptor(t *testing.T) {
	path := lockPath(t)
	l, err := acquire(path, false)
	check(t, err)
	copied := -1
	check(t, control(l.file, func(fd int) (err error) {
		copied, err = unix.Dup(fd)
		return err
	}))
	defer unix.Close(copied)
	check(t, l.release())
	again, err := acquire(path, false)
	check(t, err)
	check(t, again.release())
}

func TestAStoppedHolderKeepsTheLockAndIsNamed(t *testing.T) {
	path := lockPath(t)
	other, _ := holdElsewhere(t, path)
	check(t, other.Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Lock(ctx, path)
	if !errors.Is(err, keystore.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if want := fmt.Sprintf("pid %d ", other.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}
}

func TestAnErrorIsToldToAllWhoWait(t *testing.T) {
	path := lockPath(t)
	unlock := lock(t, path)
	one, two := ask(t.Context(), t, path), ask(t.Context(), t, path)
	check(t, os.Remove(path))
	check(t, os.Mkdir(path, 0o700))
	check(t, unlock())
	for _, w := range []<-chan answer{one, two} {
		if a := <-w; !errors.Is(a.err, keystore.ErrTampered) {
			t.Errorf("got %v", a.err)
		}
	}
	awaitIdle(path)
}

func TestOneWhoWaitedForADeletedFileTakesTheNewOne(t *testing.T) {
	path := lockPath(t)
	_, letGo := holdElsewhere(t, path)
	waiting := ask(t.Context(), t, path)
	check(t, os.Remove(path))
	letGo()
	a := <-waiting
	check(t, a.err)

	ctx, cancel := context.WithCancel(t.Context())
	next := ask(ctx, t, path)
	cancel()
	if err := (<-next).err; !errors.Is(err, keystore.ErrBusy) {
		t.Errorf("two hold the lock: %v", err)
	}
	check(t, a.unlock())
}

func TestWhatIsNotOurLockFileIsRefusedByName(t *testing.T) {
	for reason, plant := range map[string]func(path string) error{
		"is a symbolic link": func(path string) error {
			os.WriteFile(path+".target", nil, 0o600)
			return os.Symlink(path+".target", path)
		},
		"is a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"is a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"is a socket": func(path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		},
		"has 2 names": func(path string) error {
			os.WriteFile(path, nil, 0o600)
			return os.Link(path, path+".2")
		},
		"belongs to uid 65534": func(path string) error {
			os.WriteFile(path, nil, 0o600)
			return os.Chown(path, 65534, 65534)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			if strings.Contains(reason, "uid") {
				testenv.NeedRoot(t) // to give files away
			}
			dir, err := os.MkdirTemp("", "lock") // t.TempDir is too long for a socket
			check(t, err)
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "store")
			check(t, plant(path))
			_, err = Lock(t.Context(), path)
			if !errors.Is(err, keystore.ErrTampered) {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{path, reason} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAFileSystemWithoutLocksIsSaidToBeSo(t *testing.T) {
	for _, errno := range []error{unix.ENOLCK, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL} {
		err := explain("/nfs/store", errors.Join(errno))
		if !errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, errno) || !strings.Contains(err.Error(), "--store file:PATH") {
			t.Errorf("%v: got %v", errno, err)
		}
	}
	if err := explain("/nfs/store", unix.EIO); errors.Is(err, keystore.ErrUnavailable) || !errors.Is(err, unix.EIO) {
		t.Errorf("EIO: got %v", err)
	}
}

func TestNothingIsLeftAfterUse(t *testing.T) {
	if runtime.GOOS != "linux" {
		testenv.Missing(t, "/proc, to count descriptors")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes forgotten files
	path := lockPath(t)
	check(t, lock(t, path)())
	descriptors, goroutines := openFiles(t), runtime.NumGoroutine()

	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				cancel()
			}
			defer cancel()
			unlock, err := Lock(ctx, path)
			if i%3 == 0 {
				cancel()
			}
			if err == nil {
				unlock()
			}
		})
	}
	all.Wait()
	cancelWhileHeld(t, path)
	awaitIdle(path)
	tryWhileHeld(t, path)
	for runtime.NumGoroutine() > goroutines { // a leak shows as the test's time-out
		runtime.Gosched()
	}
	if n := openFiles(t); n != descriptors {
		t.Errorf("%d descriptors are open, before it were %d", n, descriptors)
	}
}

func cancelWhileHeld(t *testing.T, path string) {
	unlock := lock(t, path)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		waiting := ask(ctx, t, path)
		cancel()
		if a := <-waiting; a.err == nil {
			t.Error("two hold the lock")
		}
	}
	check(t, unlock())
}

func tryWhileHeld(t *testing.T, path string) {
	l, err := acquire(path, false)
	check(t, err)
	for range 20 {
		if _, err := acquire(path, false); !errors.Is(err, errHeld) {
			t.Errorf("got %v", err)
		}
	}
	check(t, l.release())
}

func openFiles(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(names)
}

// TestHolderIsNamed by its process, and nothing else is taken for one.
func TestHolderIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if pid := HolderPID(path); pid != 0 {
		t.Errorf("of no file: %d", pid)
	}
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if pid := HolderPID(path); pid != os.Getpid() {
		t.Errorf("%d, want %d", pid, os.Getpid())
	}
	for _, text := range []string{"", "pid", "pid x on here", "hello", "pid 99999999999999999999 on here"} {
		check(t, os.WriteFile(path, []byte(text), 0o600))
		if pid := HolderPID(path); pid != 0 {
			t.Errorf("%q: %d", text, pid)
		}
	}
}
