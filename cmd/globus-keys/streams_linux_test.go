package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// pipe returns the two ends of a pipe.
func (h *home) pipe() (r, w *os.File) {
	h.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// unread is a pipe whose other end is closed already.
func (h *home) unread() *os.File {
	h.Helper()
	r, w := h.pipe()
	r.Close()
	return w
}

// TestPipelineThatHasEnded: a command whose output nobody reads does what it was to do.
// It fails if that was to answer.
func TestPipelineThatHasEnded(t *testing.T) {
	for args, code := range map[string]int{
		"refresh":        0,
		"refresh --json": 1,
		"token transfer": 1,
		"status":         1,
		"--help":         1,
	} {
		t.Run(args, func(t *testing.T) {
			h := newHome(t, oauthtest.Rotating)
			h.expired()
			var said strings.Builder
			cmd := h.command(strings.Fields(args)...)
			cmd.Stdout, cmd.Stderr = h.unread(), &said
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != code || strings.Contains(said.String(), "error: write") != (code == 1) {
				t.Errorf("%v, want exit code %d:\n%s", cmd.ProcessState, code, said.String())
			}
			cmd = h.command(strings.Fields(args)...)
			cmd.Stdout, cmd.Stderr = h.unread(), h.unread()
			cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != code {
				t.Errorf("without standard error: %v, want exit code %d", cmd.ProcessState, code)
			}
			h.stillLoggedIn()
		})
	}
}

// TestLoginInAPipelineThatHasEnded is stored, though nobody reads what is said before.
func TestLoginInAPipelineThatHasEnded(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	h.env = append(h.env, "BROWSER=fake-browser")
	cmd := h.command("login", "--issuer", h.issuer.URL, "--client-id", testClient, "--service", "transfer")
	cmd.Stdout, cmd.Stderr = h.unread(), h.unread()
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	h.stillLoggedIn()
}

// TestInterruptOfAPipeline: ^C goes to all of "globus-keys refresh 2>&1 | tee log", and
// tee is gone when the command says that it has to wait.
func TestInterruptOfAPipeline(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer close(answer)
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	cmd := h.command("refresh")
	cmd.Stdout, cmd.Stderr = h.unread(), h.unread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it has ended before the answer: %v", err)
	case <-time.After(2 * patience): // it has spoken by then
	}
	answer <- struct{}{}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d", code)
	}
	h.stillLoggedIn()
}

// stillLoggedIn checks that no refresh token is lost.
func (h *home) stillLoggedIn() {
	h.Helper()
	h.must("refresh")
	if c := h.issuer.Counts(); c.Reuse != 0 || c.Denied != 0 {
		h.Errorf("%+v", c)
	}
}

// TestSignalsOfAHook are as the system has them: that this process does not die of
// SIGPIPE is not for the programs that it starts.
func TestSignalsOfAHook(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.heeded(syscall.SIGHUP)
	h.expired()
	h.write(filepath.Join(h.dir, ".config", "globus-keys", "config.toml"), "[hooks.on_refresh]\ncommand = ['/bin/grep', 'SigIgn', '/proc/self/status']\n")
	cmd := h.start("refresh")
	cmd.end()
	if said := cmd.said.String(); !strings.Contains(said, "SigIgn:\t0000000000000000") {
		t.Errorf("a hook ignores signals:\n%s", said)
	}
}
