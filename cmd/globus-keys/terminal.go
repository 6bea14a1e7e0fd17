package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/globus-keys/globus-keys/keystore"
)

// maxAnswer is how many bytes an answer may have. A line of a terminal has no more,
// but ^D lets several be one answer.
const maxAnswer = 4096

// heard is how long a signal may take to be heard of.
const heard = 100 * time.Millisecond

// terminal is where questions are asked: the controlling terminal, wherever the
// streams lead, else standard input, if that is one. Whoever sits there may type
// ahead, and may stop the program and go on with it. So:
//
//   - from the first secret on nothing that is typed is shown until the program says
//     something (release): the next answer can be typed while this one is tried;
//   - while the program is stopped the terminal is as it was, and the question is
//     asked again afterwards;
//   - what has been typed unseen, and is no answer that somebody waits for, is thrown
//     away: else the shell would show it, run it and keep it in its history.
//
// One question is asked at a time.
type terminal struct {
	std    *os.File     // standard input
	err    io.Writer    // where questions go if standard input is the terminal
	notice func(string) // tells what somebody should know who has not been asked yet

	mu     sync.Mutex
	in     *os.File // nil: not opened yet
	out    io.Writer
	before mode   // what it was like before it was changed
	ours   mode   // what it is like while it is changed
	held   bool   // it is to be ours, and is unless the program is stopped
	asking string // the question under way; "": none
	answer []byte // what there is of its answer
}

func (t *terminal) open() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.in != nil {
		return nil
	}
	if in, out, err := openTerminal(); err == nil {
		t.in, t.out = in, out
	} else if t.std != nil && term.IsTerminal(int(t.std.Fd())) {
		t.in, t.out = t.std, t.err
	} else {
		return err
	}
	t.watch()
	return nil
}

// secret asks for what must not be seen; about is shown before.
func (t *terminal) secret(ctx context.Context, about, question string) (keystore.Secret, error) {
	answer, err := t.ask(ctx, about, question, quiet)
	defer clear(answer)
	return keystore.NewSecret(string(answer)), err
}

// line asks for a line that is seen as it is typed.
func (t *terminal) line(ctx context.Context, question string) (string, error) {
	t.release()
	answer, err := t.ask(ctx, "", question, plain)
	t.release()
	return string(answer), err
}

func (t *terminal) ask(ctx context.Context, about, question string, how func(mode) mode) (answer []byte, err error) {
	if err := foreground(ctx, t.in, t.notice); err != nil {
		return nil, err
	}
	if err := t.begin(about, question, how); err != nil {
		return nil, gone(err)
	}
	answered := false
	defer func() {
		if !answered { // also if it panics
			t.breakOff()
		}
	}()
	read := make(chan error, 1)
	go func() { read <- t.read() }()
	select {
	case err := <-read:
		answered = err == nil
		return t.taken(), t.reason(ctx, err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin shows the question. The terminal is changed first: who sees the question is
// not seen typing.
func (t *terminal) begin(about, question string, how func(mode) mode) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.held {
		now, err := modeOf(t.in)
		if err != nil {
			return err
		}
		t.before = now
	}
	t.ours = how(t.before)
	if err := setMode(t.in, t.ours, false); err != nil {
		return err
	}
	t.in.SetReadDeadline(time.Time{})
	t.held, t.asking, t.answer = true, question, nil
	_, err := fmt.Fprint(t.out, about, question)
	return err
}

// read reads until the end of the line. After ^D a terminal gives what there is of it,
// or nothing, which is the end.
func (t *terminal) read() error {
	buf := make([]byte, maxAnswer)
	defer clear(buf)
	for {
		n, err := t.in.Read(buf)
		if done, err := t.take(buf[:n], err); done || err != nil {
			return err
		}
	}
}

func (t *terminal) take(text []byte, err error) (done bool, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = append(t.answer, text...)
	switch n := len(t.answer); {
	case n > maxAnswer:
		return true, keystore.ErrTooLarge
	case n > 0 && t.answer[n-1] == '\n':
		return true, nil
	case n > 0 && err == io.EOF:
		return true, nil
	}
	return false, err
}

// taken ends the question that was answered.
func (t *terminal) taken() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLine()
	answer := t.answer
	t.asking, t.answer = "", nil
	return bytes.TrimRight(answer, "\r\n") // in place: what is cleared afterwards is all there was
}

// endLine: the end of an unseen line is not seen either.
func (t *terminal) endLine() {
	if t.asking != "" {
		fmt.Fprintln(t.out)
	}
}

// reason says why there is no answer.
func (t *terminal) reason(ctx context.Context, err error) error {
	switch _, lost := modeOf(t.in); {
	case err == nil:
		return nil
	case errors.Is(err, keystore.ErrTooLarge):
		return fmt.Errorf("the answer: %w", err)
	case err == io.EOF && lost == nil: // else nobody is there, and so nobody declines
		return fmt.Errorf("no answer: %w", keystore.ErrDeclined)
	}
	select {
	case <-ctx.Done(): // by SIGHUP, which comes at the same time
		return ctx.Err()
	case <-time.After(heard):
		return gone(err)
	}
}

func gone(err error) error {
	return fmt.Errorf("the terminal is gone, and nobody can be asked (%w): %w", err, keystore.ErrLocked)
}

// breakOff ends a question that has no answer.
func (t *terminal) breakOff() {
	t.in.SetReadDeadline(time.Now()) // where that does nothing the read ends with the process
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLine()
	clear(t.answer)
	t.asking, t.answer = "", nil
	t.restore(true)
	t.held = false
}

// release gives the terminal back, unless somebody is being asked. t may be nil. It is
// called before the program says something, ends, or lets another one have the
// terminal.
func (t *terminal) release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asking != "" {
		return
	}
	t.restore(!echoes(t.ours)) // a passphrase that was typed twice is nothing for the shell
	t.held = false
}

// restore makes the terminal as it was. What was typed, and not read, can be thrown
// away. In the background it is somebody else's.
func (t *terminal) restore(discard bool) {
	if t.held && !inBackground(t.in) {
		setMode(t.in, t.before, discard)
	}
}

// resume asks again after the program was stopped.
func (t *terminal) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.held || inBackground(t.in) {
		return
	}
	if now, err := modeOf(t.in); err == nil && echoes(now) { // else it is as we have left it
		t.before = now
	}
	setMode(t.in, t.ours, false)
	clear(t.answer)
	t.answer = nil
	if t.asking != "" {
		fmt.Fprint(t.out, "\r", t.asking)
	}
}
