package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// terminals are those of one person at one machine: windows of tmux.
type terminals struct {
	*home
	tmux, socket string
}

func newTerminals(h *home) *terminals {
	h.Helper()
	ts := &terminals{home: h, tmux: testenv.Need(h.T, "tmux"), socket: filepath.Join(h.getenv("XDG_RUNTIME_DIR"), "tmux")}
	h.env = slices.DeleteFunc(h.env, func(line string) bool {
		return strings.HasPrefix(line, "PATH=") || strings.HasPrefix(line, "GLOBUS_KEYS_NO_PROMPT=")
	})
	h.env = append(h.env, "PATH="+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"), "PS1=READY: ", "TERM=dumb", "SHELL=/bin/sh", "ENV=")
	ts.run("-f", "/dev/null", "new-session", "-d", "-s", "work", "-n", "none", "-x", "400", "-y", "50", "/bin/sh", "-c", "read never")
	h.Cleanup(func() { ts.run("kill-server") })
	return ts
}

func (ts *terminals) run(args ...string) string {
	ts.Helper()
	cmd := exec.Command(ts.tmux, append([]string{"-S", ts.socket}, args...)...)
	cmd.Env = ts.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// window is one of them, with a shell.
type window struct {
	*terminals
	name string
	fifo *os.File // what it shows
	tty  *os.File

	mu    sync.Mutex
	shown strings.Builder
	more  chan struct{} // closed when something more is shown
	seen  int
}

// open opens a window.
func (ts *terminals) open(name string) *window {
	ts.Helper()
	fifo := filepath.Join(ts.dir, name+".fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		ts.Fatal(err)
	}
	file, err := os.OpenFile(fifo, os.O_RDWR, 0) // both ends, so that it waits for nobody
	if err != nil {
		ts.Fatal(err)
	}
	ts.Cleanup(func() { file.Close() })
	w := &window{terminals: ts, name: name, fifo: file, more: make(chan struct{})}
	go w.watch()
	tty := ts.run("new-window", "-P", "-F", "#{pane_tty}", "-d", "-n", name, "/bin/sh", "-c", "read go; exec /bin/sh -i")
	ts.run("pipe-pane", "-t", name, "exec cat >"+fifo)
	w.tty, err = os.OpenFile(strings.TrimSpace(tty), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		ts.Fatal(err)
	}
	ts.Cleanup(func() { w.tty.Close() })
	w.types("")
	w.until("READY: ")
	return w
}

func (w *window) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := w.fifo.Read(buf)
		w.mu.Lock()
		w.shown.Write(buf[:n])
		close(w.more)
		w.more = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// text is what was shown so far. more is closed when there is more.
func (w *window) text() (text string, more <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown.String(), w.more
}

// until waits until the words are shown, after those that were waited for before.
func (w *window) until(words string) {
	w.Helper()
	patience := time.After(30 * time.Second)
	for {
		text, more := w.text()
		if i := strings.Index(text[w.seen:], words); i >= 0 {
			w.seen += i + len(words)
			return
		}
		select {
		case <-more:
		case <-patience:
			w.Fatalf("%s never shows %q:\n%s", w.name, words, text)
		}
	}
}

// types types a line.
func (w *window) types(line string) {
	w.Helper()
	w.run("send-keys", "-t", w.name, "-l", "--", line)
	w.run("send-keys", "-t", w.name, "Enter")
}

// echoes reports whether what is typed is shown.
func (w *window) echoes() bool {
	mode, err := unix.IoctlGetTermios(int(w.tty.Fd()), unix.TCGETS)
	return err != nil || mode.Lflag&unix.ECHO != 0
}

// does types a command and checks that these words are shown, in this order, before
// the shell is ready again. What stands behind "type:" is typed where nobody sees it.
func (w *window) does(command string, words ...string) {
	w.Helper()
	w.types(command)
	for _, word := range words {
		if typed, isTyped := strings.CutPrefix(word, "type:"); isTyped {
			w.waitFor("a question whose answer is not shown", func() bool { return !w.echoes() })
			w.types(typed)
			continue
		}
		w.until(word)
	}
	w.until("READY: ")
}

// TestUnlockedAtTerminals is a day at a machine without a keychain: the passphrase is
// typed when the store is made, and to unlock it; every terminal has it then, until it
// is locked, or its time is over.
func TestUnlockedAtTerminals(t *testing.T) {
	testenv.Need(t, "setsid")
	h := newHome(t, oauthtest.Static).locked()
	h.write(h.plain(), plainLogin)
	ts := newTerminals(h)
	const phrase = "a fine passphrase"

	one := ts.open("one")
	one.does("globus-keys import "+h.plain(),
		"New passphrase", "type:"+phrase, "The same again", "type:"+phrase, "imported",
		"hint: globus-keys unlock opens the store for hours, so that the passphrase is typed once")
	one.does("globus-keys token transfer", "Passphrase for file:", "type:"+phrase, "FakeAccessDesktop")
	one.does("globus-keys unlock", "Passphrase for file:", "type:"+phrase, "is unlocked for 8 hours, or until")
	one.does("globus-keys token transfer", "FakeAccessDesktop")

	two := ts.open("two")
	two.does("globus-keys token transfer", "FakeAccessDesktop")
	ts.run("kill-window", "-t", "one")
	two.does("globus-keys token transfer", "FakeAccessDesktop")
	two.does("setsid -w globus-keys token transfer </dev/null", "FakeAccessDesktop")
	two.does("globus-keys lock", "is locked")

	nobody := "setsid -w globus-keys token transfer </dev/null; echo code $?"
	two.does(nobody, "error: ", "the store is locked", "hint: globus-keys unlock, in a terminal, opens it for hours", "code 5")
	two.does("globus-keys token transfer", "Passphrase for file:", "type:"+phrase, "FakeAccessDesktop")
	two.does(nobody, "code 5") // that has unlocked nothing

	two.does("globus-keys unlock --ttl 1s", "Passphrase for file:", "type:"+phrase, "is unlocked for 1 second")
	h.waitFor("the end of its time", func() bool { return len(h.agent().Stores) == 0 })
	two.does(nobody, "code 5")
	two.does("globus-keys token transfer", "Passphrase for file:", "type:"+phrase, "FakeAccessDesktop")

	for w, asked := range map[*window]int{one: 2, two: 3} {
		text, _ := w.text()
		if strings.Contains(text, phrase) {
			t.Errorf("%s shows the passphrase:\n%s", w.name, text)
		}
		if got := strings.Count(text, "Passphrase for"); got != asked {
			t.Errorf("%s: the passphrase was asked for %d times, want %d", w.name, got, asked)
		}
	}
}
