//go:build unix

package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/crypto/seal"
	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/secretmem"
	"github.com/globus-keys/globus-keys/keystore"
)

// TestMain is also the processes that the tests start: their first argument says so.
func TestMain(m *testing.M) {
	rundir.FirstOnly = true // the tester's own agent is left alone
	roles := map[string]func(args []string) error{
		"be-the-agent":    beAgent,
		"be-a-client":     beClient,
		"be-a-foreigner":  beForeigner,
		"start-the-agent": beStarter,
		"unlock-it":       unlockIt,
		"connect":         connect,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	go endWithStarter()
	if err := roles[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// endWithStarter ends a process whose standard input is a pipe when nobody has the
// other end any more, since the test's program was killed or has panicked.
func endWithStarter() {
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(99)
	}
}

// beAgent is an agent as the command is one. It logs all that it logs to the file that
// is named, if one is.
func beAgent(args []string) error {
	var opts agent.ServerOptions
	if len(args) > 0 {
		f, err := os.OpenFile(args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		opts.Log = slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := secretmem.Protect()
	var l net.Listener
	release := func() error { return nil }
	if err == nil {
		l, release, err = agent.Listen(os.Getenv, nil)
	}
	if err != nil {
		agent.Ready(err)
		return nil
	}
	s, err := agent.NewServer(&opts)
	agent.Ready(err)
	if err == nil {
		err = s.Serve(ctx, l)
	}
	return errors.Join(err, release())
}

// beClient asks for a key, and says what it gets.
func beClient([]string) error {
	c := agent.Open(os.Getenv)
	defer c.Close()
	key := fakeKey(1)
	got, err := c.Holder(key.Public).WrapKey(context.Background(), testRecord, seal.Salt{})
	if err != nil {
		return fmt.Errorf("no agent %v, locked %v: %w", errors.Is(err, agent.ErrNoAgent), errors.Is(err, keystore.ErrLocked), err)
	}
	if !got.Equal(seal.WrapKey([]byte(key.Secret.Reveal()), key.Store, testRecord, seal.Salt{})) {
		return errors.New("a wrong key")
	}
	fmt.Println("the key")
	return nil
}

func unlockIt([]string) error {
	c := agent.Open(os.Getenv)
	defer c.Close()
	err := c.Unlock(context.Background(), fakeKey(1), "", hour)
	if err == nil {
		fmt.Println("unlocked")
	}
	return err
}

// connect asks at a socket, and does not look whose it is.
func connect(args []string) error {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(c, `{"v":1,"op":"status"}`)
	line, _ := bufio.NewReader(c).ReadString('\n')
	if line == "" {
		line = "hung up on\n"
	}
	fmt.Print(line)
	return nil
}

// beForeigner is another user's agent, at the socket that is named.
func beForeigner(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	if err := os.Chmod(args[0], 0o666); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if line, _ := bufio.NewReader(c).ReadString('\n'); line != "" {
			os.WriteFile(args[0]+".got", []byte(line), 0o666)
		}
		c.Close()
	}
}

func beStarter([]string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return agent.Start(context.Background(), os.Getenv, self, "be-the-agent")
}

// place is where a user's agent is, for tests with processes.
type place struct {
	t       *testing.T
	dir     string
	program string
	uid     uint32
}

// newPlace makes one for a user whom only root can be, if that is not who runs this.
func newPlace(t *testing.T, uid int) place {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "agent-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := place{t, filepath.Join(dir, "run"), filepath.Join(dir, "program"), uint32(uid)}
	data, err := os.ReadFile(self)
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(p.program, data, 0o755), os.Mkdir(p.dir, 0o700), os.Chown(p.dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) getenv(name string) string {
	if name == "XDG_RUNTIME_DIR" || name == "TMPDIR" {
		return p.dir
	}
	return ""
}

func (p place) socket() string { return filepath.Join(p.dir, "globus-keys", agent.SocketName) }

// as is a command by a user.
func (p place) as(uid uint32, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + p.dir, "TMPDIR=" + p.dir, "GORACE=atexit_sleep_ms=0"}
	if int(uid) != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	return cmd
}

// agent starts one that serves.
func (p place) agent(args ...string) *exec.Cmd {
	p.t.Helper()
	return ready(p.t, p.as(p.uid, append([]string{p.program, "be-the-agent"}, args...)...))
}

// ready starts a process that says so; it is killed when the test ends, and ends by
// itself with the test's program.
func ready(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	_, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	return cmd
}

// unlocked is a client that has unlocked testStore with fakeKey(1).
func (p place) unlocked() *agent.Client {
	p.t.Helper()
	c := agent.Open(p.getenv)
	p.t.Cleanup(func() { c.Close() })
	if err := c.Unlock(context.Background(), fakeKey(1), "", hour); err != nil {
		p.t.Fatal(err)
	}
	return c
}
