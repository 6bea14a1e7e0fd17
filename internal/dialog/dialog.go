// Package dialog asks for a passphrase in a window, where there is no terminal. It runs
// a pinentry, the kind of program that GnuPG asks with, and there is one for every
// desktop.
//
// What a pinentry is and says is not ours: it is given two minutes in all, answers of a
// few kilobytes are read, and nothing of what it writes is shown. It is killed, with
// what it has started, as soon as nobody waits for it. The passphrase goes through a
// pipe. Texts are shown without control characters, up to 900 bytes of them.
package dialog

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/globus-keys/globus-keys/keystore"
)

// Question is what to ask for.
type Question struct {
	Text   string // what the passphrase is for; lines
	Label  string // of the field that is typed into
	Error  string // what was wrong with the answer before; "": nothing
	Repeat string // of the second field, if the passphrase is to be typed twice; "": it is not
}

// limits are how long a person may take, and a program to come up.
type limits struct{ person, program time.Duration }

var defaults = limits{person: 2 * time.Minute, program: 10 * time.Second}

// Ask shows a window and returns what was typed: with the first program on PATH, of the
// names that this system has for pinentries, that can show one. Programs are asked one
// after the other, for some say only then that they need a terminal.
//
// The error is [ErrDiffer] if somebody types two different passphrases, in a program that
// does not mind; it wraps [keystore.ErrDeclined] if somebody says no; [keystore.ErrLocked] if there is no screen, no program that can show a
// window, or nobody who answers within two minutes; it is ctx.Err() if ctx ends, which
// closes the window.
func Ask(ctx context.Context, getenv func(string) string, q Question) (keystore.Secret, error) {
	return defaults.ask(ctx, programs(getenv), q)
}

// Possible reports whether there is a screen and a program that may show a window.
func Possible(getenv func(string) string) bool { return len(programs(getenv)) > 0 }

// programs are the pinentries by their absolute paths, each once: names are often links
// to the same one.
func programs(getenv func(string) string) (paths []string) {
	var files []string
	for _, name := range names(getenv) {
		path, err := exec.LookPath(name)
		if err != nil || !filepath.IsAbs(path) {
			continue
		}
		file, err := filepath.EvalSymlinks(path)
		if err != nil || slices.Contains(files, file) {
			continue
		}
		paths, files = append(paths, path), append(files, file)
	}
	return paths
}

// ErrDiffer: a passphrase was to be typed twice, and was not.
var ErrDiffer = errors.New("the two passphrases differ")

var (
	errSilence = errors.New("nobody has answered the dialog") // said by the program
	errLate    = errors.New("it does not come up")
)

func (l limits) ask(ctx context.Context, programs []string, q Question) (keystore.Secret, error) {
	limited, cancel := context.WithTimeout(ctx, l.person+l.person/20) // its own clock comes first
	defer cancel()
	var failed []string
	for _, program := range programs {
		secret, err := l.askWith(limited, program, q)
		switch {
		case err == nil || errors.Is(err, keystore.ErrDeclined) || errors.Is(err, ErrDiffer):
			return secret, err
		case ctx.Err() != nil:
			return keystore.Secret{}, ctx.Err()
		case limited.Err() != nil || errors.Is(err, errSilence):
			return keystore.Secret{}, fmt.Errorf("%w within %v: %w", errSilence, l.person, keystore.ErrLocked)
		}
		failed = append(failed, fmt.Sprintf("%s: %v", program, err))
	}
	return keystore.Secret{}, fmt.Errorf("no program can show a dialog that asks for the passphrase (%s): %w",
		strings.Join(failed, "; "), keystore.ErrLocked)
}

// askWith asks with one program, and leaves nothing of it behind.
func (l limits) askWith(ctx context.Context, program string, q Question) (keystore.Secret, error) {
	p, err := start(ctx, program)
	if err != nil {
		return keystore.Secret{}, err
	}
	defer p.end()
	late := time.AfterFunc(l.program, p.kill)
	err = p.prepare(append(q.words(), fmt.Sprintf("SETTIMEOUT %d", int(l.person.Seconds())))...)
	if !late.Stop() {
		err = errLate
	}
	if err != nil {
		return keystore.Secret{}, err
	}
	first, repeated, err := p.get()
	if err != nil || q.Repeat == "" || repeated {
		return first, err
	}
	if err := p.prepare("SETPROMPT " + escape(q.Repeat)); err != nil {
		return keystore.Secret{}, err
	}
	again, _, err := p.get()
	if err == nil && !first.Equal(again) {
		err = ErrDiffer
	}
	return first, err
}

// words are what is said to a pinentry before it asks. It does not take the keyboard
// from all other windows, as GnuPG has it: a passphrase is often looked up in one.
func (q Question) words() []string {
	words := []string{
		"OPTION no-grab",
		"SETTITLE globus-keys",
		"SETDESC " + escape(q.Text),
		"SETPROMPT " + escape(q.Label),
	}
	if q.Error != "" {
		words = append(words, "SETERROR "+escape(q.Error))
	}
	if q.Repeat != "" {
		words = append(words, "SETREPEAT "+escape(q.Repeat), "SETREPEATERROR "+escape("The two differ. Type them again."))
	}
	return words
}
