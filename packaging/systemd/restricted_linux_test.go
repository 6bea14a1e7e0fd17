package systemd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// restricted is the command under a restriction of the service: the words before it are
// what restricts it.
type restricted struct {
	*testing.T
	path   string
	before []string
	env    []string
	dir    string // HOME, and all else
}

// build makes the command as users of `go install` without a C compiler get it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "globus-keys")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/globus-keys")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// newRestricted has a store with a login, behind a passphrase, and a runtime directory
// whose name is short enough for a socket.
func newRestricted(t *testing.T, path string) *restricted {
	t.Helper()
	dir := testenv.ShortDir(t)
	r := &restricted{T: t, path: path, dir: dir}
	r.before = []string{testenv.Need(t, "setpriv"), "--no-new-privs", "/bin/sh", "-c", `ulimit -c 0 && umask 0077 && exec "$0" "$@"`}
	r.env = []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "GLOBUS_KEYS_NO_PROMPT=1"}
	login := `{"transfer.api.globus.org": {"resource_server": "transfer.api.globus.org", "access_token": "FakeAccessRestricted", "expires_at_seconds": 4070908799}}`
	for name, text := range map[string]string{"pass": "correct horse\n", "login.json": login} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.run("import", filepath.Join(dir, "login.json"), "--key", "passphrase", "--passphrase-file", r.pass())
	return r
}

func (r *restricted) pass() string { return filepath.Join(r.dir, "pass") }

func (r *restricted) command(args ...string) *exec.Cmd {
	words := slices.Concat(r.before, []string{r.path}, args)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = r.env
	return cmd
}

// run returns what the command prints and says.
func (r *restricted) run(args ...string) string {
	r.Helper()
	out, err := r.command(args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 100 && strings.Contains(string(out), unix.EINVAL.Error()) {
		testenv.Missing(r.T, "the kernel has no PR_SET_MDWE")
	}
	if err != nil {
		r.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// service runs the agent, and what makes it do all that it does, under the restrictions.
func (r *restricted) service() {
	r.Helper()
	for _, args := range [][]string{{"version"}, {"status"}} {
		r.run(args...)
	}
	cmd := r.command("agent", "run", "--verbose")
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { // if it has not ended; of one in a tracer that is not the whole
		r.command("agent", "stop").Run()
		cmd.Process.Kill()
	})
	text := bufio.NewReader(said)
	for line := ""; !strings.Contains(line, "serves"); {
		if line, err = text.ReadString('\n'); err != nil {
			r.Fatalf("agent run: %v", cmd.Wait())
		}
	}
	r.run("unlock", "--ttl", "1m", "--passphrase-file", r.pass())
	if got := r.run("token", "transfer"); got != "FakeAccessRestricted\n" {
		r.Errorf("token: %q", got)
	}
	r.run("agent", "stop")
	rest, _ := io.ReadAll(text) // until it ends
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "op=derive") {
		r.Errorf("agent run: %v\n%s", err, rest)
	}
}

// TestCommandRunsAsRestricted by the service, the agent too.
func TestCommandRunsAsRestricted(t *testing.T) {
	path := build(t)
	t.Run("MemoryDenyWriteExecute", func(t *testing.T) { refusingCode(newRestricted(t, path)) })
	t.Run("SystemCallFilter", func(t *testing.T) { filtered(newRestricted(t, path)) })
}

// refusingCode: MemoryDenyWriteExecute= is a filter of systemd's; here the kernel
// refuses the same.
func refusingCode(r *restricted) {
	self, err := os.Executable()
	if err != nil {
		r.Fatal(err)
	}
	r.before, r.env = append(r.before, self), append(r.env, refuseCode+"=1")
	r.service()
}

// filtered: all system calls are among those of SystemCallFilter=, and none is what the
// other restrictions refuse.
func filtered(r *restricted) {
	filter := setting(read(r.T, service), "SystemCallFilter")
	if len(filter) != 1 {
		r.Fatalf("SystemCallFilter: %q", filter)
	}
	allowed := expand(r.T, filter[0])
	for _, name := range []string{"personality", "unshare", "setns", "sched_setscheduler", "sched_setattr"} {
		delete(allowed, name)
	}
	log := filepath.Join(r.dir, "calls")
	r.before = append(r.before, testenv.Need(r.T, "strace"), "-ff", "-qq", "-o", log)
	r.service()

	var calls [][]string
	call := regexp.MustCompile(`(?m)^([a-z0-9_]+)\((\w*)`)
	logs, err := filepath.Glob(log + ".*")
	if err != nil {
		r.Fatal(err)
	}
	for _, log := range logs {
		calls = append(calls, call.FindAllStringSubmatch(read(r.T, log), -1)...)
	}
	if len(calls) < 1000 {
		r.Errorf("only %d system calls are traced", len(calls))
	}
	for _, c := range calls {
		if !allowed[c[1]] || c[1] == "socket" && c[2] != "AF_UNIX" {
			r.Errorf("%s) is not allowed", c[0])
		}
	}
}

// expand returns the system calls that are in a set of systemd's.
func expand(t *testing.T, set string) map[string]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testenv.Need(t, "systemd-analyze"), "syscall-filter", "--no-pager", set).Output()
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]bool)
	for _, line := range bytes.Split(out, []byte("\n")) {
		switch name := string(bytes.TrimSpace(line)); {
		case name == "" || name == set || name[0] == '#':
		case name[0] == '@':
			for call := range expand(t, name) {
				calls[call] = true
			}
		default:
			calls[name] = true
		}
	}
	return calls
}
