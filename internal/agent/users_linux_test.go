package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

const nobody, somebody = 65534, 65533

// TestOtherUsers can neither connect to an agent nor look into its process. When its
// directory and socket have been opened to all, the agent refuses them, and root,
// itself. A program of its own user gets its answer, and no look into the process.
func TestOtherUsers(t *testing.T) {
	testenv.NeedRoot(t)
	p := newPlace(t, nobody)
	log := filepath.Join(p.dir, "log")
	proc := p.agent(log)
	own := func() string { return run(p.as(nobody, p.program, "be-a-client")) }
	if got := own(); !strings.Contains(got, "no agent false, locked true") {
		t.Fatalf("its own user, before it is unlocked: %s", got)
	}
	unlockAs(t, p)
	if got := own(); got != "the key\n" {
		t.Fatalf("its own user: %s", got)
	}
	if got := run(p.as(somebody, p.program, "be-a-client")); strings.Contains(got, "the key") || strings.Contains(got, "no agent false") {
		t.Errorf("another user: %s", got)
	}
	if err := connectAs(p, somebody); !strings.Contains(err, "permission denied") {
		t.Errorf("another user, at the socket: %s", err)
	}
	for _, file := range []string{"mem", "maps", "environ"} {
		for _, uid := range []uint32{nobody, somebody} {
			got := run(p.as(uid, "/bin/dd", fmt.Sprintf("if=/proc/%d/%s", proc.Process.Pid, file), "of=/dev/null", "bs=1", "count=1"))
			if !strings.Contains(got, "Permission denied") {
				t.Errorf("uid %d reads the agent's %s: %s", uid, file, got)
			}
		}
	}
	openUp(t, p.socket())
	for _, uid := range []uint32{somebody, 0} {
		if got := connectAs(p, uid); got != "hung up on\n" {
			t.Errorf("uid %d, at a socket that is open to it: %s", uid, got)
		}
		want := fmt.Sprintf("is uid %d, not uid %d", uid, nobody)
		if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the log is %s, %v, want that it %s", text, err, want)
		}
	}
	if got := own(); got != "the key\n" {
		t.Errorf("its own user, afterwards: %s", got)
	}
}

func run(cmd interface{ CombinedOutput() ([]byte, error) }) string {
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		return err.Error()
	}
	return string(out)
}

// unlockAs hands the agent a key as its user.
func unlockAs(t *testing.T, p place) {
	t.Helper()
	if got := run(p.as(p.uid, p.program, "unlock-it")); got != "unlocked\n" {
		t.Fatal(got)
	}
}

// connectAs says what becomes of a user who connects without looking whose it is.
func connectAs(p place, uid uint32) string {
	return run(p.as(uid, p.program, "connect", p.socket()))
}

func openUp(t *testing.T, socket string) {
	t.Helper()
	dir := filepath.Dir(socket)
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Chmod(socket, 0o666)); err != nil {
		t.Fatal(err)
	}
}

// TestForeignAgent gets no key: neither where the socket is seen to be another's,
// nor where only the kernel knows who is at its other end.
func TestForeignAgent(t *testing.T) {
	testenv.NeedRoot(t)
	p := newPlace(t, 0)
	if err := os.Mkdir(filepath.Dir(p.socket()), 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere := newPlace(t, nobody)
	foreign := filepath.Join(elsewhere.dir, "s")
	ready(t, elsewhere.as(nobody, elsewhere.program, "be-a-foreigner", foreign))
	for name, owner := range map[string]int{"belongs to uid 65534": nobody, "is uid 65534, not uid 0": 0} {
		os.Remove(p.socket())
		if err := errors.Join(os.Link(foreign, p.socket()), os.Chown(p.socket(), owner, owner)); err != nil {
			t.Fatal(err)
		}
		c := agent.Open(p.getenv)
		err := c.Unlock(context.Background(), fakeKey(1), "", hour)
		if !errors.Is(err, agent.ErrTaken) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), p.socket()) {
			t.Errorf("%v, want ErrTaken that names the socket and says that it %s", err, name)
		}
		c.Close()
	}
	if got, err := os.ReadFile(foreign + ".got"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the other user's agent was told %q, %v", got, err)
	}
}

// TestWhatIsPlanted in the socket's place gets no key, is named, and stays; a socket
// that nobody listens at is replaced.
func TestWhatIsPlanted(t *testing.T) {
	for _, c := range []struct {
		is    string
		plant func(path string) error
	}{
		{"belongs to uid 65534", func(path string) error { return errors.Join(stale(path), os.Chown(path, nobody, nobody)) }},
		{"is a symbolic link", func(path string) error { return errors.Join(stale(path+"2"), os.Symlink(path+"2", path)) }},
		{"is a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"is a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"is a directory", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"", stale},
	} {
		t.Run(c.is, func(t *testing.T) {
			if strings.Contains(c.is, "uid") {
				testenv.NeedRoot(t)
			}
			env := home(t)
			path := filepath.Join(env("XDG_RUNTIME_DIR"), "globus-keys", agent.SocketName)
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), c.plant(path)); err != nil {
				t.Fatal(err)
			}
			client := agent.Open(env)
			defer client.Close()
			before, _ := os.Lstat(path)
			unlockErr := client.Unlock(context.Background(), fakeKey(1), "", hour)
			l, release, listenErr := agent.Listen(env, nil)
			if c.is == "" {
				if !errors.Is(unlockErr, agent.ErrNoAgent) || listenErr != nil {
					t.Fatalf("a stale socket: %v, %v", unlockErr, listenErr)
				}
				l.Close()
				release()
				return
			}
			for what, err := range map[string]error{"Unlock": unlockErr, "Listen": listenErr} {
				if !errors.Is(err, agent.ErrTaken) || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), ": "+c.is) {
					t.Errorf("%s: %v, want ErrTaken that says that %s %s", what, err, path, c.is)
				}
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is not there any more: %v", err)
			}
		})
	}
}

// stale makes a socket that nobody listens at.
func stale(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}
