package activation

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// asService makes this test's program what a service manager starts.
const asService = "GLOBUS_KEYS_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

// serve greets one client with what is known of the socket, and closes it.
func serve() error {
	l, ok, err := Listener(os.Getenv, os.Unsetenv)
	if err != nil || !ok {
		fmt.Println("activated:", ok)
		return err
	}
	client, err := l.Accept()
	if err != nil {
		return err
	}
	fmt.Fprint(client, greeting())
	client.Close()
	return l.Close()
}

// greeting says what programs that are started now would know of the socket.
func greeting() string {
	var left []string
	for _, line := range os.Environ() {
		if strings.HasPrefix(line, "LISTEN_") {
			left = append(left, line)
		}
	}
	open, _ := exec.Command("/bin/sh", "-c", "readlink /proc/self/fd/*").Output()
	return fmt.Sprintf("hello %q, %d sockets", left, strings.Count(string(open), "socket:"))
}

const wanted = "hello [], 0 sockets"

// greets returns what the service at the path says.
func greets(t *testing.T, path string) string {
	t.Helper()
	var conn net.Conn
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var err error
		if conn, err = net.Dial("unix", path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSocketOfSystemd: the real thing hands the socket over.
func TestSocketOfSystemd(t *testing.T) {
	program := testenv.Need(t, "systemd-socket-activate")
	path := filepath.Join(testenv.ShortDir(t), "agent.sock")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--listen="+path, "--fdname=agent", "-E", asService+"=1", self)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := greets(t, path); got != wanted {
		t.Errorf("%q, want %q", got, wanted)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the service manager's socket is gone: %v", err)
	}
}

// start runs the service as the script says, with the file as descriptor 3.
func start(t *testing.T, file *os.File, script string) (says string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // one that is taken waits for a client
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script, self)
	cmd.Env = append(os.Environ(), asService+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out)
}

// socket makes a socket, with what is to be done to it.
func socket(t *testing.T, domain, kind int, do func(fd int) error) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil && do != nil {
		err = do(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { file.Close() })
	return file
}

func listening(address unix.Sockaddr) func(fd int) error {
	return func(fd int) error {
		if err := unix.Bind(fd, address); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	}
}

const forIt = `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0"`

func TestOtherSocketsAreRefused(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	good := listening(&unix.SockaddrUnix{Name: filepath.Join(testenv.ShortDir(t), "good")})
	for name, c := range map[string]struct {
		file   *os.File
		script string
		says   string
	}{
		"two":           {null, `LISTEN_PID=$$ LISTEN_FDS=2 exec "$0"`, `"2" sockets`},
		"none":          {null, `LISTEN_PID=$$ LISTEN_FDS=0 exec "$0"`, `"0" sockets`},
		"no number":     {null, `LISTEN_PID=$$ LISTEN_FDS=1x exec "$0"`, `"1x" sockets`},
		"no count":      {null, `LISTEN_PID=$$ exec "$0"`, `"" sockets`},
		"nothing open":  {null, `exec 3<&-; ` + forIt, "non-socket"}, // Go has something of its own there
		"a file":        {null, forIt, "non-socket"},
		"of datagrams":  {socket(t, unix.AF_UNIX, unix.SOCK_DGRAM, nil), forIt, "not a stream socket"},
		"of packets":    {socket(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, nil), forIt, "not a stream socket"},
		"of TCP":        {socket(t, unix.AF_INET, unix.SOCK_STREAM, listening(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})), forIt, "not a Unix socket"},
		"not listening": {socket(t, unix.AF_UNIX, unix.SOCK_STREAM, nil), forIt, "does not listen"},
		"another's":     {socket(t, unix.AF_UNIX, unix.SOCK_STREAM, good), `LISTEN_PID=1 LISTEN_FDS=1 exec "$0"`, "activated: false"},
		"of nobody":     {null, `exec "$0"`, "activated: false"},
	} {
		if says := start(t, c.file, c.script); !strings.Contains(says, c.says) {
			t.Errorf("%s: it says %q, want %q", name, says, c.says)
		}
	}
}

// TestVariablesAreRemoved, also if they are for another process: what we start must
// not take them for its own, whose number may be the same one day.
func TestVariablesAreRemoved(t *testing.T) {
	env := map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "agent", "LISTEN_PIDFDID": "1", "HOME": "/"}
	l, ok, err := Listener(func(name string) string { return env[name] }, func(name string) error { delete(env, name); return nil })
	if l != nil || ok || err != nil {
		t.Errorf("%v, %v, %v", l, ok, err)
	}
	if len(env) != 1 {
		t.Errorf("left: %v", env)
	}
}
