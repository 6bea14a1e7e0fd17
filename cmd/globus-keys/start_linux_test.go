package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/internal/desktoptest"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

// TestVersionAndHelpTouchNothing: no socket is made and no file of the store is
// looked at, whatever the environment offers. That token does both shows that
// the trace would have it.
func TestVersionAndHelpTouchNothing(t *testing.T) {
	s := newSession(t, desktoptest.StartKeyring(t).Bus)
	s.must("import", s.plain())
	s.bus.Setenv("GLOBUS_KEYS_IDENTITY_FILE", "")
	for _, args := range []string{"version", "--help", "token --help", "rekey --help", "unlock --help", "agent run --help", "completion bash"} {
		if found := s.touches(strings.Fields(args)...); len(found) > 0 {
			t.Errorf("globus-keys %s:\n%s", args, strings.Join(found, "\n"))
		}
	}
	found := strings.Join(s.touches("token", "transfer"), "\n")
	for _, want := range []string{"socket(AF_UNIX", "connect(", "tokens.json"} {
		if !strings.Contains(found, want) {
			t.Errorf("the trace of token has no %s:\n%s", want, found)
		}
	}
}

// touches returns the system calls of a command that make a socket, or name the
// store or the session's bus.
func (s *session) touches(args ...string) (found []string) {
	s.t.Helper()
	strace := testenv.Need(s.t, "strace")
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	log := filepath.Join(s.bus.Dir, "trace")
	command := filepath.Join(s.bus.Dir, "globus-keys") // testscript goes by the name
	os.Remove(command)
	if err := os.Symlink(self, command); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(strace, append([]string{"-f", "-qq", "-e", "trace=%network,%file", "-o", log, command}, args...)...)
	cmd.Env = s.bus.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	for line := range strings.Lines(s.read(log)) {
		if strings.Contains(line, "execve") {
			continue
		}
		for _, word := range []string{"socket(", "connect(", filepath.Dir(s.storeFile()), "runtime/bus"} {
			if strings.Contains(line, word) {
				found = append(found, strings.TrimSpace(line))
				break
			}
		}
	}
	return found
}
