//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/globus-keys/globus-keys/keystore"
)

// openTerminal opens the controlling terminal, wherever the standard streams lead.
func openTerminal() (*os.File, io.Writer, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return tty, tty, err
}

type mode = unix.Termios

// plain is a terminal that gives whole lines, and to which ^C and ^Z are what they
// should be: with them goes what was typed.
func plain(m mode) mode {
	m.Iflag |= unix.ICRNL
	m.Iflag &^= unix.IGNCR | unix.INLCR
	m.Lflag |= unix.ICANON | unix.ISIG | unix.ECHO
	m.Lflag &^= unix.NOFLSH
	return m
}

// quiet is one that shows nothing of them, too.
func quiet(m mode) mode {
	m = plain(m)
	m.Lflag &^= unix.ECHO | unix.ECHONL
	return m
}

func echoes(m mode) bool { return m.Lflag&unix.ECHO != 0 }

func modeOf(f *os.File) (m mode, err error) {
	err = control(f, func(fd int) error {
		now, err := unix.IoctlGetTermios(fd, getMode)
		if err == nil {
			m = *now
		}
		return err
	})
	return m, err
}

func setMode(f *os.File, m mode, discard bool) error {
	request := uint(setModeNow)
	if discard {
		request = setModeAndFlush
	}
	return control(f, func(fd int) error { return unix.IoctlSetTermios(fd, request, &m) })
}

// control calls do until no signal interrupts it. File.Fd would take the file from the
// poller, and its reads could not be ended any more.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := conn.Control(func(fd uintptr) {
		for {
			if err = do(int(fd)); err != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(controlErr, err)
}

// inBackground reports whether another process group has the terminal. One that is not
// the controlling terminal has no foreground.
func inBackground(f *os.File) bool {
	group := unix.Getpgrp()
	err := control(f, func(fd int) (err error) {
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return err == nil && group != unix.Getpgrp()
}

// foreground returns when the process has the terminal. Until then it is stopped, as
// the kernel stops who reads from a terminal that is not his: with its process group,
// and not if nobody could ever let it go on. That is an error then. Reading would come
// to the same, but the terminal's mode is another's in the background, and somebody
// should be told why nothing happens.
func foreground(ctx context.Context, f *os.File, tell func(string)) error {
	for inBackground(f) {
		tell("there is a question to answer, and this runs in the background: bring it to the foreground (fg)")
		if !inBackground(f) { // whoever is quick with fg must not see it stop
			break
		}
		if !stop(0) {
			return fmt.Errorf("this runs in the background, where nobody can answer: %w", keystore.ErrLocked)
		}
		select {
		case <-ctx.Done(): // it was let go on to end
			return ctx.Err()
		case <-time.After(heard):
		}
	}
	return nil
}

// stop stops a process, 0: the process group, and reports whether somebody has let it go
// on. The kernel does not stop a group that has no shell above it.
//
// SIGTTIN does what SIGTSTP would, which has its default no more after Notify: Reset
// and Stop leave it ignored.
func stop(pid int) (continued bool) {
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, syscall.SIGCONT)
	defer signal.Stop(goOn)
	if pid == 0 {
		pid = -unix.Getpgrp()
	}
	syscall.Kill(pid, syscall.SIGTTIN)
	const ticks = 10 // one of them may be over when the process goes on, not all
	for range ticks {
		select {
		case <-goOn:
			return true
		case <-time.After(heard / ticks):
		}
	}
	return false
}

// watch does from now on what signals at the terminal ask for. It does not end: ^Z would
// not stop the process any more.
func (t *terminal) watch() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGCONT, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(signals, syscall.SIGTSTP)
	}
	go func() {
		for s := range signals {
			t.obey(s)
		}
	}()
}

func (t *terminal) obey(s os.Signal) {
	switch s {
	case syscall.SIGTSTP:
		t.giveBack()
		if !stop(os.Getpid()) { // else there is SIGCONT
			t.askAgain()
		}
	case syscall.SIGCONT:
		t.askAgain()
	case syscall.SIGQUIT:
		t.giveBack()
		signal.Reset(syscall.SIGQUIT)
		syscall.Kill(os.Getpid(), syscall.SIGQUIT)
	}
}

func (t *terminal) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restore(t.asking != "")
}

// askAgain: in the background with a question it is stopped again.
func (t *terminal) askAgain() {
	t.mu.Lock()
	waiting := t.asking != ""
	t.mu.Unlock()
	if waiting && foreground(context.Background(), t.in, t.notice) != nil {
		return // reading ends with an error
	}
	t.resume()
}
