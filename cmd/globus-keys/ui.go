package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
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
	tty *terminal // nil: nobody can be asked
}

func newUI(in *os.File, out, err io.Writer) ui {
	u := ui{in: in, out: out, err: err}
	u.tty = &terminal{std: in, err: err, notice: func(text string) { u.say("%s", text) }}
	return u
}

func (u ui) say(format string, args ...any)  { u.talk("", format, args...) }
func (u ui) warn(format string, args ...any) { u.talk("warning: ", format, args...) }
func (u ui) hint(format string, args ...any) { u.talk("hint: ", format, args...) }

func (u ui) talk(kind, format string, args ...any) {
	u.tty.release()
	fmt.Fprintf(u.err, "globus-keys: %s%s\n", kind, clean(fmt.Sprintf(format, args...)))
}

// printf writes a part of the answer.
func (u ui) printf(format string, args ...any) error {
	u.tty.release()
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
