package sqliteadapter

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
)

// changing are the calls by which something changes on the disk: killed between two of
// them, a process leaves the same.
var changing = []string{"openat", "write", "pwrite64", "fsync", "fdatasync", "fchmod", "mkdirat", "mkdir",
	"renameat", "renameat2", "rename", "unlinkat", "unlink", "ftruncate"}

// walk runs an operation with a fault at its calls, in a process of its own.
func walk(t *testing.T, s site, name, fault string, stride int, check func(s site, acknowledged bool, point string)) {
	t.Helper()
	fresh := func(from string) string {
		dir := filepath.Join(t.TempDir(), "store")
		copyTree(t, from, dir)
		return dir
	}
	walkIn(t, s, fresh, name, fault, stride, check)
}

// walkIn is walk on the copies that fresh makes of a directory.
func walkIn(t *testing.T, s site, fresh func(from string) string, name, fault string, stride int, check func(s site, acknowledged bool, point string)) {
	t.Helper()
	var complaints bytes.Buffer
	op, from := operations[name], newSite(t, s.mode)
	from.keys = s.keys
	op.prepared(t, from)
	points := faultcalls.Walk(t, fault, faultcalls.Program{
		Calls:  changing,
		Stride: stride,
		Fresh:  func() string { return fresh(filepath.Dir(from.path)) },
		Command: func(dir string, tracer []string) *exec.Cmd {
			cmd := s.at(dir).script(tracer, op.line)
			if strings.HasPrefix(tracer[len(tracer)-1], "inject=") {
				cmd.Stderr = &complaints
			}
			return cmd
		},
		Check: func(dir string, acknowledged bool, point string) {
			if complaints.Len() > 0 {
				t.Errorf("%s: %s", point, &complaints)
				complaints.Reset()
			}
			check(s.at(dir), acknowledged, s.mode+" "+name+": "+point)
		},
	})
	t.Logf("%d points", points)
}

// stride is for a walk of which CI takes each n-th point; GLOBUS_KEYS_STRIDE=1 takes all.
func stride(n int) int {
	if all, err := strconv.Atoi(os.Getenv("GLOBUS_KEYS_STRIDE")); err == nil {
		return all
	}
	return n
}

// TestSIGKILLAtEverySystemCall: nothing acknowledged is lost, nothing is torn, and a
// store that is half made is none.
func TestSIGKILLAtEverySystemCall(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		for name, op := range operations {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				walk(t, newSite(t, mode), name, faultcalls.Kill, stride(2), func(s site, acknowledged bool, point string) {
					op.check(t, s, acknowledged, point)
				})
			})
		}
	})
}

// TestRandomKills kills a process that stores without pause: what it had acknowledged is
// there.
func TestRandomKills(t *testing.T) {
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		a := s.made(t)
		stored := 0
		for range 20 {
			p := s.start(t)
			for range 200 {
				p.tell("count 1")
			}
			for range 3 {
				p.answers("count 1")
			}
			p.cmd.Process.Kill()
			said, _ := io.ReadAll(p.out)
			acknowledged := stored + 3 + strings.Count(string(said), "ok\n")
			p.cmd.Wait()
			got, err := get(t.Context(), a, "n")
			stored, _ = strconv.Atoi(got)
			if err != nil || stored < acknowledged || stored > acknowledged+1 {
				t.Errorf("acknowledged %d, but the store holds %q (%v)", acknowledged, got, err)
			}
		}
	})
}
