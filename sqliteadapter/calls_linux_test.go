package sqliteadapter

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/faultcalls"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestEIOAtEverySystemCall: a call that fails gives an error and the old state or the new
// one, success is the new one, and the same process writes on.
func TestEIOAtEverySystemCall(t *testing.T) { failing(t, faultcalls.DeviceError) }

// TestENOSPCAtEverySystemCall is the same for a full disk.
func TestENOSPCAtEverySystemCall(t *testing.T) { failing(t, faultcalls.NoSpace) }

func failing(t *testing.T, fault string) {
	inBoth(t, func(t *testing.T, mode string) {
		for _, name := range []string{"put and go on", "create"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				walk(t, newSite(t, mode), name, fault, stride(3), func(s site, acknowledged bool, point string) {
					operations[name].check(t, s, acknowledged, point)
				})
			})
		}
	})
}

// TestDiskThatCannotBeRead: the error names the store, whichever read it is, and no value
// is made up.
func TestDiskThatCannotBeRead(t *testing.T) {
	strace := testenv.Need(t, "strace")
	inBoth(t, func(t *testing.T, mode string) {
		s := newSite(t, mode)
		ok(t, "Close", s.made(t).Close())
		failures := 0
		for n := 1; n <= 15; n++ {
			out, err := s.script([]string{strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64",
				"-e", fmt.Sprintf("inject=pread64:error=EIO:when=%d", n)}, "get two").Output()
			_, said, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			if err == nil && said == "ok 2" || len(out) == 0 {
				continue // no read that fails, or one of the program's libraries
			}
			failures++
			if err == nil || !strings.Contains(said, s.path) {
				t.Errorf("read %d fails: it says %q (%v)", n, said, err)
			}
		}
		if failures < 3 {
			t.Errorf("only %d reads have failed", failures)
		}
	})
}

// TestSyncsOfAPut: one in WAL mode, by which the -wal file gets to the disk.
func TestSyncsOfAPut(t *testing.T) {
	for mode, want := range map[string]int{"WAL": 1, "TRUNCATE": 5, "hidden": 1, "lossy": 0} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			ok(t, "Close", s.made(t).Close())
			const more = 20
			if syncs := s.syncs(t, 10+more) - s.syncs(t, 10); syncs != want*more {
				t.Errorf("%d puts cost %d syncs, want %d each", more, syncs, want)
			}
		})
	}
}

// syncs counts those of a process that puts so many times.
func (s site) syncs(t *testing.T, puts int) int {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := s.script([]string{testenv.Need(t, "strace"), "-f", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync"}, fmt.Sprint("puts ", puts))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(trace)
	ok(t, "trace", err)
	return strings.Count(string(data), "sync(")
}
