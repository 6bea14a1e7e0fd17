package fileadapter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

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
