package main

import (
	"bytes"
	"context"
	"fmt"
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

const passphraseOfHome = "correct horse battery staple" // the one of newHome

// screen is a terminal at which a command runs, and what it shows.
type screen struct {
	*home
	keys, tty *os.File
	cmd       *exec.Cmd

	mu     sync.Mutex
	shown  bytes.Buffer
	goesOn bool          // it was told to stop and to go on
	more   chan struct{} // something has happened since somebody has looked
	seen   int
}

// asking is a home whose store is opened by asking for the passphrase.
func asking(t *testing.T) *home {
	h := newHome(t, oauthtest.Static)
	file := filepath.Join(h.dir, "plain.json")
	h.write(file, plainLogin)
	h.must("import", file)
	return h.asks()
}

// asks lets the commands from now on ask for the passphrase.
func (h *home) asks() *home {
	h.env = slices.DeleteFunc(h.env, func(line string) bool {
		return strings.HasPrefix(line, "GLOBUS_KEYS_PASSPHRASE_FILE=") || strings.HasPrefix(line, "GLOBUS_KEYS_NO_PROMPT=")
	})
	h.env = append(h.env, "PS1=READY: ", "TERM=dumb")
	return h
}

// at starts a program as the leader of a terminal's session.
func (h *home) at(program string, args ...string) *screen {
	h.Helper()
	s := &screen{home: h, more: make(chan struct{}, 1)}
	s.keys, s.tty = newTerminal(h)
	s.cmd = exec.CommandContext(h.Context(), program, args...)
	s.cmd.Env = h.env
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.tty, s.tty, s.tty
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	go s.watch()
	return s
}

func newTerminal(h *home) (keys, tty *os.File) {
	h.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.Fatal(err)
	}
	tty, err = openOtherEnd(keys)
	if err != nil {
		h.Fatal(err)
	}
	err = control(keys, func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCPKT, 1) })
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { keys.Close(); tty.Close() })
	return keys, tty
}

// watch reads packets: what is shown behind a zero, or what the terminal does.
func (s *screen) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := s.keys.Read(buf)
		s.mu.Lock()
		switch {
		case n > 0 && buf[0] == 0:
			s.shown.Write(buf[1:n])
		case n > 0 && buf[0]&unix.TIOCPKT_START != 0:
			s.goesOn = true
		}
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// text is all that was shown so far.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// until waits until the words are shown, after those that were waited for before.
func (s *screen) until(words string) {
	s.Helper()
	s.waitFor(fmt.Sprintf("%q", words), func() bool {
		text := s.text()
		i := strings.Index(text[s.seen:], words)
		if i >= 0 {
			s.seen += i + len(words)
		}
		return i >= 0
	})
}

// waitFor waits for something that is to happen at the terminal.
func (s *screen) waitFor(what string, happened func() bool) {
	s.Helper()
	patience, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	for !happened() {
		select {
		case <-s.more:
		case <-patience.Done():
			s.Fatalf("%s does not come:\n%s", what, s.text())
		}
	}
}

// typesSoThatItArrives waits until the terminal has what was typed: it obeys ^S and ^Q
// that come after it.
func (s *screen) typesSoThatItArrives(keys string) {
	s.Helper()
	s.types(keys + "\x13\x11")
	s.waitFor(keys, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.goesOn
	})
}

func (s *screen) types(keys string) {
	s.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		s.Fatal(err)
	}
}

// echoes checks whether what is typed is shown.
func (s *screen) echoes(want bool, when string) {
	s.Helper()
	mode, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.Fatal(err)
	}
	if got := mode.Lflag&unix.ECHO != 0; got != want || mode.Lflag&unix.ICANON == 0 {
		s.Errorf("%s: what is typed is shown: %v, want %v:\n%s", when, got, want, s.text())
	}
}

// hides checks that some words were never shown.
func (s *screen) hides(words ...string) {
	s.Helper()
	for _, w := range words {
		if strings.Contains(s.text(), w) {
			s.Errorf("%q is shown:\n%s", w, s.text())
		}
	}
}

// leftOver is what somebody has typed and nobody has read.
func (s *screen) leftOver() string {
	s.Helper()
	fd := int(s.tty.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		s.Fatal(err)
	}
	mode.Lflag &^= unix.ICANON
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 0, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		s.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := unix.Read(fd, buf)
	return string(buf[:max(n, 0)])
}

// ends waits for the end, which must be with this exit code.
func (s *screen) ends(code int, words ...string) {
	s.Helper()
	defer time.AfterFunc(30*time.Second, func() { s.cmd.Process.Kill() }).Stop() // if it hangs
	s.cmd.Wait()
	for _, w := range words {
		s.until(w)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.Errorf("%v, want exit code %d:\n%s", s.cmd.ProcessState, code, s.text())
	}
}

// endsWithEcho ends a shell, in whose terminal others would be seen typing. bash has a
// mode of its own at its prompt.
func (s *screen) endsWithEcho() {
	s.Helper()
	s.until("READY: ")
	s.types("exec " + testenv.Need(s, "stty") + " -a\n")
	s.until(" echo ")
	s.ends(0)
}

func (h *home) globusKeys() string { return filepath.Join(h.dir, "bin", "globus-keys") }
