package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/internal/testenv"
	"github.com/globus-keys/globus-keys/keystore/oauth/oauthtest"
)

// TestStoppedAtThePrompt: ^Z gives the terminal back as it was, and fg asks again,
// unseen. dash leaves the terminal's mode as it finds it, bash has its own.
func TestStoppedAtThePrompt(t *testing.T) {
	for shell, args := range map[string][]string{"dash": {"-i"}, "bash": {"--norc", "--noprofile", "-i"}} {
		t.Run(shell, func(t *testing.T) {
			path := testenv.Need(t, shell)
			s := asking(t).at(path, args...)
			s.until("READY: ")
			s.types("globus-keys token transfer\n")
			s.until("Passphrase for ")
			s.echoes(false, "at the prompt")
			for range 2 {
				s.types("typed before\x1a")
				s.until("READY: ")
				if shell == "dash" { // bash reads key by key
					s.echoes(true, "while it is stopped")
				}
				s.types("echo the $((40+2))nd\n")
				s.until("the 42nd")
				s.until("READY: ")
				s.types("fg\n")
				s.until("Passphrase for ")
				s.echoes(false, "after fg")
			}
			s.types(passphraseOfHome + "\n")
			s.until("FakeAccessDesktop")
			s.endsWithEcho()
			s.hides("typed before", passphraseOfHome)
		})
	}
}

// TestStopAfterThePrompt: ^Z works then, too, and the terminal is as it was.
func TestStopAfterThePrompt(t *testing.T) {
	h := newHome(t, oauthtest.Static)
	h.expired()
	asked, answer := make(chan struct{}), make(chan struct{})
	defer sync.OnceFunc(func() { close(answer) })()
	h.duringAnswer("refresh_token", func() { close(asked); <-answer })
	s := h.asks().at(testenv.Need(t, "dash"), "-i")
	s.until("READY: ")
	s.types("globus-keys refresh\n")
	s.until("Passphrase for ")
	s.types(passphraseOfHome + "\n")
	<-asked
	s.types("\x1a")
	s.until("READY: ")
	s.echoes(true, "while it is stopped")
	answer <- struct{}{}
	s.types("fg\n")
	s.until("globus-keys: renewed")
	s.until("READY: ")
	s.echoes(true, "afterwards")
	s.hides(passphraseOfHome)
}

// TestTypedAhead is not shown while an answer is tried, and it is the next answer.
func TestTypedAhead(t *testing.T) {
	h := asking(t)
	h.env = append(h.env, workFactorVariable+"=16") // work enough to type meanwhile
	file := filepath.Join(h.dir, "plain.json")

	s := h.at(h.globusKeys(), "--store", "file:"+filepath.Join(h.dir, "data", "other.json"), "import", file)
	s.until("New passphrase")
	s.types("a fine passphrase\na fine passphrase\n")
	s.ends(0)
	s.hides("a fine")

	s = h.at(h.globusKeys(), "token", "transfer")
	s.until("Passphrase for ")
	s.types("not the one\n")
	s.until(": \r\n")
	s.types(passphraseOfHome + "\n")
	s.ends(0, "Wrong passphrase", "Passphrase for ", "FakeAccessDesktop")
	s.hides(passphraseOfHome, "not the one")
	s.echoes(true, "at the end")

	s = h.at(h.globusKeys(), "token", "transfer")
	s.until("Passphrase for ")
	s.types(passphraseOfHome + "\n")
	s.until(": \r\n")
	s.types(passphraseOfHome + "\n") // as who is not sure that it was heard
	s.ends(0, "FakeAccessDesktop")
	s.hides(passphraseOfHome)
	if left := s.leftOver(); left != "" {
		t.Errorf("the shell gets %q", left)
	}
}

// TestEndOfInput: ^D as an answer declines; after other keys it ends the answer if it
// is typed twice, as everywhere.
func TestEndOfInput(t *testing.T) {
	h := asking(t)
	for keys, end := range map[string]struct {
		code  int
		words string
	}{
		"\x04":                        {2, "no answer: declined"},
		passphraseOfHome + "\x04\x04": {0, "FakeAccessDesktop"},
		passphraseOfHome[:7] + "\x04" + passphraseOfHome[7:] + "\n": {0, "FakeAccessDesktop"},
		"not the one\n\x04": {2, "no answer: declined"},
	} {
		s := h.at(h.globusKeys(), "token", "transfer")
		s.until("Passphrase for ")
		s.types(keys)
		s.ends(end.code, end.words)
		s.echoes(true, fmt.Sprintf("after %q", keys))
		s.hides(passphraseOfHome)
	}
}

// TestAnswerWithoutEnd: what ^D makes one answer has its limit.
func TestAnswerWithoutEnd(t *testing.T) {
	h := asking(t)
	s := h.at(h.globusKeys(), "token", "transfer")
	s.until("Passphrase for ")
	for range 3 {
		s.types(strings.Repeat("x", maxAnswer/2) + "\x04")
		h.waitFor("the end of what was typed", func() bool {
			unread, err := unix.IoctlGetInt(int(s.tty.Fd()), unix.TIOCINQ)
			return err != nil || unread == 0
		})
	}
	s.ends(1, "the answer: too large")
}

