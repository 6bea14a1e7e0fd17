// Package faultcalls runs a program again and again, each time with a fault at
// another of its system calls: killed there, or told that the call has failed.
// It is for tests, and drives strace.
package faultcalls

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// Faults are what strace can do to a system call.
const (
	Kill        = "signal=KILL"
	NoSpace     = "error=ENOSPC"
	DeviceError = "error=EIO"
)

// calls are those by which a store can be harmed or its state learned. With "?"
// strace accepts a name that this architecture does not have.
var calls = []string{
	"openat", "read", "write", "pwrite64", "close", "fsync", "fdatasync", "flock", "fstat", "newfstatat", "fchmod", "fchmodat",
	"mkdirat", "linkat", "link", "renameat", "renameat2", "rename", "unlinkat", "unlink", "ftruncate", "fcntl",
}

// Program is what is run. strace counts calls by thread: it should keep to one.
type Program struct {
	// Calls are those at which there are faults; nil: all that can harm a store, or tell
	// its state.
	Calls []string

	// Fresh returns a directory in the state before; each run gets its own,
	// which is removed afterwards.
	Fresh func() string
	// Command runs the program on dir, behind tracer.
	Command func(dir string, tracer []string) *exec.Cmd
	// Check looks at dir after a run. acknowledged: the program has ended with
	// exit code 0. point names the call and its number, for messages.
	Check func(dir string, acknowledged bool, point string)
	// Stride leaves out all but each n-th of the system calls, from a random one on,
	// where there are too many. 0: none is left out.
	Stride int
}

// Walk runs p with the fault at every system call that p makes without faults, or each
// n-th, and returns how many these were.
func Walk(t *testing.T, fault string, p Program) (points int) {
	t.Helper()
	strace := testenv.Need(t, "strace")
	stride := max(p.Stride, 1)
	skip, total := rand.IntN(stride), 0
	killed := 0
	for call, count := range p.count(t, strace) {
		total += count
		for n := 1; n <= count; n++ {
			if skip--; skip >= 0 {
				continue
			}
			skip = stride - 1
			points++
			dir := p.Fresh()
			cmd := p.Command(dir, []string{strace, "-f", "-qq", "-o", "/dev/null",
				"-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n)})
			acknowledged := cmd.Run() == nil
			if !acknowledged {
				killed++
			}
			p.Check(dir, acknowledged, fmt.Sprintf("%s at %s %d", fault, call, n))
			os.RemoveAll(dir)
		}
	}
	if total < 30 {
		t.Errorf("only %d points: the trace misses the program's system calls", total)
	}
	if fault == Kill && killed == 0 {
		t.Error("no program was killed")
	}
	return points
}

func (p Program) calls() []string {
	if p.Calls != nil {
		return p.Calls
	}
	return calls
}

// count runs p once without faults and counts its calls.
func (p Program) count(t *testing.T, strace string) map[string]int {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := p.Command(p.Fresh(), []string{strace, "-f", "-qq", "-o", trace, "-e", "trace=?" + strings.Join(p.calls(), ",?")})
	if out, err := cmd.CombinedOutput(); err != nil {
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
