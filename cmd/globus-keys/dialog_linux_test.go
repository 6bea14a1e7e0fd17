package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globus-keys/globus-keys/internal/testenv"
)

// desktop is a home whose commands have a screen, no terminal, and a pinentry.
type desktop struct {
	*home
	xdotool string
}

func newDesktop(t *testing.T) *desktop {
	xvfb, pinentry := testenv.Need(t, "Xvfb"), testenv.Need(t, "pinentry-gtk-2")
	d := &desktop{asking(t), testenv.Need(t, "xdotool")}
	d.env = append(d.env, "DISPLAY="+d.screen(xvfb), "LC_ALL=C.UTF-8")
	d.link(pinentry, "pinentry-gtk-2")
	return d
}

// link makes a program one of those that are found.
func (d *desktop) link(program, name string) {
	d.Helper()
	if err := os.Symlink(program, filepath.Join(d.dir, "bin", name)); err != nil {
		d.Fatal(err)
	}
}

// screen starts an X server, and returns the display that it has found free.
func (d *desktop) screen(xvfb string) string {
	d.Helper()
	r, w := d.pipe()
	cmd := exec.Command(xvfb, "-displayfd", "3", "-screen", "0", "800x600x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	w.Close()
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		d.Fatalf("Xvfb: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// types waits until a dialog has the keyboard, types, and presses the keys that are named.
// There is no window manager; the dialog takes the keyboard itself when it is ready.
func (d *desktop) types(text string, keys ...string) {
	d.Helper()
	window := d.does("search", "--sync", "--onlyvisible", "--class", "pinentry")
	for d.does("getwindowfocus", "-f") != window {
	}
	if text != "" {
		d.does("type", text)
	}
	if len(keys) > 0 {
		d.does(append([]string{"key"}, keys...)...)
	}
}

func (d *desktop) does(args ...string) string {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.xdotool, args...)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.Fatalf("xdotool %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// gone waits until the dialog is no more.
func (d *desktop) gone() {
	d.Helper()
	for {
		cmd := exec.CommandContext(d.Context(), d.xdotool, "search", "--onlyvisible", "--class", "pinentry")
		cmd.Env = d.env
		if out, _ := cmd.Output(); len(out) == 0 {
			return
		}
	}
}

// TestDialog: where there is a screen and no terminal the passphrase is asked for in a
// window.
func TestDialog(t *testing.T) {
	d := newDesktop(t)
	token := func() *running { return d.start("token", "transfer") }

	right := token()
	right.until("answer the dialog")
	d.types(passphraseOfHome, "Return")
	if code := right.end(); code != 0 {
		t.Errorf("right: exit code %d\n%s", code, right.said.String())
	}

	wrong := token()
	wrong.until("answer the dialog")
	d.types("not the one", "Return")
	wrong.until("answer the dialog")
	d.types(passphraseOfHome, "Return")
	if code := wrong.end(); code != 0 {
		t.Errorf("wrong, then right: exit code %d\n%s", code, wrong.said.String())
	}

	declined := token()
	declined.until("answer the dialog")
	d.types("", "Escape")
	if code := declined.end(); code != 2 || !strings.Contains(declined.said.String(), "the dialog was cancelled") {
		t.Errorf("cancelled: exit code %d\n%s", code, declined.said.String())
	}

	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ended := token()
		ended.until("answer the dialog")
		d.types("half")
		ended.signal(s)
		if code := ended.end(); code != 2 {
			t.Errorf("%v: exit code %d\n%s", s, code, ended.said.String())
		}
		d.gone()
	}
	d.env = append(d.env, "GLOBUS_KEYS_NO_PROMPT=1")
	silent := token()
	if code := silent.end(); code != 5 {
		t.Errorf("GLOBUS_KEYS_NO_PROMPT: exit code %d\n%s", code, silent.said.String())
	}
}

// TestNewPassphraseInADialog is typed twice, and is the same at the terminal.
func TestNewPassphraseInADialog(t *testing.T) {
	d := newDesktop(t)
	const passphrase = "more than 8 %25"
	d.env = append(d.env, "GLOBUS_KEYS_STORE=file:"+filepath.Join(d.dir, "data", "100%41 other.json"))
	first := d.start("import", filepath.Join(d.dir, "plain.json"))
	first.until("answer the dialog")
	d.types(passphrase, "Return") // the next field
	d.types(passphrase, "Return")
	if code := first.end(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, first.said.String())
	}
	s := d.at(d.globusKeys(), "token", "transfer")
	s.until("Passphrase for ")
	s.types(passphrase + "\n")
	s.ends(0, "FakeAccessDesktop")
}

// TestNobodyCanAnswerADialog: exit code 5 at once.
func TestNobodyCanAnswerADialog(t *testing.T) {
	for name, c := range map[string]struct {
		env     []string
		program string // what pinentry is
		say     string
	}{
		"no screen":         {nil, "pinentry-gtk-2", "there is no terminal"},
		"no program":        {[]string{"DISPLAY=:4711"}, "", "there is no terminal"},
		"a dead screen":     {[]string{"DISPLAY=:4711"}, "pinentry-gtk-2", "no program can show a dialog"},
		"one for terminals": {[]string{"DISPLAY=:4711"}, "pinentry-curses", "no program can show a dialog"},
	} {
		t.Run(name, func(t *testing.T) {
			h := asking(t)
			h.env = append(h.env, c.env...)
			if c.program != "" {
				(&desktop{home: h}).link(testenv.Need(t, c.program), "pinentry")
			}
			cmd := h.start("token", "transfer")
			if code := cmd.end(); code != 5 || !strings.Contains(cmd.said.String(), c.say) {
				t.Errorf("exit code %d, want 5 and %q:\n%s", code, c.say, cmd.said.String())
			}
		})
	}
}
