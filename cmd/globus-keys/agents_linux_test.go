package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// unlockable is a home that has a login in a store with a passphrase, which no
// variable names: it is in the file "pass".
func unlockable(t *testing.T) *home {
	h := newHome(t, oauthtest.Rotating)
	h.write(h.plain(), plainLogin)
	h.must("import", h.plain())
	return h.locked()
}

func (h *home) plain() string { return filepath.Join(h.dir, "plain.json") }

// locked lets the commands from now on have no passphrase, and a runtime directory
// for an agent, which is ended with the test.
func (h *home) locked() *home {
	h.Helper()
	dir, err := os.MkdirTemp("/tmp", "gk")
	if err != nil {
		h.Fatal(err)
	}
	h.env = slices.DeleteFunc(h.env, func(line string) bool {
		return strings.HasPrefix(line, "GLOBUS_KEYS_PASSPHRASE_FILE=") || strings.HasPrefix(line, "XDG_RUNTIME_DIR=")
	})
	h.env = append(h.env, "XDG_RUNTIME_DIR="+dir)
	h.Cleanup(func() {
		if err := endAgent(dir); err != nil {
			h.Error(err)
		}
		os.RemoveAll(dir)
	})
	return h
}

func (h *home) pass() string { return filepath.Join(h.dir, "pass") }

func (h *home) unlock() {
	h.Helper()
	h.must("unlock", "--passphrase-file", h.pass())
}

// agent returns what agent status says.
func (h *home) agent() agentAnswer {
	h.Helper()
	var answer agentAnswer
	if err := json.Unmarshal([]byte(h.must("agent", "status", "--json")), &answer); err != nil {
		h.Fatal(err)
	}
	return answer
}

// killAgent kills the agent, and returns when it is gone.
func (h *home) killAgent(pid int) {
	h.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.Fatal(err)
	}
	h.waitFor("the end of the agent", func() bool { return !slices.Contains(agents(h.T), pid) })
}

func (h *home) waitFor(what string, is func() bool) {
	h.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("it never comes to %s", what)
		}
	}
}

// agents returns the agents that commands of this test program have started.
func agents(t *testing.T) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join(append([]string{self}, agentWords...), "\x00") + "\x00"
	for _, file := range files {
		words, _ := os.ReadFile(file) // it may have ended
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil && string(words) == want {
			pids = append(pids, pid)
		}
	}
	return pids
}

// exitsWith checks how a command ends that nobody can be asked by, and returns what it
// printed and said.
func (h *home) exitsWith(code int, args ...string) (out, said string) {
	h.Helper()
	var o, e strings.Builder
	cmd := h.command(args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.Errorf("globus-keys %v: exit code %d, want %d:\n%s", args, got, code, e.String())
	}
	return o.String(), e.String()
}

// TestManyStartOneAgent at once: it is one, all have unlocked their store, and no
// process is left over.
func TestManyStartOneAgent(t *testing.T) {
	h := unlockable(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { h.exitsWith(0, "unlock", "--passphrase-file", h.pass()) })
	}
	all.Wait()
	h.waitFor("one agent", func() bool { return len(agents(t)) == 1 })
	answer := h.agent()
	if got := agents(t); len(got) != 1 || answer.PID != got[0] {
		t.Errorf("agents %v, one that answers is %d", got, answer.PID)
	}
	if len(answer.Stores) != 1 || !strings.Contains(h.must("token", "transfer"), "FakeAccessDesktop") {
		t.Errorf("unlocked: %+v", answer.Stores)
	}
	h.must("agent", "stop")
	h.waitFor("no agent", func() bool { return len(agents(t)) == 0 })
}

// TestAgentOutlivesSignals of terminals, and heeds those that end it: then it has
// forgotten everything, and removed its socket.
func TestAgentOutlivesSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			h := unlockable(t)
			h.unlock()
			answer := h.agent()
			if ignored := h.ignored(answer.PID); ignored&(1<<(syscall.SIGHUP-1)) == 0 { // one that ends it need not have ended it yet
				t.Errorf("the agent heeds SIGHUP: it ignores %#x", ignored)
			}
			if err := syscall.Kill(answer.PID, syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if got := h.agent(); got.PID != answer.PID || len(got.Stores) != 1 {
				t.Errorf("after SIGHUP: %+v", got)
			}
			if sid, err := sessionOf(answer.PID); err != nil || sid != answer.PID {
				t.Errorf("the agent is in session %d, %v, want its own, %d", sid, err, answer.PID)
			}
			if err := syscall.Kill(answer.PID, s); err != nil {
				t.Fatal(err)
			}
			h.waitFor("no agent", func() bool { return len(agents(t)) == 0 })
			if _, err := os.Lstat(answer.Socket); !os.IsNotExist(err) {
				t.Errorf("the socket: %v", err)
			}
			h.exitsWith(5, "token", "transfer")
			h.exitsWith(3, "agent", "status")
		})
	}
}

// ignored are the signals that a process ignores, a bit for each.
func (h *home) ignored(pid int) (signals uint64) {
	h.Helper()
	_, rest, _ := strings.Cut(h.read(fmt.Sprintf("/proc/%d/status", pid)), "\nSigIgn:")
	if _, err := fmt.Sscanf(rest, "%x", &signals); err != nil {
		h.Fatal(err)
	}
	return signals
}

