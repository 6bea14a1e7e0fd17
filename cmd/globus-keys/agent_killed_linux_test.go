package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestAgentKilled between commands: what is there is good, and unlocking again works.
func TestAgentKilled(t *testing.T) {
	h := unlockable(t)
	for range 3 {
		h.unlock()
		if out := h.must("token", "transfer"); !strings.Contains(out, "FakeAccessDesktop") {
			t.Errorf("token: %q", out)
		}
		answer := h.agent()
		h.killAgent(answer.PID)
		if _, err := os.Lstat(answer.Socket); err != nil {
			t.Errorf("it has left no socket: %v", err)
		}
		if out, said := h.exitsWith(5, "token", "transfer"); out != "" || !strings.Contains(said, "hint: globus-keys unlock") {
			t.Errorf("token printed %q, and said:\n%s", out, said)
		}
		h.exitsWith(3, "agent", "status")
		h.exitsWith(0, "lock")
		h.must("verify", "--passphrase-file", h.pass())
	}
}

// TestAgentKilledAtWork: each command that needs it meanwhile succeeds or says that the
// store is locked, and the store is whole.
func TestAgentKilledAtWork(t *testing.T) {
	h := unlockable(t)
	for round := range 5 {
		h.unlock()
		pid := h.agent().PID
		ended := make(chan bool, 20)
		var all sync.WaitGroup
		for i := range 20 {
			args := []string{"token", "transfer"}
			if i%4 == 0 {
				args = []string{"import", "--overwrite", "--namespace", fmt.Sprint("n", i), h.plain()}
			}
			all.Go(func() {
				defer func() { ended <- true }()
				h.worksOrIsLocked(args...)
			})
		}
		for range 3 * round { // how many have ended when it dies
			<-ended
		}
		h.killAgent(pid)
		all.Wait()
		h.must("verify", "--passphrase-file", h.pass())
	}
}

func (h *home) worksOrIsLocked(args ...string) {
	h.Helper()
	out, err := h.command(args...).Output()
	exit, failed := err.(*exec.ExitError)
	switch {
	case err == nil && args[0] == "token" && string(out) != "FakeAccessDesktop\n":
		h.Errorf("%v printed %q", args, out)
	case failed && (exit.ExitCode() != 5 || len(out) > 0):
		h.Errorf("%v: %v, printed %q:\n%s", args, err, out, exit.Stderr)
	case err != nil && !failed:
		h.Error(err)
	}
}

// TestLockedDuringARenewal: whatever becomes of the agent while the issuer is asked,
// the answer is stored. Then the store is locked.
func TestLockedDuringARenewal(t *testing.T) {
	for name, end := range map[string]func(h *home, pid int){
		"lock":    func(h *home, _ int) { h.must("lock") },
		"stop":    func(h *home, _ int) { h.must("agent", "stop") },
		"SIGKILL": func(h *home, pid int) { h.killAgent(pid) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, oauthtest.Rotating)
			h.expired()
			h.locked().unlock()
			asked, answer := make(chan struct{}), make(chan struct{})
			h.duringAnswer("refresh_token", func() { close(asked); <-answer })
			r := h.start("refresh", "transfer")
			<-asked
			end(h, h.agent().PID)
			h.exitsWith(5, "show", "transfer")
			close(answer)
			if code := r.end(); code != 0 {
				t.Errorf("exit code %d:\n%s", code, r.said.String())
			}
			h.exitsWith(5, "token", "transfer")
			h.unlock()
			h.duringAnswer("refresh_token", func() {})
			h.stillLoggedIn()
		})
	}
}

// TestAgentKilledWhileManyRenew one login: it is renewed once, by one that goes on
// without the agent, and not lost.
func TestAgentKilledWhileManyRenew(t *testing.T) {
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	h.locked().unlock()
	pid := h.agent().PID
	asked, answer := make(chan struct{}), make(chan struct{})
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	var all sync.WaitGroup
	var got, refused atomic.Int32
	for range 20 {
		all.Go(func() {
			out, err := h.command("token", "transfer").Output()
			exit, failed := err.(*exec.ExitError)
			switch {
			case err == nil && h.issuer.Active(strings.TrimSpace(string(out))):
				got.Add(1)
			case failed && exit.ExitCode() == 5 && len(out) == 0:
				refused.Add(1)
			default:
				t.Errorf("token: %v, printed %q:\n%s", err, out, stderrOf(err))
			}
		})
	}
	<-asked
	h.killAgent(pid)
	close(answer)
	all.Wait()
	if c := h.issuer.Counts(); got.Load() < 1 || got.Load()+refused.Load() != 20 || c.Refreshes != 1 {
		t.Errorf("%d have the token, %d were refused: %+v", got.Load(), refused.Load(), c)
	}
	h.unlock()
	h.duringAnswer("refresh_token", func() {})
	h.stillLoggedIn()
}

// TestStoppedAgent is not waited for, by any command. Each says how to let it go on, and
// how to end it; both are true.
func TestStoppedAgent(t *testing.T) {
	h := unlockable(t)
	h.unlock()
	pid := h.agent().PID
	stop := func() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	goOn, end := fmt.Sprint("kill -CONT ", pid), fmt.Sprint("kill -KILL ", pid)
	refused := func(args ...string) {
		out, said := h.exitsWith(6, args...)
		if out != "" || !strings.Contains(said, "the agent does not answer") || !strings.Contains(said, goOn) || !strings.Contains(said, end) {
			t.Errorf("%s printed %q, and said:\n%s", args, out, said)
		}
	}
	stop()
	refused("token", "transfer")
	h.sh(goOn)
	h.must("token", "transfer")

	stop()
	var all sync.WaitGroup
	for _, args := range []string{"token transfer", "unlock --passphrase-file " + h.pass(), "agent status", "agent stop", "lock", "lock --all"} {
		all.Go(func() { refused(strings.Fields(args)...) })
	}
	all.Go(func() {
		out, said := h.exitsWith(0, "status")
		if !strings.Contains(out, "locked: names only") || !strings.Contains(said, goOn) {
			t.Errorf("status:\n%s%s", out, said)
		}
	})
	all.Go(func() {
		if out := h.must("--passphrase-file", h.pass(), "token", "transfer"); !strings.Contains(out, "FakeAccessDesktop") {
			t.Errorf("token with a passphrase: %q", out)
		}
	})
	all.Wait()
	h.sh(end)
	h.waitFor("the end of the agent", func() bool { return !slices.Contains(agents(t), pid) })
	h.unlock()
}

func (h *home) sh(line string) {
	h.Helper()
	if out, err := exec.CommandContext(h.Context(), "/bin/sh", "-c", line).CombinedOutput(); err != nil {
		h.Fatalf("%s: %v\n%s", line, err, out)
	}
}
