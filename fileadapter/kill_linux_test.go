package fileadapter

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
)

// operation is a change that a second process makes while it is killed or its
// system calls fail. Afterwards the store must be before or after, and after if
// the process had said so.
type operation struct {
	before, after map[string]string // nil: no store
	run           func(context.Context, *Adapter) error
}

var base = map[string]string{"one": "1", "two": "2", "three": "3"}

var operations = map[string]operation{
	"create": {nil, base, func(ctx context.Context, a *Adapter) error { return makeStore(ctx, a, base) }},
	"put":    {base, with("four", "4"), put("four", "4")},
	"update": {base, with("two", "second"), put("two", "second")},
	"delete": {base, with("two", ""), func(ctx context.Context, a *Adapter) error {
		return a.Update(ctx, func(w keystore.Writer) error { return w.Delete(tokenKey("two")) })
	}},
	"header": {base, base, func(ctx context.Context, a *Adapter) error { return rekey(ctx, a, slotB) }},
}

func with(name, value string) map[string]string {
	m := maps.Clone(base)
	delete(m, name)
	if value != "" {
		m[name] = value
	}
	return m
}

func put(name, value string) func(context.Context, *Adapter) error {
	return func(ctx context.Context, a *Adapter) error {
		return a.Update(ctx, func(w keystore.Writer) error { return putAll(w, map[string]string{name: value}) })
	}
}

