package local

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestGetProcess is no test, but a process that gets a token, with an agent to ask or
// not.
func TestGetProcess(t *testing.T) {
	if flag.Arg(0) != "get" {
		return
	}
	m := &machine{t: t, home: os.Getenv("HOME"), env: map[string]string{}}
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "GLOBUS_KEYS_PASSPHRASE_FILE"} {
		m.env[name] = os.Getenv(name)
	}
	opts := m.options()
	opts.NoAgent = flag.Arg(1) == "no agent"
	m.mustGet(opts, "FakeOne")
}

// TestWithoutAnAgentNothingIsConnected: where there is none, it costs a look at the
// places where its directory could be.
func TestWithoutAnAgentNothingIsConnected(t *testing.T) {
	m := withRuntime(t)
	m.behind("a fine passphrase")
	words := m.file("words", "a fine passphrase\n")
	trace := func(arg string) (stats []string) {
		log := filepath.Join(m.home, "trace")
		cmd := exec.Command(testenv.Need(t, "strace"), "-f", "-qq", "-e", "trace=%network,%file", "-o", log, os.Args[0], "-test.run=^TestGetProcess$", "get", arg)
		cmd.Env = []string{"HOME=" + m.home, "XDG_RUNTIME_DIR=" + m.env["XDG_RUNTIME_DIR"], "GLOBUS_KEYS_PASSPHRASE_FILE=" + words}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			switch {
			case strings.Contains(line, "socket("), strings.Contains(line, "connect("):
				t.Errorf("with %s: %s", arg, line)
			case strings.Contains(line, "stat"):
				stats = append(stats, strings.TrimSpace(line))
			}
		}
		return stats
	}
	with, without := trace("an agent"), trace("no agent")
	if more := len(with) - len(without); more < 1 || more > 8 {
		t.Errorf("%d more calls of stat and the like than without an agent to ask, want some, and no more than 8:\n%s", more, strings.Join(with, "\n"))
	}
}
