package secretmem

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
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestMain is also the processes that the tests start: they have this variable.
func TestMain(m *testing.M) {
	child := map[string]func() error{
		"protected":    func() error { return errors.Join(Protect(), show()) },
		"open":         show,
		"killed":       func() error { return errors.Join(Protect(), unix.Kill(os.Getpid(), unix.SIGABRT)) },
		"killed, open": func() error { return unix.Kill(os.Getpid(), unix.SIGABRT) },
		"starts": func() error {
			cmd := exec.Command("/bin/sh", "-c", "ulimit -Sc; ulimit -Sc unlimited && ulimit -Sc; cat /proc/$$/environ >/dev/null && echo readable")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return errors.Join(Protect(), cmd.Run())
		},
	}[os.Getenv("SECRETMEM_CHILD")]
	if child == nil {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// show says how this process is closed, and waits until its standard input ends.
func show() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	var limit unix.Rlimit
	err = errors.Join(err, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
	fmt.Println("dumpable", dumpable, "core", limit.Cur)
	_, _ = os.Stdin.Read(make([]byte, 1))
	return err
}

// unlimited runs this test's binary as a child that may leave core files.
func unlimited(t *testing.T, child string) *exec.Cmd {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max < unix.RLIM_INFINITY {
		testenv.Missing(t, "core files, which are limited here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -c unlimited && exec "$0"`, self)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"SECRETMEM_CHILD=" + child, "PATH=" + os.Getenv("PATH"), "GOTRACEBACK=crash", "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func TestProtectedProcessIsNotDumpable(t *testing.T) {
	for child, want := range map[string]string{
		"open":      "dumpable 1 core 18446744073709551615\n",
		"protected": "dumpable 0 core 0\n",
	} {
		if out, err := unlimited(t, child).Output(); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v; want %q", child, out, err, want)
		}
	}
}

// TestNoOtherProcessReadsIt: of the same user, who may read the one that is open.
func TestNoOtherProcessReadsIt(t *testing.T) {
	testenv.NeedRoot(t)
	setpriv := testenv.Need(t, "setpriv")
	nobody := func(args ...string) []string {
		return append([]string{setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"}, args...)
	}
	self := executable(t)
	for child, readable := range map[string]bool{"open": true, "protected": false} {
		args := nobody(self)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = []string{"SECRETMEM_CHILD=" + child, "GORACE=atexit_sleep_ms=0"}
		stdin, _ := cmd.StdinPipe()
		stdout, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 100)); err != nil { // it is as it will be
			t.Fatal(err)
		}
		for _, file := range []string{"environ", "mem"} {
			args := nobody("head", "-c", "0", fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, file))
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if (err == nil) != readable {
				t.Errorf("%s: %s: %v, %s", child, file, err, out)
			}
		}
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", child, err)
		}
	}
}

// executable copies this test's binary to where anybody may run it.
func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "secretmem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(self)
	copied := filepath.Join(dir, "child")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(copied, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestKilledProcessLeavesNoCore(t *testing.T) {
	for child, dumps := range map[string]bool{"killed": false, "killed, open": true} {
		cmd := unlimited(t, child)
		err := cmd.Run()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || status.Signal() != syscall.SIGABRT {
			t.Fatalf("%s: %v", child, err)
		}
		if status.CoreDump() != dumps {
			t.Errorf("%s: a core was dumped: %v", child, status.CoreDump())
		}
	}
}

// TestStartedProgramsAreFree of what was done to this process, if they want.
func TestStartedProgramsAreFree(t *testing.T) {
	out, err := unlimited(t, "starts").Output()
	if want := "0\nunlimited\nreadable\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

func TestMemoryIsLockedAndNotDumped(t *testing.T) {
	m := made(t, len(secret))
	flags := flagsOf(t, uintptr(unsafe.Pointer(m.pages)))
	for _, flag := range []string{"lo", "dd"} {
		if !slices.Contains(flags, flag) {
			t.Errorf("the flags of the page are %q, without %s", flags, flag)
		}
	}
	address := uintptr(unsafe.Pointer(m.pages))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if flags := flagsOf(t, address); slices.Contains(flags, "lo") {
		t.Error("the page is still locked after Close")
	}
}

// flagsOf returns the VmFlags of the mapping that has this address, none if
// there is none.
func flagsOf(t *testing.T, address uintptr) []string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(smaps)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	return nil
}

func TestMemoryThatMayNotBeLocked(t *testing.T) {
	testenv.NeedRoot(t)
	setpriv := testenv.Need(t, "setpriv")
	cmd := exec.Command("/bin/sh", "-c", `ulimit -l 0 && exec "$0" --reuid=65534 --regid=65534 --clear-groups "$1" -test.run='^TestMemoryKeepsWhatIsWritten$'`, setpriv, executable(t))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "ulimit -l") {
		t.Errorf("%v\n%s", err, out)
	}
}
