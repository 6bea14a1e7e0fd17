package lockfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// The test binary is also the other process: with this variable it runs one of
// the helpers instead of the tests.
const helperVariable = "LOCKFILE_TEST_HELPER"

var helpers = map[string]func(args []string) error{
	"hold":  helperHold,
	"count": helperCount,
}

func TestMain(m *testing.M) {
	help := helpers[os.Getenv(helperVariable)]
	if help == nil {
		os.Exit(m.Run())
	}
	if err := help(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// helperHold holds a lock until its standard input ends.
func helperHold(args []string) error {
	unlock, err := Lock(context.Background(), args[0])
	if err != nil {
		return err
	}
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin)
	return unlock()
}

func helperCount(args []string) error {
	n, err := strconv.Atoi(args[2])
	for i := 0; i < n && err == nil; i++ {
		err = increment(args[0], args[1])
	}
	return err
}

func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	// A program under the race detector takes a second to end, unless told not to.
	cmd.Env = append(os.Environ(), helperVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// holdElsewhere has another process hold the lock until it is killed, or let
// go by the returned function.
func holdElsewhere(t *testing.T, path string) (other *os.Process, letGo func()) {
	t.Helper()
	cmd := helper(t, "hold", path)
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	letGo = sync.OnceFunc(func() {
		in.Close()
		cmd.Wait()
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		letGo()
	})
	return cmd.Process, letGo
}

// increment adds one to a plain file, under the lock at path.
func increment(path, counter string) error {
	unlock, err := Lock(context.Background(), path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(counter)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	if err := os.WriteFile(counter, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err
	}
	return unlock()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lockPath returns a path whose directory is removed when nothing of this process
// has the lock file open any more: where Windows does not delete by POSIX (wine,
// FAT), the name of an open file stays, and the directory with it.
func lockPath(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "store")
	t.Cleanup(func() { awaitIdle(path) })
	return path
}

func lock(t *testing.T, path string) func() error {
	t.Helper()
	unlock, err := Lock(t.Context(), path)
	check(t, err)
	t.Cleanup(func() { unlock() })
	return unlock
}

// ask calls Lock in a goroutine and returns when that stands in the queue.
func ask(ctx context.Context, t *testing.T, path string) <-chan answer {
	t.Helper()
	before := waiters(path)
	got := make(chan answer, 1)
	go func() {
		unlock, err := Lock(ctx, path)
		got <- answer{unlock, err}
	}()
	for waiters(path) == before {
		runtime.Gosched()
	}
	return got
}

type answer struct {
	unlock func() error
	err    error
}

func waiters(path string) int {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if q := registry.queues[path]; q != nil {
		return len(q.waiting)
	}
	return 0
}

// awaitIdle returns when this process has nothing to do with the lock any more.
func awaitIdle(path string) {
	for busy := true; busy; runtime.Gosched() {
		registry.mu.Lock()
		busy = registry.queues[path] != nil
		registry.mu.Unlock()
	}
}

func TestNoIncrementIsLostAmongGoroutinesAndProcesses(t *testing.T) {
	const processes, goroutines, each = 3, 50, 10
	path := lockPath(t)
	counter := path + ".counter"
	check(t, os.WriteFile(counter, []byte("0"), 0o600))

	var all sync.WaitGroup
	for range processes {
		all.Go(func() {
			if err := helper(t, "count", path, counter, "100").Run(); err != nil {
				t.Error(err)
			}
		})
	}
	for range goroutines {
		all.Go(func() {
			for range each {
				if err := increment(path, counter); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(counter)
	check(t, err)
	if want := strconv.Itoa(processes*100 + goroutines*each); string(text) != want {
		t.Errorf("the counter is %s, want %s", text, want)
	}
}

func TestWaitersOfOneProcessGetTheLockInTheirOrder(t *testing.T) {
	path := lockPath(t)
	unlock := lock(t, path)
	var waiting []<-chan answer
	for range 10 {
		waiting = append(waiting, ask(t.Context(), t, path))
	}
	check(t, unlock())
	for i, w := range waiting {
		a := <-w // the later ones cannot have it before this one gives it back
		check(t, a.err)
		for _, later := range waiting[i+1:] {
			if len(later) > 0 {
				t.Fatal("one who came later has been served")
			}
		}
		check(t, a.unlock())
	}
	awaitIdle(path)
}

func TestACancelledWaiterReturnsWhileTheLockIsHeld(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, path string) (pid int){
		"by this process":    func(t *testing.T, path string) int { lock(t, path); return os.Getpid() },
		"by another process": func(t *testing.T, path string) int { p, _ := holdElsewhere(t, path); return p.Pid },
	} {
		t.Run(name, func(t *testing.T) {
			path := lockPath(t)
			pid := hold(t, path)
			reason := errors.New("the user went home")
			ctx, cancel := context.WithCancelCause(t.Context())
			waiting := ask(ctx, t, path)
			cancel(reason)
			err := (<-waiting).err
			for _, want := range []error{keystore.ErrBusy, context.Canceled, reason} {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			if want := fmt.Sprintf("held by pid %d on ", pid); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		})
	}
}

func TestAnEndedContextTakesNoLock(t *testing.T) {
	path := lockPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file was opened all the same")
	}
}

func TestOneThreadWaitsForAll(t *testing.T) {
	path := lockPath(t)
	_, letGo := holdElsewhere(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled []<-chan answer
	for range 20 {
		cancelled = append(cancelled, ask(ctx, t, path))
	}
	cancel()
	for _, c := range cancelled {
		<-c
	}
	last := ask(t.Context(), t, path)
	if n := inKernel(); n != 1 {
		t.Errorf("%d goroutines wait in the kernel", n)
	}
	letGo()
	a := <-last
	check(t, a.err)
	check(t, a.unlock())
}

func inKernel() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "lockfile.(*queue).await(")
}

func TestUnlockTwiceGivesNothingElseFree(t *testing.T) {
	path := lockPath(t)
	first := lock(t, path)
	check(t, first())
	second := lock(t, path)
	check(t, first())
	ctx, cancel := context.WithCancel(t.Context())
	waiting := ask(ctx, t, path)
	cancel()
	if err := (<-waiting).err; !errors.Is(err, keystore.ErrBusy) {
		t.Errorf("the lock was free: %v", err)
	}
	check(t, second())
	awaitIdle(path)
}

func TestALockThatNobodyWaitsForAnyMoreIsGivenBack(t *testing.T) {
	path := lockPath(t)
	_, letGo := holdElsewhere(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := ask(ctx, t, path)
	cancel()
	<-waiting
	letGo()
	awaitIdle(path)
	l, err := acquire(path, false)
	check(t, err)
	check(t, l.release())
}

// Between looking for others and finding the lock taken, others may come.
func TestWhoCameFirstStaysFirst(t *testing.T) {
	path := lockPath(t)
	q, mine := enter(path)
	if mine != nil {
		t.Fatal("the queue was not empty")
	}
	_, second := enter(path)
	first := q.goFirst()
	if q.first() != first || q.first() != second || q.first() != nil {
		t.Error("the queue is out of order")
	}
	q.next()
}

func TestALockWhoseUnlockIsForgottenStaysHeld(t *testing.T) {
	path := lockPath(t)
	if _, err := Lock(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		collectGarbage()
	}
	if _, err := acquire(path, false); !errors.Is(err, errHeld) {
		t.Errorf("got %v", err)
	}
	q := registry.queues[path] // nobody else uses the registry now
	check(t, q.held.release())
	q.keep(nil)
	q.next()
}

// collectGarbage returns when what was unreachable has been cleaned up.
func collectGarbage() {
	cleaned := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(done chan struct{}) { close(done) }, cleaned)
	runtime.GC()
	<-cleaned
}

func TestWhatTheFileSaysIsQuotedAndCut(t *testing.T) {
	path := lockPath(t)
	check(t, os.WriteFile(path, []byte("\x1b[2Jnobody, go on"+strings.Repeat("x", 1000)), 0o600))
	said := holder(path)
	if strings.Contains(said, "\x1b") || !strings.Contains(said, "nobody, go on") || len(said) > noteSize+20 {
		t.Errorf("got %q", said)
	}
}

func TestANoteCoversTheOneBefore(t *testing.T) {
	path := lockPath(t)
	check(t, os.WriteFile(path, []byte(strings.Repeat("y", noteSize)), 0o600))
	unlock := lock(t, path)
	defer unlock()
	if said := holder(path); strings.Contains(said, "y") && !strings.HasPrefix(said, "pid ") {
		t.Errorf("got %q", said)
	}
	text, err := os.ReadFile(path)
	check(t, err)
	if len(text) != noteSize || text[noteSize-1] != '\n' || strings.Contains(string(text), "yy") {
		t.Errorf("the file holds %q", text)
	}
}

func TestAMissingDirectoryIsSaid(t *testing.T) {
	_, err := Lock(t.Context(), filepath.Join(t.TempDir(), "no", "store"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