func sessionOf(pid int) (sid int, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // state, parent, group, session
	var state string
	var parent, group int
	_, err = fmt.Sscan(rest, &state, &parent, &group, &sid)
	return sid, err
}

// TestAgentInTheForeground, as a service manager runs it.
func TestAgentInTheForeground(t *testing.T) {
	h := unlockable(t)
	r := h.start("agent", "run", "--verbose")
	r.until("serves")
	if _, said := h.exitsWith(6, "agent", "run"); !strings.Contains(said, "hint: globus-keys agent status") {
		t.Errorf("a second one says:\n%s", said)
	}
	h.unlock()
	if out := h.must("token", "transfer"); !strings.Contains(out, "FakeAccessDesktop") {
		t.Errorf("token: %q", out)
	}
	if got := h.agent(); got.PID != r.cmd.Process.Pid {
		t.Errorf("the agent is %d, want %d", got.PID, r.cmd.Process.Pid)
	}
	r.signal(syscall.SIGTERM)
	if code := r.end(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, r.said.String())
	}
	said := r.said.String()
	for _, words := range []string{"op=unlock", "op=derive", "msg=locked"} {
		if !strings.Contains(said, words) {
			t.Errorf("it does not say %q:\n%s", words, said)
		}
	}
	for _, words := range []string{"transfer", "tokens.json", "AGE", "age1", "FakeAccess", "DEFAULT"} {
		if strings.Contains(said, words) {
			t.Errorf("it says %q:\n%s", words, said)
		}
	}
}

// TestAgentOfAServiceManager takes the socket that is there, and leaves it there.
func TestAgentOfAServiceManager(t *testing.T) {
	activate := testenv.Need(t, "systemd-socket-activate")
	h := unlockable(t)
	socket := filepath.Join(h.getenv("XDG_RUNTIME_DIR"), "globus-keys", agent.SocketName)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	manager := exec.CommandContext(t.Context(), activate, "--listen="+socket, h.command().Path, "agent", "run")
	manager.Env = h.env
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	h.waitFor("a socket", func() bool { _, err := os.Lstat(socket); return err == nil })
	h.unlock()
	if out := h.must("token", "transfer"); !strings.Contains(out, "FakeAccessDesktop") {
		t.Errorf("token: %q", out)
	}
	if got := h.agent(); got.PID != manager.Process.Pid || got.Socket != socket {
		t.Errorf("the agent is %d at %s, want %d at %s", got.PID, got.Socket, manager.Process.Pid, socket)
	}
	h.must("agent", "stop")
	if err := manager.Wait(); err != nil {
		t.Errorf("agent run: %v", err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the service manager's socket: %v", err)
	}
}

// TestPlaceOfTheAgentIsPlanted by somebody: it is named and not used, with what to do;
// it is no damage of the store (exit code 7), and what needs no agent goes on.
func TestPlaceOfTheAgentIsPlanted(t *testing.T) {
	h := unlockable(t)
	place := filepath.Join(h.getenv("XDG_RUNTIME_DIR"), "globus-keys")
	if err := os.Symlink(t.TempDir(), place); err != nil {
		t.Fatal(err)
	}
	for args, code := range map[string]int{
		"status": 0, "agent status": 6, "agent stop": 6, "agent run": 6, "lock": 6, "lock --all": 6, "token transfer": 6,
		"unlock --passphrase-file " + h.pass(): 6,
	} {
		_, said := h.exitsWith(code, strings.Fields(args)...)
		for _, words := range []string{place + ": unavailable: the agent's place is taken: is a symbolic link", "hint: look who owns that", "set XDG_RUNTIME_DIR to a directory"} {
			if !strings.Contains(said, words) {
				t.Errorf("%s does not say %q:\n%s", args, words, said)
			}
		}
	}
	own := t.TempDir()
	h.env = append(h.env, "XDG_RUNTIME_DIR="+own) // the hint: the last one counts
	if err := os.Chmod(own, 0o700); err != nil {
		t.Fatal(err)
	}
	h.unlock()
	h.must("agent", "stop")
	h.env = h.env[:len(h.env)-1]
	if out := h.must("--passphrase-file", h.pass(), "token", "transfer"); !strings.Contains(out, "FakeAccessDesktop") {
		t.Errorf("token with a passphrase: %q", out)
	}
	if err := os.Remove(place); err != nil { // the end of the test looks for an agent there
		t.Fatal(err)
	}
}

// TestNoSecretInTheAgentsWords: neither its arguments nor its environment have one of
// whoever has started it.
func TestNoSecretInTheAgentsWords(t *testing.T) {
	h := unlockable(t)
	h.env = append(h.env, "SOME_SECRET=fake-secret-of-the-environment")
	h.unlock()
	pid := h.agent().PID
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil && file == "environ" && os.Geteuid() != 0 {
			continue // closed to its own user
		}
		if err != nil || strings.Contains(string(text), "fake-secret") || strings.Contains(string(text), "pass") {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
}
