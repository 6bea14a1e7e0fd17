package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestKilledCommandLeavesNoCore, though the shell wants core files: one that is
// renewing a login has the store's key and the refresh token in its memory. Nor are
// they in its arguments, its environment and what it says as it dies.
func TestKilledCommandLeavesNoCore(t *testing.T) {
	needCores(t)
	for _, s := range []syscall.Signal{syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGSEGV} {
		t.Run(s.String(), func(t *testing.T) {
			h := newHome(t, oauthtest.Rotating)
			h.env = append(h.env, "GOTRACEBACK=crash") // which makes a core where that is allowed
			h.expired()
			asked, answer := make(chan struct{}), make(chan struct{})
			defer close(answer)
			h.duringAnswer("refresh_token", func() { close(asked); <-answer })
			cmd := h.startAs(withCores, "refresh")
			<-asked
			for _, file := range []string{"cmdline", "environ"} {
				h.showsNothing(file, h.read(fmt.Sprintf("/proc/%d/%s", cmd.cmd.Process.Pid, file)))
			}
			cmd.signal(s)
			cmd.end()
			h.showsNothing("standard error", cmd.said.String())
			status := cmd.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.CoreDump() {
				t.Errorf("%v, core dumped: %v\n%s", cmd.cmd.ProcessState, status.CoreDump(), cmd.said.String())
			}
			if files, err := filepath.Glob(filepath.Join(cmd.cmd.Dir, "*core*")); len(files) > 0 || err != nil {
				t.Errorf("it left %q, %v", files, err)
			}
		})
	}
}

// withCores starts a command from a shell that wants core files.
func withCores(c *exec.Cmd) {
	c.Args = append([]string{"/bin/sh", "-c", `ulimit -c unlimited; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
	c.Dir = filepath.Dir(filepath.Dir(c.Path)) // the home
	c.Path = c.Args[0]
}

// needCores makes sure that a core file would be made here.
func needCores(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ulimit -c unlimited; kill -ABRT $$")
	cmd.Dir = t.TempDir()
	cmd.Run()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.CoreDump() {
		testenv.Missing(t, "core files")
	}
}

func (h *home) read(path string) string {
	h.Helper()
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		h.Fatalf("%s: %d bytes, %v", path, len(text), err)
	}
	return string(text)
}

func (h *home) showsNothing(what, text string) {
	h.Helper()
	for _, secret := range []string{"fake-access", "fake-refresh", "correct horse", "AGE-SECRET-KEY"} {
		if strings.Contains(text, secret) {
			h.Errorf("%q is in %s", secret, what)
		}
	}
}
