// Package desktoptest starts parts of a desktop session for tests: a message
// bus, and a keyring on it. They live in a directory of their own and see
// nothing of the session the tests run in; at the end of the test they are gone.
package desktoptest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// patience is how long anything here may take before the test fails.
const patience = 20 * time.Second

// Bus is a dbus-daemon with a configuration and services of its own.
type Bus struct {
	Address string // unix:path=…
	Dir     string // holds all there is; its path is short

	t   testing.TB
	env map[string]string

	mu  sync.Mutex
	cmd *exec.Cmd // nil: stopped; guarded by mu
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%[1]s/runtime/bus</listen>
  <servicedir>%[1]s/services</servicedir>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// StartBus starts a bus on which nobody provides a Secret Service.
func StartBus(t testing.TB) *Bus {
	t.Helper()
	b := &Bus{t: t, Dir: testenv.ShortDir(t)}
	for _, dir := range []string{"home", "data", "runtime", "services"} {
		b.must(os.Mkdir(filepath.Join(b.Dir, dir), 0o700))
	}
	b.Address = "unix:path=" + filepath.Join(b.Dir, "runtime/bus")
	b.env = map[string]string{
		"PATH":                     os.Getenv("PATH"),
		"LANG":                     "C",
		"HOME":                     filepath.Join(b.Dir, "home"),
		"XDG_DATA_HOME":            filepath.Join(b.Dir, "data"),
		"XDG_CONFIG_HOME":          filepath.Join(b.Dir, "home/config"),
		"XDG_RUNTIME_DIR":          filepath.Join(b.Dir, "runtime"),
		"DBUS_SESSION_BUS_ADDRESS": b.Address,
	}
	b.must(os.WriteFile(filepath.Join(b.Dir, "bus.conf"), fmt.Appendf(nil, busConfig, b.Dir), 0o600))
	t.Cleanup(b.endActivated)
	t.Cleanup(b.Stop)
	b.Start()
	return b
}

// Start starts the bus again after Stop.
func (b *Bus) Start() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	program := testenv.Need(b.t, "dbus-daemon")
	b.cmd = exec.Command(program, "--config-file="+filepath.Join(b.Dir, "bus.conf"), "--nofork", "--nopidfile", "--print-address=1")
	b.cmd.Env = b.Env()
	b.cmd.SysProcAttr = endsWithTests()
	out, err := b.cmd.StdoutPipe()
	b.must(err)
	b.must(b.cmd.Start())
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // the address: it listens
		b.t.Fatalf("dbus-daemon does not start: %v", err)
	}
}

// endsWithTests: a test that times out runs no cleanup. (The kernel looks at the
// thread that has started the process, and Go ends none that is not locked.)
func endsWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// Stop ends the bus, if it runs.
func (b *Bus) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil {
		return
	}
	b.cmd.Process.Kill()
	b.cmd.Wait()
	b.cmd = nil
}

// Freeze stops the bus where it is, to the end of the test.
func (b *Bus) Freeze() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.must(b.cmd.Process.Signal(syscall.SIGSTOP))
}

// Env is the environment of the session, for programs.
func (b *Bus) Env() []string {
	var env []string
	for name, value := range b.env {
		env = append(env, name+"="+value)
	}
	return env
}

// Getenv looks up the environment of the session, for our own code.
func (b *Bus) Getenv(name string) string { return b.env[name] }

// Setenv changes the environment of the session; what runs does not notice.
func (b *Bus) Setenv(name, value string) { b.env[name] = value }

// Provide makes a name that the bus starts a shell script for.
func (b *Bus) Provide(name, script string) {
	b.t.Helper()
	program := filepath.Join(b.Dir, name)
	b.must(os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho $$ >>%s\n%s\n", b.activated(), script), 0o700))
	file := fmt.Sprintf("[D-BUS Service]\nName=%s\nExec=%s\n", name, program)
	b.must(os.WriteFile(filepath.Join(b.Dir, "services", name+".service"), []byte(file), 0o600))
	b.Call("ReloadConfig")
}

func (b *Bus) activated() string { return filepath.Join(b.Dir, "activated") }

// Activated returns the processes that the bus has started.
func (b *Bus) Activated() (pids []int) {
	text, _ := os.ReadFile(b.activated())
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endActivated ends what the bus has started, when the bus is gone.
func (b *Bus) endActivated() {
	for _, pid := range b.Activated() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if strings.Contains(string(command), b.Dir) { // still that process
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Dial connects a test's own client, until the end of the test.
func (b *Bus) Dial(options ...dbus.ConnOption) *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address, options...)
	b.must(err)
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// Call calls the bus itself, on a connection of its own.
func (b *Bus) Call(method string, args ...any) []any {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address)
	b.must(err)
	defer conn.Close()
	call := conn.BusObject().Call("org.freedesktop.DBus."+method, 0, args...)
	b.must(call.Err)
	return call.Body
}

// Clients returns the unique names of all connections, without that of this call.
func (b *Bus) Clients() (clients []string) {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address)
	b.must(err)
	defer conn.Close()
	var names []string
	b.must(conn.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names))
	for _, name := range names {
		if strings.HasPrefix(name, ":") && name != conn.Names()[0] {
			clients = append(clients, name)
		}
	}
	return clients
}

// Matches returns the match rules of all connections.
func (b *Bus) Matches() (rules []string) {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address)
	b.must(err)
	defer conn.Close()
	var all map[string][]string
	b.must(conn.BusObject().Call("org.freedesktop.DBus.Debug.Stats.GetAllMatchRules", 0).Store(&all))
	for _, of := range all {
		rules = append(rules, of...)
	}
	return rules
}

// Owns reports whether somebody owns the name.
func (b *Bus) Owns(name string) bool {
	b.t.Helper()
	return b.Call("NameHasOwner", name)[0].(bool)
}

// Process returns the process that owns the name.
func (b *Bus) Process(name string) (pid int) {
	b.t.Helper()
	return int(b.Call("GetConnectionUnixProcessID", name)[0].(uint32))
}

// Until waits until something is so.
func Until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func (b *Bus) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
