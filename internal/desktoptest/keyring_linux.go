package desktoptest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

const (
	secrets  = "org.freedesktop.secrets"
	password = "testpw"
)

// Keyring is a gnome-keyring-daemon on a bus of its own, with an unlocked
// default collection.
type Keyring struct {
	*Bus
	Pid int // of the daemon; 0: stopped

	cmd    *exec.Cmd
	stderr bytes.Buffer
}

// StartKeyring starts a bus and a keyring.
func StartKeyring(t testing.TB) *Keyring {
	t.Helper()
	testenv.Need(t, "gnome-keyring-daemon")
	k := &Keyring{Bus: StartBus(t)}
	t.Cleanup(k.Kill)
	k.Start()
	return k
}

// Start starts the daemon, after Kill, with the password that unlocks it.
func (k *Keyring) Start() {
	k.t.Helper()
	program := testenv.Need(k.t, "gnome-keyring-daemon")
	k.cmd = exec.Command(program, "--foreground", "--unlock", "--components=secrets",
		"--control-directory="+filepath.Join(k.Dir, "runtime/keyring"))
	k.cmd.Env = k.Env()
	k.cmd.SysProcAttr = endsWithTests()
	k.cmd.Stdin = strings.NewReader(password)
	k.cmd.Stderr = &k.stderr
	k.must(k.cmd.Start())
	k.Pid = k.cmd.Process.Pid
	Until(k.t, "gnome-keyring-daemon has an unlocked default collection", k.unlocked)
}

func (k *Keyring) unlocked() bool {
	if !k.Owns(secrets) {
		return false
	}
	conn, err := dbus.Connect(k.Address)
	k.must(err)
	defer conn.Close()
	locked, err := conn.Object(secrets, alias(conn)).GetProperty("org.freedesktop.Secret.Collection.Locked")
	return err == nil && locked.Value() == false
}

// alias returns the default collection.
func alias(conn *dbus.Conn) (collection dbus.ObjectPath) {
	conn.Object(secrets, "/org/freedesktop/secrets").
		Call("org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&collection)
	if !collection.IsValid() {
		return "/"
	}
	return collection
}

// Lock locks the default collection.
func (k *Keyring) Lock() {
	k.t.Helper()
	conn := k.Dial()
	call := conn.Object(secrets, "/org/freedesktop/secrets").
		Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{alias(conn)})
	k.must(call.Err)
	Until(k.t, "the collection is locked", func() bool { return !k.unlocked() })
}

// Freeze stops the daemon where it is; Thaw lets it go on.
func (k *Keyring) Freeze() { k.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (k *Keyring) Thaw() { k.signal(syscall.SIGCONT) }

func (k *Keyring) signal(s syscall.Signal) {
	k.t.Helper()
	k.must(syscall.Kill(k.Pid, s))
}

// Kill ends the daemon at once, if it runs.
func (k *Keyring) Kill() {
	if k.Pid == 0 {
		return
	}
	k.Pid = 0
	k.cmd.Process.Kill()
	k.cmd.Wait()
}

// Restart ends the daemon and starts it again.
func (k *Keyring) Restart() {
	k.t.Helper()
	k.Kill()
	Until(k.t, "its name is free", func() bool { return !k.Owns(secrets) })
	k.Start()
}