// child runs one operation, or the endless loop of TestRandomKills, in a
// process of its own. It keeps to one thread, since strace counts by thread.
func child(name, path, keys string) error {
	runtime.LockOSThread()
	k, err := keychainFrom(keys)
	if err != nil {
		return err
	}
	a, err := Open(path, k.unseal, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if name != "loop" {
		return operations[name].run(ctx, a)
	}
	for n := 1; ; n++ {
		if err := put("counter", fmt.Sprint(n))(ctx, a); err != nil {
			return err
		}
		fmt.Println(n) // acknowledged
	}
}

// childCommand is how to run child under a tracer.
func childCommand(t testing.TB, k keychain, name, path string, tracer ...string) *exec.Cmd {
	args := append(tracer, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FILEADAPTER_CHILD="+name, "FILEADAPTER_PATH="+path, "FILEADAPTER_KEYS="+k.String(),
		"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// systemCalls are those by which a store can be harmed or its state learned.
var systemCalls = []string{
	"openat", "read", "write", "pwrite64", "close", "fsync", "fdatasync", "flock", "fstat", "newfstatat", "fchmod", "fchmodat",
	"mkdirat", "linkat", "link", "renameat", "renameat2", "rename", "unlinkat", "unlink", "ftruncate", "fcntl",
}

// traced runs every operation with a fault at every system call that it makes.
func traced(t *testing.T, fault string) {
	strace := testenv.Need(t, "strace")
	k := newKeychain(t)
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 0
			from := prepared(t, k, op)
			for call, count := range countCalls(t, strace, k, name, copyTree(t, from)) {
				for n := 1; n <= count; n++ {
					points++
					dir := copyTree(t, from)
					cmd := childCommand(t, k, name, filepath.Join(dir, "tokens.json"), strace, "-f", "-qq", "-o", "/dev/null",
						"-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n))
					acknowledged := cmd.Run() == nil
					checkAfter(t, k, op, dir, acknowledged, fmt.Sprintf("%s %s %d", name, call, n))
					os.RemoveAll(filepath.Dir(dir))
				}
			}
			if points < 40 {
				t.Errorf("only %d points: the trace misses the store's system calls", points)
			}
			t.Logf("%d points", points)
		})
	}
}

// TestSIGKILLAtEverySystemCall: nothing acknowledged is lost, nothing is torn.
func TestSIGKILLAtEverySystemCall(t *testing.T) { traced(t, "signal=KILL") }

// TestEIOAtEverySystemCall: a call that fails gives an error and the old state
// or the new one, and success is the new one.
func TestEIOAtEverySystemCall(t *testing.T) { traced(t, "error=EIO") }

// TestENOSPCAtEverySystemCall is the same for a full disk.
func TestENOSPCAtEverySystemCall(t *testing.T) { traced(t, "error=ENOSPC") }

func prepared(t *testing.T, k keychain, op operation) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if op.before != nil {
		if err := makeStore(t.Context(), k.open(t, filepath.Join(dir, "tokens.json")), op.before); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// countCalls runs the operation once without faults.
func countCalls(t *testing.T, strace string, k keychain, name, dir string) map[string]int {
	trace := filepath.Join(t.TempDir(), "trace")
	known := ""
	for _, call := range systemCalls {
		known += ",?" + call
	}
	out, err := childCommand(t, k, name, filepath.Join(dir, "tokens.json"), strace, "-f", "-qq", "-o", trace, "-e", "trace="+known[1:]).CombinedOutput()
	if err != nil {
		t.Fatalf("without faults: %v: %s", err, out)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, m := range regexp.MustCompile(`(?m)^\d+ +([a-z0-9]+)\(`).FindAllSubmatch(data, -1) {
		counts[string(m[1])]++
	}
	return counts
}

func checkAfter(t *testing.T, k keychain, op operation, dir string, acknowledged bool, point string) {
	path := filepath.Join(dir, "tokens.json")
	a := k.open(t, path)
	got, err := read(t.Context(), a)
	switch {
	case err != nil:
		t.Errorf("%s: the store cannot be read: %v", point, err)
		return
	case acknowledged && !maps.Equal(got, op.after):
		t.Errorf("%s: acknowledged, but the store holds %v", point, got)
	case !maps.Equal(got, op.before) && !maps.Equal(got, op.after) || (got == nil) != (op.before == nil) && (got == nil) != (op.after == nil):
		t.Errorf("%s: torn: the store holds %v", point, got)
	}
	if got == nil {
		err = makeStore(t.Context(), a, base)
	} else {
		err = put("next", "5")(t.Context(), a)
	}
	if err != nil {
		t.Errorf("%s: the next process cannot write: %v", point, err)
	}
	if left := tempLeft(t, dir); len(left) > 0 {
		t.Errorf("%s: the next process left %v", point, left)
	}
}

// TestRandomKills kills a process that stores without pause, 200 times: what it
// had acknowledged is there, whole.
func TestRandomKills(t *testing.T) {
	k := newKeychain(t)
	dir := prepared(t, k, operations["put"])
	path := filepath.Join(dir, "tokens.json")
	lost, stored := 0, 0
	for range 200 {
		acknowledged := killInLoop(t, k, path)
		got, err := read(t.Context(), k.open(t, path))
		if err != nil {
			t.Fatalf("after %q the store cannot be read: %v", acknowledged, err)
		}
		for name, value := range base {
			if got[name] != value {
				t.Errorf("record %q is %q", name, got[name])
			}
		}
		stored++
		if less(got["counter"], acknowledged) {
			lost++
			t.Errorf("acknowledged %s, but the store holds %q", acknowledged, got["counter"])
		}
	}
	t.Logf("%d kills, %d lost", stored, lost)
}

// killInLoop lets the loop acknowledge a few stores and kills it in the middle
// of one; it returns the last acknowledgement.
func killInLoop(t *testing.T, k keychain, path string) string {
	cmd := childCommand(t, k, "loop", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	buf := make([]byte, 64)
	for strings.Count(seen.String(), "\n") < 3 {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("the loop ended by itself: %v", err)
		}
		seen.Write(buf[:n])
	}
	cmd.Process.Kill()
	seen.ReadFrom(out) // what it had acknowledged before the signal came
	cmd.Wait()
	lines := strings.Split(strings.TrimSpace(seen.String()), "\n")
	return lines[len(lines)-1]
}

func less(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }
