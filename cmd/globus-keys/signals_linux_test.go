package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/keystoretest"
	"github.com/globus-keys/globus-keys/keystore/local"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
	"github.com/globus-keys/globus-keys/sqliteadapter"
)

// home is a user's home, with nothing of the tester's in it, and an issuer.
type home struct {
	*testing.T
	dir    string
	env    []string
	issuer *oauthtest.Server
}

func newHome(t *testing.T, r oauthtest.Rotation) *home {
	h := &home{T: t, dir: t.TempDir(), issuer: oauthtest.New(t)}
	h.issuer.SetRotation(r)
	for _, name := range []string{"run", "data"} {
		if err := os.Mkdir(filepath.Join(h.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	pass := filepath.Join(h.dir, "pass")
	if err := os.WriteFile(pass, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(h.dir, "bin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(bin, 0o700)
	for _, name := range []string{"globus-keys", "fake-browser", "useless-browser", "panics-at-prompt"} { // testscript goes by the name
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	h.env = []string{"HOME=" + h.dir, "PATH=" + bin, "TMPDIR=" + h.dir, "XDG_RUNTIME_DIR=" + filepath.Join(h.dir, "run"),
		"GLOBUS_KEYS_PASSPHRASE_FILE=" + pass, "GLOBUS_KEYS_STORE=file:" + filepath.Join(h.dir, "data", "tokens.json"),
		"GLOBUS_KEYS_NO_PROMPT=1", "BROWSER=useless-browser", "GORACE=atexit_sleep_ms=0"}
	return h
}

func (h *home) getenv(name string) string {
	for _, line := range h.env {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return value
		}
	}
	return ""
}

func (h *home) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(h.Context(), filepath.Join(h.dir, "bin", "globus-keys"), args...)
	cmd.Env = h.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// must runs a command that must succeed, and returns what it printed.
func (h *home) must(args ...string) string {
	h.Helper()
	out, err := h.command(args...).Output()
	if err != nil {
		h.Fatalf("globus-keys %v: %v\n%s", args, err, stderrOf(err))
	}
	return string(out)
}

func stderrOf(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(exit.Stderr)
	}
	return ""
}

// store opens the user's store in this process.
func (h *home) store() (*local.Place, *keystore.Store) {
	h.Helper()
	p, err := local.Find(&local.Options{Getenv: h.getenv, WorkFactor: 10, SQLite: sqliteadapter.Opener(nil)})
	if err != nil {
		h.Fatal(err)
	}
	store := p.Store()
	h.Cleanup(func() { store.Close() })
	return p, store
}

// expired stores a login whose access token is over.
func (h *home) expired() {
	h.Helper()
	_, store := h.store()
	r := longAgo(h.T, h.issuer, 100*3600e9, transferScope)
	if err := store.Put(h.Context(), r); err != nil {
		h.Fatal(err)
	}
}

// running is a command that is signalled.
type running struct {
	*home
	cmd  *exec.Cmd
	talk *bufio.Reader
	said strings.Builder
}

func (h *home) start(args ...string) *running {
	h.Helper()
	return h.startAs(func(*exec.Cmd) {}, args...)
}

// startAs lets change how the command is started.
func (h *home) startAs(change func(*exec.Cmd), args ...string) *running {
	h.Helper()
	r := &running{home: h, cmd: h.command(args...)}
	change(r.cmd)
	talk, err := r.cmd.StderrPipe()
	if err != nil {
		h.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	r.talk = bufio.NewReader(talk)
	return r
}

// until returns the first line that has the words.
func (r *running) until(words string) string {
	r.Helper()
	for {
		line, err := r.talk.ReadString('\n')
		r.said.WriteString(line)
		if strings.Contains(line, words) {
			return line
		}
		if err != nil {
			r.Fatalf("it never says %q:\n%s", words, r.said.String())
		}
	}
}

func (r *running) signal(s syscall.Signal) {
	r.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.Error(err)
	}
	for s == syscall.SIGSTOP && !stopped(r.cmd.Process.Pid) { // threads go on for a moment
		runtime.Gosched()
	}
}

// stopped reports whether no thread of a process runs.
func stopped(pid int) bool {
	states, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range states {
		if text, err := os.ReadFile(file); err == nil && !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return true
}

// heeded undoes that the tester's nohup has a signal ignored, for the commands too.
func (h *home) heeded(s syscall.Signal) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, s)
	h.Cleanup(func() { signal.Stop(heard) })
}

// end waits for it, and returns its exit code, -1 if a signal has ended it.
func (r *running) end() int {
	r.Helper()
	rest, _ := io.ReadAll(r.talk)
	r.said.Write(rest)
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// TestInterruptedLogin: while the person is waited for nothing is left behind.
func TestInterruptedLogin(t *testing.T) {
	for name, s := range map[string]syscall.Signal{"^C": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "the terminal is closed": syscall.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, oauthtest.Static)
			h.heeded(s)
			login := h.start("login", "--issuer", h.issuer.URL, "--client-id", testClient, "--service", "transfer")
			page := login.until("/v2/oauth2/authorize?")
			login.signal(s)
			if code := login.end(); code != 2 || !strings.Contains(login.said.String(), "error: cancelled") {
				t.Errorf("exit code %d:\n%s", code, login.said.String())
			}
			u, err := url.Parse(strings.TrimSpace(strings.TrimPrefix(page, "globus-keys: ")))
			if err != nil {
				t.Fatal(err)
			}
			back, err := url.Parse(u.Query().Get("redirect_uri"))
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := net.Dial("tcp", back.Host); err == nil {
				conn.Close()
				t.Errorf("somebody listens at %s", back.Host)
			}
			h.nothingUnderWay()
			if c := h.issuer.Counts(); c.Posts != 0 || h.issuer.LastAuthorize() != nil {
				t.Errorf("the issuer was asked: %+v", c)
			}
		})
	}
}

// nothingUnderWay checks that the store has no login and no pending record.
func (h *home) nothingUnderWay() {
	h.Helper()
	p, _ := h.store()
	err := p.Adapter().View(h.Context(), func(r keystore.Reader) error {
		for _, kind := range []keystore.Kind{keystore.KindToken, keystore.KindPending, keystore.KindAccount} {
			for key := range r.Keys(kind) {
				h.Errorf("there is a %s", key)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		h.Error(err)
	}
}

// duringAnswer calls do once, when a request of a grant has taken effect and is not
// answered yet.
func (h *home) duringAnswer(grant string, do func()) {
	var once sync.Once
	h.issuer.BeforeAnswer(func(e oauthtest.Event) {
		if e.Grant == grant {
			once.Do(do)
		}
	})
}

// TestInterruptWaitsForTheAnswer: what the issuer has spent a refresh token or a code
// for is stored before the command ends, and the person is told why that takes time.
func TestInterruptWaitsForTheAnswer(t *testing.T) {
	logIn := func(h *home) []string {
		h.env = append(h.env, "BROWSER=fake-browser")
		return []string{"login", "--issuer", h.issuer.URL, "--client-id", testClient, "--service", "transfer"}
	}
	refresh := func(h *home) []string { h.expired(); return []string{"refresh"} }
	const once, twice = 1, 2
	for name, c := range map[string]struct {
		grant   string
		prepare func(h *home) (args []string)
		signal  syscall.Signal
		times   int
		code    int
	}{
		"refresh": {"refresh_token", refresh, syscall.SIGINT, once, 2},
		"token":   {"refresh_token", func(h *home) []string { h.expired(); return []string{"token", "transfer"} }, syscall.SIGINT, once, 2},
		"login":   {"authorization_code", logIn, syscall.SIGINT, once, 0},

		"refresh, SIGTERM":                {"refresh_token", refresh, syscall.SIGTERM, once, 2},
		"refresh, the terminal is closed": {"refresh_token", refresh, syscall.SIGHUP, twice, 2}, // by the shell and by the kernel
		"login, the terminal is closed":   {"authorization_code", logIn, syscall.SIGHUP, twice, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, oauthtest.Rotating)
			h.heeded(c.signal)
			args := c.prepare(h)
			asked, answer := make(chan struct{}), make(chan struct{})
			defer close(answer) // if the test has failed before
			h.duringAnswer(c.grant, func() { close(asked); <-answer })
			cmd := h.start(args...)
			<-asked
			cmd.signal(c.signal)
			cmd.until("this ends when that is done; ^C again ends it at once")
			for n := 1; n < c.times; n++ {
				cmd.signal(c.signal)
			}
			answer <- struct{}{}
			if code := cmd.end(); code != c.code {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, cmd.said.String())
			}
			before := h.issuer.Counts()
			fresh := h.must("token", "transfer")
			if after := h.issuer.Counts(); after != before || !h.issuer.Active(strings.TrimSpace(fresh)) {
				t.Errorf("the answer was not stored: %q, %+v", fresh, after)
			}
			h.must("refresh", "transfer")
			if c := h.issuer.Counts(); c.Reuse != 0 || c.Denied != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestSecondInterruptEndsAtOnce, though the answer is under way.
func TestSecondInterruptEndsAtOnce(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer close(answer)
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	cmd := h.start("refresh")
	<-asked
	cmd.signal(syscall.SIGINT)
	cmd.until("^C again ends it at once")
	cmd.signal(syscall.SIGINT)
	if code := cmd.end(); code != -1 {
		t.Errorf("exit code %d, want none:\n%s", code, cmd.said.String())
	}
}

// TestNohup: who has SIGHUP ignored is not ended by it.
func TestNohup(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer close(answer)
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	cmd := h.startAs(func(c *exec.Cmd) {
		c.Args = append([]string{"/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
		c.Path = c.Args[0]
	}, "refresh")
	<-asked
	cmd.signal(syscall.SIGHUP)
	answer <- struct{}{}
	if code := cmd.end(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, cmd.said.String())
	}
}

// TestOneRenewalForAllCommands: whoever asks gets the same token, for one request.
func TestOneRenewalForAllCommands(t *testing.T) {
	const processes = 64
	h := newHome(t, oauthtest.Rotating)
	h.expired()
	before := h.issuer.Counts()
	answers := make(chan string, processes)
	for range processes {
		go func() {
			out, err := h.command("token", "transfer").Output()
			if err != nil {
				h.Errorf("%v\n%s", err, stderrOf(err))
			}
			answers <- string(out)
		}()
	}
	tokens := make(map[string]int)
	for range processes {
		tokens[<-answers]++
	}
	c := h.issuer.Counts()
	t.Logf("%d processes: %d refreshes, %d requests, %d reused", processes, c.Refreshes, c.Posts-before.Posts, c.Reuse)
	if len(tokens) != 1 || c.Refreshes != 1 || c.Reuse != 0 || c.Posts != before.Posts+1 {
		t.Errorf("%d different answers, %+v", len(tokens), c)
	}
	for _, secret := range []string{"fake-access", "fake-refresh"} {
		if found := keystoretest.FindCanary(h.dir, secret); len(found) > 0 {
			t.Error(found)
		}
	}
}

// TestWhatACommandTouches: help reads nothing, and a token that is good costs no
// connection and no settings. A token that is renewed shows that the trace would have
// both.
func TestWhatACommandTouches(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	settings := filepath.Join(h.dir, ".config", "globus-keys", "config.toml")
	h.write(settings, "[hooks.on_refresh]\ncommand = [\"/bin/true\"]\n")
	words := []string{"socket(", "connect(", "config.toml", "tokens.json"}
	for _, args := range []string{"login --help", "logout --help", "refresh --help", "whoami --help", "preflight --help", "__complete login --flow "} {
		if found := h.trace(words, strings.Split(args, " ")...); found != "" {
			t.Errorf("globus-keys %s:\n%s", args, found)
		}
	}
	first := h.trace(words, "token", "transfer")
	for _, word := range words {
		if !strings.Contains(first, word) {
			t.Errorf("the trace of a renewal has no %s:\n%s", word, first)
		}
	}
	for _, args := range [][]string{{"token", "transfer"}, {"whoami"}} {
		second := h.trace(words, args...)
		for _, word := range words[:3] {
			if strings.Contains(second, word) {
				t.Errorf("%v has %s:\n%s", args, word, second)
			}
		}
		if !strings.Contains(second, "tokens.json") {
			t.Errorf("the trace of %v has no store:\n%s", args, second)
		}
	}
}

func (h *home) write(path, text string) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// trace returns the system calls of a command that have one of the words.
func (h *home) trace(words []string, args ...string) (found string) {
	h.Helper()
	cmd := h.command(args...)
	log := filepath.Join(h.dir, "trace")
	strace := testenv.Need(h, "strace")
	cmd.Args = append([]string{strace, "-f", "-qq", "-e", "trace=%network,%file", "-o", log, cmd.Path}, args...)
	cmd.Path = strace
	if out, err := cmd.CombinedOutput(); err != nil {
		h.Fatalf("%v: %v\n%s", args, err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		h.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "execve") && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			found += line
		}
	}
	return found
}
