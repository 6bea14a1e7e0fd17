package sqliteadapter

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// powered is an ext4 file system whose power can be cut.
type powered struct {
	t      *testing.T
	device string
	dir    string // where it is mounted
}

func newPowered(t *testing.T) *powered {
	t.Helper()
	testenv.NeedRoot(t)
	mkfs, losetup := testenv.Need(t, "mkfs.ext4"), testenv.Need(t, "losetup")
	image := filepath.Join(t.TempDir(), "image")
	ok(t, "image", errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 24<<20)))
	if out, err := exec.Command(mkfs, "-q", "-F", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	out, err := exec.Command(losetup, "--find", "--show", image).Output()
	if err != nil {
		testenv.Missing(t, "there is no loop device: "+err.Error())
	}
	d := &powered{t, strings.TrimSpace(string(out)), t.TempDir()}
	t.Cleanup(func() { exec.Command(losetup, "-d", d.device).Run() })
	d.mount()
	t.Cleanup(func() { syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	return d
}

func (d *powered) mount() {
	d.t.Helper()
	ok(d.t, "mount", syscall.Mount(d.device, d.dir, "ext4", 0, ""))
	ok(d.t, "mount", os.Chmod(d.dir, 0o700))
}

// cut is the instant in which the power is gone: nothing gets to the disk from now on,
// and what is in memory only is lost.
func (d *powered) cut() {
	d.t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN
	dir, err := os.Open(d.dir)
	ok(d.t, "cut", err)
	defer dir.Close()
	how := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		testenv.Missing(d.t, "ext4 cannot be shut down: "+errno.Error())
	}
}

// restart mounts the disk again, which repairs the file system. Nothing may be open.
func (d *powered) restart() {
	d.t.Helper()
	ok(d.t, "umount", syscall.Unmount(d.dir, 0))
	d.mount()
}

// fresh returns a copy of a directory that no cut undoes.
func (d *powered) fresh(from string) string {
	d.t.Helper()
	to := filepath.Join(d.dir, rand.Text())
	copyTree(d.t, from, to)
	dir, err := os.Open(to)
	ok(d.t, "sync", err)
	defer dir.Close()
	ok(d.t, "sync", unix.Syncfs(int(dir.Fd())))
	return to
}

// TestPowerCutAfterAPut: 40 cuts right after a put was acknowledged, half of them in each
// mode; none of what was acknowledged is lost.
func TestPowerCutAfterAPut(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		if lost := cuts(t, mode, 20); lost > 0 {
			t.Errorf("of 20 puts %d were lost", lost)
		}
	})
}

// TestPowerCutWithTheLossyOption shows that the cuts are some: with synchronous=NORMAL
// acknowledged puts are lost by them.
func TestPowerCutWithTheLossyOption(t *testing.T) {
	if lost := cuts(t, "lossy", 5); lost == 0 {
		t.Error("no put was lost: the power was not cut, or the option costs a sync")
	}
}

// cuts returns how many acknowledged puts a store loses by so many cuts.
func cuts(t *testing.T, mode string, n int) (lost int) {
	d := newPowered(t)
	s := newSite(t, mode).at(d.dir)
	a := s.made(t)
	d.cut()
	a.Close()
	d.restart()
	a = s.open(t)
	holds(t, a, base, "after a cut of who has made it")
	ok(t, "Close", a.Close())
	for i := range n {
		a = s.open(t)
		for j := range i%3 + 1 { // the -wal is new, or goes on
			ok(t, "put", put(t.Context(), a, "two", strconv.Itoa(10*i+j)))
		}
		d.cut()
		a.Close()
		d.restart()
		a = s.open(t)
		if got, err := get(t.Context(), a, "two"); err != nil || got != strconv.Itoa(10*i+i%3) {
			t.Logf("cut %d: %q, %v", i, got, err)
			lost++
		}
		ok(t, "Close", a.Close())
	}
	return lost
}

// TestPowerCutAtEverySystemCall kills the process at a call and cuts the power at once: a
// store that is being made, or gets another key, is old or new.
func TestPowerCutAtEverySystemCall(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		for _, name := range []string{"create", "rekey"} {
			t.Run(name, func(t *testing.T) {
				d := newPowered(t)
				s := newSite(t, mode)
				walkIn(t, s, d.fresh, name, faultcalls.Kill, stride(6),
					func(s site, acknowledged bool, point string) {
						d.cut()
						d.restart()
						operations[name].check(t, s, acknowledged, point)
					})
			})
		}
	})
}
