package fileadapter

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
)

// traced runs every operation with a fault at every system call that it makes.
func traced(t *testing.T, fault string) {
	k := newKeychain(t)
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := prepared(t, k, op)
			points := faultcalls.Walk(t, fault, faultcalls.Program{
				Fresh: func() string { return copyTree(t, from) },
				Command: func(dir string, tracer []string) *exec.Cmd {
					return childCommand(t, k, name, filepath.Join(dir, "tokens.json"), tracer...)
				},
				Check: func(dir string, acknowledged bool, point string) {
					checkAfter(t, k, op, dir, acknowledged, name+": "+point)
				},
			})
			t.Logf("%d points", points)
		})
	}
}

// TestSIGKILLAtEverySystemCall: nothing acknowledged is lost, nothing is torn.
func TestSIGKILLAtEverySystemCall(t *testing.T) { traced(t, faultcalls.Kill) }

// TestEIOAtEverySystemCall: a call that fails gives an error and the old state
// or the new one, and success is the new one.
func TestEIOAtEverySystemCall(t *testing.T) { traced(t, faultcalls.DeviceError) }

// TestENOSPCAtEverySystemCall is the same for a full disk.
func TestENOSPCAtEverySystemCall(t *testing.T) { traced(t, faultcalls.NoSpace) }

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
