// Package systemd has the units of the agent; here they are checked.
package systemd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/rundir"
	"github.com/globus-keys/globus-keys/internal/testenv"
)

const (
	socket  = "globus-keys-agent.socket"
	service = "globus-keys-agent.service"

	command = "/usr/bin/globus-keys" // where packages install it
)

// refuseCode makes this test's program one that lets the kernel refuse what
// MemoryDenyWriteExecute= refuses, and becomes another program.
const refuseCode = "GLOBUS_KEYS_TEST_REFUSE_CODE"

func TestMain(m *testing.M) {
	if os.Getenv(refuseCode) == "" {
		os.Exit(m.Run())
	}
	err := unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	if err == nil {
		_, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		if errors.Is(err, unix.EACCES) { // as it should be
			err = unix.Exec(os.Args[1], os.Args[1:], os.Environ())
		}
	}
	if err == nil {
		err = errors.New("it is not refused")
	}
	os.Stderr.WriteString(err.Error())
	os.Exit(100)
}

func read(t *testing.T, unit string) string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// setting returns the values that the unit gives to a name.
func setting(unit, name string) (values []string) {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// verify lets a user's systemd check the units, and returns what it complains of. The
// command is where a test can put one: what there is at /usr/bin is not looked at.
func verify(t *testing.T, units map[string]string) (complaints string) {
	t.Helper()
	program := testenv.Need(t, "systemd-analyze")
	dir := t.TempDir()
	args := []string{"verify", "--user"}
	for name, text := range units {
		text = strings.ReplaceAll(text, "="+command+" ", "="+filepath.Join(dir, "globus-keys")+" ")
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if err := os.Symlink("/bin/true", filepath.Join(dir, "globus-keys")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "LANG=C"}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out) // unknown names are ignored with a complaint, and no exit code
}

func TestUnitsAreGood(t *testing.T) {
	units := map[string]string{socket: read(t, socket), service: read(t, service)}
	if got := verify(t, units); got != "" {
		t.Errorf("systemd-analyze:\n%s", got)
	}
	if got := setting(units[service], "ExecStart"); !slices.Equal(got, []string{command + " agent run"}) {
		t.Errorf("ExecStart: %q", got)
	}
}

// TestVerifyNotices: what would be wrong with a unit is seen by TestUnitsAreGood.
func TestVerifyNotices(t *testing.T) {
	for _, c := range []struct{ unit, old, new, complaint string }{
		{service, command, "/usr/bin/globus-key", "not executable"},
		{service, "LimitCORE=0", "LimitCORES=0", "Unknown key"},
		{service, "MemorySwapMax=0", "MemorySwapMax=none", "Invalid memory"},
		{service, "@system-service", "@system-services", "system call"},
		{service, "AF_UNIX", "AF_UNIXES", "address family"},
		{socket, "ListenStream=%t/globus-keys/agent.sock", "", "no Listen setting"},
		{socket, "SocketMode=0600", "SocketMode=rw", "mode value"},
		{socket, "[Socket]", "[Sockets]", "Unknown section"},
	} {
		units := map[string]string{socket: read(t, socket), service: read(t, service)}
		bent := strings.Replace(units[c.unit], c.old, c.new, 1)
		if bent == units[c.unit] {
			t.Errorf("%s has no %s", c.unit, c.old)
		}
		units[c.unit] = bent
		if got := verify(t, units); !strings.Contains(got, c.complaint) {
			t.Errorf("%s instead of %s: systemd-analyze says %q, want %q", c.new, c.old, got, c.complaint)
		}
	}
}

// TestServiceInTheDocs is one that a user can copy.
func TestServiceInTheDocs(t *testing.T) {
	_, unit, _ := strings.Cut(read(t, "../../docs/unlock.md"), "\n    [Service]\n    Type=oneshot\n")
	unit, _, _ = strings.Cut(unit, "\n\n")
	unit = "[Service]\nType=oneshot\n" + strings.ReplaceAll("\n"+unit, "\n    ", "\n") + "\n"
	if len(setting(unit, "LoadCredential")) != 1 || len(setting(unit, "ExecStart")) != 1 {
		t.Fatalf("the service is not there:\n%s", unit)
	}
	if got := verify(t, map[string]string{"example.service": unit}); got != "" {
		t.Errorf("systemd-analyze:\n%s", got)
	}
	bent := strings.Replace(unit, "=globus-keys:", "=globus/keys:", 1)
	if got := verify(t, map[string]string{"example.service": bent}); bent == unit || got == "" {
		t.Error("systemd-analyze says nothing of a name that no credential can have")
	}
}

// TestSocketIsWhereClientsLook: %t is $XDG_RUNTIME_DIR.
func TestSocketIsWhereClientsLook(t *testing.T) {
	runtime := t.TempDir()
	if err := os.Chmod(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := rundir.Make(func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": runtime}[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{strings.Replace(filepath.Join(dir, "agent.sock"), runtime, "%t", 1)}
	if got := setting(read(t, socket), "ListenStream"); !slices.Equal(got, want) {
		t.Errorf("ListenStream: %q, want %q", got, want)
	}
}
