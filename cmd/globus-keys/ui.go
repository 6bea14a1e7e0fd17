package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"

	"github.com/globus-keys/globus-keys/keystore"
	"github.com/globus-keys/globus-keys/keystore/local"
)

// The rules of the terminal:
//
//   - standard output carries only the answer;
//   - talk goes to standard error, behind the program's name;
//   - questions go to the terminal, wherever the streams lead, and are not
//     asked when there is none;
//   - no text of a file, server or argument reaches a terminal with its
//     control characters.
type ui struct {
	in  *os.File
	out io.Writer
	err io.Writer
}

func (u ui) say(format string, args ...any)  { u.talk("", format, args...) }
func (u ui) warn(format string, args ...any) { u.talk("warning: ", format, args...) }
func (u ui) hint(format string, args ...any) { u.talk("hint: ", format, args...) }

func (u ui) talk(kind, format string, args ...any) {
	fmt.Fprintf(u.err, "globus-keys: %s%s\n", kind, clean(fmt.Sprintf(format, args...)))
}

// printf writes a part of the answer.
func (u ui) printf(format string, args ...any) error {
	_, err := fmt.Fprint(u.out, cleanLines(fmt.Sprintf(format, args...)))
	return err
}

// printJSON writes the answer for programs. encoding/json escapes what a
// terminal would act upon, but for DEL and C1, which clean escapes.
func (u ui) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return u.printf("%s\n", text)
}

// remembering keeps the error of the last write that has failed, for cobra, which
// drops it.
type remembering struct {
	io.Writer
	err error
}

func (r *remembering) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

// clean replaces what a terminal would act upon, line breaks included, by the
// escapes of JSON.
func clean(s string) string { return escaped(s, "") }

func cleanLines(s string) string { return escaped(s, "\n\t") }

func escaped(s, keep string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || strings.ContainsRune(keep, r) {
			b.WriteRune(r)
			continue
		}
		// Bidirectional controls and the like reorder what is read.
		if hi, lo := utf16.EncodeRune(r); r > 0xffff {
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// passphrase asks for a passphrase on the terminal: a local.Prompt.
func (u ui) passphrase(ctx context.Context, q local.Question) (keystore.Secret, error) {
	t, err := u.terminal()
	if err != nil {
		return keystore.Secret{}, err
	}
	defer t.Close()
	switch {
	case q.Wrong:
		fmt.Fprintf(t, "Wrong passphrase.\n")
		fallthrough
	case !q.New:
		return t.secret(ctx, fmt.Sprintf("Passphrase for %s: ", clean(q.Store)))
	}
	fmt.Fprintf(t, "A passphrase will protect %s.\nThere is no way back into it without the passphrase.\n", clean(q.Store))
	first, err := t.secret(ctx, "New passphrase, 8 characters or more: ")
	if err != nil {
		return first, err
	}
	again, err := t.secret(ctx, "The same again: ")
	if err == nil && !first.Equal(again) {
		err = fmt.Errorf("the two passphrases differ: %w", keystore.ErrDeclined)
	}
	return first, err
}

// confirm asks a question whose answer must be yes.
func (u ui) confirm(ctx context.Context, question string) error {
	t, err := u.terminal()
	if err != nil {
		return usageError{fmt.Errorf("nobody can be asked to confirm: say --yes")}
	}
	defer t.Close()
	answer, err := t.line(ctx, clean(question)+" [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errCancelled
	}
	return nil
}

// terminal is where questions are asked.
type terminal struct {
	*os.File // to read from
	out      io.Writer
	shared   bool // the file is standard input, not ours to close
}

func (u ui) terminal() (*terminal, error) {
	if in, out, err := openTerminal(); err == nil {
		return &terminal{File: in, out: out}, nil
	}
	if u.in != nil && term.IsTerminal(int(u.in.Fd())) {
		return &terminal{File: u.in, out: u.err, shared: true}, nil
	}
	return nil, fmt.Errorf("there is no terminal to ask for the passphrase: %w", keystore.ErrLocked)
}

func (t *terminal) Write(p []byte) (int, error) { return t.out.Write(p) }

func (t *terminal) Close() error {
	if t.shared {
		return nil
	}
	return t.File.Close()
}

func (t *terminal) secret(ctx context.Context, prompt string) (keystore.Secret, error) {
	fmt.Fprint(t, prompt)
	text, err := interruptible(ctx, t, func() ([]byte, error) { return term.ReadPassword(int(t.Fd())) })
	fmt.Fprintln(t)
	return keystore.NewSecret(string(text)), err
}

func (t *terminal) line(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(t, prompt)
	return interruptible(ctx, t, func() (string, error) { return bufio.NewReader(t.File).ReadString('\n') })
}

// interruptible returns at once when ctx ends, with the terminal as it was. The
// read that it leaves behind ends with the process.
func interruptible[T any](ctx context.Context, t *terminal, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	before, stateErr := term.GetState(int(t.Fd()))
	done := make(chan answer, 1)
	go func() {
		value, err := read()
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			a.err = fmt.Errorf("no answer: %w", keystore.ErrDeclined)
		}
		return a.value, a.err
	case <-ctx.Done():
		if stateErr == nil {
			term.Restore(int(t.Fd()), before)
		}
		var none T
		return none, ctx.Err()
	}
}
