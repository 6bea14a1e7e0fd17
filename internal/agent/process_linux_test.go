package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestSixteenStartAtOnce: all are told that an agent serves, and there is one.
func TestSixteenStartAtOnce(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	var starters []*exec.Cmd
	for range 16 {
		cmd := p.as(p.uid, p.program, "start-the-agent")
		cmd.Stdout = new(bytes.Buffer)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		starters = append(starters, cmd)
	}
	for _, cmd := range starters {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, cmd.Stdout)
		}
	}
	c := p.unlocked()
	st, err := c.Status(context.Background())
	if err != nil || len(st.Keys) != 1 {
		t.Fatalf("%v, %v", st, err)
	}
	for _, pid := range processes(t, p.program) {
		if pid != st.PID && !ends(t, pid) {
			t.Errorf("the agent that answers is %d, and %d goes on too", st.PID, pid)
		}
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	release := waitFor(t, p) // it has ended when its lock is free
	release()
}

// processes returns who runs a program.
func processes(t *testing.T, program string) (pids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.HasPrefix(string(line), program+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ends waits until a process has ended, 10 seconds at most.
func ends(t *testing.T, pid int) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	}
	return n == 1 && err == nil
}

// waitFor becomes the agent, when the one before has ended.
func waitFor(t *testing.T, p place) (release func()) {
	t.Helper()
	for range 20 {
		l, release, err := agent.Listen(p.getenv, nil)
		if err == nil {
			return func() { l.Close(); release() }
		}
		if !errors.Is(err, agent.ErrRunning) {
			t.Fatal(err)
		}
	}
	t.Fatal("the agent did not end")
	return nil
}

// TestAgentThatIsKilled under load, at any moment: its clients are told that there is
// no agent, none gets a wrong key, none hangs, and the next agent serves.
func TestAgentThatIsKilled(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	for round := range 12 {
		proc := p.agent()
		p.unlocked()
		var clients sync.WaitGroup
		begun := make(chan struct{}, 8)
		for range 8 {
			clients.Go(func() {
				if err := askUntilItFails(p, begun); !errors.Is(err, agent.ErrNoAgent) {
					t.Errorf("%v, want ErrNoAgent", err)
				}
			})
		}
		for range 8 * (1 + 5*round) { // requests of all
			<-begun
		}
		proc.Process.Kill()
		go func() {
			for range begun {
			}
		}()
		clients.Wait()
		close(begun)
		proc.Wait()
	}
	p.agent()
	p.unlocked()
}

// askUntilItFails asks for keys, and tells of each.
func askUntilItFails(p place, got chan<- struct{}) error {
	c := agent.Open(p.getenv)
	defer c.Close()
	key := fakeKey(1)
	for n := byte(0); ; n++ {
		salt := seal.Salt{n}
		k, err := c.Holder(key.Public).WrapKey(context.Background(), testRecord, salt)
		if err != nil {
			return err
		}
		if !k.Equal(seal.WrapKey([]byte(key.Secret.Reveal()), key.Store, testRecord, salt)) {
			return errors.New("a wrong key")
		}
		got <- struct{}{}
	}
}

// TestAgentThatIsStopped does not answer: who asks is told so, in the time that he
// has. Then it goes on as before.
func TestAgentThatIsStopped(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	proc := p.agent()
	c := p.unlocked() // connected
	stop(t, proc)
	other := agent.Open(p.getenv) // not yet
	defer other.Close()
	var clients sync.WaitGroup
	for _, c := range []*agent.Client{c, other} { // both name it
		clients.Go(func() {
			_, err := c.Holder(fakeKey(1).Public).WrapKey(context.Background(), testRecord, seal.Salt{})
			if !errors.Is(err, agent.ErrSilent) || !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("%v, want ErrSilent", err)
			}
			if pid := agent.Process(context.Background(), err); pid != proc.Process.Pid {
				t.Errorf("the agent is said to be %d, it is %d", pid, proc.Process.Pid)
			}
		})
	}
	clients.Wait()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("by test"))
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "by test") {
		t.Errorf("%v, want its caller's cause", err)
	}
	if err := agent.Start(context.Background(), p.getenv, p.program, "be-the-agent"); err != nil {
		t.Errorf("Start beside it: %v", err)
	}
	if err := proc.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := run(p.as(p.uid, p.program, "be-a-client")); got != "the key\n" {
		t.Errorf("afterwards: %s", got)
	}
	if _, err := c.Holder(fakeKey(1).Public).WrapKey(context.Background(), testRecord, seal.Salt{}); err != nil {
		t.Errorf("the client from before: %v", err)
	}
}

// stop returns when the process has stopped.
func stop(t *testing.T, proc *exec.Cmd) {
	t.Helper()
	err := proc.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	for err == nil && !status.Stopped() {
		_, err = syscall.Wait4(proc.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			err = nil
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAgentThatIsTerminated ends well: no key, no socket, no core.
func TestAgentThatIsTerminated(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	proc := p.agent()
	p.unlocked()
	if err := proc.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := proc.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(p.socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is there: %v", err)
	}
	p.agent() // at once: its lock is free
}

// TestAgentWhoseDirectoryWentAway, as /run/user/1000 does when its user has logged out:
// when it ends it leaves the socket of the next agent alone.
func TestAgentWhoseDirectoryWentAway(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	first := p.agent()
	if err := os.RemoveAll(filepath.Dir(p.socket())); err != nil {
		t.Fatal(err)
	}
	next := p.agent()
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	st, err := p.unlocked().Status(context.Background())
	if err != nil || st.PID != next.Process.Pid {
		t.Errorf("%v, %v, want the agent %d", st, err, next.Process.Pid)
	}
}

// TestProcessIsNotGuessed: it is that of the agent that is silent, though another one
// answers. What only the lock says, or only the kernel, can be the id of somebody else's
// process, or of the service manager's.
func TestProcessIsNotGuessed(t *testing.T) {
	p := newPlace(t, os.Geteuid())
	proc := p.agent()
	c := p.unlocked()
	stop(t, proc)
	_, err := c.Status(t.Context())
	other := newPlace(t, os.Geteuid())
	answers := other.agent().Process.Pid
	if _, err := other.unlocked().Status(t.Context()); agent.Process(t.Context(), err) != 0 {
		t.Error("one that answers is called silent")
	}
	if got := agent.Process(t.Context(), err); got != proc.Process.Pid {
		t.Errorf("%d is silent, %d answers, and %d is named", proc.Process.Pid, answers, got)
	}
	lock := filepath.Join(filepath.Dir(p.socket()), agent.LockName)
	if err := os.WriteFile(lock, fmt.Appendf(nil, "pid %d on here", answers), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := agent.Process(t.Context(), err); got != 0 {
		t.Errorf("the lock names another one: %d", got)
	}
}
