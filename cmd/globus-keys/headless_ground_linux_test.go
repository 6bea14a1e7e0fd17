package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/agent"
	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// headless is the command in its surroundings.
type headless struct {
	*testing.T
	surroundings
	dir    string            // holds all there is
	inside string            // what the command has to call it
	env    map[string]string // all of it
	before []string          // the words before the command
}

// staticCommand makes the command as it is run on any Linux.
func staticCommand(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(openDir(t), "globus-keys")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "netgo,osusergo", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func newHeadless(t *testing.T, command string, s surroundings) *headless {
	t.Helper()
	h := &headless{T: t, surroundings: s, dir: openDir(t)}
	t.Cleanup(func() { h.end(h.running()) }) // if the test does not come to its own end
	h.inside = h.dir
	h.env = map[string]string{"HOME": filepath.Join(h.dir, "home"), "PATH": "/usr/bin:/bin"}
	if err := os.Link(command, filepath.Join(h.dir, "globus-keys")); err != nil {
		t.Fatal(err)
	}
	h.store()
	plain := `{"groups.api.globus.org": {"resource_server": "groups.api.globus.org", "access_token": "FakeAccessImported", "expires_at_seconds": 4070908799}}`
	for name, text := range map[string]string{"pass": "correct horse\n", "plain.json": plain} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.own(h.dir, h.user)
	h.ownTmp()
	if h.user != 0 {
		h.before = append(h.before, testenv.Need(t, "setpriv"), fmt.Sprint("--reuid=", h.user), fmt.Sprint("--regid=", h.user), "--clear-groups")
	}
	if h.bring != nil {
		h.bring(h)
	}
	return h
}

// openDir is a directory that every user may look into, as t.TempDir is none, and that
// is not below /tmp.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "gk")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// store puts a login into the store of HOME.
func (h *headless) store() {
	h.Helper()
	pass := filepath.Join(h.dir, "pass")
	err := os.WriteFile(pass, []byte("correct horse\n"), 0o600)
	if err != nil {
		h.Fatal(err)
	}
	store, err := local.Open(h.Context(), &local.Options{
		Getenv: func(name string) string { return h.env[name] }, WorkFactor: 10, PassphraseFile: pass, Key: keystore.SlotPassphrase,
	})
	if err != nil {
		h.Fatal(err)
	}
	defer store.Close()
	err = store.Put(h.Context(), keystore.TokenResponse{Tokens: []keystore.Token{{
		ResourceServer: "transfer.api.globus.org", AccessToken: keystore.NewSecret("FakeAccessHeadless"), ExpiresAt: time.Unix(4070908799, 0),
	}}})
	if err != nil {
		h.Fatal(err)
	}
}

// own gives everything below dir to a user.
func (h *headless) own(dir string, user int) {
	h.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "globus-keys" && d.Type().IsRegular() {
			return err
		}
		return os.Lchown(path, user, user)
	})
	if err != nil {
		h.Fatal(err)
	}
}

// ownTmp gives the commands a /tmp of their own, which stays from one to the next, and
// hides what the tester has in /run/user.
func (h *headless) ownTmp() {
	h.Helper()
	tmp := filepath.Join(h.dir, "tmp")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		h.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o777|fs.ModeSticky); err != nil {
		h.Fatal(err)
	}
	h.after("unshare", "-m", "/bin/sh", "-c", `mount --bind "$0" /tmp && { test ! -d /run/user || mount -t tmpfs tmpfs /run/user; } && exec "$@"`, tmp)
}

// after puts words between those that are there and the command.
func (h *headless) after(program string, args ...string) {
	h.Helper()
	h.before = append(append(h.before, testenv.Need(h, program)), args...)
}

// run runs the step. The time that it may take is for a command that hangs.
func (h *headless) run(name string, step headlessStep) {
	h.Helper()
	want := step.ending
	if other, ok := h.ends[name]; ok {
		want = other
	}
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	args := append(slices.Clone(h.before), h.inside+"/globus-keys")
	for _, arg := range step.args {
		switch arg {
		case "PASS":
			arg = h.inside + "/pass"
		case "PLAIN":
			arg = h.inside + "/plain.json"
		}
		args = append(args, arg)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	for name, value := range h.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, also if the tester has one
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		h.Fatalf("%s: %v\n%s", name, err, stderr.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != want.code || !strings.Contains(stdout.String(), want.stdout) ||
		want.stdout == "" && stdout.Len() > 0 || !strings.Contains(stderr.String(), want.stderr) {
		h.Errorf("%s: exit code %d, want %+v\n%s%s", name, code, want, stdout.String(), stderr.String())
	}
}

// processes returns what still runs of the command, and ends it. What is about to end
// has 10 seconds for that.
func (h *headless) processes() (found []int) {
	h.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if found = h.running(); len(found) == 0 || time.Now().After(end) {
			break
		}
	}
	h.end(found)
	return found
}

func (h *headless) end(pids []int) {
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (h *headless) running() (pids []int) {
	h.Helper()
	command, err := os.Stat(filepath.Join(h.dir, "globus-keys"))
	if err != nil {
		h.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil || len(all) == 0 {
		h.Fatal("no processes:", err)
	}
	for _, exe := range all {
		if program, err := os.Stat(exe); err == nil && os.SameFile(program, command) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(exe))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// mayStay reports whether that belongs to the agent's place, in which only the socket
// says that there was one.
func (h *headless) mayStay(path string) bool {
	in, err := filepath.Rel(filepath.Join(h.dir, "tmp"), path)
	place, file, _ := strings.Cut(in, "/")
	if err != nil || !strings.HasPrefix(place, "globus-keys-") {
		return false
	}
	return file == "" || file == agent.LockName || h.stale && file == agent.SocketName
}

// files returns what lies in the surroundings outside of the store.
func (h *headless) files() map[string]bool {
	h.Helper()
	found := make(map[string]bool)
	err := filepath.WalkDir(h.dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "/share/globus-keys/") {
			found[path] = true
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return found
}

// credential makes a directory that is root's, as all in it, with the passphrase in a
// file that the group of nobody can read: systemd has an access list say so.
func (h *headless) credential(dir, name string, mode fs.FileMode) {
	h.Helper()
	file := filepath.Join(dir, name)
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, []byte("correct horse\n"), 0o600), os.Chown(file, 0, nobody), os.Chmod(file, mode))
	if err != nil {
		h.Fatal(err)
	}
}

// secrets makes /run/secrets/globus-keys/passphrase as Kubernetes does: a link to a link
// to a file of root's that all can read.
func (h *headless) secrets() {
	h.Helper()
	dir := h.dir + "/secrets"
	h.credential(dir+"/globus-keys/..2026", "passphrase", 0o644)
	err := errors.Join(os.Symlink("..2026", dir+"/globus-keys/..data"), os.Symlink("..data/passphrase", dir+"/globus-keys/passphrase"))
	if err != nil {
		h.Fatal(err)
	}
	words := []string{"unshare", "-m", "/bin/sh", "-c", `mount -t tmpfs tmpfs /run && mkdir /run/secrets && mount --bind "$0" /run/secrets && exec "$@"`, dir}
	words[0] = testenv.Need(h, words[0])
	h.before = append(words, h.before...)
}

// session names a session of a user that has a bus.
func (h *headless) session(user int) {
	h.Helper()
	dir := filepath.Join(h.dir, "session")
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.Fatal(err)
	}
	h.own(dir, user)
	h.env["XDG_RUNTIME_DIR"] = dir
	h.env["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=" + dir + "/bus"
}