// TestNobodyIsAsked at a terminal by who has said so, in a flag or a variable.
func TestNobodyIsAsked(t *testing.T) {
	h := asking(t)
	for _, c := range []struct {
		variable string
		args     []string
	}{
		{"", []string{"token", "transfer", "--no-prompt"}},
		{"GLOBUS_KEYS_NO_PROMPT=1", []string{"token", "transfer"}},
		{"", []string{"unlock", "--no-prompt"}},
	} {
		quiet := *h
		quiet.env = append([]string{c.variable}, h.env...)
		s := quiet.at(h.globusKeys(), c.args...)
		s.ends(5, "nobody can be asked", "hint: ")
		s.hides("Passphrase for")
	}
}

// TestPromptBrokenOff: the terminal is as it was, and what was typed so far is not left
// to the shell, which would show it.
func TestPromptBrokenOff(t *testing.T) {
	send := func(sig syscall.Signal) func(*screen) { return func(s *screen) { s.cmd.Process.Signal(sig) } }
	for name, c := range map[string]struct {
		how  func(*screen)
		code int
		say  string
	}{
		"^C":      {func(s *screen) { s.types("\x03") }, 2, "error: cancelled"},
		"SIGTERM": {send(syscall.SIGTERM), 2, "error: cancelled"},
		"SIGHUP":  {send(syscall.SIGHUP), 2, "error: cancelled"},
		"^\\":     {func(s *screen) { s.types("\x1c") }, 2, "SIGQUIT: quit"},
		"panic":   {send(syscall.SIGUSR1), 2, "panic: at the prompt"},
	} {
		t.Run(name, func(t *testing.T) {
			h := asking(t)
			h.heeded(syscall.SIGHUP)
			program := "globus-keys"
			if name == "panic" {
				program = "panics-at-prompt"
			}
			s := h.at(filepath.Join(h.dir, "bin", program), "token", "transfer")
			s.until("Passphrase for ")
			s.echoes(false, "at the prompt")
			s.typesSoThatItArrives("typed before")
			c.how(s)
			s.ends(c.code, c.say)
			s.echoes(true, "at the end")
			s.hides("typed before")
			if left := s.leftOver(); left != "" {
				t.Errorf("the shell gets %q", left)
			}
		})
	}
}

// TestTerminalIsClosed at the prompt: there is nobody to wait for.
func TestTerminalIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		ignored string
		code    int
		say     string
	}{
		"SIGHUP": {"INT", 2, "error: cancelled"},
		"nohup":  {"HUP", 5, "the terminal is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			h := asking(t)
			h.heeded(syscall.SIGHUP)
			log := filepath.Join(h.dir, "log")
			s := h.at("/bin/sh", "-c", `trap "" `+c.ignored+`; exec globus-keys token transfer 2>`+log)
			s.until("Passphrase for ")
			s.tty.Close()
			s.keys.Close()
			s.ends(c.code)
			if said, err := os.ReadFile(log); err != nil || !strings.Contains(string(said), c.say) {
				t.Errorf("%v, it says\n%s", err, said)
			}
		})
	}
}

// TestPromptInTheBackground: it says that there is a question, and is stopped, as every
// program that asks; where nobody can bring it to the foreground it ends.
func TestPromptInTheBackground(t *testing.T) {
	const word = "there is a question to answer, and this runs in the background"
	t.Run("of a shell", func(t *testing.T) {
		s := asking(t).at(testenv.Need(t, "bash"), "--norc", "--noprofile", "-i")
		s.until("READY: ")
		s.types("globus-keys token transfer &\n")
		for range 2 {
			s.until(word)
			s.types("until [[ $(jobs -s) ]]; do :; done; bg; echo the $((40+2))nd\n")
			s.until("the 42nd")
		}
		s.until(word)
		s.types("until [[ $(jobs -s) ]]; do :; done; fg\n")
		s.until("fg")
		s.hides("Passphrase for ")
		s.until("Passphrase for ")
		s.echoes(false, "at the prompt")
		s.types(passphraseOfHome + "\n")
		s.until("FakeAccessDesktop")
		s.endsWithEcho()
		s.hides(passphraseOfHome)
	})
	t.Run("sent there", func(t *testing.T) {
		s := asking(t).at(testenv.Need(t, "dash"), "-i")
		s.until("READY: ")
		s.types("globus-keys token transfer\n")
		s.until("Passphrase for ")
		s.types("\x1a")
		s.until("READY: ")
		s.types("bg\n")
		s.until(word)
		s.types(`until jobs >"$HOME/jobs"; read -r j <"$HOME/jobs"; [ -z "${j##*Stopped*}" ]; do :; done; fg` + "\n")
		s.until("Passphrase for ")
		s.types(passphraseOfHome + "\n")
		s.until("FakeAccessDesktop")
		s.hides(passphraseOfHome)
	})
	t.Run("of nobody", func(t *testing.T) {
		s := asking(t).at(testenv.Need(t, "bash"), "-c", `set -m; ( (globus-keys token transfer; echo "code $?") & ); read -r x`)
		s.until("in the background, where nobody can answer")
		s.until("code 5")
		s.types("\n")
		s.ends(0)
		s.hides("Passphrase for ")
	})
}
